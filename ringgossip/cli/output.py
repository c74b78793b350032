"""How does a command speak? One JSON object for scripts, or text for people.

Only this module and `cli/__init__` write to the terminal.
"""

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any


def emit(data: Mapping[str, Any], as_json: bool, human: Callable[[], str]) -> None:
    """Print `data` as one JSON object, or the text that `human` makes."""
    print(json.dumps(data, indent=2, default=str) if as_json else human())


def say(text: str) -> None:
    """Print a line of a stream at once, also when the reader is a pipe."""
    print(text, flush=True)


def note(text: str) -> None:
    """Tell a person something beside the result; goes to standard error."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]], right: Collection[str] = ()) -> str:
    """Return `rows` under `head`, columns padded to their widest cell; those named in `right` to the left.

    Cells are one line each: what is not printable is escaped, since names may
    come from other machines.
    """
    cells = [list(head), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(row, widths, head)
        ).rstrip()
        for row in cells
    )


def _cell(value: object) -> str:
    text = "-" if value is None or value == "" else str(value)
    return text if text.isprintable() else ascii(text)[1:-1]


def bytes_text(count: float) -> str:
    """Return a number of bytes for a person: `512 B`, `1.5 KiB`, `64.0 MiB`."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        count /= 1024
        if count < 1023.95 or unit == "TiB":
            break
    return f"{count:.1f} {unit}"


def rate_text(bytes_per_second: float) -> str:
    """Return a rate for a person, in the MB/s of cable and disk makers."""
    return f"{bytes_per_second / 1e6:.1f} MB/s"


def seconds_text(seconds: float) -> str:
    """Return a length of time for a person: `0.25 s`, `12.3 s`, `3 min 05 s`, `2 h 03 min`."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    whole = round(seconds / 60)
    if whole < 48 * 60:
        return f"{whole // 60} h {whole % 60:02d} min"
    return f"{whole // 1440} d {whole % 1440 // 60:02d} h"
