"""Where do chunk bodies lie while they move? In reused buffers, within one budget of bytes.

Fresh memory for every chunk costs page faults as dear as hashing it, and what is
not counted grows: a pool hands out buffers up to its limit, then lets the next
taker wait in line. Source: field notes, incident 5.
"""

from collections import deque
from collections.abc import Callable
from threading import Event, Lock

import trio

_SMALLEST = 64 * 1024
# What a chunk is longer when it is sealed: with it a power of two still fits its buffer.
SPARE_BYTES = 16
_LOOK = 0.5  # seconds after which a waiting thread looks whether it should still wait


class BufferPool:
    """Buffers for chunks of the asked size, sealed or not; powers of two and a tag. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._lock = Lock()
        self._taken = False
        self._idle: dict[int, list[memoryview]] = {}
        self._idle_bytes = 0
        self._line: deque[tuple[int, Callable[[memoryview], bool]]] = deque()

    def try_take(self, size: int) -> memoryview | None:
        """Return a buffer, or None while the budget is used up or others wait in line."""
        with self._lock:
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
        """Call `taken` with a buffer when there is one; it returns False if it is no longer wanted.

        It is called in this thread, or in that of whoever gives a buffer back.
        """
        with self._lock:
            self._line.append((size, taken))
        self._serve()

    async def take(self, size: int) -> memoryview:
        """Return a buffer, waiting in line for it; in trio's thread."""
        buffer = self.try_take(size)
        if buffer is not None:
            return buffer
        token, ready = trio.lowlevel.current_trio_token(), trio.Event()
        order = _Order(lambda: token.run_sync_soon(ready.set))
        self.take_later(size, order.taken)
        try:
            await ready.wait()
        except trio.Cancelled:
            self._give_up(order)
            raise
        assert order.buffer is not None
        return order.buffer

    def take_blocking(self, size: int, closed: Callable[[], bool]) -> memoryview | None:
        """Return a buffer, waiting in line for it, or None once `closed`; in a thread that may wait."""
        buffer = self.try_take(size)
        if buffer is not None:
            return buffer
        ready = Event()
        order = _Order(ready.set)
        self.take_later(size, order.taken)
        while not ready.wait(_LOOK):
            if closed():
                self._give_up(order)
                return None
        return order.buffer

    def _give_up(self, order: "_Order") -> None:
        buffer = order.refuse()
        if buffer is not None:
            self.give(buffer)

    def give(self, buffer: memoryview) -> None:
        """Return a buffer (the whole one that was taken)."""
        self._put_back(buffer)
        self._serve()

    def _put_back(self, buffer: memoryview) -> None:
        room = len(buffer)
        with self._lock:
            self.used -= room
            self._idle.setdefault(room, []).append(buffer)
            self._idle_bytes += room

    def rest(self) -> bool:
        """Give all buffers back to the allocator if none was taken since the last call.

        Return whether none is kept, nor in use.
        """
        with self._lock:
            if not self._taken and not self.used:
                self._forget_idle()
            self._taken = False
            return not self._idle and not self.used

    def _forget_idle(self) -> None:
        self._idle.clear()
        self._idle_bytes = 0

    def _serve(self) -> None:
        while True:
            with self._lock:
                buffer = self._take(self._line[0][0]) if self._line else None
                if buffer is None:
                    return
                _, taken = self._line.popleft()
            # Without the lock: it may want another one.
            if not taken(buffer):
                self._put_back(buffer)


class _Order:
    """Somebody in line who waits, and may stop waiting at the very moment of being served."""

    def __init__(self, served: Callable[[], object]) -> None:
        self.buffer: memoryview | None = None
        self._served = served
        self._refused = False
        self._lock = Lock()

    def taken(self, buffer: memoryview) -> bool:
        with self._lock:
            if self._refused:
                return False
            self.buffer = buffer
        self._served()
        return True

    def refuse(self) -> memoryview | None:
        """Want no buffer any more; return the one that came all the same."""
        with self._lock:
            self._refused = True
            return self.buffer
