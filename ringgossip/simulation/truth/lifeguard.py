"""How soon are blocked members found, and how many others are called dead for it? As Lifeguard measured.

Members that are blocked can neither send nor receive; what they say and hear is
delivered afterwards. Their own work stands still where it wants to speak: the
probe under way ends late and unanswered, and deadlines that passed meanwhile
are met before anything that waited is heard.

The threshold experiment blocks some members at one instant, once, and times
what the others find. The interval experiment blocks them again and again and
counts who is declared dead without having been blocked.

Source: Dadgar, Phillips, Currey 2018, "Lifeguard: local health awareness for
more accurate failure detection", section V.
"""

from collections.abc import Mapping
from typing import Any

from ringgossip.events import PeerLost
from ringgossip.protocol.core import NEVER
from ringgossip.protocol.probing import ProbeSettings
from ringgossip.protocol.settings import GossipSettings, ListSettings, MembershipSettings
from ringgossip.protocol.suspicion import SuspicionSettings
from ringgossip.simulation.members import MembersWorld
from ringgossip.simulation.network import Wall
from ringgossip.simulation.truth.swim import world_of
from ringgossip.simulation.truth.table import Sample

_WARM = 3.3
_WALL = "blocked"
_AFTER = 5.0  # seconds in which what was held back by the last block is heard


def published(alpha: float, beta: float, health: bool) -> MembershipSettings:
    """Return what memberlist does, which the paper measured: everything of Lifeguard, or nothing."""
    return MembershipSettings(
        probe=ProbeSettings(stalled_after=NEVER),
        suspicion=SuspicionSettings(alpha=alpha, beta=beta, buddy=health),
        gossip=GossipSettings(forward=False),
        # Lists are compared every so often, whoever differs; who is said to be dead is.
        lists=ListSettings(settle=30.0, gap=30.0, doubt_deaths=False),
        worst_health=8 if health else 0,
    )


class Blocking:
    """Blocks the first so many members of a world, all at the same instants."""

    def __init__(self, world: MembersWorld, count: int) -> None:
        self._world = world
        self.blocked = range(count)
        self.healthy = range(count, len(world.nodes))

    def block(self, seconds: float) -> None:
        """Let this much time pass while they are blocked."""
        world = self._world
        some, everybody = frozenset(self.blocked), frozenset(range(len(world.nodes)))
        world.network.raise_wall(Wall(_WALL, some, everybody, hold=True))
        world.network.raise_wall(Wall(_WALL, everybody, some, hold=True))
        # Within one interval each comes to its next probe, whose ping does not leave: there it stands.
        running = min(seconds, world.settings.membership.probe.interval)
        world.run(running)
        for index in self.blocked:
            world.nodes[index].pause()
        world.run(seconds - running)
        for index in self.blocked:
            world.nodes[index].resume()
        world.network.drop_wall(_WALL)

    def lost(self, at: range, whom: range) -> list[tuple[float, int]]:
        """Return when each of `at` declared one of `whom` dead, and which."""
        nodes = self._world.nodes
        number = {nodes[index].name: index for index in whom}
        return [
            (when, number[event.name])
            for index in at
            for when, event in nodes[index].told
            if isinstance(event, PeerLost) and event.name in number
        ]


def _threshold(setup: Mapping[str, Any], seed: str) -> dict[str, Sample]:
    """Block some members once; time the first who finds each, and the last of the healthy."""
    world = world_of(setup["n"], seed, published(setup["alpha"], setup["beta"], setup["health"]))
    blocking = Blocking(world, setup["blocked"])
    world.run(_WARM)
    began = world.now
    seconds = setup["seconds"]
    blocking.block(seconds)
    first = dict.fromkeys(blocking.blocked, seconds)  # Who was not found by then counts so.
    last = dict.fromkeys(blocking.blocked, 0.0)
    heard = dict.fromkeys(blocking.blocked, 0)
    for when, whom in blocking.lost(blocking.healthy, blocking.blocked):
        first[whom] = min(first[whom], when - began)
        last[whom] = max(last[whom], when - began)
        heard[whom] += 1
    everybody = len(blocking.healthy)
    full = [last[whom] if heard[whom] >= everybody else seconds for whom in blocking.blocked]
    return {
        "first detection": list(first.values()),
        "full dissemination": full,
    }


def _false_positives(settings: MembershipSettings, setup: Mapping[str, Any], seed: str) -> float:
    cells = setup["cells"]
    count, seconds, pause = cells[int(seed.rpartition("/")[2]) % len(cells)]
    world = world_of(setup["n"], seed, settings)
    blocking = Blocking(world, count)
    world.run(_WARM)
    began = world.now
    while world.now - began < setup["lasting"]:
        blocking.block(seconds)
        world.run(pause)
    world.run(_AFTER)
    return float(len(blocking.lost(range(setup["n"]), blocking.healthy)))


def _interval(setup: Mapping[str, Any], seed: str) -> dict[str, Sample]:
    """Count declarations that somebody is dead who was never blocked, in one cell of the grid."""
    swim = _false_positives(published(5, 1, False), setup, seed)
    lifeguard = _false_positives(published(5, setup["beta"], setup["health"]), setup, seed)
    ours = _false_positives(MembershipSettings(), setup, seed)
    return {
        "Lifeguard's share of SWIM's": [lifeguard, swim],
        "ours, of SWIM's": [ours, swim],
        "SWIM's, a run": swim,
    }


def run(setup: Mapping[str, Any], seed: str) -> dict[str, Sample]:
    """Run one experiment once."""
    return (_threshold if setup["measure"] == "threshold" else _interval)(setup, seed)


def theory(setup: Mapping[str, Any], means: Mapping[str, float]) -> dict[str, float]:
    """The paper has no formulas for these."""
    return {}
