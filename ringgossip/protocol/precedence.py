"""May a chunk of games leave now, or does a checkpoint need the uplink?

Checkpoints (rank 0) go first, and not only in a queue: what shares an uplink
with a chunk makes it late. So of bulk one large chunk or two small ones are
under way (or what leaves in 20 ms; more only where trying shows that this does
not fill the uplink), and none is granted while a checkpoint is under way. What
finds the uplink taken is late by at most that: one chunk of its own size, which
is 1 MiB. A receiver that takes far longer than the uplink needs keeps nobody
out: see `width`.

So that nobody starves, whoever was overtaken for `starving` seconds goes ahead
of checkpoints once: at most every `mercy` seconds, and after eight times as
many bytes of them, so that the mercy is a ninth of the uplink at most.
"""

from ringgossip.identity import PeerId
from ringgossip.protocol.askers import Asker
from ringgossip.protocol.core import NEVER
from ringgossip.protocol.width import Width

_Key = tuple[PeerId, int, int]  # peer, request, chunk

_HEAVY = 2**19  # bytes from which on a single chunk of bulk may be under way
_SHARE = 8  # times as much must leave of what goes first


class Precedence:
    """How many chunks may be under way, of checkpoints and of bulk."""

    def __init__(self, width: int, seconds: float, starving: float, mercy: float, now: float) -> None:
        self._first = Width(width, seconds)
        self._bulk = Width(2, seconds, heavy=_HEAVY)
        self._starving = starving
        self._mercy = mercy
        self._mercy_at = now
        self._given_first = 0  # bytes since the last mercy
        self._ranks: dict[_Key, int] = {}
        self.again_at = NEVER  # when `choose`, which found nobody, may find somebody although nothing ended

    def choose(self, ready: list[Asker], now: float) -> list[tuple[Asker, int]]:
        """Return who may be next, each with the first place in its queue that may be given."""
        self.again_at = NEVER
        first = [asker for asker in ready if not asker.queue[0].rank]
        if first:
            if self._first.allows(now):
                return [(asker, 0) for asker in first]
            self._first.held_back()
            self.again_at = self._first.next_at(now)
        places = [(asker, place) for asker in ready if (place := _bulk_place(asker)) is not None]
        if not places:
            return []
        speed = max(self._first.best_rate, self._bulk.best_rate)
        if not first and not self._first.is_moving(speed, now):
            if self._bulk.allows(now):
                return places
            self._bulk.held_back()
            self.again_at = self._bulk.next_at(now)
            return []
        self.again_at = min(self.again_at, self._first.next_at(now))
        return self._overtaken(places, now)

    def _overtaken(self, places: list[tuple[Asker, int]], now: float) -> list[tuple[Asker, int]]:
        if now < self._mercy_at:
            return []
        asker, place = min(places, key=lambda entry: _waits_since(*entry))
        since, length = _waits_since(asker, place), asker.queue[place].length
        if now < since + self._starving or self._given_first < _SHARE * length:
            return []
        self._mercy_at = now + self._mercy
        self._given_first = 0
        return [(asker, place)]

    def allows(self, rank: int, now: float) -> bool:
        """Tell whether one more chunk of this rank may be under way, whatever else waits."""
        width = self._width(rank)
        if width.allows(now):
            return True
        width.held_back()
        self.again_at = width.next_at(now)
        return False

    def granted(self, key: _Key, rank: int, length: int, now: float) -> None:
        """A chunk goes out."""
        self._ranks[key] = rank
        self._width(rank).granted(key, length, now)
        if not rank:
            self._given_first += length

    def settled(self, key: _Key) -> int:
        """A chunk has left, or will not; return its rank."""
        rank = self._ranks.pop(key, 0)
        self._width(rank).settled(key)
        return rank

    def sent(self, rank: int, length: int, now: float) -> None:
        """So much of this rank has left."""
        self._width(rank).sent(length, now)

    def _width(self, rank: int) -> Width:
        return self._bulk if rank else self._first


def _bulk_place(asker: Asker) -> int | None:
    if asker.queue[-1].rank == 0:  # the order of a queue is that of ranks
        return None
    return next(place for place, wanted in enumerate(asker.queue) if wanted.rank)


def _waits_since(asker: Asker, place: int) -> float:
    return max(asker.queue[place].asked_at, asker.overtaken_at)
