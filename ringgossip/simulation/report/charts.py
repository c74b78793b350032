"""Charts as SVG text: no script, no fonts, colours from the page's variables, so that dark works too.

Every chart is drawn twice, for a wide screen and for a telephone; the page
shows the one that fits. Shrinking the wide one would shrink its words too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from html import escape
from typing import Concatenate, ParamSpec

RIGHT = 12
TOP = 10
AXIS = 26

Point = tuple[float, float]
Asked = ParamSpec("Asked")

_LANE = 15  # pixels
_LETTER = 6.4  # pixels of a letter, about


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a chart is drawn on: pixels, how many letters a name may have, and marks on the axis of time."""

    width: int
    left: int  # of the drawing, if numbers stand before it
    named: int  # the same, if names do
    letters: int
    marks: int


WIDE = Sheet(720, 64, 94, 14, 8)
NARROW = Sheet(320, 42, 76, 11, 5)


def _both(draw: Callable[Concatenate[Sheet, Asked], str]) -> Callable[Asked, str]:
    """Draw a chart on both sheets."""

    @wraps(draw)
    def drawn(*args: Asked.args, **more: Asked.kwargs) -> str:
        roomy, tight = draw(WIDE, *args, **more), draw(NARROW, *args, **more)
        return f'<div class="roomy">{roomy}</div><div class="tight">{tight}</div>'

    return drawn


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values between `low` and `high` to pixels between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values from `low` to `high`, at most about `most`."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10.0 ** int(f"{span / most:e}".partition("e")[2])
    for factor in (1, 2, 5, 10):
        if span / (step * factor) <= most:
            step *= factor
            break
    first = int(low / step + (0.999999 if low > 0 else 0)) * step
    return [first + step * number for number in range(most + 2) if first + step * number <= high + step / 1e6]


def number_text(value: float) -> str:
    """Return a number as short as it can be said."""
    if value == 0:
        return "0"
    if abs(value) >= 1e9:
        return f"{value / 1e9:.3g}G"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:.0f}" if abs(value) >= 1e3 else f"{value:.3g}"


def short(name: str, most: int) -> str:
    """Return a name in at most so many letters: numbers at its end tell one peer from the next."""
    if len(name) <= most:
        return name
    return f"{name[: most // 2 - 1]}…{name[-(most - most // 2) :]}"


def frame(sheet: Sheet, height: int, parts: Sequence[str], title: str) -> str:
    """Return a whole SVG of a chart; `title` is read aloud and shown on hovering."""
    return (
        f'<svg role="img" viewBox="0 0 {sheet.width} {height}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def text(x: float, y: float, words: str, anchor: str = "start", style: str = "label") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _level(across: Scale, y: float) -> str:
    return f'<line class="grid" x1="{across.start}" x2="{across.end}" y1="{y:.1f}" y2="{y:.1f}"/>'


def time_axis(sheet: Sheet, scale: Scale, y: float) -> list[str]:
    """Return the axis below a chart."""
    parts = [f'<line class="axis" x1="{scale.start}" x2="{scale.end}" y1="{y:.1f}" y2="{y:.1f}"/>']
    for value in ticks(scale.low, scale.high, sheet.marks):
        x, said = scale(value), f"{number_text(value)} s"
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{y + 4:.1f}"/>')
        parts.append(text(min(x, sheet.width - _wide(said) / 2), y + 17, said, "middle"))
    return parts


def path(points: Sequence[Point], style: str, title: str = "") -> str:
    """Return a line through points in pixels."""
    if not points:
        return ""
    line = " ".join(f"{'L' if number else 'M'}{x:.1f} {y:.1f}" for number, (x, y) in enumerate(points))
    hint = f"<title>{escape(title)}</title>" if title else ""
    return f'<path class="{style}" d="{line}">{hint}</path>'


@_both
def lines(
    sheet: Sheet,
    series: Sequence[tuple[str, str, Sequence[Point]]],
    band: tuple[Sequence[Point], Sequence[Point]] | None,
    top: float,
    seconds: float,
    title: str,
    percent: bool = False,
) -> str:
    """Return a chart of lines over time; each is (name, style, points), a band lies between two of them."""
    height = 240
    bottom = height - AXIS
    across = Scale(0.0, seconds, sheet.left, sheet.width - RIGHT)
    up = Scale(0.0, top, bottom, TOP + 8)
    parts = []
    for value in ticks(0.0, top, 5):
        y = up(value)
        parts.append(_level(across, y))
        parts.append(text(sheet.left - 6, y + 4, f"{value:.0%}" if percent else number_text(value), "end"))
    parts += time_axis(sheet, across, bottom)
    if band is not None:
        low, high = band
        outline = [*low, *reversed(high)]
        shape = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in outline)
        parts.append(f'<polygon class="band" points="{shape}"/>')
    for name, style, points in series:
        parts.append(path([(across(x), up(y)) for x, y in points], style, name))
    return frame(sheet, height, parts, title)


@_both
def heat(
    sheet: Sheet,
    names: Sequence[str],
    rows: Sequence[Sequence[float | None]],
    seconds: float,
    title: str,
) -> str:
    """Return a map of rows over time: None is dark, 0 is empty, 1 is full."""
    each = 14 if len(names) <= 60 else max(2, 840 // len(names))
    height = TOP + each * len(names) + AXIS
    across = Scale(0.0, seconds, sheet.named, sheet.width - RIGHT)
    parts = []
    for number, (name, row) in enumerate(zip(names, rows, strict=True)):
        y = TOP + each * number
        if each >= 10:
            parts.append(text(sheet.named - 6, y + each - 4, short(name, sheet.letters), "end"))
        width = (across.end - across.start) / max(1, len(row))
        start = 0
        while start < len(row):
            end = start
            while end < len(row) and row[end] == row[start]:
                end += 1
            value = row[start]
            style = "down" if value is None else "held"
            opacity = "" if value is None else f' fill-opacity="{0.06 + 0.94 * value:.2f}"'
            parts.append(
                f'<rect class="{style}" x="{across.start + width * start:.1f}" y="{y}" '
                f'width="{width * (end - start) + 0.2:.1f}" height="{each - 1}"{opacity}/>'
            )
            start = end
    parts += time_axis(sheet, across, TOP + each * len(names) + 2)
    return frame(sheet, height + 4, parts, title)


@_both
def matrix(sheet: Sheet, names: Sequence[str], cells: Mapping[tuple[int, int], float], title: str) -> str:
    """Return a square of rows and columns in one order; `cells` are (row, column) -> 0 to 1."""
    side = (sheet.width - RIGHT - sheet.named) / len(names)
    each = min(14.0, side)
    parts = []
    shades: dict[int, list[str]] = {}
    for (row, column), value in sorted(cells.items()):
        x, y = sheet.named + side * column, TOP + each * row
        box = f"M{x:.1f} {y:.1f}h{side - 0.6:.1f}v{each - 0.6:.1f}h{0.6 - side:.1f}z"
        shades.setdefault(1 + round(9 * value), []).append(box)
    # One path a shade: a mark for each cell would make a heavy page of a large cluster.
    for shade, boxes in sorted(shades.items()):
        parts.append(f'<path class="held" fill-opacity="{shade / 10}" d="{"".join(boxes)}"/>')
    step = max(1, -(-11 // int(each)))
    for number in range(0, len(names), step):
        y = TOP + each * (number + 0.5) + 4
        parts.append(text(sheet.named - 6, y, short(names[number], sheet.letters), "end"))
    return frame(sheet, int(TOP * 2 + each * len(names)), parts, title)


@_both
def columns(
    sheet: Sheet, counts: Sequence[int], longest: float, marks: Sequence[tuple[str, float]], title: str
) -> str:
    """Return a histogram of times from 0 to `longest`; each mark is (word, seconds), from left to right."""
    height, top = 200, max([*counts, 1])
    bottom = height - AXIS
    across, up = Scale(0.0, longest, sheet.left, sheet.width - RIGHT), Scale(0.0, top, bottom, TOP + 14)
    parts = []
    for value in ticks(0.0, top, 4):
        if value == int(value):
            y = up(value)
            parts.append(_level(across, y))
            parts.append(text(sheet.left - 6, y + 4, number_text(value), "end"))
    each = longest / len(counts)
    for number, count in enumerate(counts):
        x, end = across(each * number), across(each * (number + 1))
        hint = f"{count} copies took {each * number:.2f} to {each * (number + 1):.2f} s"
        parts.append(
            f'<rect class="bar" x="{x + 0.5:.1f}" y="{up(count):.1f}" width="{end - x - 1:.1f}" '
            f'height="{bottom - up(count):.1f}"><title>{escape(hint)}</title></rect>'
        )
    free = 0.0
    for word, seconds in marks:
        x, said = across(seconds), f"{word} {number_text(seconds)} s"
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP + 8}" y2="{bottom}"/>')
        wide = _wide(said)
        if x + 4 > free and x + 4 + wide < sheet.width:
            parts.append(text(x + 4, TOP + 9, said))
            free = x + 4 + wide
        elif x - 4 - wide > free:
            parts.append(text(x - 4, TOP + 9, said, "end"))
            free = x
    return frame(sheet, height, [*parts, *time_axis(sheet, across, bottom)], title)


def _wide(words: str) -> float:
    """Return about how many pixels a label takes."""
    return _LETTER * len(words)


@_both
def bars(sheet: Sheet, rows: Sequence[tuple[str, float, float | None, str]], title: str, unit: str) -> str:
    """Return horizontal bars: (name, value, limit or None, hint); the limit is a mark."""
    each = 20
    height = TOP + each * len(rows)
    top = max([value for _, value, _, _ in rows] + [limit or 0.0 for _, _, limit, _ in rows] + [1e-9])
    across = Scale(0.0, top, sheet.named, sheet.width - 70)
    parts = []
    for number, (name, value, limit, hint) in enumerate(rows):
        y = TOP + each * number
        parts.append(text(sheet.named - 6, y + 13, short(name, sheet.letters), "end"))
        width = max(0.5, across(value) - across.start)
        parts.append(
            f'<rect class="bar" x="{across.start}" y="{y + 2}" width="{width:.1f}" height="{each - 6}">'
            f"<title>{escape(hint)}</title></rect>"
        )
        parts.append(text(across(value) + 4, y + 13, f"{number_text(value)}{unit}"))
        if limit is not None:
            x = across(limit)
            parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + each - 2}"/>')
    return frame(sheet, height, parts, title)


@_both
def lanes(
    sheet: Sheet,
    faults: Sequence[tuple[str, float, float]],
    rows: Sequence[tuple[str, Sequence[tuple[float, str, str]]]],
    stop_at: float,
    seconds: float,
    title: str,
) -> str:
    """Return a time line: faults as named bars above, below them per peer marks of (time, style, hint)."""
    across = Scale(0.0, seconds, sheet.named, sheet.width - RIGHT)
    parts, y = [], TOP
    taken: list[float] = []
    for words, begin, end in sorted(faults, key=lambda one: one[1]):
        x, width = across(begin), max(2.0, across(end) - across(begin))
        name, hint = words.partition(":")[0], f"{words}, {begin:.1f} to {end:.1f} s"
        # The name stands behind its bar, before it if there is no room, or else on it.
        after, before = x + width + 3, x - 3 - _wide(name)
        if after + _wide(name) < sheet.width:
            at, first, last = after, x, after + _wide(name)
        else:
            at = before if before > across.start else x + 3
            first, last = min(before, x) if before > across.start else x, x + width
        lane = next((number for number, free in enumerate(taken) if free <= first), len(taken))
        if lane == len(taken):
            taken.append(0.0)
        taken[lane] = last + 6
        above = y + lane * _LANE
        parts.append(
            f'<rect class="fault" x="{x:.1f}" y="{above}" width="{width:.1f}" height="{_LANE - 4}">'
            f"<title>{escape(hint)}</title></rect>"
        )
        parts.append(text(at, above + 9, name, style="label" if at != x + 3 else "label on"))
    if taken:
        parts.append(text(sheet.named - 6, y + 9, "faults", "end"))
    y += _LANE * len(taken) + 6
    for name, marks in rows:
        parts.append(text(sheet.named - 6, y + 10, short(name, sheet.letters), "end"))
        parts.append(f'<line class="grid" x1="{across.start}" x2="{across.end}" y1="{y + 6}" y2="{y + 6}"/>')
        for at, style, hint in marks:
            parts.append(
                f'<circle class="{style}" cx="{across(at):.1f}" cy="{y + 6}" r="3.5">'
                f"<title>{escape(hint)}</title></circle>"
            )
        y += 15
    if 0.0 < stop_at < seconds:
        x = across(stop_at)
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{y}"/>')
        said = "faults stop here"
        at, anchor = (x - 4, "end") if x + 4 + _wide(said) > sheet.width else (x + 4, "start")
        parts.append(text(at, y + 24 + 14, said, anchor))
    parts += time_axis(sheet, across, y + 2)
    return frame(sheet, y + AXIS + 18, parts, title)
