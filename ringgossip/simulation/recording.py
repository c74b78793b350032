"""What was to be seen in a run? Copies, flows of chunks, and how often what happened.

Looking changes nothing: no generator is drawn from, no event is queued. What a
report draws beside this is collected by `report.timeline`.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ringgossip.content.record import ArtifactKey
from ringgossip.events import ArtifactCompleted, Event, TransferStarted
from ringgossip.protocol.core import AcceptBody, Published, Tell
from ringgossip.simulation.plans import WORD_OF

if TYPE_CHECKING:
    from ringgossip.simulation.node import Node
    from ringgossip.simulation.world import World


@dataclass(frozen=True, slots=True)
class Copy:
    """A whole copy became visible; the origin's own is among them."""

    at: float
    peer: int
    artifact: str
    sequence: int
    size: int


@dataclass(slots=True)
class History:
    """What a run leaves behind. `flows` are chunk bytes from one peer to another, over the whole run."""

    copies: list[Copy] = field(default_factory=list)
    flows: dict[tuple[int, int], int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)  # events, faults, and what `SEEN` names -> how often


class Recorder:
    """Writes the history of a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._index = {node.certificate.peer_id: node.index for node in world.nodes}
        self.history = History()
        world.checks.watch(Tell, self._told)
        world.checks.watch(AcceptBody, self._accepted)
        world.checks.watch(Published, self._published)

    def _count(self, what: str) -> None:
        self.history.seen[what] = self.history.seen.get(what, 0) + 1

    def _told(self, node: "Node", effect: Tell) -> None:
        event: Event = effect.event
        self._count(type(event).__name__)
        if isinstance(event, ArtifactCompleted):
            copy = Copy(self._world.now, node.index, event.artifact, event.sequence, event.size)
            self.history.copies.append(copy)
        elif isinstance(event, TransferStarted) and self._resumes(node, event):
            self._count("resumed_transfer")

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
        flows, flow = self.history.flows, (source, node.index)
        flows[flow] = flows.get(flow, 0) + effect.length
        core = node.core
        pulled = core.shelf.available(effect.root) if core is not None else None
        if pulled is not None and pulled[0].origin != self._world.nodes[source].name:
            self._count("copied_from_third")

    def _published(self, node: "Node", effect: Published) -> None:
        record = effect.record
        copy = Copy(self._world.now, node.index, record.key.text, record.sequence, record.size)
        self.history.copies.append(copy)

    def finish(self) -> History:
        """Return the history of the whole run."""
        world, seen = self._world, self.history.seen
        for span in world.fault_log:
            self._count(WORD_OF[type(span.fault)])
        for what, counter in (
            ("chunk_refused", "bad_chunks"),
            ("packet_refused", "strangers_refused"),
            ("rule_broken", "protocol_errors"),
        ):
            if world.counter(counter):
                seen[what] = world.counter(counter)
        return self.history
