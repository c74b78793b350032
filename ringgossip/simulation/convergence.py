"""Have they converged? Promises L1, L2 and L3, and quiet, asked once faults have stopped.

All running members must hold the same catalog, each must hold what it wants,
everybody's view of the members must be the set of those that run, whoever
published something must know of its copies, and no breaker may stay open where
the way is free.
"""

from typing import TYPE_CHECKING

from ringgossip.content.record import ArtifactKey
from ringgossip.simulation.node import Node

if TYPE_CHECKING:
    from ringgossip.simulation.world import World

# Datagrams that a peer sends in a second when nothing happens: it probes one, and answers one probe.
IDLE_PACKETS = 2.0
QUIET_PACKETS = 3 * IDLE_PACKETS
# Bytes of messages that a peer says on its links in a second: nothing, and now and then a comparison.
QUIET_LINK_BYTES = 400.0


def running(world: "World") -> list[Node]:
    """Return the members that run; strangers are none."""
    return [node for node in world.nodes if node.core is not None and not node.stranger]


def problems(world: "World") -> list[str]:
    """Return one line for everything that L1 and L2 do not allow; empty when all is well."""
    return [*data_problems(world), *view_problems(world)]


def data_problems(world: "World") -> list[str]:
    """Promise L1."""
    nodes = running(world)
    return [*_publications(world), *_catalogs(nodes), *_copies(nodes), *_shown(world, nodes)]


def _publications(world: "World") -> list[str]:
    """What was asked to be published is, or was refused; unless its peer died first."""
    return [
        f"L1: {node.name} has not published {publication.key.text}"
        for publication in world.publications.values()
        if publication.answered_at is None
        and (node := world.nodes[publication.peer]).running
        and node.kernel.boot(node.index) == publication.boot
    ]


def _catalogs(nodes: list[Node]) -> list[str]:
    """The same catalog everywhere."""
    roots: dict[bytes, list[str]] = {}
    for node in nodes:
        assert node.core is not None
        roots.setdefault(node.core.catalog.root, []).append(node.name)
    if len(roots) <= 1:
        return []
    return ["L1: catalogs differ: " + " | ".join(",".join(names[:5]) for names in roots.values())]


def _copies(nodes: list[Node]) -> list[str]:
    """Everybody holds what it wants, if anybody who runs has it."""
    found = []
    held: dict[tuple[ArtifactKey, int], bool] = {}
    for node in nodes:
        core = node.core
        assert core is not None
        for record in core.catalog.records():
            version = (record.key, record.sequence)
            if node.disk.holds(*version):
                continue
            if version not in held:
                held[version] = any(other.disk.holds(*version) for other in nodes)
            if held[version] and core.wants(record):
                found.append(f"L1: {node.name} lacks {record.key.text} {record.sequence}")
    return found


def _shown(world: "World", nodes: list[Node]) -> list[str]:
    """Who leaves a file to another on its disk shows what that one has."""
    found = []
    accepts = world.network.accepts
    for node in nodes:
        core, group = node.core, world.specs[node.index].storage_group
        assert core is not None
        mates = [
            other
            for other in nodes
            if group is not None and other is not node and world.specs[other.index].storage_group == group
            if accepts[node.index] or accepts[other.index]
        ]
        for record in core.catalog.listed() if mates else ():
            version = (record.key, record.sequence)
            code = getattr(core.rules.wanting(record), "code", "")
            if node.disk.holds(*version) or code != "storage_group":
                continue
            if any(version in mate.disk.holdings for mate in mates) and not core.showing.shows(record):
                found.append(f"L1: {node.name} does not show {record.key.text} {record.sequence}")
    return found


def place_problems(world: "World") -> list[str]:
    """Everything is where the rules say, and nowhere else; in stories in which nobody goes or changes."""
    nodes = running(world)
    found = [line for line in data_problems(world) if "lacks" in line]
    for node in nodes:
        core = node.core
        assert core is not None
        for record in core.catalog.listed():
            held = node.disk.holds(record.key, record.sequence)
            if held and record.origin != node.name and not core.wants(record):
                found.append(f"placed: {node.name} holds {record.key.text}, which is not for it")
    return found


def view_problems(world: "World") -> list[str]:
    """Promise L2: the members somebody sees are those that run."""
    nodes = running(world)
    names = sorted(node.name for node in nodes)
    found = []
    judged: dict[bytes, bool] = {}
    for node in nodes:
        assert node.core is not None
        # Equal digests of who is alive or suspect are equal views but for suspects: one look for all.
        digest = node.core.membership.state_digest
        if judged.get(digest):
            continue
        seen = sorted(member.name for member in node.core.members() if member.state == "alive")
        judged[digest] = seen == names
        if seen != names:
            more = sorted(set(seen) - set(names))
            less = sorted(set(names) - set(seen))
            found.append(f"L2: {node.name} misses {less[:5]}, sees {more[:5]} too much")
    return found


def copy_problems(world: "World") -> list[str]:
    """Promise L3: everything has its copies, or all that can be had, and its origin knows of them."""
    nodes = running(world)
    found = []
    for node in nodes:
        core = node.core
        assert core is not None
        for record in core.catalog.records():
            if record.origin != node.name or not node.disk.holds(record.key, record.sequence):
                continue
            others = [other for other in nodes if other is not node]
            wanting = sum(other.core is not None and other.core.wants(record) for other in others)
            holders = {other.name for other in others if other.disk.holds(record.key, record.sequence)}
            wanted = min(core.rules.settings.copies_of(record.kind), wanting)
            if len(holders) < wanted:
                found.append(f"L3: {record.key.text} has {len(holders)} of {wanted} copies")
            unknown = holders - set(core.receipt(record.key, record).holders)
            # Who has said so is counted; the origin needs the copies that it wants, not every one.
            if unknown and len(holders) - len(unknown) < wanted:
                names = ", ".join(sorted(unknown)[:3])
                found.append(f"L3: {node.name} does not know that {names} hold {record.key.text}")
    return found + breaker_problems(world)


def breaker_problems(world: "World") -> list[str]:
    """The rest of promise L3: breakers close; but of two that cannot accept connections neither can dial."""
    nodes = running(world)
    accepts = world.network.accepts
    by_peer = {node.certificate.peer_id: node for node in nodes}
    found = []
    for node in nodes:
        assert node.core is not None
        for view in node.core.breakers.views(node.clock()):
            other = by_peer.get(view.peer)
            if view.state == "open" and other and (accepts[node.index] or accepts[other.index]):
                found.append(f"L3: {node.name} does not try {other.name} by {view.route}: {view.reason}")
    return found


class Quiet:
    """Is traffic back to idle? Compares what was sent between two looks."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._before = self._now()

    def _now(self) -> tuple[float, int, int, float]:
        world = self._world
        network, left = world.network, sum(world.carrier.sent(node.index) for node in world.nodes)
        on_links = left - sum(network.bytes_sent)
        return world.now, sum(network.packets_sent), world.counter("chunk_bytes_sent"), on_links

    def problems(self) -> list[str]:
        """Return what was too loud since the last look."""
        before, self._before = self._before, self._now()
        seconds = self._before[0] - before[0]
        peers = len(running(self._world))
        if seconds <= 0 or not peers:
            return []
        packets = (self._before[1] - before[1]) / seconds / peers
        found = []
        if packets > QUIET_PACKETS:
            found.append(f"quiet: {packets:.1f} datagrams a second and peer, {IDLE_PACKETS:g} are idle")
        if self._before[2] > before[2]:
            found.append(f"quiet: {self._before[2] - before[2]} bytes of chunks were sent")
        said = (self._before[3] - before[3]) / seconds / peers
        if said > QUIET_LINK_BYTES:
            found.append(f"quiet: {said:.0f} bytes a second and peer on links, {QUIET_LINK_BYTES:g} at most")
        return found
