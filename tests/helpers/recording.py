"""A core that writes down what the world tells it, and a node of sockets, threads and buffers around it."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ringgossip.content.hashing import hash_bytes
from ringgossip.events import Event
from ringgossip.identity import Address, PeerId
from ringgossip.identity.credentials import Credentials
from ringgossip.protocol.core import (
    LINK,
    AcceptBody,
    CloseLink,
    Dial,
    DiscardBody,
    Effect,
    LinkId,
    Send,
    SendChunk,
    Tell,
)
from ringgossip.runtime.buffers import BufferPool
from ringgossip.runtime.datagrams import Datagrams
from ringgossip.runtime.inbox import Inbox
from ringgossip.runtime.links import Links
from ringgossip.runtime.ports import open_ports
from ringgossip.runtime.resolving import Resolver
from ringgossip.runtime.workers import Mailbox, Workers
from ringgossip.wire.messages import Hello, Message
from ringgossip.wire.seal import Opener, Sealer

HELLO = Hello(1, 1, b"nonce---", b"card")


@dataclass
class RecordingCore:
    """Greets whoever is linked, accepts the bodies it was told of, and remembers every input."""

    inputs: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=10_000))
    wanted: dict[tuple[int, int], bytes] = field(default_factory=dict)  # (request, index) -> hash
    on_input: Callable[[tuple[Any, ...]], list[Effect]] = field(default=lambda told: [])

    def _note(self, *told: Any) -> list[Effect]:
        self.inputs.append(told)
        return self.on_input(told)

    def link_opened(
        self, link: LinkId, peer: PeerId, certificate: Any, address: Address, dialled: bool, now: float
    ) -> list[Effect]:
        return [Send(peer, HELLO, LINK), *self._note("link_opened", link, peer, certificate.name, dialled)]

    def dial_failed(self, address: Address, peer: PeerId | None, reason: str, now: float) -> list[Effect]:
        return self._note("dial_failed", address, reason)

    def may_open_lane(self, peer: PeerId, now: float) -> bool:
        return True

    def lane_opened(self, peer: PeerId, now: float) -> list[Effect]:
        return self._note("lane_opened", peer)

    def lane_failed(self, peer: PeerId, reason: str, now: float) -> list[Effect]:
        return self._note("lane_failed", peer, reason)

    def link_broken(self, link: LinkId, reason: str, now: float) -> list[Effect]:
        return self._note("link_broken", link, reason)

    def packet_refused(self, address: str, reason: str, now: float) -> list[Effect]:
        return self._note("packet_refused", reason)

    def keys_refused(self, address: str, name: str, reason: str, now: float) -> list[Effect]:
        return self._note("keys_refused", name, reason)

    def misbehaved(self, sender: PeerId, reason: str, now: float) -> list[Effect]:
        return self._note("misbehaved", sender, reason)

    def receive(self, message: Message, sender: PeerId, source: Address | LinkId, now: float) -> list[Effect]:
        return self._note("receive", message, sender, source)

    def body_arrives(self, peer: PeerId, request: int, index: int, length: int, now: float) -> list[Effect]:
        hash_ = self.wanted.get((request, index))
        if hash_ is None:
            return [DiscardBody(peer, request, index, length), *self._note("discarded", request, index)]
        return [AcceptBody(peer, request, b"r" * 32, index, length, hash_)]

    def chunk_sent(self, peer: PeerId, request: int, index: int, length: int, now: float) -> list[Effect]:
        return self._note("chunk_sent", request, index, length)

    def chunk_unreadable(
        self, peer: PeerId, request: int, root: bytes, index: int, now: float
    ) -> list[Effect]:
        return self._note("chunk_unreadable", request, index)

    def chunk_stored(
        self, peer: PeerId, request: int, root: bytes, index: int, length: int, now: float
    ) -> list[Effect]:
        return self._note("chunk_stored", request, index, length)

    def chunk_bad(
        self, peer: PeerId, request: int, root: bytes, index: int, reason: str, now: float
    ) -> list[Effect]:
        return self._note("chunk_bad", request, index)

    def chunk_unstored(
        self, peer: PeerId, request: int, root: bytes, index: int, reason: str, now: float
    ) -> list[Effect]:
        return self._note("chunk_unstored", request, index, reason)

    # --- what tests ask -----------------------------------------------------------

    def told(self, name: str) -> list[tuple[Any, ...]]:
        return [told[1:] for told in self.inputs if told[0] == name]

    async def until(self, name: str, count: int = 1, seconds: float = 5.0) -> list[tuple[Any, ...]]:
        """Wait for the world to have told `count` inputs of a name."""
        with trio.fail_after(seconds):
            while len(self.told(name)) < count:
                await trio.sleep(0.002)
        return self.told(name)


class MemoryChunks:
    """Chunks in memory instead of a store."""

    def __init__(self) -> None:
        self.chunks: dict[int, bytes] = {}
        self.written: dict[int, bytes] = {}
        self.hashes: dict[int, bytes] = {}  # what a manifest would say
        self.full = False

    def read_chunk(self, root: bytes, index: int, into: memoryview) -> memoryview:
        if index not in self.chunks:
            raise OSError(f"chunk {index} is not here")
        into[: len(self.chunks[index])] = self.chunks[index]
        return into[: len(self.chunks[index])]

    def verify_and_write(self, root: bytes, index: int, data: memoryview, hash_: bytes | None) -> bool:
        if self.full:
            raise OSError("the disk is full")
        if hash_bytes(data) != (hash_ or self.hashes[index]):
            return False
        self.written[index] = bytes(data)
        return True


class Node:
    """One side of a conversation: a recording core on real sockets."""

    def __init__(self, credentials: Path, nursery: trio.Nursery, listen: Address) -> None:
        self.credentials = Credentials.load(credentials)
        self.core = RecordingCore()
        self.counters: dict[str, int] = {}
        self.events: list[Event] = []
        self.chunks = MemoryChunks()
        self.mailbox = Mailbox()
        self.workers = Workers("test", 2, self.mailbox)
        self.resolver = Resolver(self.workers)
        self.ports = open_ports(listen)
        self.receiving, self.sending = BufferPool(8 << 20), BufferPool(8 << 20)
        inbox = Inbox(self, self.chunks, self.workers, self.receiving, self.receiving)
        self.links = Links(
            self.credentials, self, self.resolver, inbox, self.chunks, self.workers, self.sending, nursery
        )
        keys, cluster = self.credentials.gossip_keys, self.credentials.cluster
        self.datagrams = Datagrams(
            self.ports.udp,
            Sealer(cluster, keys, self.credentials.peer_id, b"boot" * 2),
            Opener(cluster, keys),
            self.resolver,
            self,
        )

    @property
    def peer_id(self) -> PeerId:
        return self.credentials.peer_id

    @property
    def address(self) -> Address:
        return self.ports.address

    def count(self, name: str, amount: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + amount

    def perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Dial():
                    self.links.dial(effect)
                case Send(to=Address() as address):
                    self.datagrams.send(effect.message, address)
                case Send(to=peer):
                    assert not isinstance(peer, Address)
                    self.links.send(effect.message, peer)
                    self.links.flush()
                case SendChunk():
                    self.links.send_chunk(effect)
                case Tell():
                    self.events.append(effect.event)
                case CloseLink():
                    self.links.close(effect.link, effect.reason)
                case _:
                    raise AssertionError(effect)

    def give(self, to: "Node", request: int, index: int, data: bytes) -> SendChunk:
        """Prepare both sides for one chunk; the effect that sends it."""
        self.chunks.chunks[index] = data
        to.core.wanted[request, index] = hash_bytes(data)
        return SendChunk(to.peer_id, request, b"r" * 32, index, len(data))

    async def link(self, to: "Node") -> None:
        """Dial and wait until both sides know."""
        self.perform([Dial(to.address, to.peer_id)])
        await self.core.until("link_opened")
        await to.core.until("link_opened")


@asynccontextmanager
async def open_node(credentials: Path, listen: Address = Address("127.0.0.1", 0)) -> AsyncIterator[Node]:  # noqa: B008
    async with trio.open_nursery() as nursery:
        node = Node(credentials, nursery, listen)
        nursery.start_soon(node.mailbox.run, lambda deliver: deliver())
        nursery.start_soon(node.links.listen, node.ports.tcp)
        nursery.start_soon(node.links.watch)
        nursery.start_soon(node.datagrams.run)
        try:
            yield node
        finally:
            nursery.cancel_scope.cancel()
    node.workers.close()
    node.ports.close()
