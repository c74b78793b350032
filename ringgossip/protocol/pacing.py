"""How fast? Token buckets that are told the time.

A bucket may go into debt: a chunk is granted whole once the level is positive,
and the debt is paid back before the next. Over any stretch of time no more than
`rate * seconds + burst + one chunk` passes.
"""

from ringgossip.protocol.core import NEVER

# Clocks are floats: a wake-up at exactly the computed instant may find a hair less than nothing.
_SLACK = 1e-6  # seconds
# What a busy machine may wake too late without losing rate; 2.5 % of what passes in 10 s.
LATE = 0.25  # seconds


class TokenBucket:
    """A limit in bytes a second; a rate of `None` is no limit."""

    __slots__ = ("_burst", "_level", "_rate", "_updated")

    def __init__(self, rate: float | None, now: float, burst_seconds: float = 0.1) -> None:
        self._updated = now
        self._rate: float | None = None
        self._burst = 0.0
        self._level = 0.0
        self.set_rate(rate, now, burst_seconds)

    @property
    def rate(self) -> float | None:
        """Bytes a second, or None."""
        return self._rate

    def set_rate(self, rate: float | None, now: float, burst_seconds: float = 0.1) -> None:
        """Change the limit; a debt stays a debt. A rate of 0 lets nothing pass."""
        self._refill(now)
        self._rate = rate
        self._burst = 0.0 if rate is None else rate * burst_seconds
        self._level = min(self._level, self._burst)

    def _refill(self, now: float) -> None:
        if self._rate is not None and now > self._updated:
            self._level = min(self._burst, self._level + (now - self._updated) * self._rate)
        self._updated = max(now, self._updated)

    def may_take(self, now: float) -> bool:
        """Tell whether something may pass now, however large."""
        if self._rate is None:
            return True
        self._refill(now)
        return self._level >= 0.0 and self._rate > 0.0

    def level(self, now: float) -> float:
        """Return how many bytes may pass without a debt; `NEVER`, which is endless, without a limit."""
        if self._rate is None:
            return NEVER
        self._refill(now)
        return max(0.0, self._level)

    def take(self, amount: float, now: float) -> None:
        """Account for bytes that pass."""
        if self._rate is not None:
            self._refill(now)
            self._level -= amount

    def refund(self, amount: float) -> None:
        """Take back what was accounted for and did not pass."""
        if self._rate is not None:
            self._level = min(self._burst, self._level + amount)

    def ready_at(self, now: float) -> float:
        """Return when `may_take` becomes true; `now` if it is."""
        if self.may_take(now):
            return now
        if not self._rate:
            return NEVER
        return now - self._level / self._rate + _SLACK
