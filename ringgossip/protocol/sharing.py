"""What is on the disk that we share with others? What `showing` needs, and who answers its questions.

A part of the switchboard. Members of one storage group are one place: one of
them pulls, chosen by hash among those who are there, so that another takes
over when it goes; the others show what it holds.
"""

from collections.abc import Iterator
from typing import Any

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.events import StorageTrouble
from ringgossip.identity import PeerId
from ringgossip.protocol.core import Effect, Notice, TellPlace
from ringgossip.protocol.deadlines import InHand
from ringgossip.protocol.ending import Ending
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.protocol.receipts import entry_of
from ringgossip.protocol.showing import Showing
from ringgossip.strategy.eligibility import No
from ringgossip.wire.messages import Message, Placed, PlaceWanted

Out = list[Effect | Notice]

_MOST_ASKED = 10_000


class Sharing(Ending):
    """The switchboard with a disk that others write to as well."""

    showing = InHand[Showing]()

    def __init__(self, *, now: float, **rest: Any) -> None:
        self.showing = Showing(self, rest["rng"], now)
        self._to_show: dict[ArtifactKey, None] = {}  # asked for here, whatever our role takes
        super().__init__(now=now, **rest)
        self.rules.unreadable = self.showing.is_unreadable
        self.receipts.concerned = self._concerned

    # --- what showing asks of the others -----------------------------------------------------

    def shares(self) -> bool:
        """Tell whether we share a disk with anybody."""
        return self.rules.storage_group is not None

    def mate_with(self, record: Record) -> PeerId | None:
        """Return a linked member on our disk that holds this very version."""
        if not self.shares():
            return None
        mates = [peer for peer in self.receipts.holders(record) if self._is_mate(peer)]
        return min((peer for peer in mates if self.dialing.linked(peer)), default=None)

    def _is_mate(self, peer: PeerId) -> bool:
        """Tell whether a member says that it shares our disk."""
        candidate = self.rules.candidate(peer) if self.shares() else None
        return candidate is not None and candidate.storage_group == self.rules.storage_group

    def _concerned(self, record: Record) -> list[PeerId]:
        """Return who hears of a copy here at once: its origin counts them, our disk's others show it."""
        origin = self.membership.peer_named(record.origin)
        mates = [peer for peer in self.dialing.peers() if self._is_mate(peer)] if self.shares() else []
        return mates if origin is None or origin in mates else [origin, *mates]

    def showable(self) -> Iterator[Record]:
        """Yield what we would show if we could: what another member of the group has or pulls for us."""
        for record in list(self.catalog.listed()):
            if self._would_show(record):
                yield record

    def _would_show(self, record: Record) -> bool:
        if not self.may_show(record):
            return False
        verdict = self.rules.wanting(record)
        return record.key in self._to_show or (isinstance(verdict, No) and verdict.code == "storage_group")

    def may_show(self, record: Record) -> bool:
        """Tell whether this version is still listed, and not here as a copy of ours."""
        if self._held_sequence(record.key) >= record.sequence or not self.shares():
            return False
        newest = self.catalog.get(record.key)
        return newest is not None and not self.catalog.unlisted(newest)

    def shown(self, record: Record, now: float) -> Out:
        """Whoever asked for it here has it now."""
        return self.requests.answered(self.me, entry_of(record), "present", now)

    def unreadable(self, record: Record, mate: PeerId, reason: str, now: float) -> Out:
        """Say so; what a user asked for is pulled then."""
        name = self.name_of(mate)
        trouble = StorageTrouble(
            f"{name} has {record.key.text} on the disk of storage group "
            f"{self.rules.storage_group}, but it cannot be read here: {reason}; "
            "see `shared_folder` of node.yaml"
        )
        out: Out = self._troubles.tell(name, trouble, now)
        if record.key in self._to_show and self.catalog.get(record.key) == record:
            del self._to_show[record.key]
            code, more = self.ask_here(record, 1, None, now)
            out += more + (self.requests.answered(self.me, entry_of(record), code, now) if code else [])
        return out

    # --- what others ask of it -----------------------------------------------------------------

    def eligible(self, peer: PeerId, record: Record) -> str:
        """As the rules say; we ourselves may pull what we cannot read on our disk."""
        code = super().eligible(peer, record)
        own = code == "storage_group" and peer == self.me and self.showing.is_unreadable(record)
        return "" if own else code

    def ask_here(
        self, record: Record, priority: int, limit: TokenBucket | None, now: float
    ) -> tuple[str, Out]:
        """Bring it here, or show it: what lies on our disk need not travel."""
        if self.showing.shows(record):
            return "present", []
        if self.mate_with(record) is None or self.showing.is_unreadable(record):
            return super().ask_here(record, priority, limit, now)
        if len(self._to_show) < _MOST_ASKED:
            self._to_show[record.key] = None
        return "", self.showing.consider(record, now)

    def looked(self, record: Record, path: str | None, reason: str, now: float) -> list[Effect]:
        """The world has looked at a file on the disk that we share."""
        return self._settle(self.showing.looked(record, path, reason, now), now)

    # --- what follows from what ------------------------------------------------------------------

    def _verb_heard(self, message: Message, sender: PeerId, now: float) -> Out:
        match message:
            case PlaceWanted():
                # Who shares no disk with us has no use for our paths.
                record = self._held_version(message.entry)
                exact = record is not None and entry_of(record) == message.entry
                ours = exact and self._is_mate(sender)
                return [TellPlace(sender, message.entry, record if ours else None)]
            case Placed():
                return self.showing.placed(sender, message.entry, message.place, now)
        return super()._verb_heard(message, sender, now)

    def _copies_confirmed(self, holder: PeerId, entries: list[bytes], now: float) -> Out:
        out = super()._copies_confirmed(holder, entries, now)
        if self._is_mate(holder):
            for entry in entries:
                record = self.record_of(entry[:32])
                if record is not None and entry_of(record) == entry and self._would_show(record):
                    out += self.showing.consider(record, now)
        return out

    def _entered(self, record: Record, before: Record | None, sender: PeerId | None, now: float) -> Out:
        out = super()._entered(record, before, sender, now)
        # Its holder said so before the record was here.
        if self.mate_with(record) is not None and self._would_show(record):
            out += self.showing.consider(record, now)
        return out

    def _link_up(self, peer: PeerId, now: float) -> Out:
        self.showing.hurry(now)
        return super()._link_up(peer, now)

    def _became_visible(self, record: Record, shrank: str | None, now: float) -> Out:
        self.showing.forget(record.key)
        self._to_show.pop(record.key, None)
        return super()._became_visible(record, shrank, now)

    def _ended(self, record: Record, now: float) -> Out:
        self.showing.forget(record.key)
        self._to_show.pop(record.key, None)
        return super()._ended(record, now)
