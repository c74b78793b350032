"""Run studies, on one process or several, and judge what comes out.

A run depends on its study, case and number only (its seed is made of them), so
the table is the same whatever runs where.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ringgossip.errors import ConfigError
from ringgossip.simulation.engines import Here
from ringgossip.simulation.truth.studies import Case, Study
from ringgossip.simulation.truth.table import Row, Sample, Table, columns, judge

Result = dict[str, Sample]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far everything is, told after each batch of runs of one study."""

    study: str
    runs_done: int
    runs: int
    all_done: int
    all_runs: int


def run_batch(family: str, setup: Mapping[str, Any], seeds: Sequence[str]) -> list[Result]:
    """Run one setup once for each seed; what a worker process does."""
    run: Callable[[Mapping[str, Any], str], Result] = import_module(f"{__package__}.{family}").run
    return [run(setup, seed) for seed in seeds]


def _theory(study: Study, case: Case, results: Sequence[Result]) -> Mapping[str, float]:
    theory: Callable[[Mapping[str, Any], Mapping[str, float]], Mapping[str, float]]
    theory = import_module(f"{__package__}.{study.family}").theory
    means: dict[str, float] = {}
    for name in results[0]:
        values = [value for value in columns(results, name) if isinstance(value, int | float)]
        if values:
            means[name] = sum(values) / len(values)
    return theory(case.setup, means)


def _rows(study: Study, case: Case, results: Sequence[Result]) -> list[Row]:
    theory = _theory(study, case, results)
    rows = []
    for quantity in case.quantities:
        samples = columns(results, quantity.name)
        if not samples:
            raise ConfigError(f"study {study.name!r} asks for {quantity.name!r}, which no run yields")
        rows.append(judge(study.name, case.name, quantity, samples, theory.get(quantity.name), study.note))
    return rows


def _batches(studies: Sequence[Study], quick: bool) -> Iterator[tuple[int, int, list[str]]]:
    """Yield what a worker does in one go: which study, which of its cases, and the seeds."""
    for at, study in enumerate(studies):
        for number, case in enumerate(study.cases):
            runs = case.quick_runs if quick else case.runs
            seeds = [f"{study.name}/{case.name}/{run}" for run in range(runs)]
            for first in range(0, runs, study.batch):
                yield at, number, seeds[first : first + study.batch]


def run_truth(
    studies: Sequence[Study],
    quick: bool = False,
    executor: Executor | None = None,
    heard: Callable[[Progress], None] = lambda progress: None,
) -> Table:
    """Run these studies, and return the table. Ctrl-C ends it with the cases that are finished.

    Raises `ConfigError` for a study that asks for what its runs do not yield.
    """
    workers = executor if executor is not None else Here()
    batches = list(_batches(studies, quick))
    runs = Counter[int]()
    asked = Counter[tuple[int, int]]()
    for at, number, seeds in batches:
        runs[at] += len(seeds)
        asked[at, number] += 1
    done = Counter[int]()
    waiting: dict[Future[list[Result]], int] = {}
    found: dict[tuple[int, int], dict[int, list[Result]]] = {}

    def take(future: "Future[list[Result]]") -> None:
        batch = waiting.pop(future)
        at, number, seeds = batches[batch]
        found.setdefault((at, number), {})[batch] = future.result()
        done[at] += len(seeds)
        heard(Progress(studies[at].name, done[at], runs[at], done.total(), runs.total()))

    interrupted = False
    try:
        for batch, (at, number, seeds) in enumerate(batches):
            study = studies[at]
            future = workers.submit(run_batch, study.family, dict(study.cases[number].setup), seeds)
            waiting[future] = batch
            if future.done():
                take(future)
        for future in as_completed(list(waiting)):
            take(future)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        for future in waiting:
            future.cancel()
    rows: list[Row] = []
    finished = [each for each in asked if len(found.get(each, ())) == asked[each]]
    for at, number in finished:
        found_here = found[at, number]
        results = [result for batch in sorted(found_here) for result in found_here[batch]]
        rows += _rows(studies[at], studies[at].cases[number], results)
    return Table(tuple(rows), len(asked), len(finished), interrupted)
