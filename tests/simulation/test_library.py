"""The simulator in a user's own tests: promises that are watched, plans that are drawn."""

from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import find, given, settings

from ringgossip.events import PeerLost, PeerRecovered
from ringgossip.protocol.core import Tell
from ringgossip.protocol.rules import Rules
from ringgossip.simulation import PeerSpec, World, fault_plans, read_story, run_story
from ringgossip.simulation import world as plain
from ringgossip.simulation.checks import PromiseBroken
from ringgossip.simulation.checks_bounds import BoundChecks
from ringgossip.simulation.checks_members import MemberChecks
from ringgossip.simulation.checks_rules import RuleChecks
from ringgossip.simulation.faults import Crash, Fault
from ringgossip.strategy.eligibility import YES


def running(**more: bool) -> World:
    world = World(4, seed=1, **more)
    world.start()
    world.run(3.0)
    return world


def test_a_table_that_grows_without_end_is_seen_while_time_passes() -> None:
    world = running()
    core = world.nodes[1].core
    assert core is not None
    core._troubles._told.update({(str(number), "x"): 0.0 for number in range(300)})  # type: ignore[misc]
    with pytest.raises(PromiseBroken, match=r"S5 is broken at .* peer-1: has 300 troubles"):
        world.run(1.0)


def test_a_resurrection_and_a_false_death_are_seen() -> None:
    world = running()
    node = world.nodes[0]
    world.checks.after_step(node, [Tell(PeerLost("peer-1"))])
    with pytest.raises(PromiseBroken, match="no_resurrection"):
        world.checks.after_step(node, [Tell(PeerRecovered("peer-1"))])
    world = running(no_false_death=True)
    with pytest.raises(PromiseBroken, match="no_false_death"):
        world.checks.after_step(world.nodes[0], [Tell(PeerLost("peer-1"))])


def test_a_rule_that_is_forgotten_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rules, "may_receive", lambda *_: YES)
    monkeypatch.setattr(Rules, "wanting", lambda *_: YES)
    world = World([PeerSpec("a"), PeerSpec("b"), PeerSpec("chief", role="coordinator")], seed=1)
    world.start()
    world.run(3.0)
    world.publish(0, "models", "best.pth", size=1_000_000)
    with pytest.raises(PromiseBroken, match=r"S4 is broken at .* chief"):
        world.run(5.0)


def test_watching_changes_nothing() -> None:
    worlds = [kind(4, seed=3) for kind in (World, plain.World)]
    for world in worlds:
        world.start()
        world.run(4.3)
        world.publish(0, "models", "best.pth", size=3_000_000)
        world.plan([Crash(world.now, 3, 2.0)])
        world.run(0.0)
        assert not world.nodes[3].running, "what is due now happens"
        world.run(7.7)
    assert worlds[0].run_hash == worlds[1].run_hash and worlds[0].now == worlds[1].now == 12.0


@pytest.mark.parametrize("checks", [MemberChecks, BoundChecks, RuleChecks])
def test_a_story_looks_again_and_again(
    checks: type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks: list[float] = []
    look = checks.look  # type: ignore[attr-defined]
    monkeypatch.setattr(checks, "look", lambda one: looks.append(one._world.now) or look(one))  # type: ignore[func-returns-value]
    (tmp_path / "story.yaml").write_text("peers: 3\nsafety: 6\n")
    assert run_story(read_story(tmp_path / "story.yaml"), 1).passed
    assert len(looks) >= 12 and max(b - a for a, b in pairwise(looks)) <= 0.5


def test_plans_come_out_short_and_long_and_shrink_to_what_matters() -> None:
    lengths: list[int] = []

    @settings(max_examples=100, derandomize=True, database=None, deadline=None)
    @given(plan=fault_plans(peers=4, most=20))
    def draw(plan: list[Fault]) -> None:
        assert [fault.at for fault in plan] == sorted(fault.at for fault in plan)
        lengths.append(len(plan))

    draw()
    assert min(lengths) == 1 and max(lengths) == 20 and mean(lengths) > 7
    least = find(fault_plans(peers=4), lambda plan: any(isinstance(fault, Crash) for fault in plan))
    assert least == [Crash(2.0, least[0].peer, least[0].seconds)]  # type: ignore[attr-defined]
