"""How many bytes may still leave today? For nodes that pay for what they send.

The day comes from the world, as a number. What has left is written down every
few MiB, of a small budget more often: a crash forgets at most so much.
"""

from dataclasses import replace

from ringgossip.config.blocks import Budget
from ringgossip.events import BudgetSpent
from ringgossip.protocol.core import Effect, Notice, PersistSpent, Tell
from ringgossip.strategy.bandwidth import Spent, left, spend, spent_until, turn_page

_WRITE_EVERY = 16 * 2**20
_PARTS = 64  # of a budget: no crash forgets more than one


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

    def spent_until(self) -> str:
        """Say until when nothing more may leave; empty while something may."""
        return spent_until(self.budget, self._spent, self._day)

    def change(self, budget: Budget) -> list[Effect | Notice]:
        """Another budget holds from now on."""
        if budget == self.budget:
            return []
        self.budget, self._told = budget, False
        return self.tell_if_spent()

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
        out: list[Effect | Notice] = [PersistSpent(self._spent)] if self._limited else []
        return out + self.tell_if_spent()

    @property
    def _smallest(self) -> int:
        budgets = (self.budget.send_bytes_per_day, self.budget.send_bytes_per_month)
        return min(budget for budget in budgets if budget is not None)

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
        out += self.tell_if_spent()
        if over or self._unwritten >= min(_WRITE_EVERY, self._smallest // _PARTS):
            self._unwritten = 0
            out.append(PersistSpent(self._spent))
        return out

    def tell_if_spent(self) -> list[Effect | Notice]:
        """Tell that nothing may leave any more: once, and again when somebody asks after a restart."""
        if self._told or self.left() != 0:
            return []
        self._told = True
        month, spent = self.budget.send_bytes_per_month, self.spent
        if month is not None and spent.this_month >= month:
            return [Tell(BudgetSpent("month", spent.this_month))]
        return [Tell(BudgetSpent("day", spent.today))]

    def close(self) -> list[Effect | Notice]:
        """We are about to stop."""
        unwritten, self._unwritten = self._unwritten, 0
        return [PersistSpent(self._spent)] if unwritten else []
