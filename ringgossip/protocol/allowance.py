"""How much may one member have us look up? As much as honest members need, and then a little each second.

One member's walks cost its partner far more than they cost itself: a kilobyte
of hashes can be answered with a megabyte. Whoever asks for more than its share
is answered with nothing until half of its share has grown again; nobody else
notices. Sooner it would get the beginnings of walks, each too short to find
anything: two that differ much would never agree.
"""

from ringgossip.identity import PeerId
from ringgossip.protocol.pacing import TokenBucket

_MOST_KEPT = 1024  # members that asked not long ago


class Allowance:
    """A share of our time for each member, in units of about 10 us: one hash or one entry looked at."""

    def __init__(self, each_second: float, at_once: float) -> None:
        self._rate = each_second
        self._most = at_once
        self._buckets: dict[PeerId, TokenBucket] = {}
        self._spent: dict[PeerId, None] = {}  # who waits until half of its share is there

    def has(self, member: PeerId, now: float) -> bool:
        """Tell whether something may be done for this member now."""
        bucket = self._buckets.get(member)
        if bucket is None:
            return True
        if member in self._spent:
            if bucket.level(now) < self._most / 2:
                return False
            del self._spent[member]
        if not bucket.may_take(now):
            self._spent[member] = None
            return False
        return True

    def spend(self, member: PeerId, units: float, now: float) -> None:
        """Account for what was done; the last of it may be a debt."""
        bucket = self._buckets.get(member)
        if bucket is None:
            self._make_room(now)
            bucket = TokenBucket(self._rate, now, self._most / self._rate)
            bucket.refund(self._most)
            self._buckets[member] = bucket
        bucket.take(units, now)

    def _make_room(self, now: float) -> None:
        if len(self._buckets) < _MOST_KEPT:
            return
        # A full share is what everybody begins with.
        for member, bucket in list(self._buckets.items()):
            if bucket.level(now) >= self._most:
                self._forget(member)
        if len(self._buckets) >= _MOST_KEPT:
            self._forget(next(iter(self._buckets)))

    def _forget(self, member: PeerId) -> None:
        del self._buckets[member]
        self._spent.pop(member, None)
