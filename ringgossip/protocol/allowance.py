"""How much may one member have us look up? As much as honest members need, and then a little each second.

One member's walks cost its partner far more than they cost itself: a kilobyte
of hashes can be answered with a megabyte. Whoever asks for more than its share
is answered with little until its share has grown again; nobody else notices.
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

    def has(self, member: PeerId, now: float) -> bool:
        """Tell whether something may be done for this member now."""
        bucket = self._buckets.get(member)
        return bucket is None or bucket.may_take(now)

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
                del self._buckets[member]
        if len(self._buckets) >= _MOST_KEPT:
            del self._buckets[next(iter(self._buckets))]
