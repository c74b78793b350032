"""Is there one link to whom we need, and no storm of attempts?"""

from itertools import pairwise
from random import Random

from artifacts import peer
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import DATAGRAM, NEVER, CloseLink, Dial, LinkId, RouteFailed, Send
from ringgossip.protocol.dialing import Dialing, DialingSettings
from ringgossip.protocol.notices import BY_DIALLING
from ringgossip.wire.messages import DialMe

SMALL, ME, LARGE = peer(1), peer(5), peer(9)
FIRST, SECOND = Address("127.0.0.1", 1), Address("127.0.0.1", 2)


def dialing(me: PeerId = ME, **settings: float) -> Dialing:
    return Dialing(
        DialingSettings(**settings),  # type: ignore[arg-type]
        me,
        Random(1),
        lambda whom: (FIRST, SECOND),
    )


def test_addresses_are_tried_in_order_and_then_the_peer_is_asked_to_dial_us() -> None:
    machine = dialing()
    assert machine.need(LARGE, 0.0) == [Dial(FIRST, LARGE)]
    assert machine.need(LARGE, 0.0) == []
    assert machine.dial_failed(FIRST, LARGE, "refused", 0.1) == [Dial(SECOND, LARGE)]
    asked = machine.dial_failed(SECOND, LARGE, "refused", 0.2)
    assert asked == [
        *[Send(address, DialMe(), DATAGRAM) for address in (FIRST, SECOND)],
        RouteFailed(LARGE, BY_DIALLING, "refused"),
    ]


def test_each_round_waits_longer_and_the_need_is_forgotten_in_the_end() -> None:
    machine = dialing()
    rounds: list[float] = []
    out = machine.need(LARGE, 0.0)
    for _ in range(100):
        while any(isinstance(effect, Dial) for effect in out):
            (dial,) = out
            assert isinstance(dial, Dial)
            out = machine.dial_failed(dial.address, LARGE, "refused", rounds[-1] if rounds else 0.0)
        now = machine.next_wakeup()
        if now == NEVER:
            break
        rounds.append(now)
        out = machine.wake(now)
        assert machine.next_wakeup() > now
    assert 4 <= len(rounds) <= 9
    pauses = [later - before for before, later in zip([0.0, *rounds], rounds, strict=False)]
    assert pauses == sorted(pauses)


def test_of_two_links_dialled_at_once_both_sides_keep_the_one_dialled_by_the_smaller() -> None:
    for first in ("by small", "by large"):
        kept = []
        for me, other in ((SMALL, LARGE), (LARGE, SMALL)):
            machine = dialing(me)
            names = {LinkId(1): "by small", LinkId(2): "by large"}
            order = [LinkId(1), LinkId(2)] if first == "by small" else [LinkId(2), LinkId(1)]
            closed = []
            for now, link in enumerate(order):
                dialled = (names[link] == "by small") == (me == SMALL)
                out, _ = machine.link_opened(link, other, dialled, float(now))
                closed += [effect.link for effect in out if isinstance(effect, CloseLink)]
            assert closed == [LinkId(2)]
            (link,) = (link for link in order if machine.peer_of(link) == other)
            kept.append(names[link])
        assert kept == ["by small", "by small"]


def test_a_link_that_comes_later_replaces_the_old_one() -> None:
    machine = dialing()
    machine.link_opened(LinkId(1), LARGE, True, 0.0)
    out, in_use = machine.link_opened(LinkId(2), LARGE, False, 60.0)
    assert in_use
    assert out == [CloseLink(LinkId(1), "replaced by a newer link")]
    assert machine.link_broken(LinkId(1), 61.0) is None
    assert machine.peers() == [LARGE]


def test_we_do_not_link_to_ourselves() -> None:
    machine = dialing()
    assert machine.need(ME, 0.0) == []
    out, in_use = machine.link_opened(LinkId(1), ME, True, 0.0)
    assert not in_use
    assert isinstance(out[0], CloseLink)
    assert machine.peers() == []


def test_beyond_the_most_links_one_is_turned_away_and_its_peer_may_be_dialled_again_later() -> None:
    machine = dialing(most_links=1)
    machine.link_opened(LinkId(1), SMALL, False, 0.0)
    assert machine.need(LARGE, 0.0) == [Dial(FIRST, LARGE)]
    out, in_use = machine.link_opened(LinkId(2), LARGE, True, 0.1)
    assert (out, in_use) == ([CloseLink(LinkId(2), "too many links")], False)
    machine.link_broken(LinkId(1), 1.0)
    assert machine.need(LARGE, 2.0) == []
    assert machine.need(LARGE, 100.0) == [Dial(FIRST, LARGE)]


def test_who_hangs_up_without_a_hello_is_dialled_ever_more_seldom_until_it_says_one() -> None:
    machine, now, dialled = dialing(wanted=1000.0), 0.0, []
    machine.need(LARGE, now)
    for number in range(12):
        machine.link_opened(LinkId(number), LARGE, True, now)
        machine.link_broken(LinkId(number), now + 0.1)
        now = machine.next_wakeup()
        assert machine.wake(now) == [Dial(FIRST, LARGE)]
        dialled.append(now)
    pauses = [b - a for a, b in pairwise(dialled)]
    assert pauses[0] < 1.5 and 6 < pauses[-1] < 20
    machine.link_opened(LinkId(99), LARGE, True, now)
    machine.greeted(LARGE)
    machine.link_broken(LinkId(99), now + 0.1)
    assert machine.next_wakeup() < now + 0.5, "a link that is used may break at any time"


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=80))
def test_whatever_comes_there_is_at_most_one_link_a_peer_and_no_busy_waiting(steps: list[int]) -> None:
    machine, now, number = dialing(most_links=2), 0.0, 0
    opened: dict[LinkId, PeerId] = {}
    for step in steps:
        rng = Random(step)
        who = (SMALL, LARGE, peer(7))[rng.randrange(3)]
        match rng.randrange(6):
            case 0:
                machine.need(who, now)
            case 1:
                machine.dial_failed(FIRST, who, "refused", now)
            case 2:
                number += 1
                out, in_use = machine.link_opened(LinkId(number), who, rng.random() < 0.5, now)
                closed = [effect.link for effect in out if isinstance(effect, CloseLink)]
                assert (LinkId(number) in closed) != in_use
                opened[LinkId(number)] = who
                for link in closed:
                    del opened[link]
            case 3 if opened:
                link = list(opened)[rng.randrange(len(opened))]
                assert machine.link_broken(link, now) == opened.pop(link)
            case 4:
                machine.forget(who) if rng.random() < 0.5 else machine.member_up(who, now)
            case 5:
                now += rng.random() * 20
        assert sorted(machine.peers()) == sorted(opened.values())
        assert len(set(machine.peers())) == len(machine.peers()) <= 2
        for _ in range(5):
            if machine.next_wakeup() <= now:
                machine.wake(now)
        assert machine.next_wakeup() > now
