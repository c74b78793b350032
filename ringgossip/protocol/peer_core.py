"""One peer without I/O: every input returns the effects it asks for. See `core` for both.

An input of the world goes to the machines it concerns. Nothing here raises for
what a peer said: a broken rule becomes a counter and an event.
"""

from typing import TYPE_CHECKING

from ringgossip.config.words import PRIORITIES
from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record
from ringgossip.errors import PeerMisbehaved
from ringgossip.events import (
    ArtifactCompleted,
    PublicationWithdrawn,
)
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.admission import Offered
from ringgossip.protocol.cards import MemberFacts
from ringgossip.protocol.core import (
    LINK,
    Draft,
    Effect,
    LinkId,
    Notice,
    Persist,
    PersistCertificate,
    Published,
    RouteFailed,
    RouteWorked,
    Send,
    Tell,
)
from ringgossip.protocol.notices import BY_DIALLING, BY_LANE
from ringgossip.protocol.rules import RuleSettings
from ringgossip.protocol.switchboard import CoreSettings
from ringgossip.protocol.waking import Waking
from ringgossip.strategy.candidates import DiskUse
from ringgossip.wire.messages import (
    MESSAGES,
    PROTOCOL_VERSION,
    Busy,
    CatalogRoot,
    Certificates,
    CertificatesWanted,
    DialMe,
    DigestStep,
    Have,
    HaveMore,
    Hello,
    Holding,
    HoldingsDigest,
    HoldingsList,
    HoldingsWanted,
    Message,
    News,
    NewsKnown,
    NoChunks,
    Offer,
    OfferAnswered,
    Page,
    Placed,
    PlaceWanted,
    Pledged,
    PledgeWanted,
    Records,
    RecordsWanted,
    Relayed,
    SignalTold,
    SyncDone,
    SyncWanted,
)

__all__ = ["CoreSettings", "PeerCore"]

if TYPE_CHECKING:
    from ringgossip.identity.certificate import NodeCertificate

Out = list[Effect | Notice]

# On a link the sender is proven by TLS; a datagram proves no more than membership, so it
# carries only probes, what is signed, and what does no harm.
_LINKS_ONLY = frozenset(message for tag, message in MESSAGES.items() if tag in (1, 3) or tag >= 30)

# What idle peers say all the time; no other machine listens.
_MEMBERSHIP = frozenset(message for tag, message in MESSAGES.items() if 10 <= tag <= 19)

# What is said while chunks move: transfer listens to what holders say, serving to what pullers say.
_BYTES = frozenset(message for tag, message in MESSAGES.items() if 50 <= tag <= 59)
_GIVEN = frozenset((Have, HaveMore, Page, Busy, NoChunks))


class PeerCore(Waking):
    """The inputs of the world, and what may be seen from outside."""

    # --- life ------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin: join the cluster, and pull what we know of and lack."""
        out: Out = [PersistCertificate(self._notary.certificate.der), *self.membership.start(now)]
        for record in self.catalog.records():
            if not self.shelf.holds(record) and self.rules.wants_now(record, now):
                out += self.transfer.want(record, now)
        return self._settle(out, now)

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye; the world stops soon after."""
        return self._settle(self.membership.leave(now) + self.serving.account.close(), now)

    def change_facts(self, facts: MemberFacts, now: float) -> list[Effect]:
        """Say something new about ourselves; plans and what we want follow."""
        before = self.rules.facts()
        self.rules.change_facts(facts)
        self.dues.ask_all()
        return self._settle(self._facts_changed(before, now), now)

    def change_rules(self, settings: RuleSettings, now: float) -> list[Effect]:
        """The configuration was read again: all of it holds from now on."""
        before, keep = self.rules.facts(), self.rules.settings.keep
        self.dues.ask_all()
        out = self.rules.change_settings(settings, now)
        if settings.keep != keep:
            self.retention.rules_changed(now)
        out += self.serving.set_limits(settings.bandwidth.send_bytes_per_second, settings.budget, now)
        out += self.transfer.set_limits(settings.bandwidth.receive_bytes_per_second, now)
        return self._settle(out + self._facts_changed(before, now), now)

    def day_changed(self, day: int, now: float) -> list[Effect]:
        """The world tells the day, in days since 1970-01-01: byte budgets begin anew."""
        return self._settle(self.serving.account.day_changed(day), now)

    def clock_read(self, wall: int, now: float) -> list[Effect]:
        """The world tells the wall clock, in Unix seconds: members whose certificates expired are none."""
        return self._settle(self.membership.clock_read(wall, now), now)

    def disk_changed(self, disk: DiskUse | None, now: float) -> list[Effect]:
        """Our disk was looked at; None: it cannot be told."""
        before, was = self.rules.facts(), self.rules.disk
        out = self.rules.disk_changed(disk, now)
        if disk is not None and was is not None and disk.free > was.free:
            out += self.transfer.room_made(disk.free - was.free, now)
        return self._settle(out + self._facts_changed(before, now), now)

    def _facts_changed(self, before: MemberFacts, now: float) -> Out:
        if self.rules.facts() == before:
            return []
        self.rules.members_changed(now)
        return self.membership.change_facts(self.rules.facts(), now)

    def ask(self, record: Record, priority: str, now: float) -> list[Effect]:
        """Somebody here asks for this version of an artifact, or a later one; said twice it is asked once."""
        if self.rules.is_asked(record):
            return []
        _, out = self.ask_here(record, PRIORITIES.index(priority), None, now)
        return self._settle(out, now)

    # --- links -----------------------------------------------------------------------------------

    def link_opened(
        self,
        link: LinkId,
        peer: PeerId,
        certificate: "NodeCertificate",
        address: Address,
        dialled: bool,
        now: float,
    ) -> list[Effect]:
        """A link is open and both sides are verified."""
        replaced = self.dialing.linked(peer)
        out, in_use = self.dialing.link_opened(link, peer, dialled, now)
        if not in_use:
            # A seed that turned out to be ourselves, or somebody we know, need not be dialled again.
            self.membership.seed_answered(address, peer)
            return self._settle(out, now)
        if replaced:
            out += self._link_gone(peer, now, replaced=True)
        out += self.breakers.worked(peer, BY_DIALLING)
        out += self._certificate_arrived(certificate, now)
        hello = Hello(PROTOCOL_VERSION, self._boot, self._nonce, self.membership.own_card)
        out.append(Send(peer, hello, LINK))
        out += self.membership.link_opened(peer, address, now)
        out += self.serving.link_opened(peer, now)
        out += self.receipts.link_opened(peer, now)
        self.relaying.link_opened(peer)
        out += self.transfer.link_opened(peer, now)
        out += self.anti_entropy.link_opened(peer, now)
        return self._settle(out + self._link_up(peer, now), now)

    def _link_gone(self, peer: PeerId, now: float, replaced: bool = False) -> Out:
        out: Out = []
        out += self.membership.link_broken(peer, now)
        out += self.serving.link_broken(peer, now)
        self.receipts.link_broken(peer)
        self.relaying.link_broken(peer)
        out += self.transfer.link_broken(peer, now, replaced)
        out += self.anti_entropy.link_broken(peer, now)
        return out

    def link_broken(self, link: LinkId, reason: str, now: float) -> list[Effect]:
        """A link came to its end."""
        peer = self.dialing.link_broken(link, now)
        return self._settle([] if peer is None else self._link_gone(peer, now), now)

    def dial_failed(self, address: Address, peer: PeerId | None, reason: str, now: float) -> list[Effect]:
        """Nobody answered there, or not the one we expected."""
        out = self.dialing.dial_failed(address, peer, reason, now)
        return self._settle(out + self.membership.dial_failed(address, peer, now), now)

    def may_open_lane(self, peer: PeerId, now: float) -> bool:
        """Tell whether to try a second connection for bodies beside a link; a try is told as one of these."""
        if now < self.breakers.held_until(peer, BY_LANE, now):
            return False
        self.breakers.tried(peer, BY_LANE, now)
        return True

    def lane_opened(self, peer: PeerId, now: float) -> list[Effect]:
        """Bodies have a connection of their own."""
        return self._settle([RouteWorked(peer, BY_LANE)], now)

    def lane_failed(self, peer: PeerId, reason: str, now: float) -> list[Effect]:
        """They go on over the link."""
        return self._settle([RouteFailed(peer, BY_LANE, reason)], now)

    # --- messages -----------------------------------------------------------------------------------

    def receive(self, message: Message, sender: PeerId, source: Address | LinkId, now: float) -> list[Effect]:
        """Handle a message from a verified member."""
        kind = type(message)
        if isinstance(source, Address):
            if self._is_over(sender):
                # On links TLS looks at the certificate.
                name = self.name_of(sender)
                reason = f"the certificate of {name!r} has expired (is a clock wrong?)"
                return self.packet_refused(str(source), reason, now)
            if kind in _LINKS_ONLY:
                # Whoever has the gossip key could say it in another's name.
                return self.misbehaved(sender, f"sent {kind.__name__} as a datagram", now)
        else:
            if self._peer_of(source) != sender:
                return []  # the last words on a link that lost against another
            self._sign_of_life(sender, now)
        try:
            out = self._receive(message, sender, source, now)
        except PeerMisbehaved as error:
            return self.misbehaved(sender, str(error), now)
        if kind in _BYTES:
            return self._of_bytes(out, now)
        if kind in _MEMBERSHIP:
            return self._of_membership(out, now)
        return self._settle(out, now)

    def _offered(self, offered: Offered, sender: PeerId, now: float) -> Out:
        broken = [] if offered.problem is None else self.misbehaved(sender, offered.problem, now)
        return [*offered.effects, *broken]

    def _receive(self, message: Message, sender: PeerId, source: Address | LinkId, now: float) -> Out:
        kind = type(message)
        if kind in _MEMBERSHIP:
            return self.membership.receive(message, sender, source, now)
        if kind in _GIVEN:
            return self.transfer.receive(message, sender, source, now)
        if kind in _BYTES:
            return self.serving.receive(message, sender, source, now)
        match message:  # what is said most comes first
            case News():
                offered = self.admission.offer(message.records, sender)
                out = self._offered(offered, sender, now)
                return out + self.rumors.heard(offered.known, sender, source)
            case NewsKnown():
                return self.rumors.receive(message, sender, source, now)
            case CatalogRoot() | DigestStep() | RecordsWanted() | CertificatesWanted():
                return self._compared(self.anti_entropy.receive(message, sender, source, now), now)
            case Holding() | HoldingsDigest() | HoldingsWanted() | HoldingsList():
                out, added = self.receipts.receive(message, sender, source, now)
                return out + self._copies_confirmed(sender, added, now)
            case Records():
                return self._offered(self.admission.offer(message.records, sender), sender, now)
            case Certificates():
                return self._certificates_heard(message, sender, now)
            case Hello():
                if message.version < 1:
                    raise PeerMisbehaved(f"speaks protocol version {message.version}")
                self.dialing.greeted(sender)
                return self.membership.card_heard(message.card, sender, now)
            case DialMe():
                # It wants a link and cannot make one: a better time to try than any other.
                return self._try_again(sender, now) + self.dialing.need(sender, now)
            case Relayed():
                return self._relayed(message, sender, now)
            case (
                Offer()
                | OfferAnswered()
                | SignalTold()
                | PledgeWanted()
                | Pledged()
                | SyncWanted()
                | SyncDone()
                | PlaceWanted()
                | Placed()
            ):
                return self._verb_heard(message, sender, now)
        return []  # the world's own words, about a link

    def _certificates_heard(self, message: Certificates, sender: PeerId, now: float) -> Out:
        """Take in those that are true: a false one must not undo what the others let in."""
        out, problem = Out(), ""
        for der in message.certificates:
            try:
                certificate = self._notary.read_certificate(der)
            except PeerMisbehaved as error:
                problem = problem or str(error)
                continue
            out += self._certificate_arrived(certificate, now)
        return [*out, *self.misbehaved(sender, problem, now)] if problem else out

    # --- the catalog grows -----------------------------------------------------------------------------

    def records_verified(self, batch: int, reasons: tuple[str | None, ...], now: float) -> list[Effect]:
        """Workers checked signatures."""
        admitted = self.admission.records_verified(batch, reasons)
        out = admitted.effects
        for record, sender, before in admitted.records:
            out.append(Persist(record))
            out += self._entered(record, before, sender, now)
        effects = self._settle(out, now)
        for sender, reason in admitted.refused:
            effects += self.misbehaved(sender, reason, now)
        return effects

    def publish(self, draft: Draft, now: float) -> list[Effect]:
        """Publish content that the store has prepared; `Published` or `PublishRefused` answers."""
        return self._settle(self.authorship.publish(draft, now), now)

    def record_persisted(self, record: Record, now: float) -> list[Effect]:
        """A record is on disk; one of ours may be told now."""
        ticket = self.authorship.record_persisted(record)
        if ticket is None:
            return self._settle([], now)
        before = self.catalog.get(record.key)
        self.catalog.admit(record)
        if self.catalog.get(record.key) != record:
            return self._settle(self.authorship.again(ticket, record), now)
        out: Out = []
        if record.withdrawn:
            out += self._entered(record, before, None, now)
        else:
            out += self._became_visible(record, self.versions.shrinks(record), now)
            out += self.transfer.superseded(record, now)
            out += self._entered(record, before, None, now)
            targets, refusals = self.rules.push_targets(record, now)
            out += self._offer(record, targets) + refusals
            plan, names = self.rules.plan(record.kind).name, [self.name_of(peer) for peer in targets]
            out += self.pushes.began(record, plan, names, now)
        out.append(Published(ticket, record, unchanged=False))
        out += self.authorship.next_after(record.key)
        return self._settle(out, now)

    def persist_failed(self, record: Record, reason: str, now: float) -> list[Effect]:
        """The disk did not take a record."""
        return self._settle(self.authorship.persist_failed(record, reason), now)

    # --- copies -------------------------------------------------------------------------------------------

    def finalised(self, record: Record, path: str, now: float) -> list[Effect]:
        """A verified copy is visible."""
        out = self._became_visible(record, self.versions.shrinks(record), now)
        self._count("artifacts_completed")
        if self.versions.visible(record.key) == record:
            out.append(Tell(ArtifactCompleted(record.key.text, record.sequence, record.size, path)))
        out += self.transfer.finalised(record, now)
        return self._settle(out, now)

    def rejected(self, record: Record, reason: str, final: bool, now: float) -> list[Effect]:
        """It could not be made visible."""
        return self._settle(self.transfer.rejected(record, reason, final, now), now)

    def copy_lost(self, record: Record, reason: str, now: float) -> list[Effect]:
        """A copy we held is damaged or changed: no longer served, pulled again if we want it."""
        if not self.shelf.holds(record):
            return []
        self.versions.lost(record)
        out = self._no_longer_held(record, now)
        if record.origin == self.name:
            out.append(Tell(PublicationWithdrawn(record.key.text, record.sequence, reason)))
        if record.origin == self.name:
            # It was made here: who made it wants it back, whatever its role takes.
            self.rules.ask(record.key, record.sequence, "high")
        if self.catalog.get(record.key) == record and self.wants(record):
            out += self.transfer.want(record, now)
        return self._settle(out, now)

    def reserved(self, root: bytes, manifest: Manifest | None, now: float) -> list[Effect]:
        """Space is set aside."""
        return self._settle(self.transfer.reserved(root, manifest, now), now)

    def reserve_refused(self, root: bytes, reason: str, now: float) -> list[Effect]:
        """There is no room."""
        return self._settle(self.transfer.reserve_refused(root, reason, now), now)

    def pages_found(self, root: bytes, found: dict[bytes, bytes], now: float) -> list[Effect]:
        """Manifest pages that were here already."""
        return self._settle(self.transfer.pages_found(root, found, now), now)

    def partial_ready(self, root: bytes, have: int, copying: int, now: float) -> list[Effect]:
        """The partial file is open."""
        return self._settle(self.transfer.partial_ready(root, have, copying, now), now)

    def chunks_copied(self, root: bytes, copied: int, failed: int, now: float) -> list[Effect]:
        """Chunks were copied from elsewhere in our store."""
        return self._settle(self.transfer.chunks_copied(root, copied, failed, now), now)

    def body_arrives(self, peer: PeerId, request: int, index: int, length: int, now: float) -> list[Effect]:
        """A chunk begins to arrive; exactly one effect says what to do with it."""
        return self._of_bytes(self.transfer.body_arrives(peer, request, index, length, now), now)

    def chunk_stored(
        self, peer: PeerId, request: int, root: bytes, index: int, length: int, now: float
    ) -> list[Effect]:
        """A chunk is verified and written."""
        self._count("chunk_bytes_received", length)
        out = self.transfer.chunk_stored(peer, request, root, index, length, now)
        return self._of_bytes(out + self.serving.chunk_held(root, index, now), now)

    def chunk_bad(
        self, peer: PeerId, request: int, root: bytes, index: int, reason: str, now: float
    ) -> list[Effect]:
        """A chunk was not what it should be."""
        self._count("bad_chunks")
        return self._settle(self.transfer.chunk_bad(peer, request, root, index, reason, now), now)

    def chunk_unstored(
        self, peer: PeerId, request: int, root: bytes, index: int, reason: str, now: float
    ) -> list[Effect]:
        """Our disk did not take a chunk."""
        return self._settle(self.transfer.chunk_unstored(peer, request, root, index, reason, now), now)

    def chunk_sent(self, peer: PeerId, request: int, index: int, length: int, now: float) -> list[Effect]:
        """A body has left."""
        self._count("chunk_bytes_sent", length)
        return self._of_bytes(self.serving.chunk_sent(peer, request, index, length, now), now)

    def chunk_unreadable(
        self, peer: PeerId, request: int, root: bytes, index: int, now: float
    ) -> list[Effect]:
        """A chunk could not be read here."""
        out = self.serving.chunk_unreadable(peer, request, root, index, now)
        return self._settle(out, now)
