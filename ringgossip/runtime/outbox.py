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
from ringgossip.runtime.sealed import TAG_BYTES, BodySealer
from ringgossip.runtime.workers import Workers

_AHEAD = 4  # What is read and sealed while one is sent: each waits for a thread, and threads for each other.


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
    head: bytes | None = None  # if it is sealed, what comes before it

    @property
    def data(self) -> memoryview:
        """The bytes to send."""
        assert self.buffer is not None
        return self.buffer[: self.length + (TAG_BYTES if self.sealed else 0)]

    @property
    def sealed(self) -> bool:
        """Whether it goes over a lane."""
        return self.head is not None


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
        # Once there is a lane, what is read from then on is sealed for it.
        self.sealer: BodySealer | None = None

    def __bool__(self) -> bool:
        return bool(self._ahead or self._waiting)

    def add(self, chunk: SendChunk) -> None:
        """Queue a granted chunk."""
        self._waiting.append(chunk)
        self._read_ahead()

    def take(self, sealed: bool) -> Body | None:
        """Return the next body that is read, or failed, if it is `sealed` so; `finished` must follow."""
        if not self._ahead or not self._ahead[0].ready or self._ahead[0].sealed != sealed:
            return None
        body = self._ahead.popleft()
        if self._ahead and self._ahead[0].ready and self._ahead[0].sealed != sealed:
            # The next one is for whoever sends the other sort, and nothing else would say so.
            self._changed()
        return body

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
        view, sealer = body.data, self.sealer
        if sealer is not None:
            # In this order they leave, so in this order they are counted.
            counter = sealer.reserve()
            body.head = sealer.head(counter, body.request, body.index, body.length)

        def read() -> memoryview:
            chunk = self._reader.read_chunk(body.root, body.index, view)
            if sealer is not None and len(chunk) == body.length:
                sealer.seal(counter, body.data)
            return chunk

        self._workers.submit(
            read,
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
