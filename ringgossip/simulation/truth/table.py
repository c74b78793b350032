"""Does what we measured agree with what was published? Rows, and the one rule that judges them.

A row is within when |measured - published| is at most half of the last printed
digit, plus three standard errors, plus 3 % of the published value. A bound is
kept without any allowance. Residues under 1e-4 are printed, not judged: two
hundred runs of a thousand sites cannot see them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import sqrt
from statistics import mean, median, stdev
from textwrap import wrap
from typing import Any

from ringgossip.simulation.truth.studies import Quantity

Sample = float | Sequence[float]

_ERRORS = 3.0
_SHARE = 0.03
_TOO_RARE = 1e-4
_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Row:
    """One published quantity beside ours."""

    study: str
    quantity: str
    published: str
    theory: float | None
    measured: float
    standard_error: float
    within: bool | None  # None: printed, not judged
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what scripts read."""
        return {
            "study": self.study,
            "quantity": self.quantity,
            "published": float(self.published),
            "theory": self.theory,
            "measured": self.measured,
            "standard_error": self.standard_error,
            "within": self.within,
            "note": " ".join(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Table:
    """All rows of a run."""

    rows: tuple[Row, ...]
    cases: int = 0  # asked for
    cases_done: int = 0
    interrupted: bool = False

    @property
    def passed(self) -> bool:
        """Tell whether all was run, and nothing that was judged is outside."""
        return not self.interrupted and all(row.within is not False for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return what scripts read."""
        return {
            "passed": self.passed,
            "cases": self.cases,
            "cases_done": self.cases_done,
            "rows": [row.as_json() for row in self.rows],
        }

    def text(self) -> str:
        """Return the table for people, with the notes below it, and a verdict."""
        head = ("study", "quantity", "published", "theory", "measured", "std.err", "within")
        cells = [head]
        notes: dict[str, int] = {}
        for row in self.rows:
            verdict = "not judged" if row.within is None else "yes" if row.within else "NO"
            verdict += "".join(f" [{notes.setdefault(note, len(notes) + 1)}]" for note in row.notes)
            theory = "" if row.theory is None else _short(row.theory)
            cells.append(
                (row.study, row.quantity, row.published, theory, _short(row.measured),
                 _short(row.standard_error), verdict)
            )  # fmt: skip
        widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
        lines = [
            "  ".join(
                cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths))
            ).rstrip()
            for line in cells
        ]
        for note, number in notes.items():
            lines += ["", *wrap(f"[{number}] {note}", _WIDTH, subsequent_indent="    ")]
        judged = [row for row in self.rows if row.within is not None]
        outside = [row for row in judged if not row.within]
        lines += ["", f"{len(judged) - len(outside)} of {len(judged)} judged rows are within"]
        return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.2e}" if 0 < abs(value) < 0.001 else f"{value:.4g}"


def half_digit(printed: str) -> float:
    """Return half a unit of the last digit that was printed: 0.05 for "1.7", 0.00005 for "5.8e-3"."""
    exponent = Decimal(printed).as_tuple().exponent
    assert isinstance(exponent, int)
    return 0.5 * float(Decimal(10) ** exponent)


def is_within(printed: str, measured: float, standard_error: float, judge: str = "equal") -> bool:
    """Judge one value."""
    published = float(printed)
    if judge == "at_most":
        return measured <= published
    if judge == "at_least":
        return measured >= published
    allowed = half_digit(printed) + _ERRORS * standard_error + _SHARE * abs(published)
    return abs(measured - published) <= allowed


def _error_of_mean(values: Sequence[float]) -> float:
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0


def summarise(samples: Sequence[Sample], statistic: str) -> tuple[float, float]:
    """Return a statistic of what the runs yielded, and its standard error from run to run.

    A run yields a number, or several that go together: of those, the median is
    taken over all runs' values; for a ratio they are its upper and lower part.
    """
    if statistic == "ratio":
        pairs = [(each[0], each[1]) for each in samples if not isinstance(each, int | float)]
        lower = sum(low for _, low in pairs)
        if not lower:
            return 0.0, 0.0
        ratio = sum(high for high, _ in pairs) / lower
        # The jackknife's first order: how each run's residual moves the ratio.
        residuals = [high - ratio * low for high, low in pairs]
        return ratio, sqrt(sum(each * each for each in residuals)) / lower
    groups = [[float(each)] if isinstance(each, int | float) else list(each) for each in samples]
    groups = [group for group in groups if group]
    values = [value for group in groups for value in group]
    if not values:
        return float("nan"), 0.0
    if statistic == "highest":
        return max(values), 0.0
    if statistic == "lowest":
        return min(values), 0.0
    middle = median if statistic == "median" else mean
    return middle(values), _error_of_mean([middle(group) for group in groups])


def judge(
    study: str, case: str, quantity: Quantity, samples: Sequence[Sample], theory: float | None, note: str = ""
) -> Row:
    """Make a row of what the runs of a case yielded for one quantity."""
    measured, error = summarise(samples, quantity.statistic)
    name = f"{case}: {quantity.name}" if case else quantity.name
    within: bool | None = is_within(quantity.bound or quantity.published, measured, error, quantity.judge)
    bound = f"Judged: {quantity.judge.replace('_', ' ')} {quantity.bound}." if quantity.bound else ""
    notes = [text for text in (note, quantity.note, bound) if text]
    if quantity.name == "residue" and float(quantity.published) < _TOO_RARE:
        within = None
        notes.append("Too rare to be judged.")
    return Row(study, name, quantity.published, theory, measured, error, within, tuple(notes))


def columns(results: Sequence[Mapping[str, Sample]], name: str) -> list[Sample]:
    """Return what all runs yielded for one quantity."""
    return [result[name] for result in results if name in result]
