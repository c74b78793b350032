"""Does membership find out, cost and spread as SWIM's paper says? A few runs of `simulate --truth`."""

from random import Random

from small_study import verdicts

from ringgossip.protocol.settings import MembershipSettings
from ringgossip.simulation.truth.contacts import Contacts


def test_a_crash_is_found_within_the_periods_of_the_paper() -> None:
    in_step = verdicts("swim-detection", "in step", 15, n=40)["periods"]
    assert in_step.within and in_step.measured >= 1
    alone = verdicts("swim-detection", "not in step", 15, n=40)
    assert alone["periods"].within and alone["share later than 1 period"].within
    assert in_step.theory is not None and 1.56 < in_step.theory < 1.58


def test_members_that_probe_four_times_as_seldom_are_outside() -> None:
    row = verdicts("swim-detection", "in step", 20, n=30, interval=4.0)["periods"]
    assert not row.within and row.measured > 3


def test_a_member_sends_and_hears_two_messages_a_period() -> None:
    rows = verdicts("swim-load", "n=16", 1, periods=20)
    assert rows["sent"].within and rows["received"].within
    assert not verdicts("swim-load", "n=16", 1, periods=20, interval=0.9)["sent"].within


def test_nobody_waits_longer_than_two_rounds_less_one_question() -> None:
    row = verdicts("swim-detection", "round robin n=10", 1, n=6, periods=400)["longest wait"]
    assert row.theory == 9.0
    assert 6 <= row.measured <= 9


def test_news_goes_round_as_the_formula_says() -> None:
    rows = verdicts("swim-infection", "from 25", 4)
    assert [row.within for row in rows.values()] == [True] * 5


def test_news_that_is_told_once_only_goes_round_too_slowly() -> None:
    rows = verdicts("swim-infection", "from 25", 2, told=0)
    assert not rows["know after 2"].within


def test_contacts_hear_each_other_at_once() -> None:
    contacts = Contacts(3, MembershipSettings(worst_health=0), Random(1))
    contacts.infect(0)
    assert contacts.infected == 1
    asked = [contacts.probe(0, float(period)) for period in range(2)]
    assert sorted(asked) == [[1], [2]]
    assert contacts.infected == 3
