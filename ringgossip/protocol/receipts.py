"""Who has confirmed a verified copy of what?

Peers announce on their links what they hold and no longer hold: whom a copy
concerns (its origin, who counts copies) at once, the others soon, with what else
has changed by then. Every such word carries a digest of the holdings (a count and an
exclusive or), which also goes alone when a link opens and after 30 seconds without
a word, then ever more rarely; only if it differs from the book here the whole list
travels.
The statement is the holder's own, on an authenticated link, about a copy that
is verified, synced and renamed: that is what a receipt counts (promise S6). Of an
author alone, whom no receipt counts, it is enough that it tells us of the record.

Peers are bits: the holders of a version are one integer, so that the books of
fifty peers over 20,000 artifacts cost one small object per version.
"""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from ringgossip.content.hashing import hash_bytes
from ringgossip.content.record import Record
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import LINK, NEVER, Draw, Effect, LinkId, Notice, Send
from ringgossip.protocol.shelf import Shelf
from ringgossip.strategy.order import bits_of
from ringgossip.wire.messages import Holding, HoldingsDigest, HoldingsList, HoldingsWanted, Message

Out = list[Effect | Notice]

ENTRY = 72
_PART = 1000  # entries in one message: 72 kB
_MOST_PEERS = 8192
_MOST_VERSIONS = 2_000_000
_MOST_IN_BOOK = 500_000  # one peer that invents holdings must leave room for the others
_CALMEST = 8  # times the interval between two comparisons, after long silence
_PAUSE = 5.0  # seconds between two lists for the same peer
GATHER = 1.0  # seconds that what concerns nobody in particular waits for more of it
_TOGETHER = 3.0  # books that are to be compared within so many seconds are compared at one turn


def entry_of(record: Record) -> bytes:
    """Return the 72 bytes that name a version: key hash, sequence, root."""
    return record.key.hash + record.sequence.to_bytes(8) + record.root


def version_of(entry: bytes) -> tuple[int, bytes]:
    """Return sequence and root of an entry."""
    return int.from_bytes(entry[32:40]), entry[40:]


def _fingerprint(entry: bytes) -> int:
    return int.from_bytes(hash_bytes(entry)[:16])


@dataclass(slots=True)
class _Book:
    slot: int
    count: int = 0  # what it said that it holds, with what had no room here
    xor: int = 0
    left_out: int = 0  # what had no room; else the digests would differ, and the list travel, for ever
    asked_at: float = -NEVER
    told_at: float = -NEVER  # when we listed our holdings for this peer
    asked: bool = False  # for a list that has not begun to come
    # What stood here before the list that is being read now.
    before: set[bytes] | None = None


class Receipts:
    """The machine that keeps the books."""

    def __init__(self, shelf: Shelf, rng: Draw, interval: float = 30.0) -> None:
        self._shelf = shelf
        self._rng = rng
        self._interval = interval
        self._books: dict[PeerId, _Book] = {}
        self._peers: list[PeerId] = []  # by slot
        self._versions: dict[bytes, int] = {}  # entry -> holders
        self._by_key: dict[bytes, list[bytes]] = {}
        self._linked: dict[PeerId, float] = {}  # -> when to compare books again
        self._due: float | None = NEVER  # the nearest of these; None: it must be looked for
        self.concerned: Callable[[Record], list[PeerId]] = lambda record: []  # who hears of a copy at once
        self._own: dict[bytes, None] = {}  # entries
        self._own_xor = 0
        self._news: dict[bytes, list[PeerId]] = {}  # entries that came or went -> who was told already
        self._news_at = NEVER
        self._calm = 1  # so many intervals between two comparisons: more while nothing of ours changes

    # --- what we hold -------------------------------------------------------------------

    def restore(self) -> None:
        """Count what the shelf held when the peer started."""
        for record in self._shelf.versions():
            self._note_own(entry_of(record))

    def has(self, entry: bytes) -> bool:
        """Tell whether we say that we hold this."""
        return entry in self._own

    def _note_own(self, entry: bytes) -> bool:
        if entry in self._own:
            return False
        self._own[entry] = None
        self._own_xor ^= _fingerprint(entry)
        return True

    def held(self, record: Record, now: float) -> Out:
        """We have a whole copy of this version now (the shelf says so already)."""
        entry = entry_of(record)
        if not self._note_own(entry):
            return []
        first = [peer for peer in self.concerned(record) if peer in self._linked]
        self._note_news(entry, first, now)
        return [Send(peer, Holding(entry, b""), LINK) for peer in first]

    def dropped(self, record: Record, now: float) -> Out:
        """We no longer have it (the shelf says so already)."""
        entry = entry_of(record)
        # An origin may have signed two records that differ in metadata only: one entry stands for both.
        twins = [held for held in self._shelf.with_content(record.root) if entry_of(held) == entry]
        if twins or entry not in self._own:
            return []
        del self._own[entry]
        self._own_xor ^= _fingerprint(entry)
        first = [peer for peer in self.concerned(record) if peer in self._linked]
        self._note_news(entry, first, now)
        return [Send(peer, Holding(b"", entry), LINK) for peer in first]

    def _note_news(self, entry: bytes, told: list[PeerId], now: float) -> None:
        self._calm = 1
        if self._linked:
            self._news[entry] = told
            self._news_at = min(self._news_at, now + GATHER)

    def _tell_news(self, now: float) -> Out:
        """Tell every neighbour what came and went; whoever was told of all of it is left alone."""
        news, self._news, self._news_at = self._news, {}, NEVER
        if not news:
            return []
        parts = _parts(list(news))
        words = [self._word(part, last=part is parts[-1]) for part in parts]
        due = now + self._interval * (0.75 + 0.5 * self._rng.random())
        out: Out = []
        for peer in self._linked:
            if all(peer in told for told in news.values()):
                continue
            out += [Send(peer, word, LINK) for word in words]
            self._linked[peer] = due
        self._due = None
        return out

    def _word(self, entries: list[bytes], last: bool) -> Holding:
        here = b"".join(entry for entry in entries if entry in self._own)
        gone = b"".join(entry for entry in entries if entry not in self._own)
        if not last:  # a book is right when all parts are read
            return Holding(here, gone)
        return Holding(here, gone, len(self._own), self._own_xor.to_bytes(16))

    # --- links -----------------------------------------------------------------------------

    def link_opened(self, peer: PeerId, now: float) -> Out:
        """Compare books with a new neighbour."""
        out = self._tell_news(now)
        self._linked[peer] = now + self._interval * (0.75 + 0.5 * self._rng.random())
        self._due = None
        return [*out, self._digest_for(peer)]

    def link_broken(self, peer: PeerId) -> None:
        """What it held, it still holds; only its announcements stop."""
        self._linked.pop(peer, None)
        self._due = None
        book = self._books.get(peer)
        if book is not None:
            book.asked, book.before = False, None
            book.asked_at = book.told_at = -NEVER

    def _digest_for(self, peer: PeerId) -> Send:
        return Send(peer, HoldingsDigest(len(self._own), self._own_xor.to_bytes(16)), LINK)

    def wake(self, now: float) -> Out:
        """Tell news, and compare books when it is time."""
        out = self._tell_news(now) if now >= self._news_at else []
        if now < self._nearest():
            return out
        out += self._tell_news(now)
        self._calm = min(_CALMEST, 2 * self._calm)
        for peer, due in self._linked.items():
            if now + _TOGETHER >= due:
                self._linked[peer] = now + self._calm * self._interval * (0.75 + 0.5 * self._rng.random())
                out.append(self._digest_for(peer))
        self._due = None
        return out

    def _nearest(self) -> float:
        if self._due is None:
            self._due = min(self._linked.values(), default=NEVER)
        return self._due

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        return min(self._nearest(), self._news_at)

    # --- messages --------------------------------------------------------------------------

    def receive(
        self, message: Message, sender: PeerId, source: Address | LinkId, now: float
    ) -> tuple[Out, list[bytes]]:
        """Handle a word about holdings; return effects and the entries that are new in this sender's book."""
        match message:
            case Holding():
                added = self.note(message, sender)
                return self._compare(message, sender, now) if message.xor else [], added
            case HoldingsDigest():
                return self._compare(message, sender, now), []
            case HoldingsWanted():
                book = self._book(sender)
                if now < book.told_at + 0.8 * _PAUSE:
                    return [], []  # a list is long: whoever asks faster than we would must wait
                book.told_at = now
                return self._tell_news(now) + self._list_all(sender), []
            case HoldingsList():
                book = self._book(sender)
                if message.first and book.asked:
                    book.asked, book.before = False, self._empty(book)
                if book.before is None:
                    return [], []
                before = book.before
                added = [entry for entry in entries_of(message.entries) if self._add(book, entry)]
                if message.last:
                    book.before = None
                return [], [entry for entry in added if entry not in before]
        return [], []

    def _compare(self, message: Holding | HoldingsDigest, sender: PeerId, now: float) -> Out:
        book = self._book(sender)
        agrees = book.count == message.count and book.xor == int.from_bytes(message.xor)
        if agrees or now < book.asked_at + _PAUSE:
            return []
        book.asked, book.asked_at = True, now
        return [Send(sender, HoldingsWanted(), LINK)]

    def note(self, message: Holding, holder: PeerId) -> list[bytes]:
        """Write down what a holder said; return the entries that are new in its book."""
        book = self._book(holder)
        added = [entry for entry in entries_of(message.added) if self._add(book, entry)]
        for entry in entries_of(message.dropped):
            self._drop(book, entry)
        return added

    def _list_all(self, peer: PeerId) -> Out:
        parts = _parts(list(self._own)) or [[]]
        return [
            Send(peer, HoldingsList(place == 0, place == len(parts) - 1, b"".join(part)), LINK)
            for place, part in enumerate(parts)
        ]

    # --- the books -----------------------------------------------------------------------------

    def _book(self, peer: PeerId) -> _Book:
        book = self._books.get(peer)
        if book is None:
            if len(self._books) >= _MOST_PEERS:
                oldest = next(other for other in self._books if other not in self._linked)
                book = self._books.pop(oldest)
                self._empty(book)
                self._peers[book.slot] = peer
            else:
                book = _Book(len(self._peers))
                self._peers.append(peer)
            self._books[peer] = book
        return book

    def _add(self, book: _Book, entry: bytes) -> bool:
        bit = 1 << book.slot
        holders = self._versions.get(entry)
        if holders is None:
            if len(self._versions) >= _MOST_VERSIONS or book.count - book.left_out >= _MOST_IN_BOOK:
                book.left_out += 1
                book.count += 1
                book.xor ^= _fingerprint(entry)
                return False
            self._by_key.setdefault(entry[:32], []).append(entry)
            holders = 0
        if holders & bit:
            return False
        self._versions[entry] = holders | bit
        book.count += 1
        book.xor ^= _fingerprint(entry)
        return True

    def _drop(self, book: _Book, entry: bytes) -> None:
        bit = 1 << book.slot
        holders = self._versions.get(entry, 0)
        if not holders & bit:
            if book.left_out:
                book.left_out -= 1
                book.count -= 1
                book.xor ^= _fingerprint(entry)
            return
        book.count -= 1
        book.xor ^= _fingerprint(entry)
        if holders != bit:
            self._versions[entry] = holders & ~bit
            return
        del self._versions[entry]
        entries = self._by_key[entry[:32]]
        entries.remove(entry)
        if not entries:
            del self._by_key[entry[:32]]

    def _empty(self, book: _Book) -> set[bytes]:
        bit = 1 << book.slot
        entries = [entry for entry, holders in self._versions.items() if holders & bit]
        for entry in entries:
            self._drop(book, entry)
        book.count = book.xor = book.left_out = 0
        return set(entries)

    def booked(self, peer: PeerId, keys: Container[bytes]) -> list[bytes]:
        """Return what stands in a peer's book of artifacts with these key hashes; looks at every version."""
        book = self._books.get(peer)
        bit = 0 if book is None else 1 << book.slot
        return [entry for entry, holders in self._versions.items() if holders & bit and entry[:32] in keys]

    def counted(self, keys: Iterable[bytes]) -> list[PeerId]:
        """Return the peers in whose books any version of these artifacts stands."""
        holders = 0
        for key in keys:
            for entry in self._by_key.get(key, ()):
                holders |= self._versions[entry]
        return self._names(holders)

    # --- questions ---------------------------------------------------------------------------------

    def holders(self, record: Record) -> list[PeerId]:
        """Return the peers that hold exactly this version."""
        return self._names(self._versions.get(entry_of(record), 0))

    def confirmed(self, record: Record) -> list[PeerId]:
        """Return the peers that hold this or a later version of the artifact."""
        holders = 0
        for entry in self._by_key.get(record.key.hash, ()):
            if int.from_bytes(entry[32:40]) >= record.sequence:
                holders |= self._versions[entry]
        return self._names(holders)

    def _names(self, holders: int) -> list[PeerId]:
        return [self._peers[slot] for slot in bits_of(holders)]


def entries_of(joined: bytes) -> Iterable[bytes]:
    """Return the entries that were joined for a message."""
    return (joined[start : start + ENTRY] for start in range(0, len(joined), ENTRY))


def _parts(entries: list[bytes]) -> list[list[bytes]]:
    return [entries[start : start + _PART] for start in range(0, len(entries), _PART)]
