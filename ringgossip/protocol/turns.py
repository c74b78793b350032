"""Whose turn is it, and which of the chunks it asked for does it get?

1. Whoever was given least for its weight and its priority words: twice the
   share, twice the bytes. Who is less than one chunk ahead counts as level with
   the last, so shares are kept to within a chunk.
2. Of those, whoever can be given the chunk that left us least often: it spreads
   from many peers sooner, and nobody is left with what all the others have.
3. Of those, anybody. If all peers went through the others in one order, the
   first would get the same chunk from several at once, and the last none.

Sources: start-time fair queueing (Goyal, Vin, Cheng 1996) for 1; for 2, that rarest first comes within
two rounds of the least time of Mundinger, Weber, Weiss 2008 and random choice does not.
"""

from collections.abc import Callable, Sequence

from ringgossip.identity import PeerId
from ringgossip.protocol.askers import Asker, Wanted
from ringgossip.protocol.core import Draw

_LOOK_AHEAD = 32  # places of a queue that are compared: this runs for every chunk

_Place = tuple[Asker, int]  # and from where on in its queue


class Turns:
    """The order in which askers are served."""

    def __init__(self, weight_of: Callable[[PeerId], float], rng: Draw) -> None:
        self._weight_of = weight_of
        self._rng = rng
        self._sent: dict[bytes, bytearray] = {}  # root -> how often each chunk was sent, at most 255

    def take(self, candidates: Sequence[_Place]) -> tuple[Asker, Wanted]:
        """Return who is next and what it gets, which leaves its queue."""
        level = self._level(candidates)
        start = self._rng.getrandbits(16) * len(level) >> 16 if len(level) > 1 else 0
        asker, place = level[start]
        fewest = 256
        for one, first in (*level[start:], *level[:start]):
            times, rarest = self._rarest(one, first)
            if times < fewest:
                fewest, asker, place = times, one, rarest
            if not times:
                break
        return asker, asker.queue.pop(place)

    def _level(self, candidates: Sequence[_Place]) -> Sequence[_Place]:
        """Return those who were given least, give or take less than a chunk."""
        if len(candidates) == 1:
            return candidates
        least = min(asker.given for asker, _ in candidates)
        return [
            (asker, place)
            for asker, place in candidates
            if asker.given == least or asker.given - self._cost(asker, asker.queue[place]) < least
        ]

    def _cost(self, asker: Asker, wanted: Wanted) -> float:
        return wanted.length / (wanted.share * self._weight_of(asker.peer))

    def _rarest(self, asker: Asker, start: int) -> tuple[int, int]:
        """Return how often the chunk was sent that should leave next, and its place.

        Looks at what is of the same content and as urgent as the place `start`.
        """
        first = asker.queue[start]
        sent = self._sent.get(first.root)
        if sent is None:
            return 0, start
        fewest, best = sent[first.index], start
        for place in range(start + 1, min(start + _LOOK_AHEAD, len(asker.queue))):
            if not fewest:
                break
            wanted = asker.queue[place]
            if wanted.root == first.root and wanted.order == first.order and sent[wanted.index] < fewest:
                fewest, best = sent[wanted.index], place
        return fewest, best

    def given(self, asker: Asker, wanted: Wanted, chunks: int | None, now: float) -> None:
        """Note that this was given. `chunks`: how many its content has, if several pull it."""
        if wanted.rank:
            asker.overtaken_at = now
        asker.given += self._cost(asker, wanted)
        if chunks is not None:
            sent = self._sent.get(wanted.root)
            if sent is None:
                sent = self._sent[wanted.root] = bytearray(chunks)
            sent[wanted.index] = min(255, sent[wanted.index] + 1)

    def forget(self, root: bytes) -> None:
        """Nobody pulls this content any more."""
        self._sent.pop(root, None)
