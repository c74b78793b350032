"""What may be seen of a peer from outside? Frozen views, made when somebody asks."""

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.errors import OperationFailed
from ringgossip.identity import PeerId
from ringgossip.protocol.breakers import BreakerView
from ringgossip.protocol.explaining import Explanation, explain
from ringgossip.protocol.membership import Member
from ringgossip.protocol.sharing import Sharing
from ringgossip.protocol.views import ArtifactView, ReceiptView, TransferView
from ringgossip.strategy.eligibility import Verdict
from ringgossip.strategy.wanting import Wanted

_GONE = {"left": "left", "dead": "lost"}


class Looking(Sharing):
    """The questions that a core answers."""

    def members(self) -> tuple[Member, ...]:
        """Return everybody we know of, ourselves included."""
        return self.membership.members()

    def artifacts(self, kind: str | None = None, unlisted: bool = False) -> list[ArtifactView]:
        """Return every artifact that is listed; with `unlisted` also what was withdrawn, or retired."""
        records = self.catalog.records(kind) if unlisted else self.catalog.listed(kind)
        return [self.artifact_view(record) for record in records]

    def listed_here(self) -> tuple[int, int]:
        """Return how many artifacts are listed, and the newest version of how many can be read here."""
        listed = here = 0
        for record in self.catalog.listed():
            listed += 1
            shown = self.showing.shown(record.key)
            here += self.shelf.holds(record) or (shown is not None and shown.record == record)
        return listed, here

    def artifact_view(self, record: Record) -> ArtifactView:
        """Return one artifact with its holders."""
        complete, shown = self.shelf.holds(record), self.showing.shown(record.key)
        holders = {self.name_of(peer) for peer in self.receipts.holders(record)}
        if complete:
            holders.add(self.name)
        unlisted = self.catalog.unlisted(record)
        if shown is None or shown.record.sequence <= self._held_sequence(record.key):
            return ArtifactView(record, complete, tuple(sorted(holders)), unlisted)
        readable = complete or shown.record == record
        return ArtifactView(
            record, readable, tuple(sorted(holders)), unlisted, shown.path, self.name_of(shown.via)
        )

    def receipt(self, key: ArtifactKey, record: Record) -> ReceiptView:
        """Return who confirmed a copy of this or a later version."""
        holders = {self.name_of(peer) for peer in self.receipts.confirmed(record) if peer != self.me}
        return ReceiptView(record, tuple(sorted(holders)))

    def wanting_of(self, key: ArtifactKey, node: str) -> Wanted | Verdict:
        """Return why a node wants the newest version of an artifact, or why not."""
        record, peer = self._record_and_peer(key, node)
        return self.rules.wanting(record) if peer == self.me else self.rules.wanting_of(peer, record)

    def explain(self, key: ArtifactKey, node: str, now: float) -> Explanation:
        """Say why a node has, lacks or will get an artifact; raises `OperationFailed` for unknown ones."""
        record, peer = self._record_and_peer(key, node)
        holders = [*self.receipts.holders(record), *([self.me] if self.shelf.holds(record) else [])]
        ours = peer == self.me and not self.shelf.holds(record)
        progress = self.transfer.progress_of(key) if peer == self.me else ""
        shown = self.showing.shown(key) if peer == self.me else None
        if shown is not None:
            progress = f"It reads version {shown.record.sequence} at {shown.path}, " + (
                f"where {self.name_of(shown.via)} put it; that is no copy of its own."
            )
        held_back = self._held_back(record, now) if ours else ""
        all_gone = "" if peer in holders else self._all_gone(record)
        confirmed = self._confirmed(record, holders)
        spent = self.serving.account.spent_until()
        sources = [*self._holders(record), *([self.me] if self.me in holders else [])]
        urgency = self.rules.weights.urgency(record, [each for each in sources if each != peer], now)
        return explain(
            self.rules, record, peer, holders, confirmed, progress, held_back, all_gone, spent, urgency,
            self.name_of, self._gone,
        )  # fmt: skip

    def _confirmed(self, record: Record, holders: list[PeerId]) -> int:
        """Return at how many places beside its origin's these hold it: who shares a disk is one place."""
        found = [candidate for peer in holders if (candidate := self.rules.candidate(peer)) is not None]
        home = self.membership.peer_named(record.origin)
        origin = None if home is None else self.rules.candidate(home)
        places = dict.fromkeys(candidate.place for candidate in found if candidate.name != record.origin)
        return len(places) - (origin is not None and origin.place in places)

    def breaker_views(self, now: float) -> list[tuple[str, BreakerView]]:
        """Return every route to a peer that failed and has not worked since."""
        return [(self.name_of(view.peer), view) for view in self.breakers.views(now)]

    def _held_back(self, record: Record, now: float) -> str:
        """Say which open breakers keep us from everybody who has a version; empty: somebody may be asked."""
        holders = self._holders(record)
        views = [view for peer in holders if (view := self.breakers.open_for(peer, now)) is not None]
        if not views or len(views) < len(holders):
            return ""
        first = min(views, key=lambda view: view.seconds)
        name = self.name_of(first.peer)
        who = f"{name}, who alone has it," if len(views) == 1 else f"each of its {len(views)} holders"
        trial = f"{name} is tried again in {first.seconds:.0f} s"
        return f"The breaker of {who} is open ({first.route}: {first.reason}); {trial}."

    def held_back(self, now: float) -> tuple[str, str] | None:
        """Return an artifact wanted here that nobody may be asked for; why, and what a person can do."""
        for pull in self.transfer.pulls():
            text = pull.record.key.text
            if sentence := self._held_back(pull.record, now):
                return text, f"{sentence} Check that its port is open"
            if pull.stall_told and (sentence := self._all_gone(pull.record)):
                return text, f"{sentence} Start it again there, or withdraw or retire what nobody has"
        return None

    def _all_gone(self, record: Record) -> str:
        """Say that everybody who has a version is gone; empty: somebody is here."""
        holders = self._holders(record)
        names = [f"{self.name_of(peer)} ({self._gone(peer)})" for peer in holders if self._gone(peer)]
        if not names or len(names) < len(holders):
            return ""
        return f"Nobody who is here has it: {', '.join(sorted(names)[:5])}."

    def _gone(self, peer: PeerId) -> str:
        """Return how a member went: a word; empty: it is here, or nobody has heard of it."""
        member = self.membership.member(peer)
        return "" if member is None else _GONE.get(member.state, "")

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
