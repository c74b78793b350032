"""What becomes of a packet? Delay, loss, doubling, reordering, damage, and walls between peers.

Everything that can go wrong with a datagram is decided here, by a generator of
its sender's own. Links ask here too: whether the way is open, and how long a
piece of a stream takes, retransmissions included.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ringgossip.identity.names import Address
from ringgossip.simulation.bandwidth import Carrier
from ringgossip.simulation.kernel import Kernel
from ringgossip.simulation.latency import Latency, Uniform

Receiver = Callable[[Any, Address, bool], None]  # payload, source address, damaged


@dataclass(frozen=True, slots=True)
class BurstLoss:
    """Loss that comes in bursts: good and bad times, drawn for every packet.

    Source: Gilbert 1960, Elliott 1963.
    """

    enter: float = 0.01
    leave: float = 0.2
    loss: float = 0.8


@dataclass(frozen=True, slots=True)
class Weather:
    """How the network behaves between any two peers. Shares are probabilities of one packet."""

    latency: Latency = field(default_factory=Uniform)
    loss: float = 0.0
    burst: BurstLoss | None = None
    duplication: float = 0.0
    reordering: float = 0.0
    reorder_delay: float = 0.05
    corruption: float = 0.0
    mtu: int = 1500
    mapping_seconds: float = 30.0  # How long a translated port stays open after its peer has sent.
    retransmit_after: float = 0.2  # RFC 6298 says at least 1 s; Linux takes 200 ms.


@dataclass(frozen=True, slots=True)
class Wall:
    """Nothing passes from `sources` to `targets`: lost, or with `hold` kept until the wall is gone."""

    name: str
    sources: frozenset[int]
    targets: frozenset[int]
    hold: bool = False

    def stops(self, source: int, target: int) -> bool:
        return source in self.sources and target in self.targets


class Network:
    """Where everybody is, what the weather is like, and which walls stand."""

    __slots__ = (
        "_bad_times", "_delay", "_fair", "_generators", "_held", "_mappings", "_receivers", "_stream_loss",
        "_weather", "accepts", "addresses", "bytes_sent", "carrier", "fate", "kernel",
        "on_change", "owner_at", "packets_sent", "udp_blocked", "walls",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, weather: Weather, carrier: Carrier) -> None:
        self.kernel = kernel
        self.weather = weather
        self.carrier = carrier
        self.owner_at: dict[Address, int] = {}
        self.addresses: list[Address] = []
        self.accepts: list[bool] = []  # False: nobody can open a connection to this peer.
        self.udp_blocked: list[bool] = []
        self.on_change: list[Callable[[], None]] = []
        self.fate: dict[str, int] = {}  # Why packets did not arrive, counted.
        self.packets_sent: list[int] = []
        self.bytes_sent: list[int] = []
        self._receivers: list[Receiver | None] = []
        self._generators: list[Random] = []
        self.walls: list[Wall] = []
        self._held: list[tuple[Wall, int, int, Address, Any, int, bool]] = []
        self._bad_times: dict[tuple[int, int], bool] = {}
        self._mappings: dict[tuple[int, int], float] = {}

    @property
    def weather(self) -> Weather:
        """How the network behaves now."""
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        # Then only the delay is drawn for a packet.
        self._fair = not (
            weather.loss or weather.burst or weather.corruption or weather.duplication or weather.reordering
        )
        self._delay = weather.latency.delay
        self._stream_loss = weather.loss
        if weather.burst is not None:
            burst = weather.burst
            self._stream_loss = max(weather.loss, burst.loss * burst.enter / (burst.enter + burst.leave))

    # --- who is where ---------------------------------------------------------------

    def add(self, address: Address, *, accepts: bool = True, udp_blocked: bool = False) -> int:
        """Connect one more peer; returns its number, which the kernel must have given it too."""
        index = len(self.addresses)
        self.addresses.append(address)
        self.owner_at[address] = index
        self.accepts.append(accepts)
        self.udp_blocked.append(udp_blocked)
        self.packets_sent.append(0)
        self.bytes_sent.append(0)
        self._receivers.append(None)
        self._generators.append(self.kernel.generator("network", index))
        return index

    def listen(self, index: int, receiver: Receiver | None) -> None:
        """Give packets for this peer to `receiver`; None: nobody listens."""
        self._receivers[index] = receiver

    def move(self, index: int, address: Address) -> None:
        """Give a peer another address; packets to the old one are lost."""
        self.owner_at.pop(self.addresses[index], None)
        self.addresses[index] = address
        self.owner_at[address] = index

    # --- walls ------------------------------------------------------------------------

    def raise_wall(self, wall: Wall) -> None:
        """Put up a wall; what is in flight does not pass it either."""
        self.walls.append(wall)

    def drop_wall(self, name: str) -> None:
        """Take all walls of this name away; what they held goes on its way, in order."""
        self.walls = [wall for wall in self.walls if wall.name != name]
        self._changed()

    def drop_all_walls(self) -> None:
        """Take every wall away."""
        self.walls = []
        self._changed()

    def _changed(self) -> None:
        held, self._held = self._held, []
        for entry in held:
            wall, source, target, address, payload, size, damaged = entry
            if wall in self.walls:
                self._held.append(entry)
                continue
            delay = self.weather.latency.delay(source, target, self._generators[source])
            packet = (source, target, address, payload, size, damaged)
            self.carrier.datagram(source, target, size, delay, self._arrive, packet)
        for listener in self.on_change:
            listener()

    def wall_between(self, source: int, target: int) -> Wall | None:
        """Return a wall that stops what goes from `source` to `target`."""
        for wall in self.walls:
            if wall.stops(source, target):
                return wall
        return None

    def reachable(self, source: int, target: int) -> bool:
        """Tell whether packets pass in both directions, as a stream needs them to."""
        return not self.walls or not (self.wall_between(source, target) or self.wall_between(target, source))

    # --- datagrams -----------------------------------------------------------------------

    def send(self, source: int, address: Address, payload: Any, size: int) -> None:
        """Send a datagram of `size` bytes; it may arrive, late, twice or damaged."""
        weather = self._weather
        self.packets_sent[source] += 1
        self.bytes_sent[source] += size
        target = self.owner_at.get(address, -1)
        if target < 0:
            return self._lose("nobody there")
        if size > weather.mtu:
            return self._lose("too long")
        if self.udp_blocked[source] or self.udp_blocked[target]:
            return self._lose("UDP blocked")
        if not self.accepts[source]:
            self._mappings[source, target] = self.kernel.now
        generator = self._generators[source]
        packet = (source, target, address, payload, size, False)
        if self._fair:
            delay = self._delay(source, target, generator)
            return self.carrier.datagram(source, target, size, delay, self._arrive, packet)
        if weather.loss and generator.random() < weather.loss:
            return self._lose("lost")
        if weather.burst is not None and self._lost_in_burst(source, target, weather.burst, generator):
            return self._lose("lost")
        damaged = bool(weather.corruption) and generator.random() < weather.corruption
        if damaged:
            packet = (*packet[:-1], True)
        copies = 2 if weather.duplication and generator.random() < weather.duplication else 1
        for _ in range(copies):
            delay = self._delay(source, target, generator)
            if weather.reordering and generator.random() < weather.reordering:
                delay += weather.reorder_delay * generator.random()
            self.carrier.datagram(source, target, size, delay, self._arrive, packet)
        return None

    def _lost_in_burst(self, source: int, target: int, burst: BurstLoss, generator: Random) -> bool:
        bad = self._bad_times.get((source, target), False)
        if generator.random() < (burst.leave if bad else burst.enter):
            bad = not bad
            self._bad_times[source, target] = bad
        return bad and generator.random() < burst.loss

    def _arrive(
        self, source: int, target: int, address: Address, payload: Any, size: int, damaged: bool
    ) -> None:
        if self.walls:
            wall = self.wall_between(source, target)
            if wall is not None:
                if wall.hold:
                    self._held.append((wall, source, target, address, payload, size, damaged))
                    return None
                return self._lose("wall")
        if self.addresses[target] != address:
            return self._lose("moved away")
        if not self.accepts[target]:
            opened = self._mappings.get((target, source))
            if opened is None or self.kernel.now - opened > self.weather.mapping_seconds:
                return self._lose("no mapping")
        receiver = self._receivers[target]
        if receiver is None:
            return self._lose("nobody listens")
        receiver(payload, self.addresses[source], damaged)
        return None

    def _lose(self, reason: str) -> None:
        self.fate[reason] = self.fate.get(reason, 0) + 1

    # --- streams -----------------------------------------------------------------------------

    def stream_delay(self, source: int, target: int) -> float:
        """Return how long one piece of a stream is on its way: what is lost is sent again, ever later."""
        generator = self._generators[source]
        delay = self._delay(source, target, generator)
        loss = self._stream_loss
        if loss:
            again = self._weather.retransmit_after
            while generator.random() < loss and again < 60.0:
                delay += again
                again *= 2
        return delay
