"""What must come true in the end: each of L1, L2, L3 and quiet is given a world in which it does not hold."""

from pathlib import Path

import pytest

from ringgossip.simulation.convergence import Quiet, copy_problems, data_problems, view_problems
from ringgossip.simulation.faults import Partition
from ringgossip.simulation.running import run_story
from ringgossip.simulation.scenario_schema import read_story
from ringgossip.simulation.world import World
from ringgossip.wire.messages import CatalogRoot

NAME = "models/peer-0/best.pth"


@pytest.fixture
def world() -> World:
    """Return a world of three in which all is well, and all hold one file."""
    made = World(3, seed=1)
    made.start()
    made.run(3.0)
    made.publish(0, "models", "best.pth", size=1_000_000)
    made.run(5.0)
    assert not data_problems(made) and not view_problems(made) and not copy_problems(made)
    return made


def test_l1_catalogs_that_differ_are_told(world: World) -> None:
    world.plan([Partition(world.now, (0,), seconds=None)])
    world.run(0.1)
    world.publish(0, "npz", "data.npz", size=100_000)
    world.run(2.0)
    assert data_problems(world)[0] == "L1: catalogs differ: peer-0 | peer-1,peer-2"
    assert world.settle(60.0) is not None


def test_l1_a_copy_that_somebody_wants_and_has_not_is_told(world: World) -> None:
    [held] = world.nodes[1].disk.holdings.values()
    world.nodes[1].disk.lose(held.record)
    assert data_problems(world) == [f"L1: peer-1 lacks {NAME} 1"]
    for node in world.nodes:
        node.disk.lose(held.record)
    assert data_problems(world) == [], "nobody has it: nothing can be asked for"


def test_l1_what_was_asked_to_be_published_and_is_not_is_told(world: World) -> None:
    world.nodes[2].pause()
    world.publish(2, "npz", "data.npz", size=100_000)
    world.run(1.0)
    assert data_problems(world) == ["L1: peer-2 has not published npz/peer-2/data.npz"]


def test_l2_views_that_are_not_those_who_run_are_told(world: World) -> None:
    world.crash(2)
    assert view_problems(world)[0] == "L2: peer-0 misses [], sees ['peer-2'] too much"


def test_l3_too_few_copies_and_breakers_that_stay_open_are_told(world: World) -> None:
    [held] = world.nodes[1].disk.holdings.values()
    world.nodes[1].disk.lose(held.record)
    assert copy_problems(world) == [f"L3: {NAME} has 1 of 2 copies"]
    core, other = world.nodes[2].core, world.nodes[0].certificate.peer_id
    assert core is not None
    for _ in range(5):
        core.breakers.failed(other, "link", "timed out", world.now)
    assert copy_problems(world)[1:] == ["L3: peer-2 does not try peer-0 by link: timed out"]


def test_quiet_is_also_silence_on_links(world: World) -> None:
    world.run(10.0)
    quiet, node = Quiet(world), world.nodes[0]
    world.run(3.0)
    assert quiet.problems() == []
    [end, *_] = world.links.ends[0].values()
    assert node.core is not None
    said, _ = node.shared.wire.frame(CatalogRoot(node.core.catalog.root))
    for _ in range(100):
        node.shared.links.send(end, said, 50)
    world.run(3.0)
    [line] = quiet.problems()
    assert line.startswith("quiet: 5") and line.endswith(" bytes a second and peer on links, 400 at most")


def test_only_a_core_is_healed_and_the_others_stay_dark(tmp_path: Path) -> None:
    path = tmp_path / "story.yaml"
    path.write_text("peers: 8\nsafety: 5\nliveness: {within: 60, core: 0.25}\n")
    runs = [run_story(read_story(path), seed) for seed in range(4)]
    left = [8 - len(run.outcome.gone) for run in runs if run.outcome is not None]
    assert all(run.passed for run in runs) and min(left) >= 2 and len(set(left)) > 1
