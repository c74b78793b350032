"""How fast do bytes travel? Carriers: without limits, or through queues of 16 KiB pieces.

Every peer has an uplink and a downlink, each with a rate in bytes a second or
none. In the queues control goes first: datagrams and messages pass ahead of
chunk bodies, which take turns piece by piece. A stream has at most one window
of pieces between the sender's uplink and the receiver, as TCP has; that alone
makes the shares come out close to max-min fairness (`fluid.max_min_rates` is
the oracle of the tests).
"""

from collections import deque
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


class _Line:
    """An uplink or a downlink: what waits is served at `rate`, control before the rest."""

    __slots__ = ("busy", "control", "own", "owner", "rate", "rest")

    def __init__(self, owner: int, rate: float | None) -> None:
        self.owner = owner
        self.rate = rate
        self.busy = False  # Something is being served; an event comes when it is through.
        self.control: deque[tuple[Any, ...]] = deque()
        self.rest: deque[Any] = deque()  # up: streams whose turn it is; down: pieces that have come
        self.own = (self,)  # as the arguments of an event


class _Waiting:
    """The bodies waiting on one stream, the first one perhaps begun; and its window."""

    __slots__ = ("bodies", "in_network", "in_turn", "offset")

    def __init__(self) -> None:
        self.bodies: deque[tuple[Any, int]] = deque()
        self.offset = 0
        self.in_network = 0
        self.in_turn = False


class Pieces:
    """Uplinks and downlinks as queues of pieces, control first, bodies taking turns.

    Most events of a world in which much is moved happen here, three for each piece: it leaves,
    it lands, it is through the downlink. So this is written out more than it would be elsewhere.
    """

    __slots__ = ("_down", "_kernel", "_landed", "_sent", "_served", "_up", "_waiting", "piece", "window")

    def __init__(self, kernel: Kernel, piece: int = PIECE, window: int = WINDOW) -> None:
        self._kernel = kernel
        self.piece = piece
        self.window = window
        self._up: list[_Line] = []
        self._down: list[_Line] = []
        self._sent: list[int] = []
        self._waiting: dict[Stream, _Waiting] = {}
        self._served, self._landed = self._serve_up, self._land  # bound once

    def add(self, up: float | None, down: float | None) -> None:
        owner = len(self._up)
        self._sent.append(0)
        self._up.append(_Line(owner, up))
        self._down.append(_Line(owner, down))

    def set_rates(self, owner: int, up: float | None, down: float | None) -> None:
        """Change a peer's rates; what is being served is finished at the old one."""
        self._up[owner].rate = up
        self._down[owner].rate = down

    # --- leaving ---------------------------------------------------------------------

    def datagram(
        self, source: int, target: int, size: int, delay: float, action: Action, a: tuple[Any, ...] = ()
    ) -> None:
        line = self._up[source]
        line.control.append((target, size, delay, action, a))
        if not line.busy:
            self._serve_up(line)

    def message(self, stream: Stream, item: Any, size: int) -> None:
        line = self._up[stream.source]
        line.control.append((stream.target, size, None, stream, item))
        if not line.busy:
            self._serve_up(line)

    def body(self, stream: Stream, item: Any, size: int) -> None:
        waiting = self._waiting.get(stream)
        if waiting is None:
            waiting = self._waiting[stream] = _Waiting()
        waiting.bodies.append((item, size))
        self._take_turns(stream, waiting)

    def _take_turns(self, stream: Stream, waiting: _Waiting) -> None:
        if not waiting.in_turn and waiting.bodies and waiting.in_network < self.window:
            waiting.in_turn = True
            line = self._up[stream.source]
            line.rest.append(stream)
            if not line.busy:
                self._serve_up(line)

    def _serve_up(self, line: _Line) -> None:
        """Let the next leave, and come back when it has; all at once where there is no limit."""
        kernel, control, turns, rate = self._kernel, line.control, line.rest, line.rate
        line.busy = False
        now = kernel.now
        while True:
            if control:
                target, size, delay, action, item = control.popleft()
                self._sent[line.owner] += size
                leaves = now if rate is None else now + size / rate
                if delay is not None:
                    self._fly(leaves + delay, target, size, True, action, item)
                elif not action.closed:
                    arrives = action.clear_at(leaves)
                    self._fly(arrives, target, size, True, action.arrive, (item, size, True, True))
            elif turns:
                stream = turns.popleft()
                waiting = self._waiting.get(stream)
                if waiting is None:
                    continue
                waiting.in_turn = False
                if not waiting.bodies:
                    continue
                leaves = self._send_piece(line, stream, waiting, now)
            else:
                return
            if rate is not None:
                line.busy = True
                kernel.queue(leaves, line.owner, ANY_BOOT, self._served, line.own)
                return

    def _send_piece(self, line: _Line, stream: Stream, waiting: _Waiting, now: float) -> float:
        """Let the next piece of a stream leave; return when it has left."""
        item, total = waiting.bodies[0]
        at, rate = waiting.offset, line.rate
        size = total - at
        last = size <= self.piece
        if not last:
            size = self.piece
        self._sent[line.owner] += size
        leaves = now if rate is None else now + size / rate
        if last:
            waiting.bodies.popleft()
            waiting.offset = 0
            self._kernel.queue(leaves, line.owner, ANY_BOOT, stream.departed, (item,))
        else:
            waiting.offset = at + size
        waiting.in_network += size
        arrives = stream.clear_at(leaves)
        self._fly(arrives, stream.target, size, False, stream.arrive, (item, size, at == 0, last))
        if waiting.bodies and waiting.in_network < self.window:
            waiting.in_turn = True
            line.rest.append(stream)
        return leaves

    # --- arriving ----------------------------------------------------------------------

    def _fly(self, when: float, target: int, size: int, control: bool, action: Action, a: Any) -> None:
        line = self._down[target]
        if line.rate is None:
            self._kernel.queue(when, target, ANY_BOOT, action, a)
        else:
            self._kernel.queue(when, target, ANY_BOOT, self._landed, (line, size, control, action, a))

    def _land(self, line: _Line, size: int, control: bool, action: Action, a: Any) -> None:
        (line.control if control else line.rest).append((size, action, a))
        if not line.busy:
            self._serve_down(line)

    def _serve_down(self, line: _Line) -> None:
        """Let the next through, if anything waits; all at once where there is no limit any more."""
        kernel, rate = self._kernel, line.rate
        while line.control or line.rest:
            size, action, a = (line.control or line.rest).popleft()
            if rate is not None:
                line.busy = True
                kernel.queue(kernel.now + size / rate, line.owner, ANY_BOOT, self._through, (line, action, a))
                return
            kernel.queue(kernel.now, line.owner, ANY_BOOT, action, a)

    def _through(self, line: _Line, action: Action, a: Any) -> None:
        action(*a)
        line.busy = False
        self._serve_down(line)

    def delivered(self, stream: Stream, size: int) -> None:
        waiting = self._waiting.get(stream)
        if waiting is not None:
            waiting.in_network -= size
            if waiting.bodies and not waiting.in_turn:
                self._take_turns(stream, waiting)

    def close(self, stream: Stream) -> None:
        self._waiting.pop(stream, None)

    def sent(self, owner: int) -> float:
        return self._sent[owner]
