"""How does an origin hear who holds its artifacts when it has no link to the holder?

Two peers that both cannot accept connections never link. What a holder would
say on the link (`receipts`) it signs then and hands to a third member, which
passes it on, once and without a look inside. So a receipt still rests on the
holder's own word about a verified, synced and visible copy (promise S6).

Only artifacts of the recipient are spoken of: it is the one who counts copies.
News goes at once, through two members; every 30 seconds a digest goes through
one drawn at random, and only if it differs the list follows. Who holds nothing says nothing: a holder
that we count and that has been silent for long is asked for its list. Words that come late are dropped
by their number, words for an earlier boot by the signature. Whoever passes on
does so at a bounded rate for each sender.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ringgossip.content.hashing import hash_bytes
from ringgossip.content.record import Record
from ringgossip.errors import PeerMisbehaved
from ringgossip.identity import PeerId
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.protocol.core import LINK, NEVER, Draw, Effect, Notary, Notice, Send
from ringgossip.protocol.member_views import Member
from ringgossip.wire.codec import decode, encode
from ringgossip.wire.messages import (
    Holding,
    HoldingsDigest,
    HoldingsList,
    HoldingsWanted,
    Message,
    Relayed,
)

Out = list[Effect | Notice]

ENTRY = 72
MOST_TOLD = 10_000  # entries that one holder may tell one origin in this way: 720 kB
MOST_HOLDERS = 1024
_PART = 1000  # entries in one word
_GAP = 0.25  # seconds between two words of news for the same origin
_PAUSE = 5.0  # seconds between two lists
_CHOICE = 8  # links of which one is drawn
# Passing on, for each sender: bytes a second, and at once; every word costs some, however short.
PASS_RATE = 64 * 1024
PASS_BURST = 1 << 20
_WORD_COST = 4096
_SILENT = 3  # rounds without a word after which a holder is asked: it may have lost everything
_FEW = 8  # silent holders for which there is no room that are asked in a round

_DOMAIN = b"ringgossip relayed 1\0"


@dataclass(slots=True)
class _Told:
    """What a holder told us: its entries, and their digest."""

    entries: dict[bytes, None] = field(default_factory=dict)
    xor: int = 0
    heard_at: float = -NEVER
    asked_at: float = -NEVER
    listed: bool = False  # else more may stand in its book than it told us: of a link that is no more
    asked: bool = False  # for a list that has not begun to come
    coming: dict[bytes, None] | None = None  # the list, as far as it has come


class Relaying:
    """The machine that tells origins, hears holders, and passes on."""

    def __init__(
        self,
        cluster: str,
        notary: Notary,
        boot: int,
        rng: Draw,
        held: Callable[[], Sequence[Record]],
        entry_of: Callable[[Record], bytes],
        links: Callable[[], Sequence[PeerId]],
        linked: Callable[[PeerId], bool],
        member: Callable[[PeerId], Member | None],
        named: Callable[[str], PeerId | None],
        certificate: Callable[[PeerId], NodeCertificate | None],
        booked: Callable[[PeerId], Iterable[bytes]],
        counted: Callable[[], Iterable[PeerId]],
        now: float,
        interval: float = 30.0,
    ) -> None:
        self._cluster = cluster
        self._notary = notary
        self._me = notary.certificate.peer_id
        self._boot = boot
        self._rng = rng
        self._held = held
        self._entry_of = entry_of
        self._links = links
        self._linked = linked
        self._member = member
        self._named = named
        self._certificate = certificate
        self._booked = booked  # what stands in a holder's book of artifacts of ours
        self._counted = counted  # in whose books anything of ours stands
        self._interval = interval
        self._number = 0
        self._round_at = now + interval * rng.random()
        # As a holder: news for origins, when it may go, and when each was given our list.
        self._news: dict[PeerId, dict[bytes, bool]] = {}
        self._news_at: dict[PeerId, float] = {}
        self._listed_at: dict[PeerId, float] = {}
        # As an origin.
        self._told: dict[PeerId, _Told] = {}
        self._heard: dict[PeerId, tuple[int, int]] = {}
        # As a third: what each sender may still have passed on, and since when.
        self._budget: dict[PeerId, tuple[float, float]] = {}

    # --- links ------------------------------------------------------------------------------

    def link_opened(self, peer: PeerId) -> None:
        """Both will say everything on the link."""
        for table in (self._news, self._news_at, self._listed_at, self._told):
            table.pop(peer, None)

    def link_broken(self, peer: PeerId) -> None:
        """Nothing of it is passed on any more."""
        self._budget.pop(peer, None)

    # --- what we hold --------------------------------------------------------------------------

    def held(self, record: Record, now: float) -> None:
        """We have a verified, synced and visible copy."""
        self._note(record, True, now)

    def dropped(self, record: Record, now: float) -> None:
        """We no longer have it."""
        self._note(record, False, now)

    def _note(self, record: Record, here: bool, now: float) -> None:
        origin = self._named(record.origin)
        if origin is None or not self._is_far(origin):
            return
        news = self._news.setdefault(origin, {})
        if len(news) < MOST_TOLD:  # beyond that the list will say it
            news[self._entry_of(record)] = here
        self._news_at.setdefault(origin, now)

    def _is_far(self, peer: PeerId) -> bool:
        """Tell whether this is a living member that we can only reach through others."""
        if peer == self._me or self._linked(peer):
            return False
        member = self._member(peer)
        return member is not None and member.state in ("alive", "suspect")

    def wake(self, now: float) -> Out:
        """Tell what is due."""
        out: Out = []
        for origin, at in list(self._news_at.items()):
            if at <= now:
                out += self._tell_news(origin, now)
        if now >= self._round_at:
            self._round_at = now + self._interval * (0.75 + 0.5 * self._rng.random())
            if self._links():
                out += self._tell_digests()
                out += self._ask_silent(now)
        return out

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        return min(self._round_at, *self._news_at.values()) if self._news_at else self._round_at

    def _tell_news(self, origin: PeerId, now: float) -> Out:
        news = self._news.pop(origin, None)
        if not news:
            self._news_at.pop(origin, None)  # nothing came in the gap
            return []
        self._news_at[origin] = now + _GAP
        part = list(news.items())[:_PART]
        if len(news) > _PART:
            self._news[origin] = dict(list(news.items())[_PART:])
        added = b"".join(entry for entry, here in part if here)
        dropped = b"".join(entry for entry, here in part if not here)
        # The same two each time, so that words mostly come in order.
        return self._say(origin, [Holding(added, dropped)], self._relays(origin)[:2])

    def _tell_digests(self) -> Out:
        out: Out = []
        for name, entries in self._entries_by_origin().items():
            origin = self._named(name)
            if origin is not None and self._is_far(origin):
                digest = HoldingsDigest(len(entries), _xor(entries).to_bytes(16))
                out += self._say(origin, [digest], self._any_relay(origin))
        return out

    def _ask_silent(self, now: float) -> Out:
        """Ask whom we count, and who has long said nothing, what it holds."""
        out: Out = []
        unknown: list[PeerId] = []
        for holder in self._counted():
            if self._is_far(holder):
                told = self._told.get(holder)
                if told is None:
                    unknown.append(holder)
                elif now >= max(told.heard_at + _SILENT * self._interval, told.asked_at + self._interval):
                    out += self._ask(holder, told, now)
        # Where more are counted than there is room for, a few a round: else all would displace each other.
        room = max(_FEW, MOST_HOLDERS - len(self._told))
        start = int(self._rng.random() * len(unknown)) if len(unknown) > room else 0
        for holder in (unknown[start:] + unknown[:start])[:room]:
            out += self._ask(holder, self._book(holder), now)
        return out

    def _entries_by_origin(self) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = {}
        for record in self._held():
            entries = found.setdefault(record.origin, [])
            if len(entries) < MOST_TOLD:
                entries.append(self._entry_of(record))
        return {origin: list(dict.fromkeys(entries)) for origin, entries in found.items()}

    def _tell_list(self, origin: PeerId, now: float) -> Out:
        if now < self._listed_at.get(origin, -NEVER) + 0.8 * _PAUSE:
            return []
        self._listed_at[origin] = now
        member = self._member(origin)
        entries = [] if member is None else self._entries_by_origin().get(member.name, [])
        parts = [
            HoldingsList(start == 0, start + _PART >= len(entries), b"".join(entries[start : start + _PART]))
            for start in range(0, max(1, len(entries)), _PART)
        ]
        # One way for all parts: they must come in order.
        return self._say(origin, parts, self._any_relay(origin))

    # --- saying ------------------------------------------------------------------------------------

    def _say(self, to: PeerId, messages: Sequence[Message], relays: Sequence[PeerId]) -> Out:
        member = self._member(to)
        if member is None or not relays:
            return []
        out: Out = []
        for message in messages:
            self._number += 1
            body = encode(message)
            signed = self._signed(self._me, to, member.boot, self._boot, self._number, body)
            word = Relayed(self._me, to, self._boot, self._number, body, self._notary.sign(signed))
            out += [Send(relay, word, LINK) for relay in relays]
        return out

    def _relays(self, to: PeerId) -> list[PeerId]:
        """Return our links, the likeliest to have one to `to` first (see `neighbours`)."""
        return sorted(self._links(), key=lambda peer: hash_bytes(min(peer, to) + max(peer, to)))

    def _any_relay(self, to: PeerId) -> list[PeerId]:
        """Return one of the likeliest, drawn: one without a link to `to` must not be asked for ever."""
        relays = self._relays(to)[:_CHOICE]
        return [relays[int(self._rng.random() * len(relays))]] if relays else []

    def _signed(self, sender: PeerId, to: PeerId, to_boot: int, boot: int, number: int, body: bytes) -> bytes:
        numbers = b"".join(each.to_bytes(8) for each in (to_boot, boot, number))
        return _DOMAIN + self._cluster.encode() + b"\0" + sender + to + numbers + body

    # --- hearing -------------------------------------------------------------------------------------

    def receive(self, message: Relayed, sender: PeerId, now: float) -> tuple[Out, Holding | None]:
        """Pass a word on, or take it; a `Holding` that comes back is the word of `message.sender`."""
        author, to = PeerId(message.sender), PeerId(message.to)
        if to != self._me:
            # Not of a third's: a word goes through one member only, so it cannot go round.
            if author != sender or not self._linked(to) or not self._may_pass(sender, len(message.body), now):
                return [], None
            return [Send(to, message, LINK)], None
        if author == self._me or self._linked(author) or not self._is_genuine(message, author):
            return [], None
        try:
            word = decode(message.body)
        except PeerMisbehaved:
            return [], None
        match word:
            case Holding():
                return [], self._hear_news(author, word, now)
            case HoldingsDigest():
                return self._hear_digest(author, word, now), None
            case HoldingsWanted():
                return self._tell_list(author, now), None
            case HoldingsList():
                return [], self._hear_list(author, word, now)
        return [], None

    def _may_pass(self, sender: PeerId, size: int, now: float) -> bool:
        left, since = self._budget.get(sender, (float(PASS_BURST), now))
        left = min(PASS_BURST, left + (now - since) * PASS_RATE)
        cost = max(size, _WORD_COST)
        self._budget[sender] = (left - cost if left >= cost else left, now)
        return left >= cost

    def _is_genuine(self, message: Relayed, author: PeerId) -> bool:
        order = (message.boot, message.number)
        certificate, ourselves = self._certificate(author), self._member(self._me)
        if certificate is None or ourselves is None or order <= self._heard.get(author, (-1, -1)):
            return False
        signed = self._signed(author, self._me, ourselves.boot, *order, message.body)
        if not self._notary.verify(certificate, message.signature, signed):
            return False
        self._heard.pop(author, None)
        self._heard[author] = order
        if len(self._heard) > MOST_HOLDERS:
            del self._heard[next(iter(self._heard))]
        return True

    def _heard_from(self, author: PeerId, now: float) -> _Told:
        told = self._book(author)
        told.heard_at = now
        return told

    def _book(self, author: PeerId) -> _Told:
        told = self._told.pop(author, None) or _Told()
        self._told[author] = told
        if len(self._told) > MOST_HOLDERS:
            del self._told[next(iter(self._told))]
        return told

    def _hear_news(self, author: PeerId, word: Holding, now: float) -> Holding:
        told = self._heard_from(author, now)
        for entry in _entries(word.added):
            if entry not in told.entries and len(told.entries) < MOST_TOLD:
                told.entries[entry] = None
                told.xor ^= _fingerprint(entry)
        for entry in _entries(word.dropped):
            if entry in told.entries:
                del told.entries[entry]
                told.xor ^= _fingerprint(entry)
        return word

    def _hear_digest(self, author: PeerId, word: HoldingsDigest, now: float) -> Out:
        told = self._heard_from(author, now)
        same = len(told.entries) == word.count and told.xor.to_bytes(16) == word.xor
        if (told.listed and same) or now < told.asked_at + _PAUSE:
            return []
        return self._ask(author, told, now)

    def _ask(self, author: PeerId, told: _Told, now: float) -> Out:
        told.asked_at, told.asked, told.coming = now, True, None
        return self._say(author, [HoldingsWanted()], self._any_relay(author))

    def _hear_list(self, author: PeerId, word: HoldingsList, now: float) -> Holding | None:
        told = self._heard_from(author, now)
        if word.first and told.asked:
            told.asked, told.coming = False, {}
        if told.coming is None or len(told.coming) > MOST_TOLD:
            return None
        for entry in _entries(word.entries):
            told.coming[entry] = None
        if not word.last:
            return None
        told.entries, told.coming, told.listed = told.coming, None, True
        told.xor = _xor(told.entries)
        stale = [entry for entry in self._booked(author) if entry not in told.entries]
        return Holding(b"".join(told.entries), b"".join(stale))


def _entries(joined: bytes) -> list[bytes]:
    return [joined[start : start + ENTRY] for start in range(0, len(joined), ENTRY)]


def _fingerprint(entry: bytes) -> int:
    return int.from_bytes(hash_bytes(entry)[:16])


def _xor(entries: Iterable[bytes]) -> int:
    total = 0
    for entry in entries:
        total ^= _fingerprint(entry)
    return total
