"""What goes wrong, when, and for how long? Faults as plain data, so that a plan can be read, cut and saved.

A fault begins at `at` (seconds of the run) and, if it lasts, ends after
`seconds` by itself, or earlier when the world stops all faults. Peers are named
by their number.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ringgossip.simulation.links import ends_of
from ringgossip.simulation.network import BurstLoss, Wall

if TYPE_CHECKING:
    from ringgossip.simulation.world import World

End = Callable[[], None] | None
_T = TypeVar("_T")
Layers = dict[tuple[str, int], list[list[Any]]]


def lay(
    world: "World", what: str, peer: int, said: _T, put: Callable[[list[_T]], object]
) -> Callable[[], None]:
    """Let `said` count from now until the end that is returned.

    `put` gets everything that faults say of the same thing at one time, oldest
    first: of two that overlap, the end of one is not the end of the other.
    """
    layers = world.layers.setdefault((what, peer), [])
    mine = [said]  # a list is itself only, whatever is in it
    layers.append(mine)

    def tell() -> None:
        put([each for [each] in layers])

    def end() -> None:
        layers[:] = [other for other in layers if other is not mine]
        tell()

    tell()
    return end


@dataclass(frozen=True, slots=True)
class Fault:
    """The root of all faults; `begin` returns what ends it, or None if it is over at once."""

    at: float

    def begin(self, world: "World") -> End:
        raise NotImplementedError

    @property
    def duration(self) -> float | None:
        """How long it lasts; None: it is over at once, or lasts until all faults are stopped."""
        return getattr(self, "seconds", None)


@dataclass(frozen=True, slots=True)
class Crash(Fault):
    """A process dies without a word, or the whole machine; it is started again after `seconds`."""

    peer: int
    seconds: float | None = 5.0
    machine: bool = False  # Nothing resets its links, and what was not synced may be lost.
    wipe: bool = False  # The disk is empty afterwards.

    def begin(self, world: "World") -> End:
        if not world.nodes[self.peer].running:
            return None
        world.crash(self.peer, machine=self.machine)
        if self.wipe:
            world.wipe(self.peer)
        return lambda: world.restart(self.peer)


@dataclass(frozen=True, slots=True)
class Pause(Fault):
    """A process stands still, as under a debugger, a swapping host, or a greedy GIL."""

    peer: int
    seconds: float | None = 5.0

    def begin(self, world: "World") -> End:
        node = world.nodes[self.peer]
        return lay(world, "pause", self.peer, self, lambda all_: node.pause() if all_ else node.resume())


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """Every input takes `service` seconds."""

    peer: int
    service: float = 0.01
    seconds: float | None = 10.0

    def begin(self, world: "World") -> End:
        node = world.nodes[self.peer]

        def put(services: list[float]) -> None:
            node.service = max(services, default=0.0)

        return lay(world, "slow", self.peer, self.service, put)


@dataclass(frozen=True, slots=True)
class ClockJump(Fault):
    """A clock is put forward; it stays so."""

    peer: int
    by: float = 3600.0

    def begin(self, world: "World") -> End:
        node = world.nodes[self.peer]
        node.clock.offset += max(0.0, self.by)
        node.clock_changed()
        return None


@dataclass(frozen=True, slots=True)
class Partition(Fault):
    """Nothing passes between two groups; with `one_way` only from the first to the second."""

    group: tuple[int, ...]
    others: tuple[int, ...] = ()  # Empty: everybody else.
    seconds: float | None = 20.0
    one_way: bool = False
    hold: bool = False  # Kept and delivered afterwards, rather than lost.

    def begin(self, world: "World") -> End:
        name = world.new_name("partition")
        here = frozenset(self.group)
        there = frozenset(self.others or [i for i in range(len(world.nodes)) if i not in here])
        world.network.raise_wall(Wall(name, here, there, self.hold))
        if not self.one_way:
            world.network.raise_wall(Wall(name, there, here, self.hold))
        return lambda: world.network.drop_wall(name)


@dataclass(frozen=True, slots=True)
class Flap(Fault):
    """A peer's network comes and goes, `up` and `down` seconds long."""

    peer: int
    up: float = 1.0
    down: float = 1.0
    seconds: float | None = 20.0

    def begin(self, world: "World") -> End:
        over = False
        heal: list[Callable[[], None]] = []

        def fall() -> None:
            if not over:
                ending = Partition(0.0, (self.peer,)).begin(world)
                assert ending is not None
                heal.append(ending)
                world.kernel.after(self.down, rise)

        def rise() -> None:
            while heal:
                heal.pop()()
            if not over:
                world.kernel.after(self.up, fall)

        def end() -> None:
            nonlocal over
            over = True
            rise()

        fall()
        return end


@dataclass(frozen=True, slots=True)
class ResetLinks(Fault):
    """A box between two peers forgets their connections."""

    one: int
    other: int

    def begin(self, world: "World") -> End:
        for end in ends_of(world.links, self.one, self.other):
            world.links.reset(end)
        return None


@dataclass(frozen=True, slots=True)
class BadWeather(Fault):
    """The whole network gets worse for a while."""

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    corruption: float = 0.0
    burst: bool = False
    seconds: float | None = 20.0

    def begin(self, world: "World") -> End:
        fair = world.fair_weather

        def put(bad: "list[BadWeather]") -> None:
            world.network.weather = replace(
                fair,
                loss=max([fair.loss, *(each.loss for each in bad)]),
                duplication=max([fair.duplication, *(each.duplication for each in bad)]),
                reordering=max([fair.reordering, *(each.reordering for each in bad)]),
                corruption=max([fair.corruption, *(each.corruption for each in bad)]),
                burst=BurstLoss() if any(each.burst for each in bad) else fair.burst,
            )

        return lay(world, "weather", -1, self, put)


@dataclass(frozen=True, slots=True)
class BlockUdp(Fault):
    """A firewall drops a peer's datagrams, both ways."""

    peer: int
    seconds: float | None = None

    def begin(self, world: "World") -> End:
        blocked, usual = world.network.udp_blocked, world.specs[self.peer].udp_blocked
        return lay(
            world, "udp", self.peer, True, lambda all_: blocked.__setitem__(self.peer, usual or bool(all_))
        )


@dataclass(frozen=True, slots=True)
class DiskTrouble(Fault):
    """Every write fails, as on a full or broken disk; with `reads` nothing can be read either."""

    peer: int
    reason: str = "no space left on the disk"
    seconds: float | None = 20.0
    reads: bool = False

    def begin(self, world: "World") -> End:
        disk = world.nodes[self.peer].disk

        def put(troubles: "list[DiskTrouble]") -> None:
            disk.trouble = troubles[-1].reason if troubles else None
            disk.unreadable = any(each.reads for each in troubles)

        return lay(world, "trouble", self.peer, self, put)


@dataclass(frozen=True, slots=True)
class BitRot(Fault):
    """One stored chunk of one copy is no longer what it was; `chance` (0 to 1) says which."""

    peer: int
    chance: float = 0.0

    def begin(self, world: "World") -> End:
        disk = world.nodes[self.peer].disk
        roots = sorted({holding.record.root for holding in disk.holdings.values()})
        places = [(root, index) for root in roots for index in range(disk.manifests[root].chunk_count)]
        if places:
            disk.damaged[places[int(self.chance * len(places)) % len(places)]] = b"rot".ljust(32, b"\0")
        return None


@dataclass(frozen=True, slots=True)
class Leave(Fault):
    """A peer says goodbye and stops; started again after `seconds`."""

    peer: int
    seconds: float | None = 10.0

    def begin(self, world: "World") -> End:
        if not world.nodes[self.peer].running:
            return None
        world.leave(self.peer)
        return lambda: world.restart(self.peer)


@dataclass(frozen=True, slots=True)
class Move(Fault):
    """A peer's machine gets another address; its process is started again there, or goes on and is not told.

    Who goes on loses its links; their other ends do not know that until they say something.
    """

    peer: int
    restart: bool = True

    def begin(self, world: "World") -> End:
        world.move(self.peer, restart=self.restart)
        if not self.restart:
            for end in list(world.links.ends[self.peer].values()):
                world.links.break_end(end, "the address is gone")
        return None
