"""What becomes of a body that arrives? It lies in a pooled buffer until a worker has proven and stored it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from ringgossip.identity import PeerId
from ringgossip.protocol.core import AcceptBody, DiscardBody, Effect
from ringgossip.runtime.board import Board
from ringgossip.runtime.buffers import BufferPool
from ringgossip.runtime.sealed import Head
from ringgossip.runtime.workers import Mailbox, Workers


class ChunkWriter(Protocol):
    """The part of the store that inboxes use; blocks."""

    def verify_and_write(self, root: bytes, index: int, data: memoryview, hash_: bytes) -> bool:
        """Write a chunk to its partial file and return True, or False if it has another hash.

        Raises `StoreError` when the disk is to blame.
        """
        ...


class _Spoiled(Exception):
    """A sealed body was changed on its way."""


@dataclass(frozen=True, slots=True)
class Arriving:
    """A body that is to be received into `buffer`."""

    accepted: AcceptBody
    buffer: memoryview
    pool: BufferPool

    @property
    def data(self) -> memoryview:
        """Where its bytes belong."""
        return self.buffer[: self.accepted.length]


class Inbox:
    """Bodies from all links: asks the core, lends buffers, hands whole bodies to workers."""

    def __init__(
        self, board: Board, writer: ChunkWriter, workers: Workers, pool: BufferPool, fast: BufferPool
    ) -> None:
        """`fast` is for bodies that come whole, and so soon that few buffers do; `pool` for all others."""
        self._board = board
        self._writer = writer
        self._workers = workers
        self._pool = pool
        self._fast = fast

    @property
    def mailbox(self) -> Mailbox:
        """The way back into trio's thread, for the threads of lanes."""
        return self._workers.mailbox

    async def begin(self, peer: PeerId, request: int, index: int, length: int) -> Arriving | None:
        """Ask the core about a body that begins to arrive; None: read it away.

        Waits for a free buffer, so that a peer that sends faster than our disk
        writes is slowed down by TCP.
        """
        accepted = self._ask(peer, request, index, length)
        return None if accepted is None else Arriving(accepted, await self._pool.take(length), self._pool)

    def _ask(self, peer: PeerId, request: int, index: int, length: int) -> AcceptBody | None:
        effects = self._board.core.body_arrives(peer, request, index, length, trio.current_time())
        accepted = None
        others: list[Effect] = []
        for effect in effects:
            if isinstance(effect, AcceptBody):
                accepted = effect
            elif not isinstance(effect, DiscardBody):
                others.append(effect)
        if others:
            self._board.perform(others)
        return accepted

    def borrow(self, length: int, closed: Callable[[], bool]) -> memoryview | None:
        """Lend a buffer for a body of which only its head is here, or None once `closed`; in a lane's thread.

        Waits for a free one, as `begin` does. It comes back through `arrived` or `give_back`.
        """
        return self._fast.take_blocking(length, closed)

    def give_back(self, buffer: memoryview) -> None:
        """A buffer is not needed after all; from any thread."""
        self._fast.give(buffer)

    def arrived(
        self,
        peer: PeerId,
        head: Head,
        buffer: memoryview,
        unseal: Callable[[], bool],
        spoiled: Callable[[], None],
    ) -> None:
        """A sealed body is here, in a borrowed buffer: ask the core now whether anybody wants it."""
        accepted = self._ask(peer, head.request, head.index, head.length)
        if accepted is None:
            self._fast.give(buffer)
        else:
            self.complete(Arriving(accepted, buffer, self._fast), unseal, spoiled)

    def rest(self) -> bool:
        """Called now and then: an idle peer is small. Return whether it is."""
        return self._pool.rest() & self._fast.rest()

    def abandon(self, arriving: Arriving) -> None:
        """The rest of a body will not come."""
        arriving.pool.give(arriving.buffer)

    def complete(
        self,
        arriving: Arriving,
        unseal: Callable[[], bool] | None = None,
        spoiled: Callable[[], None] = lambda: None,
    ) -> None:
        """A body is whole: have it opened in its buffer, proven and written.

        When `unseal` finds it damaged `spoiled` is called, and the core hears nothing:
        somebody on the way changed it, and its sender must not be taken for a liar.
        """
        body, view = arriving.accepted, arriving.data

        def prove() -> bool:
            if unseal is not None and not unseal():
                raise _Spoiled
            return self._writer.verify_and_write(body.root, body.index, view, body.hash)

        def proven(good: bool) -> None:
            arriving.pool.give(arriving.buffer)
            core, now = self._board.core, trio.current_time()
            if good:
                effects = core.chunk_stored(body.peer, body.request, body.root, body.index, body.length, now)
            else:
                reason = "its bytes do not have the hash they should"
                effects = core.chunk_bad(body.peer, body.request, body.root, body.index, reason, now)
            self._board.perform(effects)

        def failed(error: Exception) -> None:
            arriving.pool.give(arriving.buffer)
            if isinstance(error, _Spoiled):
                spoiled()
                return
            reason = str(error) or type(error).__name__
            now = trio.current_time()
            self._board.perform(
                self._board.core.chunk_unstored(body.peer, body.request, body.root, body.index, reason, now)
            )

        self._workers.submit(prove, proven, failed)
