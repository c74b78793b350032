"""Who has confirmed a verified copy of what?

Peers announce on their links what they hold and no longer hold; every 30
seconds, and when a link opens, both sides compare a digest of their books
(a count and an exclusive or), and only if it differs the whole list travels.
The statement is the holder's own, on an authenticated link, about a copy that
is verified, synced and renamed: that is what a receipt counts (promise S6).

Peers are bits: the holders of a version are one integer, so that the books of
fifty peers over 20,000 artifacts cost one small object per version.
"""

from collections.abc import Iterable
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
    count: int = 0
    xor: int = 0
    asked_at: float = -NEVER
    listing: bool = False


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
        self._own_count = 0
        self._own_xor = 0

    # --- what we hold -------------------------------------------------------------------

    def restore(self) -> None:
        """Count what the shelf held when the peer started."""
        for record in self._shelf.versions():
            self._note_own(record, 1)

    def _note_own(self, record: Record, change: int) -> None:
        self._own_count += change
        self._own_xor ^= _fingerprint(entry_of(record))

    def held(self, record: Record, now: float) -> Out:
        """We have a whole copy of this version now."""
        self._note_own(record, 1)
        return [Send(peer, Holding(entry_of(record), b""), LINK) for peer in self._linked]

    def dropped(self, record: Record, now: float) -> Out:
        """We no longer have it."""
        self._note_own(record, -1)
        return [Send(peer, Holding(b"", entry_of(record)), LINK) for peer in self._linked]

    # --- links -----------------------------------------------------------------------------

    def link_opened(self, peer: PeerId, now: float) -> Out:
        """Compare books with a new neighbour."""
        self._linked[peer] = now + self._interval * (0.75 + 0.5 * self._rng.random())
        return [self._digest_for(peer)]

    def link_broken(self, peer: PeerId) -> None:
        """What it held, it still holds; only its announcements stop."""
        self._linked.pop(peer, None)
        book = self._books.get(peer)
        if book is not None:
            book.listing = False

    def forget(self, peer: PeerId) -> None:
        """A peer is gone for good; its copies no longer count."""
        book = self._books.get(peer)
        if book is not None:
            self._empty(book)

    def _digest_for(self, peer: PeerId) -> Send:
        return Send(peer, HoldingsDigest(self._own_count, self._own_xor.to_bytes(16)), LINK)

    def wake(self, now: float) -> Out:
        """Compare books when it is time."""
        out: Out = []
        for peer, due in self._linked.items():
            if now >= due:
                self._linked[peer] = now + self._interval * (0.75 + 0.5 * self._rng.random())
                out.append(self._digest_for(peer))
        return out

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        return min(self._linked.values(), default=NEVER)

    # --- messages --------------------------------------------------------------------------

    def receive(
        self, message: Message, sender: PeerId, source: Address | LinkId, now: float
    ) -> tuple[Out, list[bytes]]:
        """Handle a word about holdings; return effects and the entries that are new in this sender's book."""
        match message:
            case Holding():
                book = self._book(sender)
                added = [entry for entry in _entries(message.added) if self._add(book, entry)]
                for entry in _entries(message.dropped):
                    self._drop(book, entry)
                return [], added
            case HoldingsDigest():
                book = self._book(sender)
                agrees = book.count == message.count and book.xor == int.from_bytes(message.xor)
                if agrees or now < book.asked_at + 5.0:
                    return [], []
                book.asked_at = now
                return [Send(sender, HoldingsWanted(), LINK)], []
            case HoldingsWanted():
                return self._list_all(sender), []
            case HoldingsList():
                book = self._book(sender)
                if message.first:
                    self._empty(book)
                    book.listing = True
                elif not book.listing:
                    return [], []
                book.listing = not message.last
                return [], [entry for entry in _entries(message.entries) if self._add(book, entry)]
        return [], []

    def _list_all(self, peer: PeerId) -> Out:
        records = self._shelf.versions()
        out: Out = []
        for start in range(0, max(1, len(records)), _PART):
            part = records[start : start + _PART]
            last = start + _PART >= len(records)
            out.append(Send(peer, HoldingsList(start == 0, last, b"".join(map(entry_of, part))), LINK))
        return out

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
            if len(self._versions) >= _MOST_VERSIONS:
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

    def _empty(self, book: _Book) -> None:
        bit = 1 << book.slot
        for entry in [entry for entry, holders in self._versions.items() if holders & bit]:
            self._drop(book, entry)

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


def _entries(joined: bytes) -> Iterable[bytes]:
    return (joined[start : start + ENTRY] for start in range(0, len(joined), ENTRY))
