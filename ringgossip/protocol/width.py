"""To how many peers do we send at the same time? To as few as fill the uplink.

Chunks that share an uplink arrive late together: with one after the other, the
first can be passed on while the second leaves. But peers may take less than our
uplink gives; then more of them must be served at once. Only trying tells: twice
as many are served for a while, and if hardly more leaves, it was enough before.
A chunk that takes far longer than the others counts no longer, so that one slow
peer does not keep out the rest.
"""

from ringgossip.identity import PeerId
from ringgossip.protocol.core import NEVER

_Key = tuple[PeerId, int, int]  # peer, request, chunk

_ENOUGH = 1.4  # times as much must leave, or twice as many were not worth it
_FIRST = 1.0  # seconds of giving before the first try: what is short needs none
_REST = 8.0  # seconds until the next try; doubles while tries bring nothing
_LONGEST_REST = 240.0
_STALE = 1.5  # times what all that may be under way takes at the best rate that was seen
_STALE_FIRST = 1.0  # seconds, while nothing was measured
_STALE_UNKNOWN = 10.0  # the same where waiting costs others less than haste costs a checkpoint
_STALE_LEAST = 0.1
_FADES = 0.9  # of the best rate is left with each that is worse
_SAMPLE = 0.05  # seconds; what is measured in less is the scheduler


class Width:
    """How many chunks may be under way to all peers together."""

    def __init__(self, least: int, seconds: float, heavy: int | None = None) -> None:
        """`least` chunks are always allowed, and always what leaves in so many `seconds`.

        With `heavy`, a chunk of so many bytes takes two places, and what should have left by the measured
        rate counts no longer: with hardly more than one under way, the next is ready when one has left.
        """
        self._least = least
        self._seconds = seconds
        self._heavy = heavy
        # Few that leave in one instant look like a faster uplink; what is not urgent has time to measure.
        self._enough = 4 if heavy is None else 8  # times as many as there are places
        self.places = least
        self.rate = 0.0  # bytes a second, of all together
        self.best_rate = 0.0  # the best that was seen; it fades
        self._under_way: dict[_Key, tuple[float, int]] = {}
        self._bytes = 0
        self._taken = 0  # places
        self._before = 0.0  # the rate with half as many places, while we try
        self._trying = False
        self._rest = _REST
        self._try_at = NEVER
        self._skip = 0  # chunks that were granted before the last change
        self._start = self._last = 0.0
        self._count = self._amount = 0
        self._was_held = False
        self._stale_at = NEVER

    def allows(self, now: float) -> bool:
        """Tell whether one more chunk may be granted."""
        if self._taken < self.places or self._bytes < self.rate * self._seconds:
            return True
        if self._fresh(self._patience(self.best_rate, _STALE_FIRST), now) < self.places:
            return True
        if self._heavy is not None and self.rate and self._taken == self.places:
            nearly_left = self._last + self._bytes / self.rate - self._seconds
            self._stale_at = min(self._stale_at, nearly_left)
            return now >= nearly_left
        return False

    def is_moving(self, rate: float, now: float) -> bool:
        """Tell whether something is under way that has not taken far longer than `rate`, if known, needs."""
        return self._fresh(self._patience(rate, _STALE_UNKNOWN), now) > 0

    def _fresh(self, patience: float, now: float) -> int:
        fresh, oldest = 0, NEVER
        for granted_at, length in self._under_way.values():
            if now < granted_at + patience:
                fresh += self._places_of(length)
                oldest = min(oldest, granted_at)
        self._stale_at = oldest + patience
        return fresh

    def _places_of(self, length: int) -> int:
        return 1 if self._heavy is None or length < self._heavy else 2

    def _patience(self, rate: float, unknown: float) -> float:
        if not rate:
            return unknown
        largest = max((length for _, length in self._under_way.values()), default=0)
        return max(_STALE_LEAST, _STALE * self.places * largest / rate)

    def next_at(self, now: float) -> float:
        """Return when one more may be granted although nothing ended; `allows` said no just now."""
        return max(self._stale_at, now)

    def held_back(self) -> None:
        """Somebody would have been given more if there were more places."""
        self._was_held = True

    def granted(self, key: _Key, length: int, now: float) -> None:
        """A chunk goes out."""
        if not self._under_way:
            self._start, self._count, self._amount = now, 0, 0  # idle time is not slowness
            self._last = now
            if self._try_at == NEVER:
                self._try_at = now + _FIRST
        before = self._under_way.get(key, (0.0, 0))[1]
        self._under_way[key] = (now, before + length)
        self._bytes += length
        self._taken += self._places_of(before + length) - (self._places_of(before) if before else 0)

    def settled(self, key: _Key) -> None:
        """A chunk has left, or will not."""
        length = self._under_way.pop(key, (0.0, 0))[1]
        self._bytes -= length
        self._taken -= self._places_of(length) if length else 0

    def sent(self, length: int, now: float) -> None:
        """So much has left: measure, and perhaps try more or fewer places."""
        self._last = now
        if self._skip:
            self._skip -= 1
            self._start, self._count, self._amount = now, 0, 0
            return
        self._count += self._places_of(length)
        self._amount += length
        seconds = now - self._start
        if seconds < _SAMPLE or self._count < self._enough * self.places:
            return
        self.rate = self._amount / seconds
        self.best_rate = max(self.rate, _FADES * self.best_rate)
        self._start, self._count, self._amount = now, 0, 0
        held, self._was_held = self._was_held, False
        if self._trying:
            self._judge(now)
        elif held and now >= self._try_at:
            self._try()

    def _try(self) -> None:
        self._before, self._trying = self.rate, True
        self._skip = self.places
        self.places *= 2

    def _judge(self, now: float) -> None:
        self._trying = False
        if self.rate >= _ENOUGH * self._before:
            self._rest = _REST
            self._try()
        else:
            self.places = max(self._least, self.places // 2)
            self._try_at = now + self._rest
            self._rest = min(_LONGEST_REST, 2 * self._rest)
