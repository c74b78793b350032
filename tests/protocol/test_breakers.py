"""Does a breaker open in time, heal in any case, and leave everybody else alone?"""

from random import Random

import pytest
from artifacts import PeerId, manifest_of, peer
from cores import core, holders, told
from hypothesis import given
from hypothesis import strategies as st
from puller import Puller

from ringgossip.config.signals import signal
from ringgossip.content.record import ArtifactKey
from ringgossip.events import BreakerClosed, BreakerOpened
from ringgossip.identity import Address
from ringgossip.protocol.breakers import Breakers, BreakerSettings
from ringgossip.protocol.core import NEVER, Dial, NeedLink, RouteFailed, RouteWorked, Tell
from ringgossip.protocol.dialing import Dialing, DialingSettings
from ringgossip.protocol.guide import Guide
from ringgossip.protocol.notices import BY_ASKING, BY_DIALLING
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.faults import Partition
from ringgossip.simulation.world import PeerSpec, World

BOB, CAROL = peer(1), peer(2)
FORTY = manifest_of(40)


def breakers(**settings: float) -> Breakers:
    return Breakers(BreakerSettings(**settings), Random(1), lambda peer: peer.hex()[:2])  # type: ignore[arg-type]


def fail(
    machine: Breakers, times: int, now: float, route: str = BY_DIALLING, whom: PeerId = BOB
) -> list[object]:
    return [effect for _ in range(times) for effect in machine.failed(whom, route, "refused", now)]


def state(machine: Breakers, now: float, route: str = BY_DIALLING) -> str:
    found = [view.state for view in machine.views(now) if view.route == route]
    return found[0] if found else "closed"


def test_five_failures_in_a_row_open_it_for_about_a_minute() -> None:
    machine = breakers()
    assert fail(machine, 4, 0.0) == []
    assert machine.held_until(BOB, BY_DIALLING, 0.0) == -NEVER
    (told,) = fail(machine, 1, 1.0)
    assert isinstance(told, Tell) and isinstance(told.event, BreakerOpened)
    assert told.event.route == BY_DIALLING and told.event.reason == "refused"
    assert 54.0 <= told.event.seconds <= 66.0
    assert machine.held_until(BOB, BY_DIALLING, 2.0) == pytest.approx(1.0 + told.event.seconds)


def test_a_success_in_between_begins_the_count_anew() -> None:
    machine = breakers()
    for _ in range(10):
        assert fail(machine, 4, 0.0) == []
        assert machine.worked(BOB, BY_DIALLING) == []
    assert machine.views(0.0) == ()


def test_each_failed_trial_doubles_the_time_up_to_ten_minutes() -> None:
    machine = breakers()
    now, lengths = 0.0, []
    fail(machine, 5, now)
    for _ in range(7):
        until = machine.held_until(BOB, BY_DIALLING, now)
        lengths.append(until - now)
        now = until
        assert state(machine, now) == "half_open"
        assert fail(machine, 1, now) == [], "it was told once that it opened"
        assert state(machine, now) == "open"
    for length, expected in zip(lengths, (60, 120, 240, 480, 600, 600, 600), strict=True):
        assert 0.9 * expected <= length <= 1.1 * expected
    assert len(set(lengths)) == len(lengths), "jitter"


def test_one_success_closes_it_and_the_next_time_begins_with_a_minute() -> None:
    machine = breakers()
    fail(machine, 5, 0.0)
    fail(machine, 1, 100.0)
    assert machine.worked(BOB, BY_DIALLING) == [Tell(BreakerClosed("01", BY_DIALLING))]
    assert machine.held_until(BOB, BY_DIALLING, 100.0) == -NEVER
    fail(machine, 5, 200.0)
    assert machine.held_until(BOB, BY_DIALLING, 200.0) <= 266.0


def test_half_open_lets_one_trial_through_until_it_has_an_outcome() -> None:
    machine = breakers()
    fail(machine, 5, 0.0)
    now = machine.held_until(BOB, BY_DIALLING, 0.0)
    assert machine.held_until(BOB, BY_DIALLING, now) <= now
    machine.tried(BOB, BY_DIALLING, now)
    assert machine.held_until(BOB, BY_DIALLING, now + 1) > now + 1, "a second one waits"
    machine.undecided(BOB, BY_DIALLING)
    assert machine.held_until(BOB, BY_DIALLING, now + 1) <= now + 1, "nothing was proven: try again"
    machine.tried(BOB, BY_DIALLING, now + 1)
    late = now + 2 + BreakerSettings().trial
    assert machine.held_until(BOB, BY_DIALLING, late) <= late, "a trial that nobody answers for is over"


def test_evidence_that_the_peer_is_back_lets_a_trial_through_at_once() -> None:
    machine = breakers()
    fail(machine, 5, 0.0)
    fail(machine, 5, 0.0, BY_ASKING)
    assert machine.reachable(CAROL, 1.0) is False
    assert machine.reachable(BOB, 1.0) is True
    assert state(machine, 1.0) == state(machine, 1.0, BY_ASKING) == "half_open"
    assert machine.next_wakeup() == 1.0
    assert machine.wake(1.0) == [NeedLink(BOB)]


def test_evidence_before_it_opened_is_none() -> None:
    machine = breakers()
    fail(machine, 4, 0.0)
    assert machine.reachable(BOB, 0.0) is False
    assert len(fail(machine, 1, 0.0)) == 1


def test_routes_and_peers_are_independent() -> None:
    machine = breakers()
    fail(machine, 5, 0.0)
    assert machine.held_until(BOB, BY_ASKING, 0.0) == -NEVER
    assert machine.held_until(CAROL, BY_DIALLING, 0.0) == -NEVER
    fail(machine, 4, 0.0, BY_ASKING)
    assert state(machine, 0.0, BY_ASKING) == "closed"


def test_when_its_time_is_over_a_link_is_tried_although_nobody_needs_one() -> None:
    machine = breakers()
    fail(machine, 5, 0.0)
    due = machine.next_wakeup()
    assert machine.wake(due - 0.01) == []
    assert machine.wake(due) == [NeedLink(BOB)]


def test_what_nobody_uses_any_more_is_forgotten() -> None:
    machine = breakers()
    fail(machine, 5, 0.0, BY_ASKING)
    for _ in range(3):
        machine.wake(machine.next_wakeup())
    assert machine.views(10_000.0) == ()
    assert machine.next_wakeup() == NEVER


def test_a_dead_member_has_no_breaker() -> None:
    machine = breakers()
    fail(machine, 5, 0.0)
    machine.forget(BOB)
    assert machine.views(0.0) == ()


class Asking:
    """A puller whose questions obey breakers, as the switchboard arranges it."""

    def __init__(self) -> None:
        self.machine = breakers()
        guide = Guide(
            held_until=lambda whom, now: self.machine.held_until(whom, BY_ASKING, now),
            tried=lambda whom, now: self.machine.tried(whom, BY_ASKING, now),
            troubled=lambda whom: self.machine.troubled(whom, BY_ASKING),
        )
        self.puller = Puller(1, guide)
        self.record = self.puller.origin.record(FORTY)
        self.puller.manifests[self.record.root] = FORTY
        self.puller.link(BOB)
        self.puller.want(self.record, BOB)

    def heed(self) -> None:
        """Give what the transfer says of routes to the breakers."""
        for effect in self.puller.log:
            if isinstance(effect, RouteFailed):
                self.machine.failed(effect.peer, effect.route, effect.reason, self.puller.now)
            elif isinstance(effect, RouteWorked):
                self.machine.worked(effect.peer, effect.route)
        self.puller.log.clear()
        self.puller.see(self.puller.transfer.wake(self.puller.now))

    def break_link(self) -> None:
        self.puller.see(self.puller.transfer.link_broken(BOB, self.puller.now))
        self.heed()
        self.puller.link(BOB)


def test_a_holder_whose_links_break_before_anything_comes_is_not_asked_for_a_while_and_then_once() -> None:
    asking = Asking()
    puller = asking.puller
    for _ in range(5):
        puller.wake(puller.now + 1.0)
        assert puller.asked(), "until then every new link is used"
        asking.break_link()
    assert state(asking.machine, puller.now, BY_ASKING) == "open"
    assert puller.asked() == []
    due = asking.machine.held_until(BOB, BY_ASKING, puller.now)
    puller.wake(due - 0.1)
    assert puller.asked() == []
    puller.wake(due)
    assert len({request for _, request, _ in puller.asked()}) == 1, "one trial"
    _, request, index = puller.asked()[0]
    puller.deliver(BOB, request, index)
    assert state(asking.machine, puller.now, BY_ASKING) == "half_open"
    asking.heed()
    assert state(asking.machine, puller.now, BY_ASKING) == "closed"
    assert len({request for _, request, _ in puller.asked()}) > 1, "and all the rest"


def test_a_link_that_brought_something_before_it_broke_is_no_failure() -> None:
    asking = Asking()
    for _ in range(20):
        _, request, index = asking.puller.asked()[0]
        asking.puller.deliver(BOB, request, index)
        asking.break_link()
    assert asking.machine.views(0.0) == ()


def test_a_holder_that_says_nothing_for_long_is_not_asked_more_but_its_late_answer_counts() -> None:
    asking = Asking()
    puller = asking.puller
    _, request, index = puller.asked()[0]
    for _ in range(5):
        puller.wake(puller.now + 10.0)
        asking.heed()
    assert state(asking.machine, puller.now, BY_ASKING) == "open"
    assert puller.deliver(BOB, request, index)
    asking.heed()
    assert state(asking.machine, puller.now, BY_ASKING) == "closed"


def test_a_holder_that_is_only_slow_has_no_breaker() -> None:
    asking = Asking()
    for _ in range(20):
        asking.puller.transfer.heard(BOB, asking.puller.now + 5.0)
        asking.puller.wake(asking.puller.now + 10.0)
        asking.heed()
    assert asking.machine.views(0.0) == ()


@pytest.mark.parametrize("about", ["n0", "n1"])
def test_whoever_is_told_that_a_node_recovered_waits_for_no_breaker(about: str) -> None:
    world = World([PeerSpec("n0"), PeerSpec("n1"), PeerSpec("n2")], seed=1)
    world.plan([Partition(1.0, (0,), (1,), seconds=500.0)])
    world.start()
    assert world.run_until(lambda: bool(told(world, 1, BreakerOpened)), 120.0) is not None
    n0 = core(world, 0).me
    assert core(world, 1).breakers.open_for(n0, world.now) is not None
    out = core(world, 1).signal(signal("NODE_RECOVERED", {"node_id": about}), world.now)
    assert core(world, 1).breakers.open_for(n0, world.now) is None
    out += core(world, 1).wake(world.now)
    assert any(isinstance(effect, Dial) and effect.peer == n0 for effect in out), "it is dialled at once"


def test_a_peer_that_nobody_but_us_fails_to_reach_is_told_of_and_healed_the_moment_it_answers() -> None:
    takes_nothing = RuleSettings(want=(), copies=1)
    world = World([PeerSpec("n0"), PeerSpec("n1"), PeerSpec("n2", rules=takes_nothing)], seed=1)
    world.plan([Partition(1.0, (0,), (1,), seconds=110.0)])
    world.start()
    world.run(3.0)
    world.publish(0, "models", "best.pth", size=2_000_000)
    assert world.run_until(lambda: bool(told(world, 1, BreakerOpened)), 95.0) is not None
    key = ArtifactKey("models", "n0", "best.pth")
    assert [event.route for event in told(world, 1, BreakerOpened)] == [BY_DIALLING]
    assert {member.name: member.state for member in core(world, 1).members()}["n0"] == "alive"
    answer = core(world, 1).explain(key, "n1", world.now)
    assert (answer.code, answer.hindrance) == ("role", "breaker")
    assert (
        "The breaker of n0, who alone has it, is open (dial: timed out); n0 is tried again" in answer.sentence
    )
    assert core(world, 1).held_back(world.now) is not None
    world.run(115.0 - world.now)
    assert "n1" in holders(world, "models", "n0", "best.pth")
    assert len(told(world, 1, BreakerClosed)) == 1
    assert core(world, 1).held_back(world.now) is None
    assert core(world, 1).explain(key, "n1", world.now).hindrance == ""


@given(
    st.lists(
        st.tuples(st.sampled_from(["fail", "work", "back", "try", "wait"]), st.floats(0, 400)), max_size=60
    )
)
def test_whatever_happens_it_lets_a_trial_through_within_eleven_minutes(
    steps: list[tuple[str, float]],
) -> None:
    machine, now = breakers(), 0.0
    for step, pause in steps:
        now += pause
        if step == "fail":
            machine.failed(BOB, BY_DIALLING, "refused", now)
        elif step == "work":
            machine.worked(BOB, BY_DIALLING)
        elif step == "back":
            machine.reachable(BOB, now)
        elif step == "try":
            machine.tried(BOB, BY_DIALLING, now)
        else:
            machine.wake(now)
        assert machine.held_until(BOB, BY_DIALLING, now) <= now + 660.0


def test_whoever_is_behind_an_open_breaker_is_not_dialled_until_it_lets_a_trial_through() -> None:
    machine = breakers()
    dialing = Dialing(
        DialingSettings(),
        CAROL,
        Random(1),
        lambda whom: (Address("127.0.0.1", 1),),
        lambda whom, now: machine.held_until(whom, BY_DIALLING, now),
        lambda whom, now: machine.tried(whom, BY_DIALLING, now),
    )
    fail(machine, 5, 0.0)
    until = machine.held_until(BOB, BY_DIALLING, 0.0)
    assert dialing.need(BOB, 1.0) == []
    assert dialing.need(BOB, until - 1.0) == []
    assert dialing.next_wakeup() == until
    assert dialing.wake(until) == [Dial(Address("127.0.0.1", 1), BOB)]
