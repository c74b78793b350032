"""Which promise was broken, by whom, when? The promises of the design, checked after every step.

Only what a step touched is looked at. Checks see the whole world (the disks of
others too), which no peer does; that is what makes them able to judge.
`tests/simulation/test_checks.py` gives them broken histories.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.events import ArtifactAnnounced, ArtifactCompleted, ArtifactWithdrawn, CopyConfirmed
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import Effect, Persist, Published, Reserve, Send, SendChunk, Tell
from ringgossip.wire.messages import GetChunks

if TYPE_CHECKING:
    from ringgossip.simulation.node import Node

Look = Callable[["Node", Any], None]


class PromiseBroken(AssertionError):
    """A promise of section 8 does not hold; `promise` is its name."""

    def __init__(self, promise: str, when: float, text: str) -> None:
        super().__init__(f"{promise} is broken at {when:.6f} s: {text}")
        self.promise = promise
        self.when = when


class Checks:
    """Looks at every step of every node."""

    def __init__(self, nodes: Sequence["Node"]) -> None:
        self._nodes = nodes
        self._by_name: dict[str, Node] = {}
        self._asked: dict[tuple[PeerId, PeerId, int], tuple[bytes, dict[int, None]]] = {}
        self._bodies: dict[tuple[ArtifactKey, int], bytes] = {}
        self._announced: dict[tuple[int, int, str], int] = {}
        self._user_files: dict[int, dict[str, bytes]] = {}
        # Origins that may sign two records with one sequence: liars, and those whose disk was emptied.
        self.forgetful: dict[str, None] = {}
        # Members that lie: what they say of themselves proves nothing.
        self.liars: dict[str, None] = {}
        self.steps = 0
        self._looks: dict[type, list[Look]] = {}
        self.watch(GetChunks, self._sent)
        self.watch(SendChunk, self._chunk_given)
        self.watch(Persist, self._persists)
        self.watch(Published, lambda node, effect: self._record_admitted(node, effect.record))
        self.watch(Reserve, lambda node, effect: self._receives(node, effect.record))
        self.watch_event(CopyConfirmed, self._copy_confirmed)
        self.watch_event(ArtifactCompleted, self._visible_here)
        self.watch_event(ArtifactAnnounced, self._announced_here)
        self.watch_event(ArtifactWithdrawn, self._announced_here)

    def watch(self, kind: type, look: Look) -> None:
        """Let `look(node, effect)` see every effect of this kind, after the step that made it.

        Of what is sent, `kind` is that of the message; `look` is given the `Send`.
        """
        self._looks.setdefault(kind, []).append(look)

    def watch_event(self, kind: type, look: Look) -> None:
        """Let `look(node, event)` see every event of this kind that is told."""
        if Tell not in self._looks:
            self.watch(Tell, self._told)
        # Kinds of events are no effects: one table serves both.
        self._looks.setdefault(kind, []).append(look)

    def _told(self, node: "Node", effect: Tell) -> None:
        for look in self._looks.get(type(effect.event), ()):
            look(node, effect.event)

    def fail(self, promise: str, node: "Node", text: str) -> None:
        """Raise `PromiseBroken`."""
        raise PromiseBroken(promise, node.kernel.now, f"{node.name}: {text}")

    def node_named(self, name: str) -> "Node":
        """Return a node by its name."""
        if len(self._by_name) != len(self._nodes):
            self._by_name = {node.name: node for node in self._nodes}
        return self._by_name[name]

    # --- after a step ----------------------------------------------------------------------

    def after_step(self, node: "Node", effects: Iterable[Effect]) -> None:
        """Check what one input made a peer do."""
        self.steps += 1
        looks = self._looks
        for effect in effects:
            kind: type = type(effect)
            if kind is Send:
                kind = type(effect.message)  # type: ignore[union-attr]
            if kind in looks:
                for look in looks[kind]:
                    look(node, effect)

    def _sent(self, node: "Node", effect: Send) -> None:
        assert isinstance(effect.message, GetChunks)
        if not isinstance(effect.to, Address):
            self._chunks_asked(node, effect.to, effect.message)

    def _persists(self, node: "Node", effect: Persist) -> None:
        # Our own is admitted when it is on disk.
        if effect.record.signer != node.certificate.peer_id:
            self._record_admitted(node, effect.record)

    def _chunks_asked(self, node: "Node", to: PeerId, message: GetChunks) -> None:
        key = (node.certificate.peer_id, to, message.request)
        self._asked[key] = (message.root, dict.fromkeys(message.indices))

    def _chunk_given(self, node: "Node", effect: SendChunk) -> None:
        """S4: nobody is sent what it did not ask for."""
        root, indices = self._asked.get((effect.peer, node.certificate.peer_id, effect.request), (b"", {}))
        if root != effect.root or effect.index not in indices:
            self.fail("S4", node, f"gives chunk {effect.index} that request {effect.request} did not ask for")
        del indices[effect.index]

    def _receives(self, node: "Node", record: Record) -> None:
        """S4: nobody receives what eligibility refuses, judged by the settings alone."""
        core = node.core
        if core is None:
            return
        settings, role = core.rules.settings, core.rules.facts().role
        takes = settings.receive
        if takes is None and role == "coordinator":
            takes = settings.want or ()
        if takes is not None and record.kind not in takes:
            kinds = ", ".join(takes) or "nothing"
            self.fail("S4", node, f"receives {record.key.text}; as a {role} it takes {kinds}")
        if record.kind in settings.excluded(node.name):
            self.fail("S4", node, f"receives {record.key.text}, though it is excluded from {record.kind}")
        if settings.state != "ready":
            self.fail("S4", node, f"receives {record.key.text}, though it is {settings.state}")

    def _record_admitted(self, node: "Node", record: Record) -> None:
        """S3: what one peer admits every peer admits."""
        version = (record.key, record.sequence)
        known = self._bodies.setdefault(version, record.hash)
        if known != record.hash and record.origin not in self.forgetful:
            self.fail("S3", node, f"admits {record.key.text} {record.sequence}, not the one others did")

    def _announced_here(self, node: "Node", event: ArtifactAnnounced | ArtifactWithdrawn) -> None:
        """S3: at one peer the sequence of an artifact never goes back."""
        key = (node.index, node.kernel.boot(node.index), event.artifact)
        before = self._announced.get(key, 0)
        origin = event.artifact.split("/")[1]
        if event.sequence <= before and origin not in self.forgetful:
            self.fail("S3", node, f"{event.artifact} went from sequence {before} to {event.sequence}")
        self._announced[key] = event.sequence

    def _visible_here(self, node: "Node", event: ArtifactCompleted) -> None:
        """S3: nor does the sequence of what is visible."""
        key = ArtifactKey.parse(event.artifact)
        newest = node.disk.newest(key)
        if newest > event.sequence:
            self.fail("S3", node, f"shows {key.text} {event.sequence}, though it has {newest}")

    def _copy_confirmed(self, node: "Node", event: CopyConfirmed) -> None:
        """S6: a confirmed copy is verified, synced and visible at its holder."""
        holder = self.node_named(event.holder)
        key, disk = ArtifactKey.parse(event.artifact), holder.disk
        # What a fault took from its disk since then is not the holder's lie.
        lies = event.holder in self.liars or (key, event.sequence) in disk.lost
        if lies:
            return
        if not disk.holds(key, event.sequence):
            self.fail("S6", node, f"counts a copy of {event.artifact} at {event.holder}, which has none")
        if not disk.holds_synced(key, event.sequence) and not disk.lying:
            self.fail("S6", node, f"counts a copy of {event.artifact} at {event.holder} that is not synced")

    # --- before the disk acts -----------------------------------------------------------------

    def before_visible(self, node: "Node", record: Record) -> None:
        """S1: what becomes visible is whole and what its origin signed."""
        partial = node.disk.partials.get(record.root)
        if partial is not None:
            manifest = partial.manifest
            if (manifest.root, manifest.size) != (record.root, record.size):
                self.fail("S1", node, f"{record.key.text} is not what its record says")
            missing = manifest.chunk_count - partial.have.bit_count()
            indices = range(manifest.chunk_count)
            missing += sum((record.root, index) in node.disk.damaged for index in indices)
            if missing:
                self.fail("S1", node, f"{record.key.text} becomes visible without {missing} chunks")
        elif not node.disk.has(record.root):
            self.fail("S1", node, f"{record.key.text} becomes visible without any content")

    def before_drop(self, node: "Node", record: Record) -> None:
        """S2: only superseded versions of ours go, never a pinned one, never the newest."""
        holding = node.disk.holdings.get((record.key, record.sequence))
        if holding is None:
            return
        if holding.pinned:
            self.fail("S2", node, f"drops {holding.path}, which is pinned")
        if node.disk.newest(record.key) <= record.sequence:
            self.fail("S2", node, f"drops {holding.path}, the newest it has")

    def before_evict(self, node: "Node", record: Record) -> None:
        """S2: what a user made stays. No remote deletion: somebody else surely has what goes."""
        holding = node.disk.holdings.get((record.key, record.sequence))
        if holding is None:
            return
        if holding.of_user or holding.pinned or record.origin == node.name:
            self.fail("S2", node, f"evicts {holding.path}, which is not its own to evict")
        others = [other for other in self._nodes if other is not node]
        # What was withdrawn, or its node retired, nobody counts on.
        if node.core is not None and node.core.is_over(record):
            return
        if not any(other.disk.holds(record.key, record.sequence) for other in others):
            self.fail("S2", node, f"evicts {holding.path}, the last copy there is")

    def user_wrote(self, node: "Node", path: str, root: bytes) -> None:
        """Note what a user did to a file, so that nobody else may."""
        self._user_files.setdefault(node.index, {})[path] = root

    def user_files_untouched(self) -> None:
        """S2: nothing a user made is changed, moved or deleted."""
        for node in self._nodes:
            if node.disk.user_files != self._user_files.get(node.index, {}):
                self.fail("S2", node, "files of its user are not as the user left them")
