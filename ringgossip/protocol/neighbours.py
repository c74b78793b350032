"""To whom do we keep a link although nothing has to be moved right now?

News of holdings, progress and roots travels on links, so a small cluster is
fully meshed and a large one is a random graph of bounded degree, the same at
both ends: a pair keeps a link if its hash is among the smallest of either.
"""

from collections.abc import Callable, Sequence

from ringgossip.content.hashing import hash_bytes
from ringgossip.identity import PeerId
from ringgossip.protocol.core import Draw, Effect, NeedLink, Notice

FULL_MESH = 64  # members; 63 idle TLS connections cost about 3 MB and 4 messages a second
DEGREE = 12  # links each member of a larger cluster asks for; a random 12-regular graph does not fall apart


class Neighbours:
    """The machine that asks for links to keep."""

    def __init__(
        self,
        me: PeerId,
        rng: Draw,
        alive: Callable[[], Sequence[PeerId]],
        linked: Callable[[PeerId], bool],
        now: float,
        interval: float = 5.0,
    ) -> None:
        self._me = me
        self._rng = rng
        self._alive = alive
        self._linked = linked
        self._interval = interval
        self._next = now + interval * rng.random()

    def chosen(self) -> list[PeerId]:
        """Return the members to which a link is kept from our side."""
        alive = [peer for peer in self._alive() if peer != self._me]
        if len(alive) < FULL_MESH:
            return alive
        return sorted(alive, key=self._closeness)[:DEGREE]

    def _closeness(self, peer: PeerId) -> bytes:
        return hash_bytes(min(self._me, peer) + max(self._me, peer))

    def member_up(self, peer: PeerId, now: float) -> None:
        """Somebody came: link soon, but not everybody in the same instant."""
        self._next = min(self._next, now + 0.2 + 0.8 * self._rng.random())

    def wake(self, now: float) -> list[Effect | Notice]:
        """Ask for the links that are missing."""
        if now < self._next:
            return []
        self._next = now + self._interval * (0.75 + 0.5 * self._rng.random())
        # Of two that lack a link to each other the smaller dials; the other only if nothing came of it,
        # which is when its own turn comes with the link still missing.
        return [
            NeedLink(peer)
            for peer in self.chosen()
            if not self._linked(peer) and (self._me < peer or self._rng.random() < 0.5)
        ]

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        return self._next
