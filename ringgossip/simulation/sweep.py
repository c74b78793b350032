"""Many seeds of one story: which fail, which differ from themselves, and what no seed ever reached?

Seeds go to the workers of an executor, a few at a time, and come back as
small outcomes. One in twenty is run twice: two runs of one seed must have the
same hash. A "sometimes" that no seed reached fails the batch: a story that
never gets where it wants to go tests nothing.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any

from ringgossip.simulation.engines import Here, is_lost
from ringgossip.simulation.kernel import derive
from ringgossip.simulation.running import Progress, Run, run_story
from ringgossip.simulation.scenario import Story

_ONE_IN = 20
_BREATH = 0.5  # seconds between two looks at workers that have nothing to tell


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed; `run` only if it was asked for."""

    seed: int
    passed: bool
    failure: str  # the first promise that broke; empty if none did
    detail: str
    hash: str
    measures: dict[str, float]
    seen: dict[str, int]
    run: Run | None = None


@dataclass(slots=True)
class Batch:
    """What came of many seeds."""

    story: str
    asked: Sequence[int]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    differing: list[int] = field(default_factory=list)  # seeds of which two runs were not alike
    twice: int = 0
    never: list[str] = field(default_factory=list)  # each "sometimes" that no seed reached
    interrupted: bool = False
    broken: str = ""  # what ended the workers, if something did

    @property
    def failed(self) -> list[Outcome]:
        """The seeds that broke a promise."""
        return [self.outcomes[seed] for seed in sorted(self.outcomes) if not self.outcomes[seed].passed]

    @property
    def passed(self) -> bool:
        """Whether everything was finished and held."""
        done = len(self.outcomes) == len(self.asked)
        return done and not (self.failed or self.differing or self.never)

    @property
    def resume_at(self) -> int | None:
        """The first seed that is not finished."""
        return next((seed for seed in self.asked if seed not in self.outcomes), None)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "story": self.story,
            "seeds": len(self.asked),
            "finished": len(self.outcomes),
            "passed": self.passed,
            "failed": [
                {"seed": each.seed, "promise": each.failure, "detail": each.detail} for each in self.failed
            ],
            "differing": self.differing,
            "run_twice": self.twice,
            "never": self.never,
            "hashes": {str(seed): self.outcomes[seed].hash for seed in sorted(self.outcomes)},
        }


def is_run_twice(seed: int) -> bool:
    """Tell whether a seed is one of the twentieth that is compared with itself."""
    return derive(seed, "twice") % _ONE_IN == 0


def run_seed(story: Story, seed: int, keep: bool = False, progress: Progress | None = None) -> Outcome:
    """Run one seed; what a worker does."""
    run = run_story(story, seed, timeline=keep, progress=progress)
    broken = [each for each in run.promises if not each.passed and each.kind != "sometimes"]
    detail = run.crash or (broken[0].detail if broken else "")
    return Outcome(
        seed, run.passed, run.failure, detail, run.hash, run.measures, run.history.seen, run if keep else None
    )


def sweep(
    story: Story,
    seeds: Sequence[int],
    executor: Executor,
    *,
    jobs: int = 1,
    keep: bool = False,
    heard: Callable[[Batch, Outcome], None] = lambda batch, outcome: None,
    waiting: Callable[[Batch], None] = lambda batch: None,
    progress: Progress | None = None,
) -> Batch:
    """Run all seeds. Ctrl-C, or a worker that is killed, ends it with what is finished.

    `heard` is called for each that is finished, `waiting` now and then, and `progress`
    hears how far a run is where that is told in this process.
    """
    batch = Batch(story.name, seeds)
    todo = ((seed, again) for seed in seeds for again in (False, True) if not again or is_run_twice(seed))
    under_way: dict[Future[Outcome], tuple[int, bool]] = {}
    hashes: dict[int, str] = {}
    # Where `submit` tells a run before it returns, a second one in advance would only hide the first.
    inside, room = (progress, 1) if isinstance(executor, Here) else (None, 2 * jobs)

    def take(future: "Future[Outcome]") -> None:
        seed, again = under_way.pop(future)
        outcome = future.result()
        batch.twice += again
        if hashes.setdefault(seed, outcome.hash) != outcome.hash:
            batch.differing.append(seed)
        if not again:
            batch.outcomes[seed] = outcome
            heard(batch, outcome)

    try:
        while True:
            while len(under_way) < room and (job := next(todo, None)) is not None:
                future = executor.submit(run_seed, story, job[0], keep and not job[1], inside)
                under_way[future] = job
            if not under_way:
                break
            waiting(batch)
            done, _ = wait(under_way, timeout=_BREATH, return_when=FIRST_COMPLETED)
            # In the order in which they were sent: a set has none.
            for future in [future for future in under_way if future in done]:
                take(future)
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, Exception) and not is_lost(error):
            raise
        batch.interrupted = isinstance(error, KeyboardInterrupt)
        batch.broken = "" if batch.interrupted else str(error)
        for future in list(under_way):
            # What is finished is kept, also if nobody had taken it yet.
            if not future.cancel() and future.done() and future.exception() is None:
                take(future)
    if len(batch.outcomes) == len(seeds):
        reached = {name for outcome in batch.outcomes.values() for name in outcome.seen}
        batch.never = [name for name in story.promises.sometimes if name not in reached]
    return batch
