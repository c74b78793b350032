"""What goes wrong with a disk beyond being full? It tears what it writes, is slow, and lies of syncing."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringgossip.simulation.faults import End, Fault, lay

if TYPE_CHECKING:
    from ringgossip.simulation.world import World


@dataclass(frozen=True, slots=True)
class TornWrites(Fault):
    """The power goes while chunks are being written: some are there in part, and the index counts them.

    What is found after a crash must be hashed again before it counts.
    """

    peer: int
    seconds: float | None = 5.0  # Until the machine starts again.

    def begin(self, world: "World") -> End:
        if not world.nodes[self.peer].running:
            return None
        world.nodes[self.peer].disk.tearing = True
        world.crash(self.peer, machine=True)
        world.nodes[self.peer].disk.tearing = False
        return lambda: world.restart(self.peer)


@dataclass(frozen=True, slots=True)
class LostWrites(Fault):
    """A disk says that everything is synced and keeps it in its own memory; then the power goes.

    No software can see this coming: numbers may be given out twice, and copies
    that were confirmed are gone. Everybody must agree all the same.
    """

    peer: int
    lying: float = 10.0  # seconds before the power goes
    seconds: float | None = 20.0  # Until the machine starts again.

    def begin(self, world: "World") -> End:
        node = world.nodes[self.peer]
        node.disk.lying = True
        # Such an origin may sign two records with one sequence and not know it.
        world.checks.forgetful[node.name] = None

        def cut() -> None:
            if node.running and node.disk.lying:
                world.crash(self.peer, machine=True)
            node.disk.lying = False

        def end() -> None:
            cut()
            world.restart(self.peer)

        world.kernel.after(min(self.lying, self.seconds or self.lying), cut)
        return end


@dataclass(frozen=True, slots=True)
class SlowDisk(Fault):
    """Every sync takes `sync` seconds, as on a disk that is worn or shared."""

    peer: int
    sync: float = 0.5
    seconds: float | None = 20.0

    def begin(self, world: "World") -> End:
        disk = world.nodes[self.peer].disk
        usual = world.specs[self.peer].disk

        def put(syncs: list[float]) -> None:
            disk.times = replace(usual, sync=max(syncs)) if syncs else usual

        return lay(world, "slow disk", self.peer, self.sync, put)
