"""Which faults does a failure need? Fewer, then simpler, as long as the same promise breaks.

Every purpose draws from a generator of its own, so taking a fault out leaves
the rest of the run as it was; that is what makes this work.
Source: delta debugging (Zeller and Hildebrandt 2002), the algorithm ddmin.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, replace
from time import monotonic
from typing import Any

from ringgossip.simulation.faults import Fault

Fails = Callable[[Sequence[Fault]], bool]


class Budget:
    """How often, and for how many seconds, a failure may be tried again; Ctrl-C spends it."""

    def __init__(self, tries: int = 400, seconds: float = 300.0) -> None:
        self.tries = tries
        self.used = 0
        self.interrupted = False
        self._end = monotonic() + seconds

    def spent(self) -> bool:
        """Tell whether it is over."""
        return self.interrupted or self.used >= self.tries or monotonic() > self._end


def shrink(plan: Sequence[Fault], fails: Fails, budget: Budget | None = None) -> list[Fault]:
    """Return a smallest plan found that still fails; `plan` itself must fail.

    Removing any one fault of the result makes the failure go away, unless the
    budget was spent before: by tries, by time, or by Ctrl-C.
    """
    budget = budget or Budget()
    known: dict[str, bool] = {}

    def tried(candidate: Sequence[Fault]) -> bool:
        key = repr(candidate)
        if key not in known:
            if budget.spent():
                return False
            budget.used += 1
            try:
                known[key] = fails(candidate)
            except KeyboardInterrupt:
                # What was found until now is smaller than what one began with.
                budget.interrupted = True
                return False
        return known[key]

    if tried([]):
        return []
    least = _fewer(list(plan), tried)
    for place in range(len(least)):
        least = _simpler(least, place, tried)
    # A simpler fault may have made another one needless.
    return _fewer(least, tried)


def _fewer(plan: list[Fault], fails: Fails) -> list[Fault]:
    parts = 2
    while len(plan) >= 2:
        size = -(-len(plan) // parts)
        pieces = [plan[start : start + size] for start in range(0, len(plan), size)]
        for number, piece in enumerate(pieces):
            rest = [fault for other, each in enumerate(pieces) if other != number for fault in each]
            if len(pieces) > 2 and fails(rest):
                plan, parts = rest, max(2, parts - 1)
                break
            if fails(piece):
                plan, parts = piece, 2
                break
        else:
            if parts >= len(plan):
                break
            parts = min(len(plan), 2 * parts)
    return plan


def _simpler(plan: list[Fault], place: int, fails: Fails) -> list[Fault]:
    progress = True
    while progress:
        progress = False
        for simpler in _simplifications(plan[place]):
            candidate = [*plan[:place], simpler, *plan[place + 1 :]]
            if fails(candidate):
                plan, progress = candidate, True
                break
    return plan


def _simplifications(fault: Fault) -> list[Fault]:
    """Return what is simpler than this: defaults, whole numbers, shorter times, fewer peers."""
    found: list[Fault] = []
    for field in fields(fault):
        value: Any = getattr(fault, field.name)
        if field.default is not MISSING and value != field.default and not isinstance(value, float):
            found.append(replace(fault, **{field.name: field.default}))
        if isinstance(value, float):
            for simpler in (float(round(value)), round(value, 1), round(value / 2, 1)):
                shorter = field.name not in ("at",) or simpler == round(value) or simpler == round(value, 1)
                if simpler != value and shorter and (simpler > 0 or value < 0):
                    found.append(replace(fault, **{field.name: simpler}))
        if isinstance(value, tuple) and len(value) > 1:
            for number in range(len(value)):
                fewer: Any = value[:number] + value[number + 1 :]
                found.append(replace(fault, **{field.name: fewer}))
    return found
