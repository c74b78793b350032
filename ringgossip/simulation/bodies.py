"""How do chunk bodies leave a node's disk, and reach another's?

Reading and writing take the time the disk takes; a body that was asked for and
not begun can be taken back. A received body counts only if its bytes have the
hash that the core named when the first piece came.
"""

from typing import TYPE_CHECKING

from ringgossip.identity import PeerId
from ringgossip.protocol.core import AcceptBody, Effect, SendChunk
from ringgossip.protocol.peer_core import PeerCore
from ringgossip.simulation.links import Body, End

if TYPE_CHECKING:
    from ringgossip.simulation.node import Node

_Key = tuple[PeerId, int, int]  # peer, request, index


class Bodies:
    """The bodies coming to and going from one node."""

    __slots__ = ("_accepted", "_granted", "_node")

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._accepted: dict[_Key, AcceptBody] = {}
        self._granted: dict[_Key, int] = {}  # -> bytes

    def forget_all(self) -> None:
        """The process is gone."""
        self._accepted.clear()
        self._granted.clear()

    def forget(self, peer: PeerId) -> None:
        """A link of this peer is gone, and what was under way on it."""
        for key in [key for key in self._accepted if key[0] == peer]:
            del self._accepted[key]
        for key in [key for key in self._granted if key[0] == peer]:
            del self._granted[key]

    def granted_to(self, peer: PeerId) -> list[int]:
        """Return the lengths of the bodies that were granted to a peer and have not left."""
        return [length for key, length in self._granted.items() if key[0] == peer]

    @property
    def _core(self) -> PeerCore:
        core = self._node.core
        assert core is not None
        return core

    def _seconds(self, base: float, length: int) -> float:
        rate = self._node.disk.times.bytes_per_second
        return base + (length / rate if rate else 0.0)

    # --- coming -------------------------------------------------------------------------

    def accept(self, effect: AcceptBody) -> None:
        """The core wants this body."""
        self._accepted[effect.peer, effect.request, effect.index] = effect

    def begins(self, end: End, peer: PeerId, body: Body, now: float) -> list[Effect]:
        """Its first piece is here."""
        if not self._node.uses(peer, end):
            return []
        return self._core.body_arrives(peer, body.request, body.index, body.length, now)

    def ends(self, end: End, peer: PeerId, body: Body, now: float) -> list[Effect]:
        """Its last piece is here."""
        accepted = self._accepted.pop((peer, body.request, body.index), None)
        if accepted is None or not self._node.uses(peer, end):
            return []
        if body.hash != accepted.hash:
            reason = "it has another hash"
            return self._core.chunk_bad(peer, body.request, accepted.root, body.index, reason, now)
        seconds = self._seconds(self._node.disk.times.write, body.length)
        self._node.later(seconds, self._written, peer, accepted)
        return []

    def _written(self, peer: PeerId, body: AcceptBody, now: float) -> list[Effect]:
        trouble = self._node.disk.write(body.root, body.index)
        if trouble is not None:
            return self._core.chunk_unstored(peer, body.request, body.root, body.index, trouble, now)
        self._node.dirty()
        return self._core.chunk_stored(peer, body.request, body.root, body.index, body.length, now)

    # --- going --------------------------------------------------------------------------

    def read(self, effect: SendChunk) -> None:
        """Read a chunk and send it."""
        self._granted[effect.peer, effect.request, effect.index] = effect.length
        seconds = self._seconds(self._node.disk.times.read, effect.length)
        self._node.later(seconds, self._was_read, effect, self._node.link_to(effect.peer))

    def _was_read(self, effect: SendChunk, end: End | None, now: float) -> list[Effect]:
        node, key = self._node, (effect.peer, effect.request, effect.index)
        if end is None or key not in self._granted or not node.uses(effect.peer, end):
            return []
        hash_ = node.disk.read(effect.root, effect.index)
        damaged = (effect.root, effect.index) in node.disk.damaged
        if hash_ is None or (damaged and node.disk.belongs_to_user(effect.root)):
            del self._granted[key]
            missing = "it cannot be read" if node.disk.unreadable else "it is not there"
            reason = missing if hash_ is None else "the file was changed after it was published"
            effects = self._core.chunk_unreadable(effect.peer, effect.request, effect.root, effect.index, now)
            for record in node.disk.lose_root(effect.root) if damaged else ():
                effects += self._core.copy_lost(record, reason, now)
            return effects
        if node.false_chunks and effect.index % 2 < 2 * node.false_chunks:
            hash_ = bytes(32)
        body = Body(effect.request, effect.root, effect.index, effect.length, hash_)
        node.shared.links.send_body(end, body)
        return []

    def sent(self, peer: PeerId, body: Body, now: float) -> list[Effect]:
        """The last piece of a body has left."""
        key = (peer, body.request, body.index)
        if key not in self._granted:
            return []
        del self._granted[key]
        return self._core.chunk_sent(peer, body.request, body.index, body.length, now)
