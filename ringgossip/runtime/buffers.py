"""Where do chunk bodies lie while they move? In reused buffers, within one budget of bytes.

Fresh memory for every chunk costs page faults as dear as hashing it, and what is
not counted grows: a pool hands out buffers up to its limit, then lets the next
taker wait in line. Source: field notes, incident 5.
"""

from collections import deque
from collections.abc import Callable

import trio

_SMALLEST = 64 * 1024
# Idle buffers beyond this go back to the allocator: an idle peer is small.
_MOST_IDLE = 8 * 2**20


class BufferPool:
    """Buffers of at least the asked size; sizes are rounded up to powers of two. Trio's thread only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._idle: dict[int, list[memoryview]] = {}
        self._idle_bytes = 0
        self._line: deque[Callable[[], bool]] = deque()

    def try_take(self, size: int) -> memoryview | None:
        """Return a buffer, or None while the budget is used up or others wait in line."""
        return None if self._line else self._take(size)

    def _take(self, size: int) -> memoryview | None:
        room = max(_SMALLEST, 1 << (size - 1).bit_length())
        # One is always allowed: a chunk larger than the budget must not block for ever.
        if self.used and self.used + room > self.limit:
            return None
        self.used += room
        idle = self._idle.get(room)
        if idle:
            self._idle_bytes -= room
            return idle.pop()
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
        if self._idle_bytes + room <= _MOST_IDLE:
            self._idle.setdefault(room, []).append(buffer)
            self._idle_bytes += room

    def _serve(self) -> None:
        while self._line and self._line[0]():
            self._line.popleft()
