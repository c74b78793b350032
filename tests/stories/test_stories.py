"""Every story of `simulations/`, made small: its promises hold, and what it is about happens.

Two hundred seeds in all, on two processes; of each story one is run twice, and must be the same run.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from ringgossip.simulation import World, fault_plans, read_story, run_story
from ringgossip.simulation.engines import engine
from ringgossip.simulation.faults import Fault
from ringgossip.simulation.sweep import is_run_twice, sweep

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "simulations"
STORIES = sorted(FOLDER.glob("*.yaml"))
# The last is the first of those that a sweep runs twice.
SEEDS = (*range(-(-200 // len(STORIES)) - 1), next(filter(is_run_twice, count())))
JOBS = 2


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with engine(jobs=JOBS) as executor:
        yield executor


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_small_story_keeps_its_promises(path: Path, workers: Executor) -> None:
    story = read_story(path)
    if story.quick is not None:
        story = story.scaled(story.quick)
    batch = sweep(story, SEEDS, workers, jobs=JOBS)
    assert batch.passed, [*batch.failed, batch.differing, batch.never]
    assert batch.twice == 1


def test_a_run_is_the_same_run_again_timeline_or_not() -> None:
    story = read_story(FOLDER / "anything.yaml")
    assert run_story(story, 3).hash == run_story(story, 3, timeline=True).hash != run_story(story, 4).hash


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=fault_plans(peers=4, end=15.0, most=6))
def test_whatever_goes_wrong_four_peers_agree_in_the_end(plan: list[Fault]) -> None:
    world = World(4, seed=1)
    world.plan(plan)
    world.start()
    world.run(4.0)
    if world.nodes[0].running:
        world.publish(0, "models", "best.pth", size=2_000_000)
    world.run(16.0)
    assert world.settle(within=240.0) is not None, [*plan, *world.problems()]
