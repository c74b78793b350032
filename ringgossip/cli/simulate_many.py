"""How are many seeds told? A line for each that fails, the command that replays it, and a verdict."""

import sys
from pathlib import Path
from shlex import quote
from time import monotonic
from typing import Any

from ringgossip.cli.output import emit, note
from ringgossip.simulation.engines import engine
from ringgossip.simulation.measures import percentile
from ringgossip.simulation.scenario import Story
from ringgossip.simulation.sweep import Batch, Outcome, sweep

_INTERRUPTED = 130
_MOST_SHOWN = 20


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
    on_terminal = sys.stderr.isatty()

    def heard(batch: Batch, outcome: Outcome) -> None:
        if not outcome.passed:
            # At once: whoever waits for 100,000 seeds wants to begin with the first that fails.
            note(f"seed {outcome.seed} breaks {outcome.failure}: {outcome.detail}")
            note(f"    {again} --seed {outcome.seed}")
        done = len(batch.outcomes)
        if on_terminal and (done % 10 == 0 or done == len(seeds)):
            rate = done / max(1e-9, monotonic() - began)
            text = f"\r{done} of {len(seeds)} seeds, {len(batch.failed)} failed, {rate:.1f} a second "
            print(text, end="", file=sys.stderr)

    with engine(engine_name, jobs, scheduler) as executor:
        batch = sweep(story, seeds, executor, jobs=jobs, keep=report is not None, heard=heard)
    if on_terminal:
        print(file=sys.stderr)
    seconds = monotonic() - began
    if report is not None and batch.outcomes:
        from ringgossip.cli.simulate_report import write

        runs = [each.run for _, each in sorted(batch.outcomes.items()) if each.run is not None]
        write(report, runs, story, f"{again} --seeds {seeds.start}..{seeds.stop - 1}", again)
    resume = f"{again} --seeds {batch.resume_at}..{seeds.stop - 1} --jobs {jobs}"
    if engine_name != "processes":
        resume += f" --engine {engine_name}" + (f" --scheduler {quote(scheduler)}" if scheduler else "")
    said: dict[str, Any] = batch.as_dict() | {"seconds": round(seconds, 2)}
    said["measures"] = _measures(batch)
    said["replay"] = [f"{again} --seed {each.seed}" for each in batch.failed]
    if batch.resume_at is not None:
        said["resume"] = resume
    emit(said, as_json, lambda: _text(batch, story, again, seconds))
    if batch.interrupted:
        note(f"stopped; {len(batch.outcomes)} seeds are finished. Go on with:  {resume}")
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
    lines += ["", "Every promise held in every seed." if batch.passed else "This failed: see above."]
    return "\n".join(lines)
