"""Do published experiments come out as published? What is told while they run, and the table at the end."""

import sys
from time import monotonic

from ringgossip.cli.output import emit, note, seconds_text
from ringgossip.simulation.engines import engine
from ringgossip.simulation.truth.running import Progress, run_truth
from ringgossip.simulation.truth.studies import read_studies

_INTERRUPTED = 130
_PAUSE = 10.0  # seconds between two lines where nobody watches a terminal
_BLINK = 0.2


class Teller:
    """Says on standard error how far the studies are: one line that changes, or a line now and then."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._on_terminal = sys.stderr.isatty()
        self._told_at = self._began if not self._on_terminal else 0.0
        self._written = 0

    def __call__(self, progress: Progress) -> None:
        """Hear that some runs are done."""
        now = monotonic()
        finished = progress.runs_done == progress.runs
        if not finished and now - self._told_at < (_BLINK if self._on_terminal else _PAUSE):
            return
        self._told_at = now
        line = (
            f"{progress.study}: {progress.runs_done} of {progress.runs} runs; "
            f"in all {progress.all_done} of {progress.all_runs}, {seconds_text(now - self._began)}"
        )
        if self._on_terminal:
            print(f"\r{line:<{self._written}}", end="\n" if finished else "", file=sys.stderr, flush=True)
            self._written = 0 if finished else len(line)
        else:
            note(line)

    def end(self) -> None:
        """Leave the line that changes."""
        if self._written:
            print(file=sys.stderr)


def run(
    names: tuple[str, ...], *, quick: bool, jobs: int, engine_name: str, scheduler: str | None, as_json: bool
) -> int:
    """Run these studies, or all, and judge them."""
    studies = read_studies(names)
    teller = Teller()
    with engine(engine_name, jobs, scheduler) as executor:
        table = run_truth(studies, quick, executor, teller)
    teller.end()
    emit(table.as_json(), as_json, table.text)
    if table.interrupted:
        note(f"stopped; {table.cases_done} of {table.cases} cases are finished and shown")
        return _INTERRUPTED
    return 0 if table.passed else 1
