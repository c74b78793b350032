"""Where do chunk bodies lie while they move? In reused buffers, within one budget of bytes.

Fresh memory for every chunk costs page faults as dear as hashing it, and what is
not counted grows: a pool hands out buffers up to its limit, then lets the next
taker wait in line. Source: field notes, incident 5.
"""

from collections import deque
from collections.abc import Callable

import trio

_SMALLEST = 64 * 1024
# What a chunk is longer when it is sealed: with it a power of two still fits its buffer.
SPARE_BYTES = 16


class BufferPool:
    """Buffers for chunks of the asked size, sealed or not; powers of two and a tag. Trio's thread only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._taken = False
        self._idle: dict[int, list[memoryview]] = {}
        self._idle_bytes = 0
        self._line: deque[Callable[[], bool]] = deque()

    def try_take(self, size: int) -> memoryview | None:
        """Return a buffer, or None while the budget is used up or others wait in line."""
        return None if self._line else self._take(size)

    def _take(self, size: int) -> memoryview | None:
        room = max(_SMALLEST, 1 << (size - 1).bit_length()) + SPARE_BYTES
        # One is always allowed: a chunk larger than the budget must not block for ever.
        if self.used and self.used + room > self.limit:
            return None
        self.used += room
        self._taken = True
        idle = self._idle.get(room)
        if idle:
            self._idle_bytes -= room
            return idle.pop()
        if self._idle_bytes + self.used > self.limit:
            self._forget_idle()
        return memoryview(bytearray(room))

    def take_later(self, size: int, taken: Callable[[memoryview], bool]) -> None:
        """Call `taken` with a buffer when there is one; it returns False if it is no longer wanted."""

        def attempt() -> bool:
            buffer = self._take(size)
            if buffer is None:
                return False
            if not taken(buffer):
                self._put_back(buffer)
            return True

        self._line.append(attempt)
        self._serve()

    async def take(self, size: int) -> memoryview:
        """Return a buffer, waiting in line for it."""
        buffer = self.try_take(size)
        if buffer is not None:
            return buffer
        ready = trio.Event()
        got: list[memoryview] = []
        wanted = True

        def taken(fresh: memoryview) -> bool:
            if wanted:
                got.append(fresh)
                ready.set()
            return wanted

        self.take_later(size, taken)
        try:
            await ready.wait()
        except trio.Cancelled:
            wanted = False
            if got:
                self.give(got[0])
            raise
        return got[0]

    def give(self, buffer: memoryview) -> None:
        """Return a buffer (the whole one that was taken)."""
        self._put_back(buffer)
        self._serve()

    def _put_back(self, buffer: memoryview) -> None:
        room = len(buffer)
        self.used -= room
        self._idle.setdefault(room, []).append(buffer)
        self._idle_bytes += room

    def rest(self) -> None:
        """Give all buffers back to the allocator if none was taken since the last call."""
        if not self._taken and not self.used:
            self._forget_idle()
        self._taken = False

    def _forget_idle(self) -> None:
        self._idle.clear()
        self._idle_bytes = 0

    def _serve(self) -> None:
        while self._line and self._line[0]():
            self._line.popleft()
