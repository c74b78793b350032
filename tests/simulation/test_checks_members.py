"""The checks of views, strangers and bounds: broken histories are told, good ones are let through."""

from collections.abc import Callable
from typing import Any

import pytest

from ringgossip.events import ArtifactAnnounced, PeerLost, PeerRecovered, PeerSuspected, StrangerRefused
from ringgossip.protocol.anti_entropy import _Walking
from ringgossip.protocol.core import SendChunk
from ringgossip.simulation.checks import PromiseBroken
from ringgossip.simulation.checks_bounds import MOST, BoundChecks
from ringgossip.simulation.checks_members import MemberChecks
from ringgossip.simulation.convergence import Quiet
from ringgossip.simulation.faults import Partition
from ringgossip.simulation.tables import Tables, find_tables
from ringgossip.simulation.world import PeerSpec, World


@pytest.fixture
def world() -> World:
    made = World(3, seed=1)
    made.start()
    made.run(5.0)
    return made


def broken(promise: str, deed: Callable[[], object]) -> None:
    with pytest.raises(PromiseBroken) as caught:
        deed()
    assert caught.value.promise == promise


def test_whoever_fell_comes_back_only_with_more_than_it_fell_with(world: World) -> None:
    checks, node = MemberChecks(world, world.checks), world.nodes[0]
    checks.fell(node, PeerLost("peer-1"))
    broken("no_resurrection", lambda: checks.rose(node, PeerRecovered("peer-1")))
    checks.rose(node, PeerRecovered("peer-1"))  # nobody knows of a fall any more


def test_beliefs_do_not_go_back(world: World) -> None:
    checks, node = MemberChecks(world, world.checks), world.nodes[0]
    checks.believes(node, 1, "peer-1", (7, 3))
    checks.believes(node, 1, "peer-1", (8, 0))
    checks.believes(node, 2, "peer-1", (7, 0))  # a new life of the observer knows nothing
    broken("monotone_incarnations", lambda: checks.believes(node, 1, "peer-1", (7, 9)))


def test_a_death_of_one_that_runs_is_false_unless_a_wall_stands_between(world: World) -> None:
    checks = MemberChecks(world, world.checks, no_false_death=True)
    node = world.nodes[0]
    broken("no_false_death", lambda: checks.fell(node, PeerLost("peer-1")))
    world.plan([Partition(world.now, (0,))])
    world.run(0.1)
    checks.fell(node, PeerLost("peer-1"))
    assert (checks.false_deaths, checks.deaths_across_walls) == (1, 1)


def test_a_death_that_began_behind_a_wall_is_the_walls_doing_also_after_it_went(world: World) -> None:
    checks, node = MemberChecks(world, world.checks), world.nodes[0]
    world.plan([Partition(world.now, (0,), one_way=True)])
    world.run(0.1)
    for name in ("peer-1", "peer-2"):
        checks.suspected(node, PeerSuspected(name))
    world.network.drop_all_walls()
    checks.rose(node, PeerRecovered("peer-2"))
    for name in ("peer-1", "peer-2"):
        checks.fell(node, PeerLost(name))
    assert (checks.false_deaths, checks.deaths_across_walls, checks.false_suspicions) == (1, 1, 0)


def test_s7_a_stranger_among_the_members_is_told() -> None:
    world = World([PeerSpec("a"), PeerSpec("b"), PeerSpec("foreign", stranger=True)], seed=1)
    checks = MemberChecks(world, world.checks)
    world.start()
    world.run(10.0)
    checks.look()
    assert world.counter("strangers_refused") > 0
    broken("S7", lambda: checks.rose(world.nodes[0], PeerRecovered("foreign")))
    told = ArtifactAnnounced("models/foreign/x.pth", 1, 100)
    broken("S7", lambda: checks.announced(world.nodes[0], told))
    checks.announced(world.nodes[2], told)
    world.nodes[1].stranger = True  # who was counted as a member is one of others
    checks._looked_at.clear()
    broken("S7", checks.look)


def test_s7_who_is_made_to_speak_of_strangers_without_end_is_told(world: World) -> None:
    checks, node = MemberChecks(world, world.checks), world.nodes[0]
    for _ in range(300):
        checks.complained(node, StrangerRefused("10.0.0.9:1", "why"))
    broken("S7", lambda: checks.complained(node, StrangerRefused("10.0.0.9:1", "why")))


def test_s5_more_chunks_than_may_wait_at_a_link_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, node = BoundChecks(world, world.checks), world.nodes[0]
    assert node.core is not None
    chunk = SendChunk(node.core.me, 1, bytes(32), 0, 2**20)
    waiting = [2**20, 2**20]
    monkeypatch.setattr(type(node.bodies), "granted_to", lambda bodies, peer: waiting)
    checks.granted(node, chunk)
    waiting += [2**20] * 60
    broken("S5", lambda: checks.granted(node, chunk))


def test_s5_too_much_in_flight_and_too_many_datagrams_are_told(world: World) -> None:
    checks = BoundChecks(world, world.checks)
    checks.look()
    checks.in_flight(world.nodes[0], 64 * 2**20)
    broken("S5", lambda: checks.in_flight(world.nodes[0], 200 * 2**20))
    world.network.packets_sent[1] += 100_000
    broken("S5", checks.look)


def test_s5_a_table_beyond_its_limit_is_told(world: World) -> None:
    checks, core = BoundChecks(world, world.checks), world.nodes[0].core
    assert core is not None
    table: dict[Any, Any] = core._troubles._told
    table.update({(str(number), "x"): 0.0 for number in range(300)})
    broken("S5", checks.look)


def test_quiet_is_two_datagrams_a_second_and_no_chunks(world: World) -> None:
    quiet = Quiet(world)
    world.run(5.0)
    assert quiet.problems() == []
    world.publish(0, "models", "best.pth", size=3_000_000)
    world.run(5.0)
    assert any("chunks" in line for line in quiet.problems())
    world.network.packets_sent[0] += 1000
    world.run(1.0)
    assert any("datagrams" in line for line in quiet.problems())


def test_s5_a_table_that_nobody_named_is_found_and_may_not_grow_without_reason(world: World) -> None:
    checks, core = BoundChecks(world, world.checks), world.nodes[0].core
    assert core is not None
    world.publish(0, "models", "best.pth", size=1_000_000)
    world.run(5.0)
    checks.look_at_everything()
    core.offering.strangers_seen = dict.fromkeys(range(64))  # type: ignore[attr-defined]
    world.crash(1)  # what was found of another core is not looked at any more
    fresh = BoundChecks(world, world.checks)
    fresh.look_at_everything()
    core.offering.strangers_seen |= dict.fromkeys(range(1000))  # type: ignore[attr-defined]
    broken("S5", fresh.look_at_everything)


def test_every_table_that_has_a_limit_of_its_own_is_there(world: World) -> None:
    assert world.nodes[0].core is not None
    found = find_tables(world.nodes[0].core)
    assert len(found) > 60 and set(MOST) <= set(found)
    some = {"dialing._links", "serving._askers", "rumors._hot", "receipts._books", "neighbours._seen"}
    assert some <= set(found)


def test_a_table_whose_holder_is_gone_is_no_table_any_more(world: World) -> None:
    core, tables, path = world.nodes[0].core, Tables(), "anti_entropy._walking.open_steps"
    assert core is not None
    core.anti_entropy._walking = _Walking(core.me, 1, [], 9.0)
    assert path in dict(tables.sizes(0, core))
    core.anti_entropy._walking = None
    assert path not in dict(tables.sizes(0, core))


def test_s5_a_table_in_the_entries_of_another_may_not_grow_without_reason_either(world: World) -> None:
    checks, node = BoundChecks(world, world.checks), world.nodes[0]
    assert node.core is not None
    [one, *_] = node.core.serving._askers.values()
    one.interests |= dict.fromkeys((bytes([number]) for number in range(100)), None)
    broken("S5", lambda: checks.look_inside(node, node.core, 64))
    checks.look_inside(node, node.core, 128)
    node.core.marks._tables["asked"] |= dict.fromkeys(range(1000), 1)  # type: ignore[arg-type]
    broken("S5", lambda: checks.look_inside(node, node.core, 128))
