"""Where do two runs part? Their traces side by side, up to the first event that differs.

A trace is what the kernel notes: time, peer, kind and detail of every event,
and what each input made its machine do. It can be saved, to compare runs of
two Pythons or two machines.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from ringgossip.errors import UsageError
from ringgossip.simulation.kernel import KIND_NAMES, NOBODY, TraceLine

_BEFORE = 5
_LONGEST = 400
_CONTEXT = 40  # letters before the first that differs
_NO_TRACE = "is no trace; `ringgossip simulate STORY --trace FILE` writes one"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first event in which two runs differ; None: that run was over."""

    number: int
    before: tuple[str, ...]  # the last events that both had
    one: str | None
    other: str | None


def line_text(line: TraceLine, shared: int = 0) -> str:
    """Return an event as a person reads it; `shared` letters of its text are those of another event."""
    when, owner, kind, detail, text = line
    who = "world" if owner == NOBODY else f"peer {owner}"
    if shared > _LONGEST // 2:
        # What is alike must not push out of sight what is not.
        text = f"{text[: _LONGEST // 4]} ... {text[shared - _CONTEXT :]}"
    return f"{when:.6f} s  {who}  {KIND_NAMES[kind]} {detail}  {text}"[:_LONGEST]


def _shared(left: TraceLine | None, right: TraceLine | None) -> int:
    """Return how many letters the texts of two events have in common at their beginning."""
    if left is None or right is None:
        return 0
    pairs = enumerate(zip(left[4], right[4], strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(left[4]), len(right[4])))


def first_difference(one: Sequence[TraceLine], other: Sequence[TraceLine]) -> Difference | None:
    """Return the first event in which two traces differ; None if they are the same."""
    for number, (left, right) in enumerate(zip_longest(one, other)):
        if left != right:
            before = tuple(line_text(line) for line in one[max(0, number - _BEFORE) : number])
            shared = _shared(left, right)
            return Difference(
                number,
                before,
                None if left is None else line_text(left, shared),
                None if right is None else line_text(right, shared),
            )
    return None


def save_trace(path: Path, trace: Sequence[TraceLine]) -> None:
    """Write a trace, one JSON line for each event."""
    with path.open("w", encoding="utf-8") as file:
        for line in trace:
            file.write(json.dumps(line) + "\n")


def load_trace(path: Path) -> list[TraceLine]:
    """Read a trace. Raises `UsageError` for a file that is none."""
    lines = list(_lines(path))
    if not lines:
        raise UsageError(f"{path}: {_NO_TRACE}")
    return lines


def _lines(path: Path) -> Iterator[TraceLine]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                when, owner, kind, detail, said = json.loads(text)
                if not 0 <= kind < len(KIND_NAMES):
                    raise ValueError(number)
                yield (float(when), int(owner), int(kind), int(detail), str(said))
    except (ValueError, TypeError):
        raise UsageError(f"{path}: {_NO_TRACE}") from None
