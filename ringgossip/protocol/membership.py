"""Who is there? SWIM with Lifeguard, and the repairs that memberlist lacks.

Members probe each other in turn (`probing`), doubt before they condemn
(`suspicion`, `health`), and spread what they believe with probes and by gossip
(`voice`, `news`). Statements are ordered (`evidence`), so views meet. Whoever
joins, or finds that its digest differs from another's for longer than gossip
takes, compares lists (`exchange`). The dead are tried again, so partitions heal.
This file receives, and decides when; `beliefs` decides what is true of others,
`myself` what we are.
Source: SWIM (Das et al. 2002); Lifeguard (Dadgar et al. 2018).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ringgossip.errors import PeerMisbehaved
from ringgossip.events import DatagramsBlocked
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.beliefs import Beliefs, Origin
from ringgossip.protocol.cards import Card, MemberFacts, make_card, read_card
from ringgossip.protocol.core import (
    DATAGRAM,
    LINK,
    NEVER,
    Draw,
    Effect,
    LinkId,
    MemberDown,
    MemberReached,
    Notary,
    Notice,
    PulseHeard,
    Send,
    Stop,
    Tell,
)
from ringgossip.protocol.evidence import ALIVE, DEAD, NOBODY, Standing, standing_of
from ringgossip.protocol.expiring import Expiry
from ringgossip.protocol.gossiping import Gossiper
from ringgossip.protocol.health import LocalHealth
from ringgossip.protocol.hearsay import Hearsay, answer
from ringgossip.protocol.joining import Seeds
from ringgossip.protocol.member_views import Member, MemberViews
from ringgossip.protocol.myself import Myself
from ringgossip.protocol.probing import Prober
from ringgossip.protocol.revisiting import Revisits
from ringgossip.protocol.roster import Roster
from ringgossip.protocol.routes import Routes
from ringgossip.protocol.settings import MembershipSettings
from ringgossip.protocol.timers import Deadlines
from ringgossip.protocol.voice import NO_ROOT, PULSE, Voice
from ringgossip.wire.messages import (
    Ack,
    Cards,
    CardsWanted,
    Gossip,
    MembersPage,
    Message,
    Nack,
    Ping,
    PingRequest,
    Vouch,
)

if TYPE_CHECKING:
    from ringgossip.identity.certificate import NodeCertificate

__all__ = ["Member", "Membership", "MembershipSettings"]

Out = list[Effect | Notice]
Source = Address | LinkId

_FAREWELLS = 64  # members that hear of our leaving from ourselves


class Membership(MemberViews):
    """The machine. Inputs return effects and notices; views are copies."""

    __slots__ = (
        "_beliefs", "_closed", "_deadlines", "_expiry", "_gossiper", "_health", "_hearsay", "_key",
        "_myself", "_prober", "_revisits", "_rng", "_seeds", "_settings", "_voice",
    )  # fmt: skip

    def __init__(
        self,
        cluster: str,
        notary: Notary,
        facts: MemberFacts,
        seeds: tuple[Address, ...],
        boot: int,
        nonce: bytes,
        settings: MembershipSettings,
        rng: Draw,
        certificates: "Callable[[PeerId], NodeCertificate | None]",
    ) -> None:
        """Raises `UsageError` if `facts` cannot be said in one card."""
        card = make_card(notary, cluster, facts, boot, nonce, 1)
        me = standing_of(card, 0, ALIVE)
        super().__init__(card.peer, Roster(card, settings.most_members), Routes())
        self._key = card.key
        self._settings = settings
        self._rng = rng
        self._deadlines = Deadlines()
        self._health = LocalHealth(settings.worst_health)
        self._voice = Voice(self._roster, me, settings.gossip.retransmit, settings.suspicion.buddy)
        self._prober = Prober(
            settings.probe, self._roster, self._routes, self._voice, self._health, self._deadlines, rng
        )
        self._beliefs = Beliefs(
            cluster, notary, self._roster, self._routes, self._voice, self._deadlines, settings.suspicion,
            settings.probe.interval, settings.revisit.tombstone_life, certificates, rng,
        )  # fmt: skip
        self._myself = Myself(
            cluster, notary, self._roster, self._voice, self._health, self._deadlines,
            self._prober.next_number,
        )  # fmt: skip
        self._seeds = Seeds(
            tuple(seed for seed in dict.fromkeys(seeds) if seed not in facts.addresses), settings.seeds, rng
        )
        self._hearsay = Hearsay(
            settings.lists, self._roster, self._routes, self._voice, self._beliefs, self._myself
        )
        self._gossiper = Gossiper(settings.gossip, self._roster, self._routes, self._voice, rng)
        self._revisits = Revisits(
            settings.revisit, self._roster, self._routes, self._voice, self._prober, self._deadlines, rng
        )
        self._expiry = Expiry(self._roster, self._routes, self._beliefs)
        self._closed = False

    @property
    def health(self) -> int:
        """Lifeguard's local health score: 0 is well."""
        return self._health.score

    # --- coming and going ------------------------------------------------------------------

    def start(self, now: float) -> Out:
        """Begin to probe, and look for the seeds."""
        self._prober.start(now)
        self._gossiper.start(now)
        self._hearsay.start(now)
        self._seeds.start(now)
        return self._seeds_due(now)

    def acquaint(self, cards: tuple[Card, ...]) -> None:
        """Take these as alive, unasked, and know nobody else: for worlds that begin in the middle."""
        self._roster.fill(cards)
        self._alive = None
        self._voice.changed()

    def leave(self, now: float) -> Out:
        """Say goodbye to as many as one can at once; they tell the rest."""
        self._myself.leave(now)
        self._alive = None
        goodbye = Gossip(self._voice.me.pack(), (), ())
        out: Out = [Send(peer, goodbye, LINK) for peer in self._routes.linked.values()]
        for key in self._roster.sample(self._rng, _FAREWELLS):
            out += self._routes.send(self._table[key], goodbye)
        self._closed = True
        return out

    def change_facts(self, facts: MemberFacts, now: float) -> Out:
        """Say something new about ourselves; raises `UsageError` if one card cannot hold it."""
        self._myself.change_facts(facts, now)
        return self._finish([], now)

    def clock_read(self, wall: int, now: float) -> Out:
        """The wall clock shows `wall`, in Unix seconds: certificates expire."""
        return self._finish(self._expiry.clock_read(wall, now), now)

    def set_catalog_root(self, root: bytes) -> None:
        """Let probes and answers carry the first 8 bytes of this root."""
        if self._voice.root != root[:8]:
            self._voice.root = root[:8]
            self._voice.changed()

    # --- links -------------------------------------------------------------------------------

    def link_opened(self, peer: PeerId, address: Address, now: float) -> Out:
        """A link to `peer` is open; our hello went ahead of what is said here."""
        key = peer[:8]
        is_seed = self.seed_answered(address, peer)
        if peer == self.me:
            return []
        self._routes.linked[key] = peer
        out: Out = []
        standing = self._standing(peer)
        if self._hearsay.awaited(key) or standing is None or is_seed:
            out += self._hearsay.list_for(peer)
            if self._hearsay.is_young(now):
                for number, delay in enumerate(self._settings.lists.follow_up):
                    self._deadlines.set((f"follow {number}", key), now + delay)
        if standing is not None and standing.state != ALIVE:
            out.append(Send(peer, Gossip(self._voice.accuse(standing), (), ()), LINK))
        return out + self._prober.link_opened(key)

    def seed_answered(self, address: Address, peer: PeerId) -> bool:
        """Note who is at `address`, also if the link was not kept; return whether it is a seed."""
        is_seed = self._seeds.answered(address, peer[:8])
        if peer == self.me:
            self._seeds.drop(address)
        self._schedule_seeds()
        return is_seed

    def link_broken(self, peer: PeerId, now: float) -> Out:
        """The link to `peer` ended: perhaps it crashed, so ask it now."""
        key = peer[:8]
        self._routes.linked.pop(key, None)
        standing = self._table.get(key)
        if standing is not None and standing.state < DEAD:
            self._prober.hurry(key, now)
        return []

    def dial_failed(self, address: Address, peer: PeerId | None, now: float) -> Out:
        """Nobody answered at `address`."""
        if peer is None:
            self._seeds.failed(address, now)
            self._schedule_seeds()
        return []

    def card_heard(self, packed: bytes, from_peer: PeerId, now: float) -> Out:
        """A hello brought its sender's card."""
        try:
            card = read_card(packed)
        except PeerMisbehaved as error:
            return self._beliefs.complain(from_peer, str(error), now)
        if card.peer == self.me:
            where = str(card.facts.addresses[0]) if card.facts.addresses else ""
            return self._finish(self._myself.meet(card, where if from_peer == self.me else None, now), now)
        return self._finish(self._beliefs.admit(card, None, Origin(from_peer), now), now)

    def certificate_arrived(self, certificate: "NodeCertificate", now: float) -> Out:
        """A certificate that some card may wait for."""
        return self._finish(self._beliefs.certificate_arrived(certificate, now), now)

    # --- messages ----------------------------------------------------------------------------

    def receive(self, message: Message, sender: PeerId, source: Source, now: float) -> Out:
        """Handle a message from a verified sender; those of other machines are ignored."""
        handler = _HANDLERS.get(type(message))
        if handler is None or self._closed:
            return []
        if now > self._prober.due + self._settings.probe.stalled_after:
            self._beliefs.back_at = now  # what waited in the socket may be heard before we are woken
        if sender == self.me:
            return self._finish(self._hear_ourselves(message, source, now), now)
        out: Out = handler(self, message, sender, source, now)
        return self._finish(out, now) if self._beliefs.dirty or self._myself.dirty else out

    def _finish(self, out: Out, now: float) -> Out:
        """After an input that changed what we believe: let what follows from it follow."""
        if not (self._beliefs.dirty or self._myself.dirty):
            return out
        self._beliefs.dirty = self._myself.dirty = False
        self._alive = None
        if self._voice.has_news:
            self._gossiper.hurry(now)
        for item in out:
            if isinstance(item, MemberDown):
                self._seeds.lost(item.peer[:8], now)
                self._schedule_seeds()
                if not item.left:
                    self._revisits.add(item.peer[:8], now)
            elif isinstance(item, Stop):
                self._closed = True
        return out

    def _hear_ourselves(self, message: Message, source: Source, now: float) -> Out:
        """Somebody speaks with our own key: our own echo, or a clone."""
        if isinstance(message, Cards):
            return self._hearsay.hear_cards(message, self.me, source, now)
        if isinstance(message, CardsWanted):
            return self._hearsay.hear_wishes(message, self.me, source, now)
        if isinstance(message, Ping | Ack) and isinstance(source, Address):
            boot, mine = PULSE.unpack(message.pulse)[0], self._voice.me.card.boot
            if boot > mine:
                out = self._myself.answered(boot, source)
                return out or self._hearsay.want((self._key,), (), self.me, source, now)
            if boot < mine and isinstance(message, Ping):
                return [
                    Send(source, Cards((self.own_card,), (), b""), DATAGRAM),
                    Send(source, self._voice.ack(message.number, None), DATAGRAM),
                ]
        return []

    def _hear_ping(self, message: Ping, sender: PeerId, source: Source, now: float) -> Out:
        if message.target != self._key:
            return []  # for whoever had our address before
        out: Out = []
        if message.updates:
            out += self._hearsay.hear_updates(message.updates, sender, source, now)
        standing = self._hear_pulse(message.pulse, sender, source, now, out)
        if standing is not None and type(source) is Address:
            self._routes.heard_from(standing, source, now)
        out.append(answer(sender, source, self._voice.ack(message.number, standing)))
        return out

    def _hear_ack(self, message: Ack, sender: PeerId, source: Source, now: float) -> Out:
        out: Out = []
        if message.updates:
            out += self._hearsay.hear_updates(message.updates, sender, source, now)
        standing = self._hear_pulse(message.pulse, sender, source, now, out)
        ours = self._prober.acked(message.number, sender)
        if not ours:
            out += self._prober.relay_ack(message.number, sender[:8], message.pulse)
        if standing is not None:
            if isinstance(source, Address):
                if self._routes.answered(standing, source, now):
                    out.append(MemberReached(sender))
            elif ours and self._routes.answered_on_link(standing, now):
                out.append(Tell(DatagramsBlocked(standing.card.name)))
        return out

    def _hear_ping_request(self, message: PingRequest, sender: PeerId, source: Source, now: float) -> Out:
        return self._prober.help(message, sender, source, now)

    def _hear_vouch(self, message: Vouch, sender: PeerId, source: Source, now: float) -> Out:
        key = self._prober.vouched(message.number)
        standing = self._table.get(key) if key is not None else None
        if standing is None:
            return []
        self._routes.vouched_for(standing, sender[:8])
        boot, incarnation, *_ = PULSE.unpack(message.pulse)
        return self._beliefs.hear(standing, (boot, incarnation, ALIVE), NOBODY, now)

    def _hear_nack(self, message: Nack, sender: PeerId, source: Source, now: float) -> Out:
        self._prober.hear_nack(message.number)
        return []

    def _hear_gossip(self, message: Gossip, sender: PeerId, source: Source, now: float) -> Out:
        return self._hearsay.hear_gossip(message, sender, source, now)

    def _hear_page(self, message: MembersPage, sender: PeerId, source: Source, now: float) -> Out:
        return self._hearsay.hear_page(message, sender, source, now)

    def _hear_wishes(self, message: CardsWanted, sender: PeerId, source: Source, now: float) -> Out:
        return self._hearsay.hear_wishes(message, sender, source, now)

    def _hear_cards(self, message: Cards, sender: PeerId, source: Source, now: float) -> Out:
        return self._hearsay.hear_cards(message, sender, source, now)

    def _hear_pulse(
        self, pulse: bytes, sender: PeerId, source: Source, now: float, out: Out
    ) -> Standing | None:
        """Learn what the sender says of itself; return how it stands now, if we know it."""
        boot, incarnation, version, digest, root = PULSE.unpack(pulse)
        key = sender[:8]
        standing = self._table.get(key)
        if standing is None or standing.card.peer != sender:
            out += self._hearsay.want((), (key,), sender, source, now)
            return None
        card = standing.card
        if boot < card.boot:
            # An older life: a recording, or a clone, which must hear of the newer one to stop.
            out.append(answer(sender, source, Cards((card.packed,), (), b"")))
            return standing
        if boot > card.boot or version > card.version:
            out += self._hearsay.want((key,), (), sender, source, now)
        elif incarnation > standing.incarnation:
            out += self._beliefs.hear(standing, (boot, incarnation, ALIVE), NOBODY, now)
            standing = self._table[key]
        if digest == self._roster.digest:
            self._hearsay.agree(key)
        else:
            out += self._hearsay.differ(standing, now)
        if root != NO_ROOT:
            out.append(PulseHeard(sender, root))
        return standing

    # --- time ------------------------------------------------------------------------------------

    def wake(self, now: float) -> Out:
        """Do what is due."""
        out: Out = []
        if self._closed:
            return out
        if now >= self._prober.due:
            late = now - self._prober.due
            if late > self._settings.probe.stalled_after:
                self._beliefs.came_back(late, now)
            silent = self._prober.silent(now)
            if silent is not None:
                out += self._beliefs.suspect(silent, now)
                out += self._hearsay.echo(silent)
            out += self._prober.wake(now)
        if now >= self._gossiper.due:
            out += self._gossiper.wake(now)
        while self._deadlines.heap and (name := self._deadlines.pop_due(now)) is not None:
            out += self._due(name[0], name[1], now)
        return self._finish(out, now)

    def _due(self, what: str, whom: bytes | int, now: float) -> Out:
        if isinstance(whom, bytes):
            if what == "suspicion":
                return self._beliefs.suspicion_due(whom, now)
            if what == "warning":
                return self._hearsay.warn(self._table[whom])
            peer = self._routes.linked.get(whom)
            return self._hearsay.list_for(peer) if peer is not None else []
        if what == "nack":
            return self._prober.nack_due(whom, now)
        if what == "seeds":
            return self._seeds_due(now)
        if what == "revisit":
            return self._revisits.wake(now)
        if what == "challenge":
            return self._myself.challenge_over(now)
        if what == "relay":
            self._prober.relay_over(whom)
        else:
            self._beliefs.forget_old(now)
        return []

    def _seeds_due(self, now: float) -> Out:
        for address in self._seeds.due(now):
            # Whom we know there need not be dialled.
            for key in self._roster.others():
                standing = self._table[key]
                if standing.state == ALIVE and address in standing.card.facts.addresses:
                    self._seeds.answered(address, key)
                    break
        out = self._seeds.wake(now)
        self._schedule_seeds()
        return out + self._hearsay.knock(out)

    def _schedule_seeds(self) -> None:
        self._deadlines.set(("seeds", 0), self._seeds.next_wakeup())

    def next_wakeup(self) -> float:
        """Return when to be woken."""
        if self._closed:
            return NEVER
        probe, gossip = self._prober.due, self._gossiper.due
        due = gossip if gossip < probe else probe
        deadline = self._deadlines.next() if self._deadlines.heap else NEVER
        return deadline if deadline < due else due


_HANDLERS: dict[type[Message], Callable[..., Out]] = {
    Ping: Membership._hear_ping,
    Ack: Membership._hear_ack,
    PingRequest: Membership._hear_ping_request,
    Vouch: Membership._hear_vouch,
    Nack: Membership._hear_nack,
    Gossip: Membership._hear_gossip,
    MembersPage: Membership._hear_page,
    CardsWanted: Membership._hear_wishes,
    Cards: Membership._hear_cards,
}
