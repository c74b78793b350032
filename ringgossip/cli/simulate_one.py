"""How is one seed told, shrunk, or compared with another? What `ringgossip simulate` says of each."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ringgossip.cli.output import bytes_text, emit, note, seconds_text, table
from ringgossip.errors import UsageError
from ringgossip.simulation.differing import first_difference, load_trace, save_trace
from ringgossip.simulation.faults import Fault
from ringgossip.simulation.kernel import TraceLine
from ringgossip.simulation.plans import plan_text
from ringgossip.simulation.promises import advice_on
from ringgossip.simulation.running import Progress, Run, plan_of, run_story
from ringgossip.simulation.saving import story_text
from ringgossip.simulation.scenario import Story
from ringgossip.simulation.shrinking import Budget, shrink

_MOST_NAMED = 10
_INTERRUPTED = 130


class _Shown(Progress):
    """Says on standard error how far a run is: on a terminal in one line, else in a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._pause = 0.25 if self._terminal else 30.0
        self._began = time.monotonic()
        self._due = self._began + self._pause

    def __call__(self, phase: str, now: float, end: float) -> None:
        self.say(f"{phase}: {now:.1f} of {end:.0f} virtual seconds")

    def say(self, said: str) -> None:
        """Say this, if the last word was long enough ago."""
        at = time.monotonic()
        if at < self._due:
            return
        self._due = at + self._pause
        said = f"{said}, after {seconds_text(at - self._began)}"
        print(f"\r{said} " if self._terminal else said, end="" if self._terminal else "\n",
              file=sys.stderr, flush=True)  # fmt: skip

    def over(self) -> None:
        """Clear the line."""
        if self._terminal:
            print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)


def run(
    seed: int, *, story: Story, again: str, as_json: bool, trace: Path | None, report: Path | None
) -> int:
    """Tell one seed."""
    lines: list[TraceLine] | None = [] if trace is not None else None
    shown = _Shown()
    result = run_story(story, seed, trace=lines, progress=shown, timeline=report is not None)
    shown.over()
    replay = f"{again} --seed {seed}"
    said = result.as_dict() | {"command": replay}
    # Before anything is written: a full disk must not take the result with it.
    emit(said, as_json, lambda: _text(result, story, replay))
    if trace is not None and lines is not None:
        save_trace(trace, lines)
    if report is not None:
        from ringgossip.cli.simulate_report import write

        write(report, [result], story, replay)
    return 0 if result.passed else 1


def _text(run: Run, story: Story, replay: str) -> str:
    virtual = run.measures["virtual_seconds"]
    lines = [f"{run.story}, seed {run.seed}: {run.peers} peers, {virtual:.0f} virtual seconds"]
    if story.about:
        lines.append(story.about)
    rows = []
    for promise in run.promises:
        word = "held" if promise.passed else "never" if promise.kind == "sometimes" else "BROKEN"
        seconds = "" if promise.seconds is None else f"{promise.seconds:.2f} s"
        rows.append((word, promise.name, promise.kind, seconds, promise.detail or promise.sentence))
    lines += ["", table(("", "promise", "kind", "after", "about"), rows, right={"after"}), ""]
    for name, value in run.measures.items():
        lines.append(f"  {name:28} {bytes_text(value) if name.endswith('_bytes') else f'{value:g}'}")
    if run.crash is not None:
        lines += ["", f"A machine crashed: {run.crash}"]
    if not run.passed:
        lines += ["", f"Replay:  {replay}", f"Shrink:  {replay} --shrink"]
    lines += _came_of_it(run)
    verdict = f"Every promise held{_but(run)}." if run.passed else "This failed: see BROKEN above."
    lines += ["", f"hash {run.hash}", verdict]
    return "\n".join(lines)


def _but(run: Run) -> str:
    left = run.outcome
    if left is None or not (left.lost or left.short):
        return ""
    return f", and yet artifacts are lost ({len(left.lost)}) or have too few copies ({len(left.short)})"


def _came_of_it(run: Run) -> list[str]:
    """Say in names what is left, and what to do about what broke."""
    lines = []
    left = run.outcome
    if left is not None:
        lines = ["", "At the end:"]
        if left.gone:
            lines.append(f"  gone      {len(left.gone)} of {run.peers} nodes: {', '.join(left.gone)}")
        for what, found in (("lost", left.lost), ("too few", left.short)):
            lines += [f"  {what:9} {name}: {text}" for name, text in list(found.items())[:_MOST_NAMED]]
            if len(found) > _MOST_NAMED:
                lines.append(f"  {what:9} and {len(found) - _MOST_NAMED} more")
        if left.full:
            lines.append(f"  full      too little room on {', '.join(left.full)}: not all is taken there")
        if left.lost:
            lines.append("            publish with --copies K: it waits for copies; notices let a node drain")
        lines.append(f"  whole     {left.whole} artifacts have every copy that is wanted")
        if left.slowest:
            lines.append(f"  slowest   {left.slowest}")
    for promise in run.promises:
        if not promise.passed and promise.kind != "sometimes":
            lines.append(f"  {promise.name:9} {advice_on(promise.name, promise.kind)}")
    return lines


def shrink_seed(seed: int, *, story: Story, again: str, as_json: bool, path: Path) -> int:
    """Find the smallest plan with which a seed still breaks the same promise."""
    plan = plan_of(story, seed)
    shown = _Shown()
    first = run_story(story, seed, plan=plan, progress=shown)
    shown.over()
    if first.passed:
        raise UsageError(f"seed {seed} keeps every promise: there is nothing to shrink")
    note(f"seed {seed} breaks {first.failure} with {len(plan)} faults; trying with fewer")
    budget = Budget()
    failing = {repr(plan): first}

    def fails(faults: Sequence[Fault]) -> bool:
        run = run_story(story, seed, plan=faults)
        # Another exception is another bug.
        same = (run.failure, run.crash_at) == (first.failure, first.crash_at)
        if same:
            failing[repr(list(faults))] = run
        shown.say(f"{budget.used} tries: {min(map(_faults_of, failing.values()))} faults are enough")
        return same

    least = shrink(plan, fails, budget)
    shown.over()
    last = failing[repr(least)]
    saved = story_text(path, least, story, seed, last.failure)
    said: dict[str, Any] = {
        "story": story.name,
        "seed": seed,
        "failure": last.failure,
        "faults_before": len(plan),
        "faults": len(least),
        "tries": budget.used,
        "yaml": saved,
        "hash": last.hash,
        "interrupted": budget.interrupted,
    }
    detail = next((each.detail for each in last.promises if each.name == last.failure), last.crash or "")
    emit(said, as_json, lambda: f"{saved}\n# {len(plan)} faults became {len(least)}. {detail}")
    if not as_json:
        note(f"{plan_text(least)}\nsave the above as a story, and run it with --seed {seed}")
    if budget.interrupted:
        note("stopped before all was tried: fewer or simpler faults may be enough")
        return _INTERRUPTED
    return 1


def _faults_of(run: Run) -> int:
    return len(run.plan)


def _trace_of(which: str, story: Story) -> list[TraceLine]:
    if which.isdecimal():
        lines: list[TraceLine] = []
        run_story(story, int(which), trace=lines)
        return lines
    if not Path(which).is_file():
        raise UsageError(f"{which!r} is neither a seed nor the file of a trace")
    return load_trace(Path(which))


def diff(one: str, other: str, *, story: Story, again: str, as_json: bool) -> int:
    """Say where two runs part; exit code 1 if they do."""
    found = first_difference(_trace_of(one, story), _trace_of(other, story))
    said: dict[str, Any] = {"story": story.name, "one": one, "other": other, "same": found is None}
    if found is not None:
        said |= {"event": found.number, "before": found.before, "events": [found.one, found.other]}

    def text() -> str:
        if found is None:
            return f"{one} and {other} are the same run, event for event."
        before = "\n".join(f"    both   {line}" for line in found.before)
        return (
            f"They differ first in event {found.number}:\n{before}\n"
            f"    {one:6} {found.one or '(was over)'}\n    {other:6} {found.other or '(was over)'}"
        )

    emit(said, as_json, text)
    return 0 if found is None else 1
