"""What do others say of members, and what do they know that we do not?

News brings statements; cards that are missing are asked for. Whole lists are
compared with whom we join, and with whoever shows another digest than ours for
longer than news takes to go round.

"Dead" of a member that we hold alive, or began to suspect just now, is taken as an
accusation, which the accused hears and can refute: the teller may have been on the
other side of a partition that has healed. Who hears of a death in his own half has
heard of the suspicion seconds before; what stands in a list is older, and no more
than an accusation even then.
"""

from collections.abc import Iterable

from ringgossip.errors import PeerMisbehaved
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.beliefs import Beliefs, Origin, Statement
from ringgossip.protocol.cards import Card, read_card
from ringgossip.protocol.core import DATAGRAM, LINK, NEVER, Dial, Effect, LinkId, NeedLink, Notice, Send
from ringgossip.protocol.evidence import ALIVE, DEAD, SUSPECT, Standing, Update, read_updates
from ringgossip.protocol.exchange import DATAGRAM_ROOM, LINK_ROOM, compare, pack_cards, pages
from ringgossip.protocol.myself import Myself
from ringgossip.protocol.roster import Roster
from ringgossip.protocol.routes import Routes
from ringgossip.protocol.settings import ListSettings
from ringgossip.protocol.voice import Voice
from ringgossip.wire.messages import Cards, CardsWanted, Gossip, MembersPage, Message

Out = list[Effect | Notice]
Source = Address | LinkId

_MAX_ASKED = 512
_ASK_AGAIN = 0.3  # seconds after which the same card is asked for again
_ASK_AT_ONCE = 60  # cards in one question by datagram
_MOST_PAGES = 24  # datagrams that one list may take; longer ones wait for a link
# While many join, so many cards answer a list that came by datagram; from another place for each who asks.
_A_START = 8
_YOUNG = 5.0  # seconds after the start in which all we hear is known elsewhere
_NO_NEWS = 4  # members that show our digest; cards that we would still tell are no news then
_FEW_CARDS = 16  # so many new cards in a list may be news elsewhere; more are not
_GREETED = 64  # members that hear from ourselves that we are back


class Hearsay:
    """Reads and answers what is said of members."""

    __slots__ = (
        "_agreed", "_agreed_on", "_asked", "_beliefs", "_differs_since", "_exchanged_at", "_greeted",
        "_myself", "_roster", "_routes", "_settings", "_started_at", "_table", "_voice", "_waiting",
    )  # fmt: skip

    def __init__(
        self, settings: ListSettings, roster: Roster, routes: Routes, voice: Voice, beliefs: Beliefs,
        myself: Myself,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._roster = roster
        self._table = roster.table
        self._routes = routes
        self._voice = voice
        self._beliefs = beliefs
        self._myself = myself
        self._asked: dict[bytes, float] = {}
        self._differs_since = NEVER
        self._exchanged_at = -NEVER
        self._waiting: dict[bytes, None] = {}  # with whom to compare as soon as there is a link
        self._started_at = -NEVER
        self._agreed_on = 0  # a digest,
        self._agreed: dict[bytes, None] = {}  # and who has shown the same
        # We are back from an earlier life, and said so to these; None: we are new, or were here all the time.
        self._greeted: dict[bytes, None] | None = None

    def start(self, now: float) -> None:
        """Begin as one who knows little."""
        self._started_at = now

    def is_young(self, now: float) -> bool:
        """Tell whether we started only just now."""
        return now - self._started_at < _YOUNG

    # --- statements -------------------------------------------------------------------------

    def hear_gossip(self, message: Gossip, sender: PeerId, source: Source, now: float) -> Out:
        """Take in a datagram of news."""
        out: Out = []
        if message.cards:
            # Whom one meets who begins, and has a link, most others know: lists bring it to the rest.
            spread = not (self._routes.linked and self.is_young(now))
            out += self._hear_packed(message.cards, message.certificates, {}, Origin(sender, spread), now)
        if message.updates:
            out += self.hear_updates(message.updates, sender, source, now)
        return out

    def hear_updates(self, packed: bytes, sender: PeerId, source: Source, now: float) -> Out:
        """Take in statements."""
        out: Out = []
        wanted: list[bytes] = []
        strangers: list[bytes] = []
        for update in read_updates(packed):
            key, boot, incarnation, state, accuser = update
            standing = self._table.get(key)
            if standing is None:
                if state < DEAD:
                    strangers.append(key)
            elif boot > standing.card.boot and key != self._roster.me:
                wanted.append(key)
            elif state == ALIVE and incarnation == 0 and standing.has_begun(boot):
                self._voice.beginning_known(key)
            else:
                if state == DEAD and self._doubts(standing, now):
                    update = (key, boot, incarnation, SUSPECT, accuser)
                out += self._weigh(standing, update, accuser, sender, source, now)
        if wanted or strangers:
            out += self.want(wanted, strangers, sender, source, now)
        return out

    def _doubts(self, standing: Standing, now: float) -> bool:
        """Tell whether "dead" is no more than an accusation: who dies was suspected for a while.

        What waited for us while we were away is as old as that.
        """
        since = max(self._beliefs.suspected_since(standing.card.key), self._beliefs.back_at)
        return self._settings.doubt_deaths and standing.state < DEAD and now < since + self._settings.doubt

    def _hear_states(self, updates: Iterable[Update], sender: PeerId, source: Source, now: float) -> Out:
        """Take in entries of somebody's list."""
        out: Out = []
        for key, boot, incarnation, state, tail in updates:
            standing = self._table.get(key)
            if standing is not None:
                if state == DEAD and standing.state < DEAD:
                    state = SUSPECT
                update = (key, boot, incarnation, state, tail)
                out += self._weigh(standing, update, sender[:4], sender, source, now)
        return out

    def _weigh(
        self, standing: Standing, update: Update, accuser: bytes, sender: PeerId, source: Source, now: float
    ) -> Out:
        key, boot, incarnation, state, _ = update
        if key == self._roster.me:
            refuted = self._myself.hear(boot, incarnation, state, now)
            me = self._voice.me
            if refuted or (state in (SUSPECT, DEAD) and boot == me.card.boot and me.state == ALIVE):
                # Whoever accuses hears the answer first, also if he missed an earlier one.
                return [answer(sender, source, Gossip(self._voice.me.pack(), (), ()))]
            return []
        out = self._beliefs.hear(standing, (boot, incarnation, state), accuser, now)
        return out + self.echo(standing)

    def echo(self, before: Standing) -> Out:
        """If this member became a suspect just now, tell it, so that it can answer."""
        after = self._table[before.card.key]
        if self._voice.buddy and before.state == ALIVE and after.state == SUSPECT:
            return self.warn(after)
        return []

    def warn(self, suspect: Standing) -> Out:
        """Tell a member what is said of it."""
        return [*self._routes.send(suspect, Gossip(self._voice.accuse(suspect), (), ()))]

    # --- cards ------------------------------------------------------------------------------------

    def want(
        self, known: Iterable[bytes], strangers: Iterable[bytes], sender: PeerId, source: Source, now: float
    ) -> Out:
        """Ask for cards, and for the certificates of strangers; each not more often than makes sense."""
        asked = self._asked
        first = [key for key in known if now >= asked.get(key, -NEVER) + _ASK_AGAIN]
        second = [key for key in strangers if now >= asked.get(key, -NEVER) + _ASK_AGAIN]
        if not first and not second:
            return []
        if isinstance(source, Address):
            first, second = first[:_ASK_AT_ONCE], second[:_ASK_AT_ONCE]
        for key in (*first, *second):
            asked.pop(key, None)
            asked[key] = now
        while len(asked) > _MAX_ASKED:
            del asked[next(iter(asked))]
        return [answer(sender, source, CardsWanted(b"".join(first), b"".join(second)))]

    def hear_wishes(self, message: CardsWanted, sender: PeerId, source: Source, now: float) -> Out:
        """Send cards that somebody lacks."""
        found: list[tuple[Standing, bool, bool]] = []
        for keys, with_certificate in ((message.known, False), (message.strangers, True)):
            for at in range(0, len(keys), 8):
                standing = self._table.get(keys[at : at + 8])
                if standing is not None:
                    found.append((standing, True, with_certificate))
        if isinstance(source, Address):
            del found[2 * _ASK_AT_ONCE :]
        out = self._send_cards(found, sender, source)
        if message.known == self._roster.me and self._greeted is None:
            self._greeted = {}
        return out + self._greet(now)

    def _greet(self, now: float) -> Out:
        """If somebody knows us from an earlier life, say to all at once that we are back.

        Who comes for the first time is told of by those it joins: where fifty do, lists cost less.
        """
        greeted = self._greeted
        if greeted is None or not self.is_young(now):
            return []
        hello = Gossip(b"", (self._voice.me.card.packed,), ())
        out: Out = []
        for key in self._roster.others():
            if key not in greeted and len(greeted) < _GREETED:
                greeted[key] = None
                out += self._routes.send(self._table[key], hello)
        return out

    def _send_cards(self, found: list[tuple[Standing, bool, bool]], sender: PeerId, source: Source) -> Out:
        def parts() -> Iterable[tuple[Standing, bytes, bytes]]:
            for standing, with_card, with_certificate in found:
                card = standing.card
                certificate = self._beliefs.certificate_of(card.peer) if with_certificate else None
                der = certificate.der if certificate is not None else b""
                yield standing, card.packed if with_card else b"", der

        room = DATAGRAM_ROOM if isinstance(source, Address) else LINK_ROOM
        return [answer(sender, source, message) for message in pack_cards(parts(), room)]

    def _hear_packed(
        self,
        packed: tuple[bytes, ...],
        certificates: tuple[bytes, ...],
        stated: dict[bytes, Statement],
        origin: Origin,
        now: float,
    ) -> Out:
        out: Out = []
        cards: list[Card] = []
        for each in packed:
            try:
                cards.append(read_card(each))
            except PeerMisbehaved as error:
                out += self._beliefs.complain(origin.peer, str(error), now)
        if certificates and any(self._beliefs.certificate_of(card.peer) is None for card in cards):
            out += self._beliefs.learn(certificates, origin.peer, now)
        for card in cards:
            known = self._table.get(card.key)
            if card.key == self._roster.me:
                out += self._myself.meet(card, None, now)
            elif known is not None and known.card.packed == card.packed:
                self._voice.card_known(card.key)
            else:
                # What one says of itself is news, whatever it came with; so is what changes by gossip.
                news = card.peer == origin.peer or (card.key in self._table and not stated)
                told = Origin(origin.peer) if news else origin
                out += self._beliefs.admit(card, stated.get(card.key), told, now)
        return out

    def hear_cards(self, message: Cards, sender: PeerId, source: Source, now: float) -> Out:
        """Take in a part of somebody's list."""
        if not message.cards and message.certificates:
            return self._beliefs.learn(message.certificates, sender, now)
        updates = read_updates(message.states)
        stated = {key: (boot, incarnation, state) for key, boot, incarnation, state, _ in updates}
        spread = len(message.cards) <= _FEW_CARDS and not self.is_young(now)
        out = self._hear_packed(message.cards, message.certificates, stated, Origin(sender, spread), now)
        return out + self._hear_states(updates, sender, source, now) + self._greet(now)

    # --- lists --------------------------------------------------------------------------------------

    def list_for(self, peer: PeerId) -> Out:
        """Send our whole list on the link to `peer`; what it knows better comes back."""
        return [Send(peer, page, LINK) for page in pages(self._roster, whole=True)]

    def knock(self, dialled: Out) -> Out:
        """Ask seeds that are dialled by datagram too: a handshake takes its time where many begin at once."""
        seeds = [item.address for item in dialled if isinstance(item, Dial)]
        return [Send(address, page, DATAGRAM) for address in seeds for page in self._few_pages()]

    def _few_pages(self) -> list[MembersPage]:
        """Return our list in datagrams, or nothing if it takes too many."""
        parts = pages(self._roster, whole=False)
        return parts if len(parts) <= _MOST_PAGES else []

    def hear_page(self, message: MembersPage, sender: PeerId, source: Source, now: float) -> Out:
        """Compare somebody's list with ours."""
        difference = compare(message, self._roster)
        out = self._hear_states(difference.heard, sender, source, now)
        better = difference.better
        crowded = self._voice.untold >= _A_START
        if isinstance(source, Address) and crowded and len(better) > _A_START:
            # Enough to begin with; a link is being opened, and brings the rest at a third of the price.
            first = next((at for at, (mine, *_) in enumerate(better) if mine.card.key > sender[:8]), 0)
            better = (better[first:] + better[:first])[:_A_START]
        out += self._send_cards(better, sender, source)
        if difference.wanted or difference.strangers:
            out += self.want(difference.wanted, difference.strangers, sender, source, now)
        return out

    def agree(self, key: bytes) -> None:
        """A member's digest is ours: it has every card that we tell, or says so."""
        self._differs_since = NEVER
        if self._voice.cards.waiting:
            if self._agreed_on != self._roster.digest:
                self._agreed_on, self._agreed = self._roster.digest, {}
            self._agreed[key] = None
            if len(self._agreed) >= _NO_NEWS:
                self._voice.cards_known()

    def differ(self, standing: Standing, now: float) -> Out:
        """Another's digest is not ours: if that lasts longer than news takes, compare."""
        settle = self._settings.settle
        if self._differs_since == NEVER:
            self._differs_since = now
        lasting = now - self._differs_since
        if (
            lasting < settle
            or now - self._exchanged_at < self._settings.gap
            # Where something always changes, nothing ever settles.
            or (now - self._beliefs.changed_at < settle and lasting < 8 * settle)
        ):
            return []
        self._exchanged_at = now
        key, peer = standing.card.key, standing.card.peer
        if key in self._routes.linked:
            return self.list_for(peer)
        parts = self._few_pages()
        address = self._routes.address(standing)
        if parts and address is not None:
            return [Send(address, page, DATAGRAM) for page in parts]
        if len(self._waiting) < _MAX_ASKED:
            self._waiting[key] = None
        return [NeedLink(peer)]

    def awaited(self, key: bytes) -> bool:
        """Tell, once, whether lists were to be compared with this member as soon as there is a link."""
        if key in self._waiting:
            del self._waiting[key]
            return True
        return False


def answer(sender: PeerId, source: Source, message: Message) -> Send:
    """Return the way back to where something came from."""
    return Send(source, message, DATAGRAM) if isinstance(source, Address) else Send(sender, message, LINK)
