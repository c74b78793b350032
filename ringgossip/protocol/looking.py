"""What may be seen of a peer from outside? Frozen views, made when somebody asks."""

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.errors import OperationFailed
from ringgossip.identity import PeerId
from ringgossip.protocol.explaining import Explanation, explain
from ringgossip.protocol.keeping import Keeping
from ringgossip.protocol.membership import Member
from ringgossip.protocol.views import ArtifactView, ReceiptView, TransferView
from ringgossip.strategy.eligibility import Verdict
from ringgossip.strategy.wanting import Wanted


class Looking(Keeping):
    """The questions that a core answers."""

    def members(self) -> tuple[Member, ...]:
        """Return everybody we know of, ourselves included."""
        return self.membership.members()

    def artifacts(self, kind: str | None = None) -> list[ArtifactView]:
        """Return every artifact of the catalog."""
        return [self.artifact_view(record) for record in self.catalog.records(kind)]

    def artifact_view(self, record: Record) -> ArtifactView:
        """Return one artifact with its holders."""
        complete = self.shelf.holds(record)
        holders = {self.name_of(peer) for peer in self.receipts.holders(record)}
        if complete:
            holders.add(self.name)
        return ArtifactView(record, complete, tuple(sorted(holders)))

    def receipt(self, key: ArtifactKey, record: Record) -> ReceiptView:
        """Return who confirmed a copy of this or a later version."""
        holders = {self.name_of(peer) for peer in self.receipts.confirmed(record) if peer != self.me}
        return ReceiptView(record, tuple(sorted(holders)))

    def wanting_of(self, key: ArtifactKey, node: str) -> Wanted | Verdict:
        """Return why a node wants the newest version of an artifact, or why not."""
        record, peer = self._record_and_peer(key, node)
        return self.rules.wanting_of(peer, record, peer == self.me and self.rules.is_asked(record))

    def explain(self, key: ArtifactKey, node: str) -> Explanation:
        """Say why a node has, lacks or will get an artifact; raises `OperationFailed` for unknown ones."""
        record, peer = self._record_and_peer(key, node)
        holders = [*self.receipts.holders(record), *([self.me] if self.shelf.holds(record) else [])]
        progress = self.transfer.progress_of(key) if peer == self.me else ""
        return explain(self.rules, record, peer, holders, progress, self.name_of)

    def _record_and_peer(self, key: ArtifactKey, node: str) -> tuple[Record, PeerId]:
        record, peer = self.catalog.get(key), self.membership.peer_named(node)
        if record is None:
            raise OperationFailed(f"nobody has published {key.text}: see `ringgossip artifacts`")
        if peer is None:
            raise OperationFailed(f"there is no member {node}: see `ringgossip members`")
        return record, peer

    def transfers(self) -> list[TransferView]:
        """Return what is being pulled."""
        views = []
        for pull in self.transfer.pulls():
            sources = tuple(sorted(self.name_of(peer) for peer, chunks in pull.holders.items() if chunks))
            views.append(
                TransferView(
                    pull.record.key.text,
                    pull.record.sequence,
                    pull.phase.value,
                    sources,
                    pull.bytes_done(),
                    pull.record.size,
                    pull.rate,
                    pull.last_progress - pull.started_at,
                )
            )
        return views
