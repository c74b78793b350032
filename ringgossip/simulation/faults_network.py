"""What goes wrong between two peers? Clogs, half-open links, cut rings, bridges, thin lines, closed doors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringgossip.simulation.faults import End, Fault, lay
from ringgossip.simulation.faults_life import below
from ringgossip.simulation.links import ends_of
from ringgossip.simulation.network import Wall

if TYPE_CHECKING:
    from ringgossip.simulation.world import World


def _both_ways(world: "World", name: str, here: frozenset[int], there: frozenset[int], hold: bool) -> None:
    world.network.raise_wall(Wall(name, here, there, hold))
    world.network.raise_wall(Wall(name, there, here, hold))


def _others(world: "World", index: int) -> frozenset[int]:
    return frozenset(i for i in range(len(world.nodes)) if i != index)


@dataclass(frozen=True, slots=True)
class Clog(Fault):
    """What one peer sends to another is held, and arrives when the clog is over."""

    one: int
    other: int
    seconds: float | None = 10.0

    def begin(self, world: "World") -> End:
        name = world.new_name("clog")
        world.network.raise_wall(Wall(name, frozenset((self.one,)), frozenset((self.other,)), hold=True))
        return lambda: world.network.drop_wall(name)


@dataclass(frozen=True, slots=True)
class Swizzle(Fault):
    """Peers are clogged one by one in a random order, then freed one by one in another.

    Source: FoundationDB's swizzle-clogging (Wilson, Strange Loop 2014).
    """

    peers: tuple[int, ...] = ()  # Empty: about half of all, drawn.
    step: float = 1.0
    seconds: float | None = 20.0

    def begin(self, world: "World") -> End:
        generator = world.kernel.generator("swizzle", self.at)
        chosen = list(self.peers) or [i for i in range(len(world.nodes)) if generator.random() < 0.5]
        clogged: dict[int, str] = {}
        over = False

        def clog(index: int) -> None:
            if not over:
                clogged[index] = name = world.new_name("swizzle")
                _both_ways(world, name, frozenset((index,)), _others(world, index), hold=True)

        def free(index: int) -> None:
            name = clogged.pop(index, None)
            if name is not None:
                world.network.drop_wall(name)

        def shuffled() -> list[int]:
            order = list(chosen)
            for place in range(len(order) - 1, 0, -1):
                other = below(generator, place + 1)
                order[place], order[other] = order[other], order[place]
            return order

        def end() -> None:
            nonlocal over
            over = True
            for number, index in enumerate(shuffled()):
                world.kernel.after(self.step * number, free, index)

        for number, index in enumerate(shuffled()):
            world.kernel.after(self.step * number, clog, index)
        return end


@dataclass(frozen=True, slots=True)
class HalfOpen(Fault):
    """One end of the links between two peers is gone, and the other end does not know."""

    one: int  # Loses its ends.
    other: int  # Believes that they are open, until it says something.

    def begin(self, world: "World") -> End:
        for end in ends_of(world.links, self.one, self.other):
            world.links.break_end(end, "connection reset")
        return None


@dataclass(frozen=True, slots=True)
class RingCut(Fault):
    """Everybody reaches only so many neighbours on either side in a ring, as if routes were missing.

    With `one_way` everybody reaches only those before it, and is reached by those behind it.
    """

    reach: int = 2
    seconds: float | None = 20.0
    one_way: bool = False

    def begin(self, world: "World") -> End:
        name, count = world.new_name("ring"), len(world.nodes)
        for index in range(count):
            first = 0 if self.one_way else -self.reach
            near = {(index + step) % count for step in range(first, self.reach + 1)}
            far = frozenset(range(count)) - near
            if far:
                world.network.raise_wall(Wall(name, frozenset((index,)), far))
        return lambda: world.network.drop_wall(name)


@dataclass(frozen=True, slots=True)
class Bridge(Fault):
    """Two halves reach each other only through one peer; `one_way`: only the first cannot reach the other."""

    peer: int
    seconds: float | None = 20.0
    one_way: bool = False

    def begin(self, world: "World") -> End:
        name, count = world.new_name("bridge"), len(world.nodes)
        half = count // 2
        left = frozenset(range(half)) - {self.peer}
        right = frozenset(range(half, count)) - {self.peer}
        world.network.raise_wall(Wall(name, left, right))
        if not self.one_way:
            world.network.raise_wall(Wall(name, right, left))
        return lambda: world.network.drop_wall(name)


@dataclass(frozen=True, slots=True)
class ThinLine(Fault):
    """A peer's line gets narrow, in bytes a second; needs the carrier `pieces`."""

    peer: int
    up: float = 125_000.0
    down: float = 1_250_000.0
    seconds: float | None = 30.0

    def begin(self, world: "World") -> End:
        spec = world.specs[self.peer]

        def put(thin: "list[ThinLine]") -> None:
            up, down = (thin[-1].up, thin[-1].down) if thin else (spec.up, spec.down)
            world.limit(self.peer, up, down)

        return lay(world, "line", self.peer, self, put)


@dataclass(frozen=True, slots=True)
class CloseDoor(Fault):
    """Nobody can open a connection to a peer for a while; those that are open stay."""

    peer: int
    seconds: float | None = 30.0

    def begin(self, world: "World") -> End:
        accepts, usual = world.network.accepts, world.specs[self.peer].accepts
        return lay(
            world, "door", self.peer, True, lambda all_: accepts.__setitem__(self.peer, usual and not all_)
        )
