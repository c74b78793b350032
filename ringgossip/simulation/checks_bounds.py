"""Do rates, tables and bytes in flight stay within their limits? Promise S5.

Grants and requests are looked at in every step that makes one; tables and
rates once in a while. Of every table that `tables` finds in a peer, those that
may hold more than there are peers and versions are named here with their
limit; all others must not. The same holds of tables in the entries of tables.
"""

from collections.abc import Callable
from operator import attrgetter, gt
from typing import TYPE_CHECKING, Any

from ringgossip.protocol.core import Send, SendChunk
from ringgossip.protocol.deadlines import beheld
from ringgossip.simulation.checks import Checks
from ringgossip.simulation.tables import Tables
from ringgossip.wire.messages import GetChunks

if TYPE_CHECKING:
    from ringgossip.protocol.peer_core import PeerCore
    from ringgossip.simulation.node import Node
    from ringgossip.simulation.world import World

_LARGEST_CHUNK = 16 * 2**20

# Datagrams of one peer in a second. Idle peers send 2; news of a storm is told at most every
# 20 ms to three others, and every probe of a member is answered.
MOST_PACKETS = 60
PACKETS_EACH_MEMBER = 25

# Of a core as `beheld` shows it: to look takes no machine in hand.
Size = Callable[[Any], int]
Limit = Callable[["PeerCore"], float]


def _links(core: "PeerCore") -> float:
    return core.dialing._settings.most_links


# What is bounded, where it is, how large it may be.
_TABLES: tuple[tuple[str, str, Limit], ...] = (
    ("members", "membership._table", lambda core: core._settings.membership.most_members),
    ("links", "dialing._links", lambda core: 2 * _links(core)),
    ("rumors", "rumors._hot", lambda core: core._settings.rumors.hot),
    ("records being checked", "admission._checked", lambda core: 20_000),
    ("askers", "serving._askers", lambda core: 2 * _links(core)),
    ("books of holders", "receipts._books", lambda core: 8192),
    ("holders that told through others", "relaying._told", lambda core: 1024),
    ("numbers of words that were passed on", "relaying._heard", lambda core: 1024),
    ("senders whose words we pass on", "relaying._budget", lambda core: 2 * _links(core)),
    ("wanted certificates", "_asked_certificates", lambda core: 4096),
    ("troubles told", "_troubles._told", lambda core: 256),
    ("comparisons", "anti_entropy._linked", lambda core: 2 * _links(core)),
)
# The same, of what must be counted.
_COUNTED: tuple[tuple[str, Size, Limit], ...] = (
    ("records awaiting a certificate", lambda core: core.admission._awaiting_count, lambda core: 4096),
    (
        "chunks waiting to be given",
        lambda core: sum([len(asker.queue) for asker in core.serving._askers.values()]),
        lambda core: core._settings.serving.total_queue,
    ),
    (
        "places in the queues of what waits to be pulled",
        lambda core: sum(map(len, core.transfer._queued._heaps.values())),
        lambda core: 3 * (65 + 4 * len(core.transfer._queued)),
    ),
)
_tables_of = attrgetter(*[path for _, path, _ in _TABLES])


def _sizes_of(seen: Any) -> list[int]:
    return [*map(len, _tables_of(seen)), *[size(seen) for _, size, _ in _COUNTED]]


# Tables that what others say may fill, and how far. Paths as `tables` names them.
MOST = {
    "_early": 10_000, "_offerers": 10_000, "_asked_certificates": 4096, "_listed": 4096,
    "_troubles._told": 256, "admission._checked": 20_000, "transfer._hopeless": 10_000,
    "transfer._strikes": 4096, "retention._pledges": 100_000,
}  # fmt: skip
# The same of tables in the entries of others: chunks that are asked for or waited for, by number.
MOST_INSIDE = {
    "transfer._pulls[].asked": 4096, "transfer._keys[].asked": 4096, "transfer._sources[].asks": 1024,
    "serving._askers[].queue": 8192, "serving._askers[].granted": 1024, "transfer._sources[].cancelled": 64,
}  # fmt: skip
# What follows from who is there and what exists: so much for each, and a few besides.
_FOR_EACH = 4
_BESIDES = 64
_SELDOM = 16  # looks between two at everything


class BoundChecks:
    """Looks at what must stay small."""

    def __init__(self, world: "World", checks: Checks) -> None:
        self._world = world
        self._checks = checks
        self._packets: list[int] = []
        self._looked_at = 0.0
        self._looks = 0
        self._tables = Tables()
        # A core as it is seen, and its limits: settings stay while a peer runs.
        self._limits: dict[int, tuple[PeerCore, Any, list[float]]] = {}
        checks.watch(SendChunk, self.granted)
        checks.watch(GetChunks, self._asked)

    def granted(self, node: "Node", effect: SendChunk) -> None:
        """At most two chunks, or what the settings allow ahead, wait at a link."""
        core = node.core
        if core is None:
            return
        settings = core._settings.serving
        waiting = node.bodies.granted_to(effect.peer)
        if len(waiting) > settings.ahead_least and sum(waiting) > settings.ahead_most + _LARGEST_CHUNK:
            self._checks.fail("S5", node, f"granted {len(waiting)} chunks to one link, {sum(waiting)} bytes")

    def _asked(self, node: "Node", effect: Send) -> None:
        if node.core is not None:
            self.in_flight(node, node.core.transfer.outstanding())

    def in_flight(self, node: "Node", outstanding: int) -> None:
        """What is asked for and not yet stored stays within its budget."""
        assert node.core is not None
        most = node.core._settings.transfer.in_flight + _LARGEST_CHUNK
        if outstanding > most:
            self._checks.fail("S5", node, f"has {outstanding} bytes in flight, at most {most} are allowed")

    def look_at_everything(self) -> None:
        """Look at every table there is."""
        world = self._world
        usual = _BESIDES + _FOR_EACH * (len(world.nodes) + len(world.publications))
        for node in world.nodes:
            if node.core is None:
                continue
            if self._tables.largest(node.index, node.core) <= usual:
                continue
            for path, size in self._tables.sizes(node.index, node.core):
                if size > usual and size > MOST.get(path, 0):
                    most = max(usual, MOST.get(path, 0))
                    self._checks.fail("S5", node, f"has {size} entries in {path}, at most {most} are allowed")

        # Slower, so one peer at a time.
        node = world.nodes[self._looks // _SELDOM % len(world.nodes)]
        if node.core is not None:
            self.look_inside(node, node.core, usual)

    def look_inside(self, node: "Node", core: "PeerCore", usual: int) -> None:
        """Look at the tables that lie in the entries of others."""
        for path, size in self._tables.inside(node.index, core).items():
            most = max(usual, MOST_INSIDE.get(path, 0))
            if size > most:
                self._checks.fail("S5", node, f"has {size} entries in {path}, at most {most} are allowed")

    def _limits_of(self, owner: int, core: "PeerCore") -> tuple[Any, list[float]]:
        known = self._limits.get(owner)
        if known is None or known[0] is not core:
            limits = [limit(core) for _, _, limit in (*_TABLES, *_COUNTED)]
            known = self._limits[owner] = (core, beheld(core), limits)
        return known[1], known[2]

    def look(self) -> None:
        """Look at the tables, and at the rates since the last look."""
        self._looks += 1
        if self._looks % _SELDOM == 0:
            self.look_at_everything()
        network, now = self._world.network, self._world.now
        seconds = now - self._looked_at
        most = (MOST_PACKETS + PACKETS_EACH_MEMBER * len(self._world.nodes)) * (seconds + 1.0)
        for node in self._world.nodes:
            if node.core is None:
                continue
            seen, limits = self._limits_of(node.index, node.core)
            sizes = _sizes_of(seen)
            if any(map(gt, sizes, limits)):
                for (name, *_), found, limit in zip((*_TABLES, *_COUNTED), sizes, limits, strict=True):
                    if found > limit:
                        self._checks.fail("S5", node, f"has {found} {name}, at most {limit:g} are allowed")
            sent = network.packets_sent[node.index]
            before = self._packets[node.index] if self._packets else 0
            if sent - before > most and node.name not in self._checks.liars:
                text = f"sent {sent - before} datagrams in {seconds:g} s"
                self._checks.fail("S5", node, text)
        self._packets = list(network.packets_sent)
        self._looked_at = now
