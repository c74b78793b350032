"""How many bytes may still leave today? For nodes that pay for what they send.

The day comes from the world, as a number. What has left is written down every
few MiB: a crash forgets at most so much.
"""

from dataclasses import replace

from ringgossip.config.blocks import Budget
from ringgossip.events import BudgetSpent
from ringgossip.protocol.core import Effect, Notice, PersistSpent, Tell
from ringgossip.strategy.bandwidth import Spent, left, spend, turn_page

_WRITE_EVERY = 16 * 2**20


class Account:
    """The budget of this node and what has left of it."""

    def __init__(self, budget: Budget, spent: Spent) -> None:
        self.budget = budget
        self._spent = spent
        self._day = spent.day
        self._unwritten = 0
        self._told = False

    @property
    def spent(self) -> Spent:
        """What has left, as of the last day we know."""
        return turn_page(self._spent, self._day)

    def left(self) -> int | None:
        """Return how many bytes may leave; None: as many as you like."""
        return left(self.budget, self._spent, self._day)

    def day_changed(self, day: int) -> list[Effect | Notice]:
        """The world says which day it is."""
        if self._day - 1 <= day <= self._day:
            return []
        if day < self._day:
            # It was told a far day once, by a clock that is right now: what has left counts on, but
            # the next day must not be that one.
            self._spent = replace(self._spent, day=day)
        else:
            self._spent = turn_page(self._spent, day)
            self._told = False
        self._day = day
        return [PersistSpent(self._spent)] if self._limited else []

    @property
    def _limited(self) -> bool:
        return self.left() is not None

    def take(self, amount: int) -> list[Effect | Notice]:
        """So many bytes leave."""
        if not self._limited:
            return []
        self._spent = spend(self._spent, amount, self._day)
        self._unwritten += amount
        out: list[Effect | Notice] = []
        over = self.left() == 0
        if over and not self._told:
            self._told = True
            budget, spent = self.budget, self._spent
            month = budget.send_bytes_per_month
            if month is not None and spent.this_month >= month:
                out.append(Tell(BudgetSpent("month", spent.this_month)))
            else:
                out.append(Tell(BudgetSpent("day", spent.today)))
        if over or self._unwritten >= _WRITE_EVERY:
            self._unwritten = 0
            out.append(PersistSpent(self._spent))
        return out

    def close(self) -> list[Effect | Notice]:
        """We are about to stop."""
        unwritten, self._unwritten = self._unwritten, 0
        return [PersistSpent(self._spent)] if unwritten else []
