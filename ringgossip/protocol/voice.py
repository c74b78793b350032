"""What do we say of members, ourselves first? Pulse, pings, acks and gossip, packed once and spliced.

A datagram of gossip has room for two kinds of news, updates and cards; while
both wait, neither gets more than its share.
"""

from math import ceil, log10
from struct import Struct

from ringgossip.protocol.cards import Card
from ringgossip.protocol.evidence import ALIVE, SUSPECT, UPDATE_BYTES, Standing
from ringgossip.protocol.news import News
from ringgossip.protocol.roster import Roster
from ringgossip.wire.messages import MAX_DATAGRAM_PLAINTEXT, Ack, Gossip, Ping

PULSE = Struct(">QIIQ8s")  # boot, incarnation, card version, digest of the list, root of the catalog
NO_ROOT = bytes(8)

_ROOM = MAX_DATAGRAM_PLAINTEXT - 16
_UPDATES_SHARE = 500  # bytes of a datagram that updates get while cards wait too
# So many tellings less for each who tells us the same of one that begins: most others know it then. Words of
# doubt, of death and against either are told in full.
_HEARD_TOO = 3
_PING_ROOM = 600  # probes stay short: they must get through on a full uplink


class Voice:
    """The one who speaks."""

    __slots__ = (
        "_factor", "_limit_of", "_pulse", "_roster", "_updates", "buddy", "cards", "me", "root", "tag",
    )  # fmt: skip

    def __init__(self, roster: Roster, me: Standing, factor: int, buddy: bool = True) -> None:
        """`factor` times the logarithm of the number of members is how often news is told.

        With `buddy`, who is suspected hears that before all other news.
        """
        self.buddy = buddy
        self.me = me
        self.root = NO_ROOT
        self.tag = me.card.key[:4]
        self._roster = roster
        self._factor = factor
        self._updates: News[bytes] = News()
        self.cards: News[tuple[bytes, bytes]] = News()  # they are large
        self._pulse: bytes | None = None
        self._limit_of = (0, 0)

    def changed(self) -> None:
        """Something that the pulse says is different now."""
        self._pulse = None

    @property
    def pulse(self) -> bytes:
        """What we say of ourselves all the time."""
        pulse = self._pulse
        if pulse is None:
            me = self.me
            pulse = self._pulse = PULSE.pack(
                me.card.boot, me.incarnation, me.card.version, self._roster.digest, self.root
            )
        return pulse

    # --- news ---------------------------------------------------------------------------

    def tell(self, standing: Standing, accuser: bytes) -> None:
        """Spread what we now believe of a member."""
        self._updates.put(standing.card.key, UPDATE_BYTES, standing.pack(accuser))

    def introduce(self, card: Card, certificate: bytes) -> None:
        """Spread a card; with its certificate, if its owner is new."""
        size = len(card.packed) + len(certificate) + 6
        if size > _ROOM:
            size, certificate = len(card.packed) + 3, b""
        self.cards.put(card.key, size, (card.packed, certificate))

    def forget(self, key: bytes) -> None:
        """Say nothing more of this member."""
        self._updates.discard(key)
        self.cards.discard(key)

    def card_known(self, key: bytes) -> None:
        """Somebody tells us of a card that we have."""
        self.cards.known(key, _HEARD_TOO, self._limit)

    def beginning_known(self, key: bytes) -> None:
        """Somebody tells us that one began, as we know."""
        self._updates.known(key, _HEARD_TOO, self._limit)

    def cards_known(self) -> None:
        """Say no card again that waits: others have them."""
        self.cards = News()

    @property
    def has_news(self) -> bool:
        """Tell whether anything waits to be told."""
        return bool(self._updates.waiting or self.cards.waiting)

    @property
    def untold(self) -> int:
        """How many cards were never told."""
        return self.cards.untold

    @property
    def _limit(self) -> int:
        """How often news is told; source: SWIM section 4.1, memberlist's RetransmitMult."""
        members = self._roster.live
        if self._limit_of[0] != members:
            self._limit_of = (members, self._factor * ceil(log10(members + 1)))
        return self._limit_of[1]

    # --- messages -----------------------------------------------------------------------

    def accuse(self, standing: Standing) -> bytes:
        """Return the update that tells a member what is said of it."""
        return standing.pack(self.tag)

    def updates(self, to: Standing | None, room: int = _PING_ROOM) -> bytes:
        """Return updates for `to`; if it is accused, it must hear that first."""
        first = b""
        if to is not None and to.state != ALIVE and (self.buddy or to.state != SUSPECT):
            first = self.accuse(to)
        if not self._updates.waiting:
            return first
        return first + b"".join(self._updates.take(room - len(first), self._limit))

    def ping(self, number: int, to: Standing) -> Ping:
        """Return a probe of `to`."""
        silent = to.state == ALIVE and not self._updates.waiting
        return Ping(number, to.card.key, self._pulse or self.pulse, b"" if silent else self.updates(to))

    def ack(self, number: int, to: Standing | None) -> Ack:
        """Return the answer to the ping of that number."""
        silent = (to is None or to.state == ALIVE) and not self._updates.waiting
        return Ack(number, self._pulse or self.pulse, b"" if silent else self.updates(to))

    def gossip(self) -> Gossip | None:
        """Return the next datagram of news, or None if there is none."""
        updates = self.updates(None, _UPDATES_SHARE if self.cards.waiting else _ROOM)
        cards: tuple[bytes, ...] = ()
        certificates: tuple[bytes, ...] = ()
        if self.cards.waiting:
            taken = self.cards.take(_ROOM - len(updates), self._limit)
            cards = tuple(card for card, _ in taken)
            certificates = tuple(certificate for _, certificate in taken if certificate)
        return Gossip(updates, cards, certificates) if updates or cards else None
