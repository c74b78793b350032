"""What is a link in a made world? A stream in each direction: whole and in order until it breaks.

Opening costs the round trips of TCP and TLS. A wall or a dead machine stalls a
stream; a stall longer than `break_after` breaks the link at both ends. A process
that dies resets its links at once; a machine that dies says nothing, and its
partners notice when what they send is not taken.
"""

from collections import deque
from enum import Enum
from typing import Any, Protocol

from ringgossip.frozen import frozen
from ringgossip.identity import Address
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.simulation.bandwidth import Carrier
from ringgossip.simulation.kernel import Kernel
from ringgossip.simulation.network import Network

_OPEN, _FIN = object(), object()
_HANDSHAKE_POLL = 0.25  # How often a dialler looks whether a paused peer goes on with TLS.


class Presence(Enum):
    """What answers at a peer's address."""

    RUNNING = "running"
    REFUSING = "refusing"  # The machine is there, the process is not: connections are refused or reset.
    SILENT = "silent"  # The machine is off.


@frozen
class Body:
    """A chunk's body under way: what it was asked as, and the hash that its bytes really have."""

    request: int
    root: bytes
    index: int
    length: int
    hash: bytes


class Side(Protocol):
    """What links need of the peer at one end."""

    index: int
    paused: bool

    @property
    def presence(self) -> Presence: ...

    @property
    def certificate(self) -> NodeCertificate: ...

    def judge(self, certificate: NodeCertificate) -> str | None:
        """Say why a certificate is refused in the handshake; None: it is good."""
        ...

    @property
    def keys(self) -> list[str]: ...

    def link_refused(self, address: Address, reason: str) -> None: ...

    def keys_refused(self, address: Address, name: str) -> None: ...

    def on_dial_failed(self, address: Address, expected: Any, reason: str) -> None: ...

    def on_link_opened(self, end: "End", address: Address, dialled: bool) -> None: ...

    def on_link_message(self, end: "End", message: Any, size: int) -> None: ...

    def on_body_first(self, end: "End", body: Body) -> None: ...

    def on_body_last(self, end: "End", body: Body) -> None: ...

    def on_body_sent(self, end: "End", body: Body) -> None: ...

    def on_link_broken(self, end: "End", reason: str) -> None: ...


class End:
    """One peer's end of a link, and the stream that leaves from it."""

    __slots__ = ("boot", "number", "open", "other", "out", "peer", "side")

    def __init__(self, side: Side, boot: int, number: int, links: "Links", target: int) -> None:
        self.side = side
        self.boot = boot
        self.number = number
        self.open = False
        self.peer: NodeCertificate | None = None
        self.out = Direction(links, side.index, target)
        self.other: End = self

    def __repr__(self) -> str:
        # Traces of two runs are compared: where an object lies in memory must not be in them.
        return f"End({self.number})"


class Direction:
    """The stream from one end to the other."""

    __slots__ = (
        "_clear", "_delay", "_links", "_stalled", "_stalls", "closed", "receiver", "source", "target",
    )  # fmt: skip

    receiver: End

    def __init__(self, links: "Links", source: int, target: int) -> None:
        self._links = links
        self._delay = links.network.stream_delay
        self._clear = 0.0
        self._stalled: deque[tuple[Any, int, bool, bool]] = deque()
        self._stalls = 0
        self.source = source
        self.target = target
        self.closed = False

    def clear_at(self, departure: float) -> float:
        when = departure + self._delay(self.source, self.target)
        if when <= self._clear:
            when = self._clear + 1e-9
        self._clear = when
        return when

    def departed(self, item: Any) -> None:
        end = self.receiver.other
        if end.open and not self.closed and self._links.lives(end):
            end.side.on_body_sent(end, item)

    def arrive(self, item: Any, size: int, first: bool, last: bool) -> None:
        if self.closed:
            return
        if self._stalled or not self._links.passes(self):
            if not self._stalled:
                self._links.stall(self)
            self._stalled.append((item, size, first, last))
            return
        self._take(item, size, first, last)

    def resume(self) -> None:
        """Deliver what was stalled, if the way is open again."""
        while self._stalled and not self.closed and self._links.passes(self):
            self._take(*self._stalled.popleft())
        if self._stalled and not self.closed:
            self._links.stalled[self] = None

    def still_stalled(self, stall: int) -> bool:
        return bool(self._stalled) and self._stalls == stall and not self.closed

    def begin_stall(self) -> int:
        self._stalls += 1
        return self._stalls

    def _take(self, item: Any, size: int, first: bool, last: bool) -> None:
        links, end = self._links, self.receiver
        if size:
            links.carrier.delivered(self, size)
        if type(item) is Body and not first and not last and end.open:
            return  # one of many pieces: whoever died since has closed this end
        if not links.lives(end):
            # The connection is unknown to whoever runs there now.
            links.break_end(end.other, "connection reset")
            self.closed = True
        elif item is _OPEN:
            links.register(end)
            end.side.on_link_opened(end, links.network.addresses[self.source], False)
        elif item is _FIN:
            links.break_end(end, "closed by the other side")
        elif not end.open:
            # Half-open until now: whoever has no such connection answers with a reset.
            links.break_end(end.other, "connection reset")
            self.closed = True
        elif isinstance(item, Body):
            if first:
                end.side.on_body_first(end, item)
            if last and end.open:
                end.side.on_body_last(end, item)
        else:
            end.side.on_link_message(end, item, size)


class Links:
    """All links of a world."""

    __slots__ = (
        "_next", "_sides", "break_after", "carrier", "dial_timeout", "ends", "kernel", "network", "stalled",
    )  # fmt: skip

    def __init__(
        self,
        kernel: Kernel,
        network: Network,
        carrier: Carrier,
        *,
        break_after: float = 20.0,
        dial_timeout: float = 5.0,
    ) -> None:
        self.kernel = kernel
        self.network = network
        self.carrier = carrier
        self.break_after = break_after  # As TCP_USER_TIMEOUT.
        self.dial_timeout = dial_timeout
        self.stalled: dict[Direction, None] = {}
        self.ends: dict[int, dict[int, End]] = {}  # Open ends of each peer by their number.
        self._sides: dict[int, Side] = {}
        self._next = 0
        network.on_change.append(self._ways_changed)

    def add(self, side: Side) -> None:
        """Make a peer known, up or not."""
        self._sides[side.index] = side
        self.ends[side.index] = {}

    def lives(self, end: End) -> bool:
        """Tell whether the process that opened this end still runs."""
        return end.side.presence is Presence.RUNNING and self.kernel.boot(end.side.index) == end.boot

    # --- opening -------------------------------------------------------------------------

    def dial(self, source: Side, address: Address, expected: Any) -> None:
        """Open a link; the side hears `on_link_opened` or `on_dial_failed`."""
        kernel, network = self.kernel, self.network
        target = network.owner_at.get(address, -1)
        boot = kernel.boot(source.index)
        if target == source.index:
            return self._fail_later(source, boot, 0.0, address, expected, "that is ourselves")
        if target < 0 or not network.accepts[target] or not network.reachable(source.index, target):
            return self._fail_later(source, boot, self.dial_timeout, address, expected, "timed out")
        presence = self._sides[target].presence
        if presence is Presence.SILENT:
            return self._fail_later(source, boot, self.dial_timeout, address, expected, "timed out")
        trip = network.stream_delay(source.index, target) + network.stream_delay(target, source.index)
        if presence is Presence.REFUSING:
            return self._fail_later(source, boot, trip, address, expected, "connection refused")
        # One round trip for TCP, one for TLS 1.3.
        shake = (self._shake, source, address, expected, target, kernel.now)
        kernel.at(kernel.now + 2 * trip, source.index, boot, *shake)
        return None

    def _fail_later(
        self, source: Side, boot: int, delay: float, address: Address, expected: Any, reason: str
    ) -> None:
        when = self.kernel.now + delay
        self.kernel.at(when, source.index, boot, source.on_dial_failed, address, expected, reason)

    def _shake(self, source: Side, address: Address, expected: Any, target: int, started: float) -> None:
        kernel, network = self.kernel, self.network
        boot, accepting = kernel.boot(source.index), self._sides[target]
        late = kernel.now - started >= self.dial_timeout
        blocked = not network.reachable(source.index, target) or network.owner_at.get(address) != target
        if accepting.presence is Presence.REFUSING:
            return source.on_dial_failed(address, expected, "connection reset")
        if accepting.presence is Presence.SILENT or blocked or accepting.paused:
            if late:
                return source.on_dial_failed(address, expected, "timed out")
            shake = (self._shake, source, address, expected, target, started)
            kernel.at(kernel.now + _HANDSHAKE_POLL, source.index, boot, *shake)
            return None
        refused = accepting.judge(source.certificate)
        if refused is not None:
            accepting.link_refused(network.addresses[source.index], refused)
            return source.on_dial_failed(address, expected, f"refused: {refused}")
        refused = source.judge(accepting.certificate)
        if refused is not None:
            return source.on_dial_failed(address, expected, f"refused: {refused}")
        if not any(key in accepting.keys for key in source.keys):
            name = source.certificate.name
            accepting.link_refused(network.addresses[source.index], f"{name!r} has none of our gossip keys")
            source.keys_refused(address, accepting.certificate.name)
            return source.on_dial_failed(address, expected, "we share no gossip key")
        self._open(source, accepting, address)
        return None

    def _open(self, source: Side, accepting: Side, address: Address) -> None:
        kernel = self.kernel
        here, there = source.index, accepting.index
        dialler = End(source, kernel.boot(here), self._number(), self, there)
        acceptor = End(accepting, kernel.boot(there), self._number(), self, here)
        dialler.other, acceptor.other = acceptor, dialler
        dialler.out.receiver, acceptor.out.receiver = acceptor, dialler
        dialler.peer, acceptor.peer = accepting.certificate, source.certificate
        # The acceptor knows the dialler half a round trip later, before anything that follows on the stream.
        self.carrier.message(dialler.out, _OPEN, 0)
        self.register(dialler)
        source.on_link_opened(dialler, address, True)

    def _number(self) -> int:
        self._next += 1
        return self._next

    def register(self, end: End) -> None:
        """Count an end among those that may be used."""
        end.open = True
        self.ends[end.side.index][end.number] = end

    # --- using -----------------------------------------------------------------------------

    def send(self, end: End, message: Any, size: int) -> None:
        """Send a message in order with the other messages of this end."""
        if end.open:
            self.carrier.message(end.out, message, size)

    def send_body(self, end: End, body: Body) -> None:
        """Send a chunk's body; the side hears `on_body_sent` when its last byte has left."""
        if end.open:
            self.carrier.body(end.out, body, body.length)

    # --- ending -----------------------------------------------------------------------------

    def close(self, end: End) -> None:
        """End a link from this side; the other side hears it after what was sent before."""
        if end.open:
            self._forget(end)
            end.other.out.closed = True
            self.carrier.close(end.out)
            self.carrier.message(end.out, _FIN, 0)

    def break_end(self, end: End, reason: str) -> None:
        """Tell one side that its link is gone."""
        if end.open:
            self._forget(end)
            end.out.closed = True
            self.carrier.close(end.out)
            if self.lives(end):
                end.side.on_link_broken(end, reason)

    def reset(self, end: End) -> None:
        """Break a link at both ends, as a box in between does that has lost its table."""
        self.break_end(end, "connection reset")
        self.break_end(end.other, "connection reset")
        end.other.out.closed = True

    def drop_all(self, side: Side, *, silently: bool) -> None:
        """The process of `side` died: its partners hear a reset, or nothing if the whole machine is off."""
        for end in list(self.ends[side.index].values()):
            self._forget(end)
            end.out.closed = True
            self.carrier.close(end.out)
            if not silently and self.network.reachable(side.index, end.other.side.index):
                when = self.kernel.now + self.network.stream_delay(side.index, end.other.side.index)
                other = end.other
                self.kernel.at(when, other.side.index, other.boot, self.break_end, other, "connection reset")

    def _forget(self, end: End) -> None:
        end.open = False
        self.ends[end.side.index].pop(end.number, None)

    # --- stalling ------------------------------------------------------------------------------

    def passes(self, direction: Direction) -> bool:
        """Tell whether data on this stream is taken and acknowledged now."""
        if direction.receiver.side.presence is Presence.SILENT:
            return False
        network = self.network
        return not network.walls or network.reachable(direction.source, direction.target)

    def stall(self, direction: Direction) -> None:
        """A stream got stuck; unless it moves again in time, its link breaks."""
        self.stalled[direction] = None
        self.kernel.after(self.break_after, self._give_up, direction, direction.begin_stall())

    def _give_up(self, direction: Direction, stall: int) -> None:
        if direction.still_stalled(stall):
            self.stalled.pop(direction, None)
            self.break_end(direction.receiver.other, "timed out")
            self.break_end(direction.receiver, "timed out")
            direction.closed = True

    def _ways_changed(self) -> None:
        """Walls went: stalled streams move again after their next retransmission."""
        stalled, self.stalled = self.stalled, {}
        for direction in stalled:
            wait = self.network.stream_delay(direction.source, direction.target)
            self.kernel.after(wait + self.network.weather.retransmit_after, direction.resume)

    def wake_stalled(self) -> None:
        """A machine is back: whoever still sends to it finds out."""
        self._ways_changed()


def ends_of(links: Links, one: int, other: int) -> list[End]:
    """Return the open ends at peer `one` of its links with peer `other`."""
    return [end for end in links.ends[one].values() if end.other.side.index == other]
