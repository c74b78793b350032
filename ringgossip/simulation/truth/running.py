"""Run studies, on one process or several, and judge what comes out.

A run depends on its study, case and number only (its seed is made of them), so
the table is the same whatever runs where.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from importlib import import_module
from time import monotonic
from typing import Any

from ringgossip.errors import ConfigError
from ringgossip.simulation.truth.studies import Case, Study, read_studies
from ringgossip.simulation.truth.table import Row, Sample, Table, columns, judge

Result = dict[str, Sample]


class _Here(Executor):
    """Does the work at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


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


def run_truth(
    studies: Sequence[str] | Sequence[Study] = (),
    quick: bool = False,
    executor: Executor | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Table:
    """Run these studies (names, or all), and return the table; `progress` hears a line for each one done.

    Raises `UsageError` for an unknown name, `ConfigError` for a file that is wrong.
    """
    chosen = [study for study in studies if isinstance(study, Study)]
    if not chosen:
        chosen = read_studies([name for name in studies if isinstance(name, str)])
    workers = executor if executor is not None else _Here()
    started = monotonic()
    jobs: list[tuple[int, int, int, list[str]]] = []
    for at, study in enumerate(chosen):
        for number, case in enumerate(study.cases):
            runs = case.quick_runs if quick else case.runs
            seeds = [f"{study.name}/{case.name}/{run}" for run in range(runs)]
            for first in range(0, runs, study.batch):
                jobs.append((at, number, first, seeds[first : first + study.batch]))
    waiting: dict[Future[list[Result]], tuple[int, int, int]] = {}
    found: dict[tuple[int, int], dict[int, list[Result]]] = {}
    left = Counter(at for at, *_ in jobs)

    def heard(future: "Future[list[Result]]") -> None:
        at, number, first = waiting.pop(future)
        found.setdefault((at, number), {})[first] = future.result()
        left[at] -= 1
        if not left[at]:
            done = len(jobs) - left.total()
            progress(f"{monotonic() - started:6.1f} s  {done}/{len(jobs)}  {chosen[at].name}")

    try:
        for at, number, first, seeds in jobs:
            study = chosen[at]
            future = workers.submit(run_batch, study.family, dict(study.cases[number].setup), seeds)
            waiting[future] = (at, number, first)
            if future.done():
                heard(future)
        for future in as_completed(list(waiting)):
            heard(future)
    finally:
        for future in waiting:
            future.cancel()
    rows: list[Row] = []
    for at, study in enumerate(chosen):
        for number, case in enumerate(study.cases):
            batches = found.get((at, number), {})
            results = [result for first in sorted(batches) for result in batches[first]]
            if results:
                rows += _rows(study, case, results)
    return Table(tuple(rows))
