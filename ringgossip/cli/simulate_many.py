"""How are many seeds told? A line for each that fails, the command that replays it, and a verdict."""

import sys
from pathlib import Path
from shlex import quote
from time import monotonic
from typing import Any

from ringgossip.cli.output import emit, note, seconds_text
from ringgossip.simulation.engines import engine
from ringgossip.simulation.measures import percentile
from ringgossip.simulation.running import Progress
from ringgossip.simulation.scenario import Story
from ringgossip.simulation.sweep import Batch, Outcome, sweep

_INTERRUPTED = 130
_MOST_SHOWN = 20
_PAUSE = 30.0  # seconds between two lines where nobody watches a terminal
_BLINK = 0.25


class _Teller(Progress):
    """Says on standard error how far a sweep is: one line that changes, or a line now and then."""

    def __init__(self, seeds: int, again: str) -> None:
        self._batch: Batch | None = None
        self._seeds, self._again = seeds, again
        self._terminal = sys.stderr.isatty()
        self._began = monotonic()
        self._due = self._began + (_BLINK if self._terminal else _PAUSE)
        self._written = 0

    def heard(self, batch: Batch, outcome: Outcome) -> None:
        """Hear that a seed is finished."""
        if not outcome.passed:
            # At once: whoever waits for 100,000 seeds wants to begin with the first that fails.
            self.over()
            note(f"seed {outcome.seed} breaks {outcome.failure}: {outcome.detail}")
            note(f"    {self._again} --seed {outcome.seed}")
        self.waiting(batch)

    def waiting(self, batch: Batch) -> None:
        """Hear that the sweep goes on."""
        self._batch = batch
        self._tell()

    def __call__(self, phase: str, now: float, end: float) -> None:
        """Hear how far one run is."""
        self._tell(f"; the next: {phase}, {now:.1f} of {end:.0f} virtual seconds")

    def _tell(self, more: str = "") -> None:
        at = monotonic()
        if at < self._due:
            return
        self._due = at + (_BLINK if self._terminal else _PAUSE)
        done, failed = (len(self._batch.outcomes), len(self._batch.failed)) if self._batch else (0, 0)
        line = f"{done} of {self._seeds} seeds, {failed} failed, after {seconds_text(at - self._began)}{more}"
        if self._terminal:
            print(f"\r{line:<{self._written}}", end="", file=sys.stderr, flush=True)
            self._written = len(line)
        else:
            note(line)

    def over(self) -> None:
        """Clear the line that changes."""
        if self._written:
            print("\r" + " " * self._written + "\r", end="", file=sys.stderr, flush=True)
        self._written = 0


def run(
    seeds: range,
    *,
    story: Story,
    again: str,
    as_json: bool,
    jobs: int,
    engine_name: str,
    scheduler: str | None,
    report: Path | None,
) -> int:
    """Run a range of seeds."""
    began = monotonic()
    teller = _Teller(len(seeds), again)
    with engine(engine_name, jobs, scheduler) as executor:
        batch = sweep(
            story, seeds, executor,
            jobs=jobs, keep=report is not None, heard=teller.heard, waiting=teller.waiting, progress=teller,
        )  # fmt: skip
    teller.over()
    seconds = monotonic() - began
    resume = f"{again} --seeds {batch.resume_at}..{seeds.stop - 1} --jobs {jobs}"
    if engine_name != "processes":
        resume += f" --engine {engine_name}" + (f" --scheduler {quote(scheduler)}" if scheduler else "")
    said: dict[str, Any] = batch.as_dict() | {"seconds": round(seconds, 2)}
    said["measures"] = _measures(batch)
    said["replay"] = [f"{again} --seed {each.seed}" for each in batch.failed]
    if batch.resume_at is not None:
        said["resume"] = resume
    # Before anything is written: a full disk must not take the results with it.
    emit(said, as_json, lambda: _text(batch, story, again, seconds))
    if batch.broken:
        note(f"a worker was killed (too little memory for {jobs} at a time?): {batch.broken}")
    if batch.interrupted or batch.broken:
        note(f"stopped; {len(batch.outcomes)} seeds are finished. Go on with:  {resume}")
    if report is not None and batch.outcomes:
        from ringgossip.cli.simulate_report import write

        runs = [each.run for _, each in sorted(batch.outcomes.items()) if each.run is not None]
        write(report, runs, story, f"{again} --seeds {seeds.start}..{seeds.stop - 1}", again)
    if batch.interrupted:
        return _INTERRUPTED
    return 0 if batch.passed else 1


def _measures(batch: Batch) -> dict[str, list[float]]:
    """Return for each measure the value below which 10, 50 and 90 % of the seeds lie."""
    found = {}
    names = dict.fromkeys(name for each in batch.outcomes.values() for name in each.measures)
    for name in names:
        values = sorted(each.measures[name] for each in batch.outcomes.values() if name in each.measures)
        found[name] = [percentile(values, share) for share in (0.1, 0.5, 0.9)]
    return found


def _text(batch: Batch, story: Story, again: str, seconds: float) -> str:
    done = len(batch.outcomes)
    head = f"{story.name}: {done} of {len(batch.asked)} seeds in {seconds:.1f} s"
    lines = [f"{head}, {batch.twice} of them twice"]
    for each in batch.failed[:_MOST_SHOWN]:
        lines.append(f"  BROKEN  {each.failure} by seed {each.seed}: {each.detail}")
        lines.append(f"          {again} --seed {each.seed}")
    if len(batch.failed) > _MOST_SHOWN:
        lines.append(f"  and {len(batch.failed) - _MOST_SHOWN} more")
    for seed in batch.differing:
        lines.append(f"  DIFFERS seed {seed} gave two hashes: {again} --diff {seed} {seed}")
    for name in batch.never:
        lines.append(f"  NEVER   no seed reached {name}: the story does not test what it means to")
    lines += ["", f"  {'measure':28} {'10 %':>12} {'median':>12} {'90 %':>12}"]
    for name, values in _measures(batch).items():
        lines.append(f"  {name:28} " + " ".join(f"{value:12.6g}" for value in values))
    if batch.failed or batch.differing or batch.never:
        verdict = "This failed: see above."
    else:
        verdict = "Every promise held in every seed" + ("." if batch.passed else " that is finished.")
    lines += ["", verdict]
    return "\n".join(lines)
