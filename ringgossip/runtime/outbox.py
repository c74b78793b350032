"""Which bodies wait to leave on one link? Granted chunks, read one ahead by worker threads.

The core grants few chunks at a time (design, section 3), so this queue is
short. While one body is being sent the next is read; more would only hold memory.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ringgossip.protocol.core import SendChunk
from ringgossip.runtime.buffers import BufferPool
from ringgossip.runtime.workers import Workers

_AHEAD = 2  # The one being sent or about to be, and the next.


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
    dropped: bool = False

    @property
    def data(self) -> memoryview:
        """The bytes to send."""
        assert self.buffer is not None
        return self.buffer[: self.length]


class Outbox:
    """The bodies of one link, in the order in which they were granted."""

    def __init__(
        self, reader: ChunkReader, workers: Workers, pool: BufferPool, changed: Callable[[], None]
    ) -> None:
        """`changed` is called when the first body became ready."""
        self._reader = reader
        self._workers = workers
        self._pool = pool
        self._changed = changed
        self._waiting: deque[SendChunk] = deque()
        self._ahead: deque[Body] = deque()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._ahead or self._waiting)

    def add(self, chunk: SendChunk) -> None:
        """Queue a granted chunk."""
        self._waiting.append(chunk)
        self._read_ahead()

    def drop(self, request: int) -> None:
        """Forget chunks of `request` that were not begun."""
        self._waiting = deque(chunk for chunk in self._waiting if chunk.request != request)
        for body in self._ahead:
            if body.request == request:
                body.dropped = True
        self._changed()

    def take(self) -> Body | None:
        """Return the next body if it is read (or could not be read); `finished` must follow."""
        while self._ahead and self._ahead[0].dropped:
            if not self._ahead[0].ready:
                return None
            self.finished(self._ahead.popleft())
        if self._ahead and self._ahead[0].ready:
            return self._ahead.popleft()
        return None

    def finished(self, body: Body) -> None:
        """Give the buffer of a body back, and read on."""
        if body.buffer is not None:
            self._pool.give(body.buffer)
            body.buffer = None
        self._read_ahead()

    def close(self) -> None:
        """Let go of everything; reads under way return their buffers when they end."""
        self._closed = True
        self._waiting.clear()
        for body in self._ahead:
            if body.ready and body.buffer is not None:
                self._pool.give(body.buffer)
                body.buffer = None
        self._ahead.clear()

    def _read_ahead(self) -> None:
        while self._waiting and len(self._ahead) < _AHEAD and not self._closed:
            chunk = self._waiting.popleft()
            body = Body(chunk.request, chunk.root, chunk.index, chunk.length)
            self._ahead.append(body)
            self._pool.take_later(chunk.length, lambda buffer, body=body: self._read(body, buffer))  # type: ignore[misc]

    def _read(self, body: Body, buffer: memoryview) -> bool:
        if self._closed:
            return False
        body.buffer = buffer
        view = body.data
        self._workers.submit(
            lambda: self._reader.read_chunk(body.root, body.index, view),
            lambda chunk: self._was_read(
                body, None if len(chunk) == body.length else f"has {len(chunk)} bytes, not {body.length}"
            ),
            lambda error: self._was_read(body, str(error) or type(error).__name__),
        )
        return True

    def _was_read(self, body: Body, problem: str | None) -> None:
        body.ready, body.problem = True, problem
        if self._closed:
            if body.buffer is not None:
                self._pool.give(body.buffer)
                body.buffer = None
        elif self._ahead and self._ahead[0] is body:
            self._changed()
