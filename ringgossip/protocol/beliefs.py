"""What do we believe of each member, and what follows when that changes?

Every change of belief goes through `_believe`: it moves the roster, starts and
ends suspicions, spreads the word, and says what the application and the other
machines must know. Nothing else changes a standing.
"""

from collections.abc import Callable

from ringgossip.errors import PeerMisbehaved
from ringgossip.events import (
    Event,
    NameTakenOver,
    PeerJoined,
    PeerLeft,
    PeerLost,
    PeerProtocolError,
    PeerRecovered,
    PeerRestarted,
    PeerSuspected,
)
from ringgossip.frozen import frozen
from ringgossip.identity import PeerId
from ringgossip.identity.certificate import NodeCertificate, expired
from ringgossip.protocol.cards import Card, fault_of
from ringgossip.protocol.core import (
    NEVER,
    CardChanged,
    CertificateHeard,
    Draw,
    Effect,
    MemberDown,
    MemberReached,
    MemberUp,
    NeedCertificate,
    Notary,
    Notice,
    Stop,
    Tell,
)
from ringgossip.protocol.evidence import ALIVE, DEAD, LEFT, NOBODY, SUSPECT, Standing, standing_of
from ringgossip.protocol.roster import Roster
from ringgossip.protocol.routes import Routes
from ringgossip.protocol.suspicion import Suspicion, SuspicionSettings
from ringgossip.protocol.timers import Deadlines
from ringgossip.protocol.voice import Voice

Out = list[Effect | Notice]
Statement = tuple[int, int, int]  # boot, incarnation, state

_MAX_PARKED = 256  # cards that wait for a certificate
_MAX_LEARNED = 512  # certificates that gossip brought
# So many members (on average) tell a suspect once more, so many probe intervals before its time is over.
_WARNERS = 8
_WARNING = 1.0
_COMPLAINT_GAP = 10.0  # seconds between two complaints


@frozen
class Origin:
    """Who told us something, and whether it is to be passed on."""

    peer: PeerId
    spread: bool = True


class Beliefs:
    """The standings of all members but ourselves."""

    __slots__ = (
        "_certificates", "_cluster", "_complained_at", "_deadlines", "_interval", "_learned", "_notary",
        "_parked", "_read", "_rng", "_roster", "_routes", "_settings", "_superseded", "_suspicions",
        "_tombstone_life", "_voice", "back_at", "changed_at", "dirty", "wall",
    )  # fmt: skip

    def __init__(
        self,
        cluster: str,
        notary: Notary,
        roster: Roster,
        routes: Routes,
        voice: Voice,
        deadlines: Deadlines,
        settings: SuspicionSettings,
        interval: float,
        tombstone_life: float,
        certificates: Callable[[PeerId], NodeCertificate | None],
        rng: Draw,
    ) -> None:
        self._cluster = cluster
        self._notary = notary
        self._roster = roster
        self._routes = routes
        self._voice = voice
        self._deadlines = deadlines
        self._settings = settings
        self._interval = interval
        self._tombstone_life = tombstone_life
        self._certificates = certificates
        self._rng = rng
        self._suspicions: dict[bytes, Suspicion] = {}
        self._superseded: dict[bytes, int] = {}  # names taken over: key of the loser -> winning generation
        self._parked: dict[PeerId, tuple[Card, Statement | None, Origin]] = {}
        self._learned: dict[PeerId, NodeCertificate] = {}
        self._read: dict[bytes, None] = {}  # certificates that gossip brought, as bytes, read once
        self._complained_at = -NEVER
        self.dirty = False  # something changed, or is to be spread
        self.back_at = -NEVER  # when we last found out that we had been away
        self.changed_at = -NEVER  # when the list last became another
        self.wall: int | None = None  # what the wall clock showed last

    # --- evidence ---------------------------------------------------------------------

    def hear(self, standing: Standing, statement: Statement, accuser: bytes, now: float) -> Out:
        """Weigh a statement about a member's present life; newer lives are believed from cards only."""
        boot, incarnation, state = statement
        if boot != standing.card.boot:
            return []
        if standing.is_overridden_by(boot, incarnation, state):
            return self._believe(standing_of(standing.card, incarnation, state), now, accuser)
        if state == SUSPECT and standing.state == SUSPECT and incarnation == standing.incarnation:
            return self._confirm(standing, accuser, now)
        return []

    def suspect(self, standing: Standing, now: float) -> Out:
        """We ourselves had no answer from this member."""
        incarnation = standing.incarnation
        return self.hear(standing, (standing.card.boot, incarnation, SUSPECT), self._voice.tag, now)

    def _confirm(self, standing: Standing, accuser: bytes, now: float) -> Out:
        key = standing.card.key
        suspicion = self._suspicions.get(key)
        if suspicion is not None and suspicion.confirm(accuser):
            self._set_deadline(key, suspicion.deadline, now)
            # Each accuser's word goes round, else nobody would hear of several.
            self._voice.tell(standing, accuser)
            self.dirty = True
        return []

    def suspicion_due(self, key: bytes, now: float) -> Out:
        """A suspect had its time."""
        standing = self._roster.table.get(key)
        if standing is None or standing.state != SUSPECT:
            return []
        return self._believe(standing_of(standing.card, standing.incarnation, DEAD), now, self._voice.tag)

    def suspected_since(self, key: bytes) -> float:
        """Return since when we suspect a member; whom we do not suspect, from later on."""
        suspicion = self._suspicions.get(key)
        return NEVER if suspicion is None else suspicion.started

    def came_back(self, after: float, now: float) -> None:
        """We were away for so long, and could have heard nobody refute."""
        self.back_at = now
        for key, suspicion in self._suspicions.items():
            # Whose time was all but over gets an interval, in which it hears of it and answers.
            suspicion.postpone(max(after, now + self._interval - suspicion.deadline))
            self._set_deadline(key, suspicion.deadline, -NEVER)

    def _believe(self, new: Standing, now: float, accuser: bytes = NOBODY, spread: bool = True) -> Out:
        card = new.card
        key = card.key
        if key in self._superseded and new.state != LEFT:
            return []
        old = self._roster.table.get(key)
        self._roster.put(new, now)
        self._voice.changed()
        self.changed_at = now
        self.dirty = True
        if new.state == SUSPECT:
            self._start_suspicion(new, accuser, now)
        elif self._suspicions.pop(key, None) is not None:
            self._deadlines.cancel(("suspicion", key))
            self._deadlines.cancel(("warning", key))
        if new.state >= DEAD:
            self._routes.forget(key)
            if self._deadlines.get(("tombs", 0)) == NEVER:
                self._deadlines.set(("tombs", 0), now + self._tombstone_life)
        if spread:
            self._voice.tell(new, accuser)
        # Whoever is muted is down to us already, whatever becomes of it.
        out = self._consequences(old, new) if key not in self._roster.muted else []
        if old is not None and old.card is not card and old.card.facts != card.facts:
            out.append(CardChanged(card.peer))
        return out

    def conclude(self, new: Standing, now: float) -> Out:
        """What nobody need have said: it follows from what all know."""
        return self._believe(new, now)

    def _start_suspicion(self, standing: Standing, accuser: bytes, now: float) -> None:
        members = self._roster.live
        needed = self._settings.confirmations if members - 2 >= self._settings.confirmations else 0
        span = self._settings.span(members, self._interval, standing.card.facts.patience)
        suspicion = Suspicion(accuser, now, *span, needed)
        key = standing.card.key
        self._suspicions[key] = suspicion
        if self._rng.random() * members < _WARNERS and self._settings.buddy:
            self._deadlines.set(("warning", key), suspicion.deadline)
        self._set_deadline(key, suspicion.deadline, now)

    def _set_deadline(self, key: bytes, deadline: float, now: float) -> None:
        self._deadlines.set(("suspicion", key), deadline)
        if self._deadlines.get(("warning", key)) < NEVER:
            self._deadlines.set(("warning", key), max(now, deadline - _WARNING * self._interval))

    def _consequences(self, old: Standing | None, new: Standing) -> Out:
        """Say what a change of belief means to the application and to the other machines."""
        card = new.card
        peer, name = card.peer, card.name
        lives = new.state < DEAD
        lived = old is not None and old.state < DEAD
        if old is None:
            return [Tell(PeerJoined(name, self._place(new))), MemberUp(peer, card.boot)] if lives else []
        # A boot that was only bumped, because the incarnations ran out, keeps its nonce.
        if old.card.nonce != card.nonce and lives:
            return [Tell(PeerRestarted(name, self._place(new))), MemberUp(peer, card.boot)]
        if lives and not lived:
            return [Tell(PeerRecovered(name)), MemberUp(peer, card.boot)]
        if lived and not lives:
            if card.key in self._superseded:
                event: Event = NameTakenOver(name, self._superseded[card.key])
            else:
                event = PeerLeft(name) if new.state == LEFT else PeerLost(name)
            return [Tell(event), MemberDown(peer, left=new.state == LEFT)]
        if old.state == SUSPECT and new.state == ALIVE:
            return [Tell(PeerRecovered(name)), MemberReached(peer)]
        if old.state == ALIVE and new.state == SUSPECT:
            return [Tell(PeerSuspected(name))]
        return []

    def _place(self, standing: Standing) -> str:
        address = self._routes.address(standing)
        return "" if address is None else str(address)

    # --- cards ----------------------------------------------------------------------------

    def admit(self, card: Card, stated: Statement | None, origin: Origin, now: float) -> Out:
        """Take in a member's card if it is newer than what we have.

        `stated` is what its teller believes of it: of a life that is new to us we know nothing better.
        """
        known = self._roster.table.get(card.key)
        if known is not None and (known.card.peer != card.peer or card.age <= known.card.age):
            return []
        certificate = self.certificate_of(card.peer)
        if certificate is None:
            return self._park(card, stated, origin)
        fault = fault_of(card, certificate, self._notary, self._cluster)
        if fault is not None:
            return self.complain(origin.peer, fault, now)
        if known is None and not self._roster.has_room():
            return []
        if known is None and self.wall is not None and expired(certificate, self.wall):
            self._roster.mute(card.key)
        out = self._settle_name(card, certificate, now)
        if card.key in self._superseded:
            new = standing_of(card, 0, LEFT)
        elif known is not None and known.card.boot == card.boot and known.card.nonce == card.nonce:
            new = standing_of(card, known.incarnation, known.state)
        elif stated is not None and stated[0] == card.boot:
            new = standing_of(card, stated[1], stated[2])
        else:
            new = standing_of(card, 0, ALIVE)
        if known is None or known.state >= DEAD or known.card.boot != card.boot:
            self._routes.introduced(card.key, origin.peer[:8])
        same = known is not None and known.card.boot == card.boot and known.state == new.state
        out += self._believe(new, now, spread=origin.spread and not same)
        if origin.spread:
            self._voice.introduce(card, b"" if known is not None else certificate.der)
            self.dirty = True
        return out

    def _settle_name(self, card: Card, certificate: NodeCertificate, now: float) -> Out:
        """Of two certificates with one name the higher generation owns it; a tie goes to the larger id."""
        table = self._roster.table
        rival_key = self._roster.names.get(card.name)
        if rival_key is None or rival_key == card.key:
            return []
        rival = table[rival_key]
        theirs = self._generation(rival.card.peer)
        if (certificate.generation, card.peer) < (theirs, rival.card.peer):
            self._superseded[card.key] = theirs
            return []
        self._roster.name(card.name, card.key)
        if rival_key == self._roster.me:
            self.dirty = True
            return [
                Tell(NameTakenOver(card.name, certificate.generation)),
                Stop(
                    f"the name {card.name!r} was enrolled again (generation {certificate.generation}) and "
                    "runs elsewhere; this node's credentials are out of date"
                ),
            ]
        self._superseded[rival_key] = certificate.generation
        return self._believe(standing_of(rival.card, rival.incarnation, LEFT), now, spread=False)

    def _generation(self, peer: PeerId) -> int:
        if peer[:8] == self._roster.me:
            return self._notary.certificate.generation
        certificate = self.certificate_of(peer)
        return certificate.generation if certificate is not None else 0

    def _park(self, card: Card, stated: Statement | None, origin: Origin) -> Out:
        self._parked.pop(card.peer, None)
        if len(self._parked) >= _MAX_PARKED:
            del self._parked[next(iter(self._parked))]
        self._parked[card.peer] = (card, stated, origin)
        return [NeedCertificate(card.peer, origin.peer)]

    # --- certificates ---------------------------------------------------------------------

    def certificate_of(self, peer: PeerId) -> NodeCertificate | None:
        """Return a verified certificate."""
        return self._certificates(peer) or self._learned.get(peer)

    def certificate_arrived(self, certificate: NodeCertificate, now: float) -> Out:
        """A certificate was verified; a card may have waited for it."""
        self._learned[certificate.peer_id] = certificate
        if len(self._learned) > _MAX_LEARNED:
            del self._learned[next(iter(self._learned))]
        parked = self._parked.pop(certificate.peer_id, None)
        return self.admit(*parked, now) if parked is not None else []

    def learn(self, certificates: tuple[bytes, ...], sender: PeerId, now: float) -> Out:
        """Read certificates that came with cards, each once."""
        out: Out = []
        for der in certificates:
            if der in self._read:
                continue
            try:
                certificate = self._notary.read_certificate(der)
            except PeerMisbehaved as error:
                out += self.complain(sender, str(error), now)
                continue
            self._read[der] = None
            if len(self._read) > _MAX_LEARNED:
                del self._read[next(iter(self._read))]
            if self.certificate_of(certificate.peer_id) is None:
                out += self.certificate_arrived(certificate, now)
                out.append(CertificateHeard(certificate))
        return out

    def complain(self, peer: PeerId, reason: str, now: float) -> Out:
        """Say, once in a while, that a member sent what no member may send."""
        if now < self._complained_at + _COMPLAINT_GAP:
            return []
        self._complained_at = now
        standing = self._roster.table.get(peer[:8])
        name = standing.card.name if standing is not None else peer.hex()[:12]
        return [Tell(PeerProtocolError(name, reason))]

    # --- forgetting -----------------------------------------------------------------------

    def forget_old(self, now: float) -> None:
        """Drop tombstones that are older than anything still under way can be."""
        fallen = self._roster.fallen
        while fallen:
            key, since = next(iter(fallen.items()))
            if since + self._tombstone_life > now:
                self._deadlines.set(("tombs", 0), since + self._tombstone_life)
                return
            self._roster.forget(key)
            self._voice.forget(key)
            self._superseded.pop(key, None)
