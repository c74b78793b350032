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

_ENOUGH = 1.25  # times as much must leave, or twice as many were not worth it
_REST = 8.0  # seconds until the next try; doubles while tries bring nothing
_LONGEST_REST = 240.0
_STALE = 4.0  # times as long as a chunk takes when all places are taken
_STALE_FIRST = 1.0  # seconds, while nothing was measured
_STALE_LEAST = 0.1
_SAMPLE = 0.05  # seconds; what is measured in less is the scheduler


class Width:
    """How many chunks may be under way to all peers together."""

    def __init__(self, least: int, seconds: float) -> None:
        """`least` chunks are always allowed, and always what leaves in so many `seconds`."""
        self._least = least
        self._seconds = seconds
        self.places = least
        self.rate = 0.0  # bytes a second, of all together
        self._under_way: dict[_Key, tuple[float, int]] = {}
        self._bytes = 0
        self._before = 0.0  # the rate with half as many places, while we try
        self._trying = False
        self._rest = _REST
        self._try_at = 0.0
        self._skip = 0  # chunks that were granted before the last change
        self._start = 0.0
        self._count = self._amount = 0
        self._was_held = False
        self._stale_at = NEVER

    def allows(self, now: float) -> bool:
        """Tell whether one more chunk may be granted."""
        under_way = self._under_way
        if len(under_way) < self.places or self._bytes < self.rate * self._seconds:
            return True
        patience = self._patience()
        fresh, oldest = 0, NEVER
        for granted_at, _ in under_way.values():
            if now < granted_at + patience:
                fresh += 1
                oldest = min(oldest, granted_at)
        self._stale_at = oldest + patience
        return fresh < self.places

    def _patience(self) -> float:
        if not self.rate:
            return _STALE_FIRST
        largest = max((length for _, length in self._under_way.values()), default=0)
        return max(_STALE_LEAST, _STALE * self.places * largest / self.rate)

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
        before = self._under_way.get(key, (0.0, 0))[1]
        self._under_way[key] = (now, before + length)
        self._bytes += length

    def settled(self, key: _Key) -> None:
        """A chunk has left, or will not."""
        self._bytes -= self._under_way.pop(key, (0.0, 0))[1]

    def sent(self, length: int, now: float) -> None:
        """So much has left: measure, and perhaps try more or fewer places."""
        if self._skip:
            self._skip -= 1
            self._start, self._count, self._amount = now, 0, 0
            return
        self._count += 1
        self._amount += length
        seconds = now - self._start
        if seconds < _SAMPLE or self._count < 2 * self.places:
            return
        self.rate = self._amount / seconds
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
