"""The switchboard: introduces the machines to each other.

Machines never import each other. They return effects for the world and notices
for the switchboard, which gives each notice to the machines it concerns until
only effects are left.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ringgossip.content.catalog import Catalog
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.errors import PeerMisbehaved
from ringgossip.events import (
    ArtifactAnnounced,
    ArtifactConflict,
    ArtifactShrank,
    CopyConfirmed,
)
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.admission import Admission
from ringgossip.protocol.anti_entropy import AntiEntropy, AntiEntropySettings
from ringgossip.protocol.asking import TransferSettings
from ringgossip.protocol.authorship import Authorship
from ringgossip.protocol.breakers import Breakers, BreakerSettings
from ringgossip.protocol.cards import MemberFacts
from ringgossip.protocol.core import (
    LINK,
    CardChanged,
    CertificateHeard,
    Draw,
    Effect,
    MemberDown,
    MemberReached,
    MemberUp,
    NeedCertificate,
    NeedLink,
    Notary,
    Notice,
    PersistCertificate,
    PulseHeard,
    Remind,
    Restored,
    RouteFailed,
    RouteWorked,
    Send,
    Tell,
    WantChanged,
)
from ringgossip.protocol.deadlines import Dues, InHand
from ringgossip.protocol.dialing import Dialing, DialingSettings
from ringgossip.protocol.guide import Guide
from ringgossip.protocol.marks import TRIES
from ringgossip.protocol.membership import Membership, MembershipSettings
from ringgossip.protocol.neighbours import Neighbours
from ringgossip.protocol.notices import BY_ASKING, BY_DIALLING, NOTICES
from ringgossip.protocol.receipts import Receipts, entry_of, version_of
from ringgossip.protocol.rules import DISK_STOPPED, OUR_DISK, Rules, RuleSettings
from ringgossip.protocol.rumors import Rumors, RumorSettings
from ringgossip.protocol.serving import Serving, ServingSettings
from ringgossip.protocol.shelf import Shelf
from ringgossip.protocol.transfer import Transfer
from ringgossip.protocol.troubles import Troubles
from ringgossip.protocol.versions import Versions
from ringgossip.wire.messages import CertificatesWanted, Holding, News

if TYPE_CHECKING:
    from ringgossip.identity.certificate import NodeCertificate

Out = list[Effect | Notice]


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """The settings of every machine."""

    membership: MembershipSettings = field(default_factory=MembershipSettings)
    rumors: RumorSettings = field(default_factory=RumorSettings)
    anti_entropy: AntiEntropySettings = field(default_factory=AntiEntropySettings)
    dialing: DialingSettings = field(default_factory=DialingSettings)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)
    rules: RuleSettings = field(default_factory=RuleSettings)
    breakers: BreakerSettings = field(default_factory=BreakerSettings)


class Switchboard:
    """The machines of one peer, and what goes on between them. `PeerCore` adds the inputs of the world."""

    dues: Dues
    membership = InHand[Membership]()
    breakers = InHand[Breakers]()
    dialing = InHand[Dialing]()
    neighbours = InHand[Neighbours]()
    rules = InHand[Rules]()
    serving = InHand[Serving]()
    receipts = InHand[Receipts]()
    transfer = InHand[Transfer]()
    rumors = InHand[Rumors]()
    anti_entropy = InHand[AntiEntropy]()
    authorship = InHand[Authorship]()
    versions = InHand[Versions]()

    def __init__(
        self,
        *,
        cluster: str,
        notary: Notary,
        facts: MemberFacts,
        seeds: tuple[Address, ...],
        settings: CoreSettings,
        boot: int,
        nonce: bytes,
        restored: Restored,
        rng: Draw,
        now: float,
    ) -> None:
        self.me = notary.certificate.peer_id
        self.name = notary.certificate.name
        self.catalog = Catalog(cluster)
        self.counters: dict[str, int] = {}
        self._notary = notary
        self._settings = settings
        self._rng = rng
        self._boot = boot
        self._nonce = nonce
        self._troubles = Troubles()
        self._asked_certificates: dict[PeerId, float] = {}
        self.shelf = Shelf()
        self.rules = Rules(
            settings.rules,
            facts,
            self.me,
            self.name,
            rng,
            lambda peer: self.membership.member(peer),
            lambda: self.membership.alive(),
            self.catalog.records,
            self._held_sequence,
            now,
            restored.disk,
            (OUR_DISK, DISK_STOPPED, 1) in restored.marks,
        )
        self.membership = Membership(
            cluster,
            notary,
            self.rules.facts(),
            seeds,
            boot,
            nonce,
            settings.membership,
            rng,
            self.catalog.certificate,
        )
        self.breakers = breakers = Breakers(settings.breakers, rng, self.name_of)
        self.dialing = Dialing(
            settings.dialing,
            self.me,
            rng,
            self.membership.addresses,
            self._not_dialled_until,
            lambda peer, now: self.breakers.tried(peer, BY_DIALLING, now),
        )
        self.neighbours = Neighbours(self.me, rng, self.membership.alive, self.dialing.linked, now, boot)
        self.serving = Serving(
            settings.serving,
            self.shelf,
            rng,
            now,
            self._limit_of,
            self.rules.weights.partner,
            settings.rules.budget,
            restored.spent,
        )
        self.versions = Versions(self.shelf, self.serving.is_pulled)
        self.receipts = Receipts(self.shelf, rng)
        self.transfer = Transfer(
            settings.transfer,
            self.me,
            self.shelf,
            rng,
            self._holders,
            lambda record: self.versions.shrinks(record) is not None,
            self.name_of,
            now,
            Guide(
                self._limit_of,
                self.rules.may_receive,
                self.rules.rank,
                self.rules.priority_of,
                lambda peer, now: breakers.held_until(peer, BY_ASKING, now),
                lambda peer, now: self.breakers.tried(peer, BY_ASKING, now),
                lambda peer: breakers.troubled(peer, BY_ASKING),
                self.membership.suspected,
                self.rules.urgency,
            ),
            {key: number for key, mark, number in restored.marks if mark == TRIES},
        )
        self.rumors = Rumors(
            settings.rumors, rng, self.rules.partners, self._route, lambda: len(self.membership.alive())
        )
        self.anti_entropy = AntiEntropy(settings.anti_entropy, self.catalog, rng, now)
        self.admission = Admission(self.catalog)
        self.authorship = Authorship(
            cluster,
            notary,
            restored.store,
            restored.fresh,
            self.catalog,
            self.shelf,
            lambda: len(self.membership.alive()) <= 1,
            now,
        )
        # Kept by hand: these are asked with every message, and move no deadline (see `deadlines`).
        self._is_over, self._peer_of = self.membership.is_over, self.dialing.peer_of
        self._sign_of_life = self.transfer.heard
        self._restore(restored)

    def _restore(self, restored: Restored) -> None:
        self.catalog.add_certificate(self._notary.certificate)
        for der in restored.certificates:
            try:
                self.catalog.add_certificate(self._notary.read_certificate(der))
            except PeerMisbehaved:
                self._count("certificates_not_restored")
        for record in restored.records:
            self.catalog.admit(record)
        self.versions.restore(restored.holdings)
        self.receipts.restore()
        self.membership.set_catalog_root(self.catalog.root)

    # --- the switch --------------------------------------------------------------------------

    def _settle(self, out: Out, now: float) -> list[Effect]:
        """Let notices go round until only effects are left, in order."""
        for item in out:
            if type(item) in NOTICES:
                break
        else:
            effects: list[Any] = out
            return effects
        effects = []
        queue = deque(out)
        while queue:
            item = queue.popleft()
            if type(item) not in NOTICES:
                effects.append(item)
                continue
            more: Out = []
            match item:
                case NeedLink():
                    more = self.dialing.need(item.peer, now)
                case MemberUp():
                    self.dialing.member_up(item.peer, now)
                    self.neighbours.member_up(item.peer, item.boot, now)
                    self.rules.member_up(item.peer, now)
                    more = self._try_again(item.peer, now)
                case MemberDown():
                    self.anti_entropy.member_down(item.peer)
                    self.dialing.forget(item.peer)
                    self.breakers.forget(item.peer)
                    self.rules.member_down(item.peer, item.left, now)
                case MemberReached():
                    more = self._try_again(item.peer, now)
                case RouteFailed():
                    more = self._route_failed(item, now)
                case RouteWorked():
                    more = self.breakers.worked(item.peer, item.route)
                    if more:  # what waited behind the trial may follow
                        more = [*more, *self.transfer.wake(now)]
                case CardChanged():
                    self.rules.members_changed(now)
                    self.serving.limits_changed(item.peer, now)
                case WantChanged():
                    more = self._want_changed(item, now)
                case Remind():
                    more = self._offer(item.record, item.to)
                case PulseHeard():
                    more = self._compared(self.anti_entropy.heard_root(item.peer, item.root, now), now)
                case CertificateHeard():
                    more = self._certificate_arrived(item.certificate, now)
                case NeedCertificate():
                    more = self._ask_certificate(item, now)
            queue.extendleft(reversed(more))
        return effects

    def _route_failed(self, failure: RouteFailed, now: float) -> Out:
        """Only a member that is believed alive can have a broken route; others are membership's matter."""
        if not self._is_alive(failure.peer):
            self.breakers.undecided(failure.peer, failure.route)
            return []
        return self.breakers.failed(failure.peer, failure.route, failure.reason, now)

    def _try_again(self, peer: PeerId, now: float) -> Out:
        """There is evidence that a peer can be reached: no breaker makes it wait."""
        if not self.breakers.reachable(peer, now):
            return []
        self.dialing.member_up(peer, now)
        return self.transfer.wake(now)

    def _is_alive(self, peer: PeerId) -> bool:
        member = self.membership.member(peer)
        return member is not None and member.state == "alive"

    def _not_dialled_until(self, peer: PeerId, now: float) -> float:
        """Its breaker says; but whoever is in doubt is dialled whenever membership asks."""
        until = self.breakers.held_until(peer, BY_DIALLING, now)
        return until if now < until and self._is_alive(peer) else now

    def _compared(self, out: Out, now: float) -> Out:
        if self.anti_entropy.exchanges and not self.authorship.ready:
            out = out + self.authorship.exchange_completed(now)
        return out

    def _ask_certificate(self, need: NeedCertificate, now: float) -> Out:
        """Ask whoever relayed something for the certificate that proves it, once in a while."""
        if self.catalog.certificate(need.signer) is not None:
            return []
        if now < self._asked_certificates.get(need.signer, now - 2.0) + 1.0:
            return []
        if len(self._asked_certificates) >= 4096:
            self._asked_certificates.clear()
        self._asked_certificates[need.signer] = now
        question = CertificatesWanted(need.signer)
        if self.dialing.linked(need.from_peer):
            return [Send(need.from_peer, question, LINK)]
        # The datagram lane cannot carry the answer; the certificate comes by comparison once linked.
        return [NeedLink(need.from_peer)]

    def _count(self, name: str, amount: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + amount

    # --- what machines ask of each other ---------------------------------------------------------

    def name_of(self, peer: PeerId) -> str:
        """Return a peer's name, or the start of its id."""
        member = self.membership.member(peer)
        if member is not None:
            return member.name
        certificate = self.catalog.certificate(peer)
        return certificate.name if certificate is not None else peer.hex()[:12]

    def _route(self, peer: PeerId) -> Address | bool | None:
        if self.dialing.linked(peer):
            return True
        addresses = self.membership.addresses(peer)
        return addresses[0] if addresses else None

    def _holders(self, record: Record) -> list[PeerId]:
        """Return who is known to hold all of a record: those who said so, and its origin."""
        known = self.receipts.holders(record)
        origin = self.membership.peer_named(record.origin)
        if origin is not None and origin not in known:
            known.append(origin)
        return [peer for peer in known if peer != self.me]

    def wants(self, record: Record) -> bool:
        """Tell whether this peer wants an artifact: may receive it, and takes, was chosen or was asked to."""
        return bool(self.rules.wanting(record))

    def _limit_of(self, peer: PeerId) -> float | None:
        return self.rules.limit_of(peer).rate

    def _held_sequence(self, key: ArtifactKey) -> int:
        held = self.versions.visible(key)
        return 0 if held is None else held.sequence

    # --- what follows from what ------------------------------------------------------------

    def _certificate_arrived(self, certificate: "NodeCertificate", now: float) -> Out:
        if self.catalog.certificate(certificate.peer_id) is not None:
            return []
        self.catalog.add_certificate(certificate)
        self.membership.set_catalog_root(self.catalog.root)
        return [
            PersistCertificate(certificate.der),
            *self.membership.certificate_arrived(certificate, now),
            *self.admission.certificate_arrived(certificate),
        ]

    def _copies_confirmed(self, holder: PeerId, entries: list[bytes], now: float) -> Out:
        out: Out = []
        for entry in entries:
            sequence, root = version_of(entry)
            out += self.transfer.holder_known(root, holder, now)
            # Several names, and versions that differ in their metadata alone, share one content.
            for own in self.shelf.with_content(root):
                if own.origin == self.name and own.key.hash == entry[:32] and own.sequence == sequence:
                    self.rules.weights.given(holder, now)
                    out.append(Tell(CopyConfirmed(own.key.text, sequence, self.name_of(holder))))
        return out

    def _entered(self, record: Record, before: Record | None, sender: PeerId | None, now: float) -> Out:
        """A record is new in our catalog, and what it names is listed."""
        out: Out = [Tell(ArtifactAnnounced(record.key.text, record.sequence, record.size))]
        out += self._spread(record, before, sender, now)
        if sender is not None and sender == record.signer:  # its author, who tells of what it has
            # Without a link it will not say that the version before went: that leaves its book now.
            gone = b"" if before is None or self.dialing.linked(sender) else entry_of(before)
            self.receipts.note(Holding(entry_of(record), gone), sender)
        conflict = self.catalog.conflict(record.kind, record.name)
        if conflict is not None and record in conflict:
            winner, loser = conflict
            out.append(Tell(ArtifactConflict(record.kind, record.name, winner.origin, loser.origin)))
        if self.rules.wants_now(record, now):
            out += self.transfer.want(record, now)
        return out

    def _spread(self, record: Record, before: Record | None, sender: PeerId | None, now: float) -> Out:
        """Let the others hear of a record that is new here, whatever it says."""
        self._count("records_admitted")
        self.membership.set_catalog_root(self.catalog.root)
        out = self.rumors.tell(record, now, but=sender)
        return out + self.authorship.met(record, before, now) if record.origin == self.name else out

    def _want_changed(self, change: WantChanged, now: float) -> Out:
        record = change.record
        if self.catalog.get(record.key) != record:
            return []
        if change.wanted:
            return self.transfer.want(record, now)
        # What has its room already may end: a disk that fills stops only what has not begun.
        return self.transfer.unwant(record.key, now, running=change.code != "disk")

    def _offer(self, record: Record, to: Iterable[PeerId]) -> Out:
        """Link those who are to have it first, so that they pull at once."""
        news = News((record.packed,))
        return [Send(peer, news, LINK) if self.dialing.linked(peer) else NeedLink(peer) for peer in to]

    def _no_longer_held(self, record: Record, now: float) -> Out:
        """The shelf has let this version go: tell those who count on it."""
        return self.receipts.dropped(record, now) + self.serving.root_lost(record.root, now)

    def _became_visible(self, record: Record, shrank: str | None, now: float) -> Out:
        before = self.versions.visible(record.key)
        if record.origin != self.name:
            self.rules.weights.saved(self._holders(record), now)
        replaced = self.versions.became_visible(record, shrank is not None, now)
        out = self.receipts.held(record, now) + self.serving.root_completed(record.root, now)
        if replaced is not None:
            out += self._no_longer_held(replaced, now)
        if shrank is not None and before is not None:
            kept_as = f"{record.name}@{before.sequence}"
            out.append(Tell(ArtifactShrank(record.key.text, record.sequence, kept_as, shrank)))
        return out
