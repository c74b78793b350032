"""What becomes of a body that arrives? It lies in a pooled buffer until it is proven and stored.

Of what comes on a link the core is asked at the first byte, and workers write it.
What comes on a lane is proven and written by the lane's own thread, if it has a
number under which we asked; only then the core hears of it. What it did not want
any more is then in its place all the same, where it is right.
"""

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

    def verify_and_write(self, root: bytes, index: int, data: memoryview, hash_: bytes | None) -> bool:
        """Write a chunk to its partial file and return True, or False if it has another hash.

        Without `hash_` that of the manifest counts.

        Raises `StoreError` when the disk is to blame.
        """
        ...


# Far more than are ever under way.
_MOST_ASKED = 16384


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a lane's thread found: `problem` is our disk's; without one a body is either stored or wrong."""

    good: bool
    problem: str | None = None


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
        self._asked: dict[int, bytes] = {}  # request -> root, of the last that we sent

    @property
    def mailbox(self) -> Mailbox:
        """The way back into trio's thread, for the threads of lanes."""
        return self._workers.mailbox

    async def begin(self, peer: PeerId, request: int, index: int, length: int) -> Arriving | None:
        """Ask the core about a body that begins to arrive; None: read it away.

        Waits for a free buffer, so that a peer that sends faster than our disk
        writes is slowed down by TCP.
        """
        accepted = self._ask(peer, request, index, length, trio.current_time())
        return None if accepted is None else Arriving(accepted, await self._pool.take(length), self._pool)

    def _ask(self, peer: PeerId, request: int, index: int, length: int, now: float) -> AcceptBody | None:
        effects = self._board.core.body_arrives(peer, request, index, length, now)
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

    # --- what comes on lanes ----------------------------------------------------------------

    def expect(self, request: int, root: bytes) -> None:
        """Chunks of this content were asked for under this number."""
        self._asked[request] = root
        if len(self._asked) > _MOST_ASKED:
            del self._asked[next(iter(self._asked))]

    def borrow(self, length: int, closed: Callable[[], bool]) -> memoryview | None:
        """Lend a buffer for a body of which only its head is here, or None once `closed`; in a lane's thread.

        Waits for a free one, as `begin` does. It comes back through `arrived` or `give_back`.
        """
        return self._fast.take_blocking(length, closed)

    def give_back(self, buffer: memoryview) -> None:
        """A buffer is not needed after all; from any thread."""
        self._fast.give(buffer)

    def prove(self, head: Head, buffer: memoryview) -> Verdict | None:
        """Prove and write a body, in a lane's thread; None if nothing known was asked under its number."""
        root = self._asked.get(head.request)
        if root is None:
            return None
        try:
            return Verdict(self._writer.verify_and_write(root, head.index, buffer[: head.length], None))
        except Exception as error:
            return Verdict(False, _said(error))

    def arrived(self, peer: PeerId, head: Head, began: float, came: memoryview | Verdict) -> None:
        """A body is here, in a borrowed buffer or proven: ask the core now whether anybody wants it."""
        accepted = self._ask(peer, head.request, head.index, head.length, began)
        if isinstance(came, Verdict):
            if accepted is not None:
                self._tell(accepted, came.good, came.problem)
        elif accepted is None:
            self._fast.give(came)
        else:
            self.complete(Arriving(accepted, came, self._fast))

    def kept(self, peer: PeerId, head: Head, verdict: Verdict) -> None:
        """A body of a link that has ended is in its place: nobody need be asked for it again."""
        root = self._asked.get(head.request)
        if verdict.good and root is not None:
            self._tell(AcceptBody(peer, head.request, root, head.index, head.length, b""), True, None)

    # --- common -------------------------------------------------------------------------------

    def rest(self) -> bool:
        """Called now and then: an idle peer is small. Return whether it is."""
        return self._pool.rest() & self._fast.rest()

    def abandon(self, arriving: Arriving) -> None:
        """The rest of a body will not come."""
        arriving.pool.give(arriving.buffer)

    def complete(self, arriving: Arriving) -> None:
        """A body is whole: have it proven and written."""
        body, view = arriving.accepted, arriving.data

        def settled(good: bool, problem: str | None) -> None:
            arriving.pool.give(arriving.buffer)
            self._tell(body, good, problem)

        self._workers.submit(
            lambda: self._writer.verify_and_write(body.root, body.index, view, body.hash),
            lambda good: settled(good, None),
            lambda error: settled(False, _said(error)),
        )

    def _tell(self, body: AcceptBody, good: bool, problem: str | None) -> None:
        core, now = self._board.core, trio.current_time()
        if good:
            effects = core.chunk_stored(body.peer, body.request, body.root, body.index, body.length, now)
        elif problem is None:
            reason = "its bytes do not have the hash they should"
            effects = core.chunk_bad(body.peer, body.request, body.root, body.index, reason, now)
        else:
            effects = core.chunk_unstored(body.peer, body.request, body.root, body.index, problem, now)
        self._board.perform(effects)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
