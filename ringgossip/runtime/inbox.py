"""What becomes of a body that arrives? It lies in a pooled buffer until a worker has proven and stored it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from ringgossip.identity import PeerId
from ringgossip.protocol.core import AcceptBody, DiscardBody, Effect
from ringgossip.runtime.board import Board
from ringgossip.runtime.buffers import BufferPool
from ringgossip.runtime.workers import Workers


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

    @property
    def data(self) -> memoryview:
        """Where its bytes belong."""
        return self.buffer[: self.accepted.length]


class Inbox:
    """Bodies from all links: asks the core, lends buffers, hands whole bodies to workers."""

    def __init__(self, board: Board, writer: ChunkWriter, workers: Workers, pool: BufferPool) -> None:
        self._board = board
        self._writer = writer
        self._workers = workers
        self._pool = pool

    async def begin(self, peer: PeerId, request: int, index: int, length: int) -> Arriving | None:
        """Ask the core about a body that begins to arrive; None: read it away.

        Waits for a free buffer, so that a peer that sends faster than our disk
        writes is slowed down by TCP.
        """
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
        if accepted is None:
            return None
        return Arriving(accepted, await self._pool.take(length))

    def rest(self) -> None:
        """Called now and then: an idle peer is small."""
        self._pool.rest()

    def abandon(self, arriving: Arriving) -> None:
        """The rest of a body will not come."""
        self._pool.give(arriving.buffer)

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
            self._pool.give(arriving.buffer)
            core, now = self._board.core, trio.current_time()
            if good:
                effects = core.chunk_stored(body.peer, body.request, body.root, body.index, body.length, now)
            else:
                reason = "its bytes do not have the hash they should"
                effects = core.chunk_bad(body.peer, body.request, body.root, body.index, reason, now)
            self._board.perform(effects)

        def failed(error: Exception) -> None:
            self._pool.give(arriving.buffer)
            if isinstance(error, _Spoiled):
                spoiled()
                return
            reason = str(error) or type(error).__name__
            now = trio.current_time()
            self._board.perform(
                self._board.core.chunk_unstored(body.peer, body.request, body.root, body.index, reason, now)
            )

        self._workers.submit(prove, proven, failed)
