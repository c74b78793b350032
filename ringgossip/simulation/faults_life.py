"""What goes wrong with processes, machines and clocks beyond one crash? Churn, power cuts, drifting clocks.

Each draws from a generator of its own, named by its place in the plan's time,
so that cutting another fault out changes nothing here.
"""

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from ringgossip.simulation.faults import End, Fault, lay

if TYPE_CHECKING:
    from ringgossip.simulation.world import World


def below(generator: Random, bound: int) -> int:
    """Return a whole number from 0 to bound - 1; only `random()` is alike on every Python."""
    return int(generator.random() * bound)


@dataclass(frozen=True, slots=True)
class Churn(Fault):
    """Peers come and go: one goes about every `every` seconds, and comes back after about `away`."""

    every: float = 5.0
    away: float = 10.0
    share_leaving: float = 0.5  # Others die without a word.
    seconds: float | None = 60.0

    def begin(self, world: "World") -> End:
        generator = world.kernel.generator("churn", self.at)
        over = False
        gone: list[int] = []

        def go() -> None:
            if over:
                return
            running = [node.index for node in world.nodes if node.running and not node.stranger]
            # The last two stay: a cluster of nobody has no story.
            if len(running) > 2:
                index = running[below(generator, len(running))]
                if generator.random() < self.share_leaving:
                    world.leave(index)
                else:
                    world.crash(index, machine=generator.random() < 0.5)
                gone.append(index)
                world.kernel.after(self.away * (0.5 + generator.random()), come, index)
            world.kernel.after(self.every * (0.5 + generator.random()), go)

        def come(index: int) -> None:
            if index in gone:
                gone.remove(index)
                world.restart(index)

        def end() -> None:
            nonlocal over
            over = True
            for index in list(gone):
                come(index)

        world.kernel.after(self.every * generator.random(), go)
        return end


@dataclass(frozen=True, slots=True)
class PowerCut(Fault):
    """Machines go dark together and come back together: everybody boots at once."""

    peers: tuple[int, ...] = ()  # Empty: all.
    seconds: float | None = 10.0
    within: float = 1.0  # They start again within so many seconds of each other.

    def begin(self, world: "World") -> End:
        generator = world.kernel.generator("power", self.at)
        named = self.peers or tuple(node.index for node in world.nodes if not node.stranger)
        dark = [index for index in named if world.nodes[index].running]
        for index in dark:
            world.crash(index, machine=True)

        def end() -> None:
            for index in dark:
                world.kernel.after(self.within * generator.random(), world.restart, index)

        return end


@dataclass(frozen=True, slots=True)
class ClockDrift(Fault):
    """A clock runs too fast by a share (negative: too slow); what it gained stays."""

    peer: int
    share: float = 0.05
    seconds: float | None = 60.0

    def begin(self, world: "World") -> End:
        node = world.nodes[self.peer]

        def put(shares: list[float]) -> None:
            node.clock.set_drift(shares[-1] if shares else 0.0)
            node.clock_changed()

        return lay(world, "drift", self.peer, max(-0.5, min(1.0, self.share)), put)


@dataclass(frozen=True, slots=True)
class WallClockStep(Fault):
    """The wall clock is set `by` seconds forward or back; only the next boot looks at it."""

    peer: int
    by: float = -86400.0

    def begin(self, world: "World") -> End:
        world.nodes[self.peer].clock.wall_offset += self.by
        return None
