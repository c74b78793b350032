"""Which bodies wait to leave on one link? Granted chunks, read ahead by worker threads.

The core grants few chunks at a time (design, section 3), so this queue is
short. While some bodies are being sent the next are read; more would only hold
memory. Once there is a lane its thread reads for itself, and nothing queues here.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ringgossip.protocol.core import SendChunk
from ringgossip.runtime.buffers import BufferPool
from ringgossip.runtime.workers import Workers

# What is read while others are sent: each waits for a thread.
_AHEAD = 4
_AHEAD_BYTES = 8 * 2**20  # ... and small ones are told of as sent several at a time.


class ChunkReader(Protocol):
    """The part of the store that outboxes use; blocks."""

    def read_chunk(self, root: bytes, index: int, into: memoryview) -> memoryview:
        """Fill `into` and return the part that was filled; raises `StoreError`."""
        ...


@dataclass(slots=True)
class Body:
    """A chunk on its way out: `data` is the part of `buffer` that is sent."""

    request: int
    root: bytes
    index: int
    length: int
    buffer: memoryview | None = None
    ready: bool = False
    problem: str | None = None

    @property
    def data(self) -> memoryview:
        """The bytes to send."""
        assert self.buffer is not None
        return self.buffer[: self.length]


class Way(Protocol):
    """A lane, as its outbox sees it."""

    def post(self, chunk: SendChunk) -> None:
        """Read and send a chunk, or tell its problem, when all before it have left."""
        ...


class Outbox:
    """The bodies of one link, in the order in which they were granted."""

    def __init__(
        self, reader: ChunkReader, workers: Workers, pool: BufferPool, changed: Callable[[], None]
    ) -> None:
        """`changed` is called when the first body that is not for a lane became ready."""
        self._reader = reader
        self._workers = workers
        self._pool = pool
        self._changed = changed
        self._waiting: deque[SendChunk] = deque()
        self._ahead: deque[Body] = deque()  # those for the link itself
        self._under_way = self._bytes_under_way = 0
        self._closed = False
        # Once there is a lane, what is granted from then on leaves on it.
        self.lane: Way | None = None

    def __bool__(self) -> bool:
        return bool(self._under_way or self._waiting)

    def add(self, chunk: SendChunk) -> None:
        """Queue a granted chunk."""
        if self.lane is not None:
            self.lane.post(chunk)
            return
        self._waiting.append(chunk)
        self._read_ahead()

    def take(self) -> Body | None:
        """Return the next body for the link itself that is read, or failed; `finished` must follow."""
        if not self._ahead or not self._ahead[0].ready:
            return None
        return self._ahead.popleft()

    def finished(self, body: Body) -> None:
        """Give the buffer of a body back, and read on."""
        if body.buffer is None:
            return
        self._pool.give(body.buffer)
        body.buffer = None
        self._under_way -= 1
        self._bytes_under_way -= body.length
        self._read_ahead()

    def close(self) -> None:
        """Let go of everything; reads under way return their buffers when they end."""
        self._closed = True
        self._waiting.clear()
        for body in self._ahead:
            if body.ready:
                self.finished(body)
        self._ahead.clear()

    # --- in the thread of a lane ----------------------------------------------------------

    def read(self, chunk: SendChunk, closed: Callable[[], bool]) -> Body | None:
        """Read a chunk here and now, waiting for a buffer; None once `closed`. `give_back` must follow."""
        buffer = self._pool.take_blocking(chunk.length, closed)
        if buffer is None:
            return None
        body = Body(chunk.request, chunk.root, chunk.index, chunk.length, buffer)
        try:
            body.problem = _shortage(self._reader.read_chunk(body.root, body.index, body.data), body)
        except Exception as error:
            body.problem = _said(error)
        return body

    def give_back(self, body: Body) -> None:
        """The bytes of a body that `read` returned are not needed any more."""
        assert body.buffer is not None
        self._pool.give(body.buffer)
        body.buffer = None

    # --- in trio's thread -----------------------------------------------------------------

    def _read_ahead(self) -> None:
        while (
            self._waiting
            and (self._under_way < _AHEAD or self._bytes_under_way < _AHEAD_BYTES)
            and not self._closed
        ):
            chunk = self._waiting.popleft()
            body = Body(chunk.request, chunk.root, chunk.index, chunk.length)
            self._under_way += 1
            self._bytes_under_way += chunk.length
            self._ahead.append(body)
            self._pool.take_later(chunk.length, lambda buffer, body=body: self._read(body, buffer))  # type: ignore[misc]

    def _read(self, body: Body, buffer: memoryview) -> bool:
        if self._closed:
            return False
        body.buffer = buffer
        view = body.data
        self._workers.submit(
            lambda: self._reader.read_chunk(body.root, body.index, view),
            lambda chunk: self._was_read(body, _shortage(chunk, body)),
            lambda error: self._was_read(body, _said(error)),
        )
        return True

    def _was_read(self, body: Body, problem: str | None) -> None:
        body.ready, body.problem = True, problem
        if self._closed:
            self.finished(body)
        elif self._ahead and self._ahead[0] is body:
            self._changed()


def _shortage(chunk: memoryview, body: Body) -> str | None:
    return None if len(chunk) == body.length else f"has {len(chunk)} bytes, not {body.length}"


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
