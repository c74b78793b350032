"""How fast do bytes travel? Carriers: without limits, or through queues of 16 KiB pieces.

Every peer has an uplink and a downlink, each with a rate in bytes a second or
none. In the queues control goes first: datagrams and messages pass ahead of
chunk bodies, which take turns piece by piece. A stream has at most one window
of pieces between the sender's uplink and the receiver, as TCP has; that alone
makes the shares come out close to max-min fairness (`fluid.max_min_rates` is
the oracle of the tests).
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ringgossip.simulation.kernel import ANY_BOOT, Action, Kernel

PIECE = 16 * 1024
WINDOW = 32 * PIECE  # A guess: what TCP settles at on a long path with a few Mbit/s.


class Stream(Protocol):
    """One direction of a link, as a carrier sees it."""

    source: int
    target: int
    closed: bool

    def clear_at(self, departure: float) -> float:
        """Return when what leaves at `departure` arrives; never before what left earlier."""
        ...

    def arrive(self, item: Any, size: int, first: bool, last: bool) -> None:
        """Take one piece of an item at the receiver; calls `Carrier.delivered` when it is taken."""
        ...

    def departed(self, item: Any) -> None:
        """Hear that the last byte of an item has left the sender."""
        ...


class Carrier(Protocol):
    """Moves datagrams and streams, as fast as uplinks and downlinks allow."""

    def add(self, up: float | None, down: float | None) -> None:
        """Connect the next peer with its rates in bytes a second; None: no limit."""
        ...

    def datagram(
        self, source: int, target: int, size: int, delay: float, action: Action, a: tuple[Any, ...] = ()
    ) -> None:
        """Call `action(*a)` when a datagram has arrived."""
        ...

    def message(self, stream: Stream, item: Any, size: int) -> None:
        """Carry a control message; in order with what else leaves on this stream."""
        ...

    def body(self, stream: Stream, item: Any, size: int) -> None:
        """Carry a chunk's body after the bodies already waiting on this stream."""
        ...

    def delivered(self, stream: Stream, size: int) -> None:
        """Hear that the receiver took a piece: the stream's window opens."""
        ...

    def close(self, stream: Stream) -> None:
        """Forget everything of a stream that has not left."""
        ...

    def sent(self, owner: int) -> float:
        """Return the bytes that have left an uplink until now, whatever they were."""
        ...


class Unlimited:
    """Only the network's delay counts. The cheapest carrier."""

    __slots__ = ("_kernel", "_sent")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._sent: list[int] = []

    def add(self, up: float | None, down: float | None) -> None:
        self._sent.append(0)

    def sent(self, owner: int) -> float:
        return self._sent[owner]

    def datagram(
        self, source: int, target: int, size: int, delay: float, action: Action, a: tuple[Any, ...] = ()
    ) -> None:
        kernel = self._kernel
        self._sent[source] += size
        kernel.queue(kernel.now + delay, target, ANY_BOOT, action, a)

    def message(self, stream: Stream, item: Any, size: int) -> None:
        kernel = self._kernel
        self._sent[stream.source] += size
        arrival = stream.clear_at(kernel.now)
        kernel.queue(arrival, stream.target, ANY_BOOT, stream.arrive, (item, size, True, True))

    def body(self, stream: Stream, item: Any, size: int) -> None:
        self.message(stream, item, size)
        self._kernel.at(self._kernel.now, stream.source, ANY_BOOT, stream.departed, item)

    def delivered(self, stream: Stream, size: int) -> None:
        pass

    def close(self, stream: Stream) -> None:
        pass


_Take = Callable[[float], float | None]


class _Queue:
    """One server: what waits is served at `rate`, control before the rest."""

    __slots__ = ("_armed", "_free_at", "_kernel", "_owner", "_take", "control", "rate")

    def __init__(self, kernel: Kernel, owner: int, rate: float | None, take: _Take) -> None:
        """`take(now)` serves the next piece as it leaves at `now + size / rate`; returns its size or None."""
        self._kernel = kernel
        self._owner = owner
        self._take = take
        self._free_at = 0.0
        self._armed = False
        self.rate = rate
        self.control: deque[tuple[Any, ...]] = deque()

    def poke(self) -> None:
        """Serve, now or when the piece being served is through."""
        if self._armed:
            return
        if self._free_at <= self._kernel.now:
            self._serve()
        else:
            self._armed = True
            self._kernel.at(self._free_at, self._owner, ANY_BOOT, self._resume)

    def _resume(self) -> None:
        self._armed = False
        self._serve()

    def _serve(self) -> None:
        size = self._take(self._kernel.now)
        while size is not None:
            if self.rate is None:
                size = self._take(self._kernel.now)
                continue
            self._free_at = self._kernel.now + size / self.rate
            self._armed = True
            self._kernel.at(self._free_at, self._owner, ANY_BOOT, self._resume)
            return


class _Waiting:
    """The bodies waiting on one stream, the first one perhaps begun; and its window."""

    __slots__ = ("bodies", "in_network", "in_turn", "offset")

    def __init__(self) -> None:
        self.bodies: deque[tuple[Any, int]] = deque()
        self.offset = 0
        self.in_network = 0
        self.in_turn = False


class Pieces:
    """Uplinks and downlinks as queues of pieces, control first, bodies taking turns."""

    __slots__ = (
        "_downlinks", "_kernel", "_landed", "_sent", "_turns", "_uplinks", "_waiting", "piece", "window",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, piece: int = PIECE, window: int = WINDOW) -> None:
        self._kernel = kernel
        self.piece = piece
        self.window = window
        self._uplinks: list[_Queue] = []
        self._downlinks: list[_Queue] = []
        self._turns: list[deque[Stream]] = []
        self._landed: list[deque[tuple[Any, ...]]] = []
        self._sent: list[int] = []
        self._waiting: dict[Stream, _Waiting] = {}

    def add(self, up: float | None, down: float | None) -> None:
        owner = len(self._uplinks)
        self._sent.append(0)
        self._turns.append(deque())
        self._landed.append(deque())
        self._uplinks.append(_Queue(self._kernel, owner, up, lambda now: self._take_up(owner, now)))
        self._downlinks.append(_Queue(self._kernel, owner, down, lambda now: self._take_down(owner, now)))

    def set_rates(self, owner: int, up: float | None, down: float | None) -> None:
        """Change a peer's rates; what is being served is finished at the old one."""
        self._uplinks[owner].rate = up
        self._downlinks[owner].rate = down

    # --- leaving ---------------------------------------------------------------------

    def datagram(
        self, source: int, target: int, size: int, delay: float, action: Action, a: tuple[Any, ...] = ()
    ) -> None:
        uplink = self._uplinks[source]
        uplink.control.append((target, size, delay, action, a))
        uplink.poke()

    def message(self, stream: Stream, item: Any, size: int) -> None:
        uplink = self._uplinks[stream.source]
        uplink.control.append((stream.target, size, None, stream, item))
        uplink.poke()

    def body(self, stream: Stream, item: Any, size: int) -> None:
        waiting = self._waiting.get(stream)
        if waiting is None:
            waiting = self._waiting[stream] = _Waiting()
        waiting.bodies.append((item, size))
        self._take_turns(stream, waiting)

    def _take_turns(self, stream: Stream, waiting: _Waiting) -> None:
        if not waiting.in_turn and waiting.bodies and waiting.in_network < self.window:
            waiting.in_turn = True
            self._turns[stream.source].append(stream)
            self._uplinks[stream.source].poke()

    def _take_up(self, owner: int, now: float) -> float | None:
        uplink = self._uplinks[owner]
        if uplink.control:
            target, size, delay, action, rest = uplink.control.popleft()
            self._sent[owner] += size
            leaves = now if uplink.rate is None else now + size / uplink.rate
            if delay is None:
                stream: Stream = action
                if not stream.closed:
                    arrives = stream.clear_at(leaves)
                    self._fly(arrives, target, size, True, stream.arrive, (rest, size, True, True))
            else:
                self._fly(leaves + delay, target, size, True, action, rest)
            return float(size)
        turns = self._turns[owner]
        while turns:
            stream = turns.popleft()
            waiting = self._waiting.get(stream)
            if waiting is None:
                continue
            waiting.in_turn = False
            if waiting.bodies:
                return self._send_piece(owner, stream, waiting, now)
        return None

    def _send_piece(self, owner: int, stream: Stream, waiting: _Waiting, now: float) -> float:
        item, total = waiting.bodies[0]
        size = min(self.piece, total - waiting.offset)
        self._sent[owner] += size
        first = waiting.offset == 0
        waiting.offset += size
        last = waiting.offset >= total
        rate = self._uplinks[owner].rate
        leaves = now if rate is None else now + size / rate
        if last:
            waiting.bodies.popleft()
            waiting.offset = 0
            self._kernel.at(leaves, owner, ANY_BOOT, stream.departed, item)
        waiting.in_network += size
        arrives = stream.clear_at(leaves)
        self._fly(arrives, stream.target, size, False, stream.arrive, (item, size, first, last))
        if waiting.bodies and waiting.in_network < self.window:
            waiting.in_turn = True
            self._turns[owner].append(stream)
        return float(size)

    # --- arriving ----------------------------------------------------------------------

    def _fly(self, when: float, target: int, size: int, control: bool, action: Action, a: Any) -> None:
        if self._downlinks[target].rate is None:
            self._kernel.queue(when, target, ANY_BOOT, action, a)
        else:
            self._kernel.at(when, target, ANY_BOOT, self._land, target, size, control, action, a)

    def _land(self, target: int, size: int, control: bool, action: Action, a: Any) -> None:
        downlink = self._downlinks[target]
        (downlink.control if control else self._landed[target]).append((size, action, a))
        downlink.poke()

    def _take_down(self, owner: int, now: float) -> float | None:
        downlink = self._downlinks[owner]
        queue = downlink.control or self._landed[owner]
        if not queue:
            return None
        size, action, a = queue.popleft()
        leaves = now if downlink.rate is None else now + size / downlink.rate
        self._kernel.queue(leaves, owner, ANY_BOOT, action, a)
        return float(size)

    def delivered(self, stream: Stream, size: int) -> None:
        waiting = self._waiting.get(stream)
        if waiting is not None:
            waiting.in_network -= size
            self._take_turns(stream, waiting)

    def close(self, stream: Stream) -> None:
        self._waiting.pop(stream, None)

    def sent(self, owner: int) -> float:
        return self._sent[owner]
