"""Finding and shrinking: sweeps, seeds that differ from themselves, least plans, and the first difference."""

from collections.abc import Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from ringgossip.simulation import sweep as sweeping
from ringgossip.simulation.differing import first_difference, load_trace, save_trace
from ringgossip.simulation.engines import Here, engine
from ringgossip.simulation.faults import Crash, Fault, Partition, Pause
from ringgossip.simulation.kernel import TraceLine
from ringgossip.simulation.running import Progress, run_story
from ringgossip.simulation.saving import story_text
from ringgossip.simulation.scenario_schema import read_story
from ringgossip.simulation.shrinking import Budget, shrink
from ringgossip.simulation.sweep import is_run_twice, sweep

SMALL = """
story: small
peers: 3
workload:
  - publish: {by: 0, kind: models, name: best.pth, size: 1 MB, at: 2}
swarm: {kinds: [crash, pause, partition], most: 4, start: 2, end: 8}
safety: 9
liveness: {within: 60}
promises: {sometimes: [ArtifactCompleted]}
"""


def small(tmp_path: Path, text: str = SMALL) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(text)
    return path


def test_a_sweep_runs_every_seed_and_one_in_twenty_twice(tmp_path: Path) -> None:
    batch = sweep(read_story(small(tmp_path)), range(25), Here())
    assert batch.passed, [*batch.failed, batch.differing, batch.never]
    assert sorted(batch.outcomes) == list(range(25))
    assert batch.twice == sum(map(is_run_twice, range(25))) > 0
    assert sum(map(is_run_twice, range(10_000))) in range(400, 600)


def test_what_no_seed_reaches_fails_the_batch(tmp_path: Path) -> None:
    story = read_story(small(tmp_path, SMALL.replace("[ArtifactCompleted]", "[NameTakenOver]")))
    batch = sweep(story, range(2), Here())
    assert batch.never == ["NameTakenOver"] and not batch.failed and not batch.passed


def test_a_seed_that_differs_from_itself_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = 0

    def drifting(story: Any, seed: int, **more: Any) -> Any:
        nonlocal told
        told += 1
        run = run_story(story, seed, **more)
        run.hash += str(told)
        return run

    monkeypatch.setattr(sweeping, "run_story", drifting)
    batch = sweep(read_story(small(tmp_path)), range(20), Here())
    assert batch.differing == [seed for seed in range(20) if is_run_twice(seed)]
    assert not batch.passed


class Interrupted(Here):
    """Ctrl-C comes with the fifth job."""

    def __init__(self) -> None:
        self.jobs = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.jobs += 1
        if self.jobs == 5:
            raise KeyboardInterrupt
        return super().submit(fn, *args, **kwargs)


def test_ctrl_c_keeps_what_is_finished_and_says_where_to_go_on(tmp_path: Path) -> None:
    batch = sweep(read_story(small(tmp_path)), range(20), Interrupted())
    assert batch.interrupted and not batch.passed
    assert batch.outcomes and batch.resume_at == max(batch.outcomes) + 1


class Slow(Executor):
    """Each job is done when its owner has looked twice; Ctrl-C comes with the look after the fourth job."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: fn(*args, **kwargs)))
        return future

    def look(self, batch: sweeping.Batch) -> None:
        waiting = [job for job in self.jobs if not job[0].done()]
        for future, job in waiting:
            future.set_running_or_notify_cancel()
            future.set_result(job())
        if len(self.jobs) >= 4:
            raise KeyboardInterrupt


def test_what_was_finished_when_ctrl_c_came_is_kept_though_nobody_had_taken_it(tmp_path: Path) -> None:
    slow = Slow()
    batch = sweep(read_story(small(tmp_path)), range(20), slow, jobs=2, waiting=slow.look)
    assert batch.interrupted and sorted(batch.outcomes) == [0, 1, 2, 3] and batch.resume_at == 4


def test_a_killed_worker_does_not_take_what_is_finished_with_it(tmp_path: Path) -> None:
    def kill(batch: sweeping.Batch) -> None:
        if len(batch.outcomes) >= 2:
            for worker in list(pool._processes.values()):
                worker.kill()

    with engine(jobs=2) as pool:
        assert isinstance(pool, ProcessPoolExecutor)
        batch = sweep(read_story(small(tmp_path)), range(200), pool, jobs=2, waiting=kill)
    assert 2 <= len(batch.outcomes) < 200 and batch.resume_at is not None
    assert batch.broken and not batch.interrupted and not batch.passed


class KilledWorker(Exception):
    """What Dask raises, of this name."""


@pytest.mark.parametrize("error", [KilledWorker("gone"), ZeroDivisionError("a bug")])
def test_a_worker_of_dask_that_is_killed_leaves_what_is_finished_and_a_bug_is_no_such(
    tmp_path: Path, error: Exception
) -> None:
    class Killing(Here):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
            if args[1] < 2:
                return super().submit(fn, *args, **kwargs)
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    story = read_story(small(tmp_path))
    if isinstance(error, ZeroDivisionError):
        with pytest.raises(ZeroDivisionError):
            sweep(story, range(4), Killing())
    else:
        batch = sweep(story, range(4), Killing())
        assert sorted(batch.outcomes) == [0, 1] and batch.broken == "gone" and batch.resume_at == 2


def test_a_sweep_in_this_process_tells_of_each_seed_before_the_next_begins(tmp_path: Path) -> None:
    told: list[object] = []

    class Heard(Progress):
        def __call__(self, phase: str, now: float, end: float) -> None:
            if (phase, now) == ("safety", end):
                told.append("safety is over")

    sweep(read_story(small(tmp_path)), range(2), Here(), jobs=1, progress=Heard(),
          heard=lambda batch, outcome: told.append(outcome.seed))  # fmt: skip
    assert told == ["safety is over", 0, "safety is over", 1]


# --- shrinking --------------------------------------------------------------------------


def test_a_plan_shrinks_to_the_faults_that_a_failure_needs_and_these_get_simple() -> None:
    plan: list[Fault] = [Pause(float(at), at % 5, 3.7) for at in range(20)]
    plan.insert(7, Crash(7.123, 3, 8.25, machine=True))
    plan.insert(15, Partition(13.377, (0, 1, 4), (), 17.3))

    def fails(faults: Sequence[Fault]) -> bool:
        crashed = any(isinstance(fault, Crash) and fault.peer == 3 for fault in faults)
        cut = any(isinstance(fault, Partition) and 4 in fault.group for fault in faults)
        return crashed and cut

    least = shrink(plan, fails)
    assert [type(fault) for fault in least] == [Crash, Partition]
    assert isinstance(least[0], Crash) and not least[0].machine and least[0].at == 7.0
    assert isinstance(least[1], Partition) and least[1].group == (4,)


def test_a_failure_that_needs_no_fault_shrinks_to_nothing_and_a_budget_ends_the_search() -> None:
    plan: list[Fault] = [Pause(float(at), 0) for at in range(50)]
    assert shrink(plan, lambda faults: True) == []
    budget = Budget(tries=7)
    assert shrink(plan, lambda faults: len(faults) == 50, budget) == plan
    assert budget.used == 7


def test_ctrl_c_ends_a_search_with_what_it_has() -> None:
    plan: list[Fault] = [Pause(float(at), at % 5) for at in range(40)]
    budget, tries = Budget(), 0

    def fails(faults: Sequence[Fault]) -> bool:
        nonlocal tries
        tries += 1
        if tries == 6:
            raise KeyboardInterrupt
        return plan[3] in faults

    least = shrink(plan, fails, budget)
    assert budget.interrupted and tries == 6 and plan[3] in least and len(least) < 10


def test_a_shrunk_plan_is_a_story_that_runs_as_the_seed_did(tmp_path: Path) -> None:
    path = small(tmp_path)
    story = read_story(path)
    plan: list[Fault] = [Crash(3.5, 1, 2.0), Partition(4.0, (0,), seconds=3.0)]
    saved = tmp_path / "saved.yaml"
    saved.write_text(story_text(path, plan, story, 7, "L1"))
    assert "--seed 7" in yaml.safe_load(saved.read_text())["about"]
    assert run_story(read_story(saved), 7).hash == run_story(story, 7, plan=plan).hash


# --- comparing -----------------------------------------------------------------------------


def test_what_differs_late_in_a_long_event_is_shown() -> None:
    def event(end: str) -> list[TraceLine]:
        return [(1.0, 0, 0, 0, "alike " * 500 + end)]

    found = first_difference(event("one"), event("other"))
    assert found is not None and found.one is not None and found.other is not None
    assert found.one.endswith("alike one") and found.other.endswith("alike other") and len(found.other) < 400
    same = first_difference([(1.0, 0, 0, 0, "x" * 1000)], [(2.0, 0, 0, 0, "x" * 1000)])
    assert same is not None and same.one != same.other


def test_two_runs_of_a_seed_are_the_same_and_of_two_seeds_part_somewhere(tmp_path: Path) -> None:
    story = read_story(small(tmp_path))

    def trace(seed: int) -> list[TraceLine]:
        lines: list[TraceLine] = []
        run_story(story, seed, trace=lines)
        return lines

    one = trace(1)
    assert first_difference(one, trace(1)) is None
    save_trace(tmp_path / "one", one)
    assert first_difference(one, load_trace(tmp_path / "one")) is None
    found = first_difference(one, trace(2))
    assert found is not None and found.one != found.other
    assert first_difference(one[:10], one) is not None
