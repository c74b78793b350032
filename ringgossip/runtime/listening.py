"""How do events reach those who listen, without one slow listener holding up the peer?

Every listener has its own bounded queue. When it is full the oldest event goes,
and the next one that is read says how many were lost.
"""

from collections import deque

import trio

from ringgossip.events import Event, EventsMissed

MOST_WAITING = 1000


class Listener:
    """An async iterator of events; ends when the peer does."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._events: deque[Event] = deque()
        self._missed = 0
        self._closed = False
        self._bell = trio.Event()

    def put(self, event: Event) -> None:
        """Queue an event; never waits."""
        if len(self._events) >= self._most:
            self._events.popleft()
            self._missed += 1
        self._events.append(event)
        self._bell.set()

    def close(self) -> None:
        """No event will come any more."""
        self._closed = True
        self._bell.set()

    def __aiter__(self) -> "Listener":
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        while not self._events and not self._missed:
            if self._closed:
                raise StopAsyncIteration
            self._bell = trio.Event()
            await self._bell.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return EventsMissed(missed)
        return self._events.popleft()


class Audience:
    """All listeners of one peer, and whoever waits for anything to change."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._opening: list[Event] = []  # the first that were told, while the peer was being opened
        self._is_open = False
        self._changed = trio.Event()

    def tell(self, event: Event) -> None:
        """Give an event to everybody."""
        if not self._is_open and len(self._opening) < MOST_WAITING:
            self._opening.append(event)
        for listener in self._listeners:
            listener.put(event)
        self._changed.set()
        self._changed = trio.Event()

    def add(self, opening: bool = False) -> Listener:
        """Return a new listener, who also hears what was told while the peer `opening`; `remove` it."""
        listener = Listener()
        for event in self._opening if opening else ():
            listener.put(event)
        self._listeners.append(listener)
        return listener

    def opened(self) -> None:
        """Whoever wants to hear everything listens by now."""
        self._is_open = True
        self._opening.clear()

    def remove(self, listener: Listener) -> None:
        """Forget a listener."""
        listener.close()
        self._listeners.remove(listener)

    def close(self) -> None:
        """Let all iterations end."""
        for listener in self._listeners:
            listener.close()

    async def changed(self, at_most: float) -> None:
        """Wait until something was told, or so many seconds."""
        event = self._changed
        with trio.move_on_after(at_most):
            await event.wait()
