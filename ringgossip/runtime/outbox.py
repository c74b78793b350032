"""Which bodies wait to leave on one link? Granted chunks, read ahead by worker threads.

The core grants few chunks at a time (design, section 3), so this queue is
short. While some bodies are being sent the next are read; more would only hold
memory. What is sealed goes from the thread that sealed it straight to the lane.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ringgossip.protocol.core import SendChunk
from ringgossip.runtime.buffers import BufferPool
from ringgossip.runtime.sealed import TAG_BYTES, BodySealer
from ringgossip.runtime.workers import Workers

# What is read and sealed while others are sent: each waits for a thread, and threads for each other.
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
    counter: int = -1  # its place among the sealed bodies of a lane

    @property
    def data(self) -> memoryview:
        """The bytes to send."""
        assert self.buffer is not None
        return self.buffer[: self.length + (TAG_BYTES if self.counter >= 0 else 0)]


class SealedWay(Protocol):
    """A lane, as its outbox sees it."""

    @property
    def sealer(self) -> BodySealer: ...

    def post(self, body: Body) -> None:
        """Send a body, or tell its problem, when all before it have left; from any thread."""
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
        # Once there is a lane, what is read from then on is sealed for it.
        self.lane: SealedWay | None = None

    def __bool__(self) -> bool:
        return bool(self._under_way or self._waiting)

    def add(self, chunk: SendChunk) -> None:
        """Queue a granted chunk."""
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
        """Let go of everything; reads under way, and the lane, return their buffers when they end."""
        self._closed = True
        self._waiting.clear()
        for body in self._ahead:
            if body.ready:
                self.finished(body)
        self._ahead.clear()

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
            if self.lane is None:
                self._ahead.append(body)
            else:
                # In this order they leave, so in this order they are counted.
                body.counter = self.lane.sealer.reserve()
            self._pool.take_later(chunk.length, lambda buffer, body=body: self._read(body, buffer))  # type: ignore[misc]

    def _read(self, body: Body, buffer: memoryview) -> bool:
        if self._closed:
            return False
        body.buffer = buffer
        view, lane = body.data, self.lane
        if body.counter < 0 or lane is None:
            self._workers.submit(
                lambda: self._reader.read_chunk(body.root, body.index, view),
                lambda chunk: self._was_read(body, _shortage(chunk, body)),
                lambda error: self._was_read(body, _said(error)),
            )
            return True

        def read_and_seal() -> None:
            try:
                body.problem = _shortage(self._reader.read_chunk(body.root, body.index, view), body)
                if body.problem is None:
                    lane.sealer.seal(body.counter, body.data)
            except Exception as error:
                body.problem = _said(error)
            lane.post(body)

        self._workers.run(read_and_seal)
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
