"""What do sockets and disks need of whoever holds the core? A few calls, named for both sides."""

from collections.abc import Sequence
from typing import Protocol

from ringgossip.identity import Address, PeerId
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.protocol.core import Effect, LinkId
from ringgossip.wire.messages import Message


class LinkInputs(Protocol):
    """The inputs of `PeerCore` that links and datagrams feed."""

    def link_opened(
        self,
        link: LinkId,
        peer: PeerId,
        certificate: NodeCertificate,
        address: Address,
        dialled: bool,
        now: float,
    ) -> list[Effect]: ...

    def dial_failed(self, address: Address, peer: PeerId | None, reason: str, now: float) -> list[Effect]: ...

    def may_open_lane(self, peer: PeerId, now: float) -> bool: ...

    def lane_opened(self, peer: PeerId, now: float) -> list[Effect]: ...

    def lane_failed(self, peer: PeerId, reason: str, now: float) -> list[Effect]: ...

    def link_broken(self, link: LinkId, reason: str, now: float) -> list[Effect]: ...

    def packet_refused(self, address: str, reason: str, now: float) -> list[Effect]: ...

    def keys_refused(self, address: str, name: str, reason: str, now: float) -> list[Effect]: ...

    def misbehaved(self, sender: PeerId, reason: str, now: float) -> list[Effect]: ...

    def receive(
        self, message: Message, sender: PeerId, source: Address | LinkId, now: float
    ) -> list[Effect]: ...

    def body_arrives(
        self, peer: PeerId, request: int, index: int, length: int, now: float
    ) -> list[Effect]: ...

    def chunk_sent(self, peer: PeerId, request: int, index: int, length: int, now: float) -> list[Effect]: ...

    def chunk_unreadable(
        self, peer: PeerId, request: int, root: bytes, index: int, now: float
    ) -> list[Effect]: ...

    def chunk_stored(
        self, peer: PeerId, request: int, root: bytes, index: int, length: int, now: float
    ) -> list[Effect]: ...

    def chunk_bad(
        self, peer: PeerId, request: int, root: bytes, index: int, reason: str, now: float
    ) -> list[Effect]: ...

    def chunk_unstored(
        self, peer: PeerId, request: int, root: bytes, index: int, reason: str, now: float
    ) -> list[Effect]: ...


class Board(Protocol):
    """Whoever holds the core, feeds it and performs what it asks for."""

    @property
    def core(self) -> LinkInputs: ...

    def perform(self, effects: Sequence[Effect]) -> None:
        """Perform effects in order and look again when the core must be woken."""
        ...

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter that `status` shows."""
        ...
