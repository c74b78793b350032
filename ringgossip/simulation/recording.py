"""What was to be seen in a run? The timeline that reports draw, kept while the world runs.

Looking changes nothing: no generator is drawn from, no event is queued. All
of it is plain data, so that a run can come back from another process.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ringgossip.content.record import ArtifactKey
from ringgossip.events import (
    ArtifactAnnounced,
    ArtifactCompleted,
    CopyConfirmed,
    Event,
    TransferStarted,
)
from ringgossip.protocol.core import AcceptBody, Published, Tell
from ringgossip.simulation.plans import WORD_OF, as_text

if TYPE_CHECKING:
    from ringgossip.simulation.node import Node
    from ringgossip.simulation.world import World

MOST_EVENTS = 20_000  # of one run; those beyond are counted
_PLENTY = (ArtifactAnnounced, CopyConfirmed)  # one for each peer and record: the samples show them


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a peer: when, who, and the event as plain data."""

    at: float
    peer: int
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A fault: from when to when (None: to the end), which, and of whom (empty: of all)."""

    begin: float
    end: float | None
    word: str
    text: str
    peers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """A whole copy became visible; the origin's own is among them."""

    at: float
    peer: int
    artifact: str
    sequence: int
    size: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The world at one moment."""

    at: float
    running: int
    views_right: int  # peers whose view is the set of those that run
    catalogs: int  # how many different ones there are
    largest_catalog_share: float  # of the running, with the commonest catalog
    suspects: int  # pairs of an observer and whom it suspects
    copies: dict[str, int]  # artifact -> whole copies of its newest version that run
    uplink_bytes: dict[int, int]  # peer -> chunk bytes sent since the last sample
    downlink_bytes: dict[int, int]
    datagrams: int  # sent by all since the last sample


@dataclass(slots=True)
class Timeline:
    """All of it. `flows` are chunk bytes from one peer to another, over the whole run."""

    peers: list[str] = field(default_factory=list)
    up: list[float | None] = field(default_factory=list)
    down: list[float | None] = field(default_factory=list)
    liveness_at: float | None = None
    told: list[Told] = field(default_factory=list)
    told_more: int = 0
    faults: list[Span] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    flows: dict[tuple[int, int], int] = field(default_factory=dict)
    false_alarms: list[tuple[float, int, str]] = field(default_factory=list)


class Recorder:
    """Fills a timeline."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._index = {node.certificate.peer_id: node.index for node in world.nodes}
        self._uplink: dict[int, int] = {}
        self._downlink: dict[int, int] = {}
        self._packets = 0
        self.seen: dict[str, int] = {}  # names of events and what `SEEN` names -> how often
        self.timeline = Timeline(
            [node.name for node in world.nodes],
            [spec.up for spec in world.specs],
            [spec.down for spec in world.specs],
        )
        world.checks.watch(Tell, self._told)
        world.checks.watch(AcceptBody, self._accepted)
        world.checks.watch(Published, self._published)

    def _count(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def _told(self, node: "Node", effect: Tell) -> None:
        event: Event = effect.event
        self._count(type(event).__name__)
        timeline = self.timeline
        if isinstance(event, ArtifactCompleted):
            copy = Copy(self._world.now, node.index, event.artifact, event.sequence, event.size)
            timeline.copies.append(copy)
        elif isinstance(event, TransferStarted) and self._resumes(node, event):
            self._count("resumed_transfer")
        if isinstance(event, _PLENTY):
            return
        if len(timeline.told) < MOST_EVENTS:
            timeline.told.append(Told(self._world.now, node.index, event.as_dict()))
        else:
            timeline.told_more += 1

    def _resumes(self, node: "Node", event: TransferStarted) -> bool:
        key = ArtifactKey.parse(event.artifact)
        for partial in node.disk.partials.values():
            record = partial.record
            if (record.key, record.sequence) == (key, event.sequence):
                return partial.synced.bit_count() > 0
        return False

    def _accepted(self, node: "Node", effect: AcceptBody) -> None:
        source = self._index.get(effect.peer)
        if source is None:
            return
        flow = (source, node.index)
        self.timeline.flows[flow] = self.timeline.flows.get(flow, 0) + effect.length
        self._uplink[source] = self._uplink.get(source, 0) + effect.length
        self._downlink[node.index] = self._downlink.get(node.index, 0) + effect.length
        core = node.core
        pulled = core.shelf.available(effect.root) if core is not None else None
        if pulled is not None and pulled[0].origin != self._world.nodes[source].name:
            self._count("copied_from_third")

    def _published(self, node: "Node", effect: Published) -> None:
        record = effect.record
        copy = Copy(self._world.now, node.index, record.key.text, record.sequence, record.size)
        self.timeline.copies.append(copy)

    # --- once in a while ---------------------------------------------------------------------

    def sample(self) -> None:
        """Look at the world."""
        nodes = [node for node in self._world.nodes if node.core is not None and not node.stranger]
        names = sorted(node.name for node in nodes)
        roots: dict[bytes, int] = {}
        right: dict[bytes, bool] = {}
        views_right = suspects = 0
        for node in nodes:
            core = node.core
            assert core is not None
            roots[core.catalog.root] = roots.get(core.catalog.root, 0) + 1
            digest = core.membership.state_digest
            if digest not in right:
                members = core.members()
                seen = sorted(member.name for member in members if member.state in ("alive", "suspect"))
                right[digest] = seen == names
            views_right += right[digest]
            suspects += len(core.membership._beliefs._suspicions)
        packets = sum(self._world.network.packets_sent)
        self.timeline.samples.append(
            Sample(
                self._world.now,
                len(nodes),
                views_right,
                len(roots),
                max(roots.values(), default=0) / max(1, len(nodes)),
                suspects,
                self._copies(),
                self._uplink,
                self._downlink,
                packets - self._packets,
            )
        )
        self._uplink, self._downlink, self._packets = {}, {}, packets

    def _copies(self) -> dict[str, int]:
        newest: dict[ArtifactKey, int] = {}
        for publication in self._world.publications.values():
            if publication.record is not None:
                key = publication.key
                newest[key] = max(newest.get(key, 0), publication.record.sequence)
        nodes = [node for node in self._world.nodes if node.running]
        return {
            key.text: sum(node.disk.holds(key, sequence) for node in nodes)
            for key, sequence in newest.items()
        }

    def finish(self) -> Timeline:
        """Return the timeline, with the faults as they were."""
        self.timeline.faults = [
            Span(span.begin, span.end, WORD_OF[type(span.fault)], as_text(span.fault), _peers_of(span.fault))
            for span in self._world.fault_log
        ]
        for word in {span.word for span in self.timeline.faults}:
            self.seen[word] = sum(span.word == word for span in self.timeline.faults)
        for what, counter in (
            ("chunk_refused", "bad_chunks"),
            ("packet_refused", "strangers_refused"),
            ("rule_broken", "protocol_errors"),
        ):
            if self._world.counter(counter):
                self.seen[what] = self._world.counter(counter)
        return self.timeline


def _peers_of(fault: Any) -> tuple[int, ...]:
    named = [getattr(fault, key) for key in ("peer", "one", "other") if hasattr(fault, key)]
    for key in ("group", "others", "peers"):
        named += getattr(fault, key, ())
    return tuple(dict.fromkeys(named))
