"""Which limit holds for this peer, how is a limit divided, and what may still leave today?

A peer's limit is its own value, else that of the first glob that its name
matches in the order of the file, else its provider's, else the one for
everybody. Budgets are plain accounting: the day comes in as a number.

Source: field notes, section 1 (bandwidth, priority words); reference,
"Bandwidth Allocation".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import fsum

from ringgossip.config.blocks import Budget
from ringgossip.config.limits import Limit, peer_limit
from ringgossip.strategy.weights import share_of

__all__ = ["SPENT", "Limit", "Spent", "divide", "left", "peer_limit", "spend", "spent_until", "turn_page"]


SPENT = "byte budget spent until"


def divide(rate: float, priorities: Sequence[str]) -> list[float]:
    """Return what each of several requests gets of `rate`, by the shares of their priority words."""
    shares = [share_of(priority) for priority in priorities]
    whole = fsum(shares)
    return [rate * share / whole for share in shares]


# --- budgets ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spent:
    """What has left so far; `day` counts days since 1970-01-01 UTC. Kept on disk between runs."""

    day: int = 0
    today: int = 0
    this_month: int = 0


def turn_page(spent: Spent, day: int) -> Spent:
    """Return the account as it stands on `day`: a new day starts at 0, so does a new month.

    A clock that goes back gives nothing back: the account stays on its day.
    """
    if day <= spent.day:
        return spent
    return Spent(day, 0, spent.this_month if _month(day) == _month(spent.day) else 0)


def spend(spent: Spent, amount: int, day: int) -> Spent:
    """Return the account after `amount` bytes left on `day`."""
    now = turn_page(spent, day)
    return Spent(now.day, now.today + amount, now.this_month + amount)


def left(budget: Budget, spent: Spent, day: int) -> int | None:
    """Return how many bytes may still leave on `day`, 0 or more; None: as many as you like."""
    now = turn_page(spent, day)
    limits = (
        (budget.send_bytes_per_day, now.today),
        (budget.send_bytes_per_month, now.this_month),
    )
    rests = [max(0, limit - used) for limit, used in limits if limit is not None]
    return min(rests) if rests else None


def spent_until(budget: Budget, spent: Spent, day: int) -> str:
    """Say until when nothing more may leave; empty while something may."""
    if left(budget, spent, day) != 0:
        return ""
    now = turn_page(spent, day)
    month = budget.send_bytes_per_month
    nights = 1
    if month is not None and now.this_month >= month:
        while _month(now.day + nights) == _month(now.day) and nights < 31:
            nights += 1
    return f"{SPENT} {_date(now.day + nights)} 00:00 UTC"


def _date(day: int) -> date:
    # A stored or wild day number beyond the calendar must not stop the peer.
    return date.fromordinal(min(max(1, day + date(1970, 1, 1).toordinal()), date.max.toordinal()))


def _month(day: int) -> tuple[int, int]:
    at = _date(day)
    return at.year, at.month
