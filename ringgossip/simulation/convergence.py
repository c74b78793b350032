"""Have they converged? Promises L1 and L2, asked once faults have stopped.

All running members must hold the same catalog, each must hold what it wants,
and everybody's view of the members must be the set of those that run.
"""

from typing import TYPE_CHECKING

from ringgossip.simulation.node import Node

if TYPE_CHECKING:
    from ringgossip.simulation.world import World


def problems(world: "World") -> list[str]:
    """Return one line for everything that is not as it should be; empty when all is well."""
    running = [node for node in world.nodes if node.core is not None and not node.stranger]
    return [*_publications(world), *_catalogs(running), *_copies(running), *_views(running)]


def _publications(world: "World") -> list[str]:
    """L1: what was asked to be published is, or was refused; unless its peer died first."""
    return [
        f"L1: {node.name} has not published {publication.key.text}"
        for publication in world.publications.values()
        if publication.answered_at is None
        and (node := world.nodes[publication.peer]).running
        and node.kernel.boot(node.index) == publication.boot
    ]


def _catalogs(running: list[Node]) -> list[str]:
    """L1: the same catalog everywhere."""
    roots: dict[bytes, list[str]] = {}
    for node in running:
        assert node.core is not None
        roots.setdefault(node.core.catalog.root, []).append(node.name)
    if len(roots) <= 1:
        return []
    return ["L1: catalogs differ: " + " | ".join(",".join(names[:5]) for names in roots.values())]


def _copies(running: list[Node]) -> list[str]:
    """L1: everybody holds what it wants, if anybody who runs has it."""
    found = []
    for node in running:
        core = node.core
        assert core is not None
        for record in core.catalog.records():
            if core.wants(record) and not node.disk.holds(record.key, record.sequence):
                sources = [other for other in running if other.disk.holds(record.key, record.sequence)]
                if sources:
                    found.append(f"L1: {node.name} lacks {record.key.text} {record.sequence}")
    return found


def _views(running: list[Node]) -> list[str]:
    """L2: the members somebody sees are those that run."""
    names = sorted(node.name for node in running)
    found = []
    for node in running:
        assert node.core is not None
        seen = sorted(member.name for member in node.core.members() if member.state == "alive")
        if seen != names:
            more = sorted(set(seen) - set(names))
            less = sorted(set(names) - set(seen))
            found.append(f"L2: {node.name} misses {less[:5]}, sees {more[:5]} too much")
    return found
