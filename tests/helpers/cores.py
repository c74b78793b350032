"""Whole peers in the made world, and how tests speak with their cores."""

from itertools import count
from typing import Any

from ringgossip.content.record import ArtifactKey
from ringgossip.protocol.answers import DrainReport, SyncReport, SyncRequest
from ringgossip.protocol.peer_core import PeerCore
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.world import PeerSpec, World

KB = 1000
_tickets = count(1_000_000)


def world_of(*specs: PeerSpec, seed: int = 1, **more: Any) -> World:
    """Start these peers and wait until all are linked."""
    world = World(specs, seed=seed, wire="real", **more)
    world.start()
    assert world.run_until(lambda: linked(world), 20.0) is not None
    world.run(4.0)
    return world


def linked(world: World) -> bool:
    return all(len(core(world, i).dialing.peers()) == len(world.nodes) - 1 for i in range(len(world.nodes)))


def core(world: World, index: int) -> PeerCore:
    running = world.nodes[index].core
    assert running is not None
    return running


def quiet(count: int, **rules: Any) -> list[PeerSpec]:
    """Peers that take no games by themselves, in a cluster where no copies are wanted unless said."""
    settings = RuleSettings(**{"copies": 0, **rules})
    return [PeerSpec(f"n{index}", rules=settings) for index in range(count)]


def sync(world: World, index: int, within: float = 60.0, **asked: Any) -> SyncReport:
    """Let peer `index` sync, and wait for its report."""
    node, ticket = world.nodes[index], next(_tickets)
    node.give(3, 0, core(world, index).sync, ticket, SyncRequest(**asked))
    assert world.run_until(lambda: ticket in node.answers, within, 0.05) is not None
    report: SyncReport = node.answers[ticket]
    return report


def drain(world: World, index: int, seconds: float) -> DrainReport:
    """Let peer `index` drain, and wait for its report."""
    node, ticket = world.nodes[index], next(_tickets)
    node.give(3, 0, core(world, index).drain, ticket, seconds)
    assert world.run_until(lambda: ticket in node.answers, seconds + 1.0, 0.05) is not None
    report: DrainReport = node.answers[ticket]
    return report


def rows(report: SyncReport) -> dict[tuple[str, str], str]:
    """What became of each (name, target)."""
    return {(row.artifact.split("/")[-1], row.target): row.text for row in report.rows}


def told(world: World, index: int, kind: type) -> list[Any]:
    """What peer `index` told of this kind, in order."""
    return [event for _, event in world.nodes[index].told if isinstance(event, kind)]


def holders(world: World, kind: str, origin: str, name: str, sequence: int = 1) -> set[str]:
    """Which nodes hold this version on disk."""
    key = ArtifactKey(kind, origin, name)
    return {node.name for node in world.nodes if node.disk.holds(key, sequence)}
