"""One artifact on its way to us: which phase, which chunks, which holders."""

from dataclasses import dataclass, field
from enum import Enum

from ringgossip.content.chunking import chunk_count, chunk_length
from ringgossip.content.manifest import Manifest, ManifestBuilder
from ringgossip.content.record import Record
from ringgossip.identity import PeerId
from ringgossip.protocol.core import NEVER
from ringgossip.strategy.order import Availability, full_set

ALL = -1  # as a bit set: every bit is set


class Phase(Enum):
    """The life of a pull; each phase waits for one thing."""

    RESERVING = "reserving space"
    FINDING_PAGES = "looking for known manifest pages"
    MANIFEST = "fetching the manifest"
    PREPARING = "opening the partial file"
    PULLING = "pulling chunks"
    FINISHING = "checking and renaming"


@dataclass(slots=True)
class Pull:
    """The state of one transfer. `needed` are chunks that nobody was asked for yet."""

    record: Record
    rank: int  # smaller goes first
    started_at: float
    phase: Phase = Phase.RESERVING
    builder: ManifestBuilder | None = None
    manifest: Manifest | None = None
    pages_asked: dict[tuple[int, int], PeerId] = field(default_factory=dict)
    have: int = 0
    copying: int = 0
    needed: int = 0
    asked: dict[int, int] = field(default_factory=dict)  # chunk -> how many peers were asked
    availability: Availability = field(default_factory=Availability)
    holders: dict[PeerId, int] = field(default_factory=dict)  # ALL, or the chunks it has
    newer: Record | None = None
    look_at: float = -NEVER  # when to look for more holders
    last_progress: float = 0.0
    stall_told: bool = False
    bytes_received: int = 0
    rate: float = 0.0
    _rate_since: float = 0.0
    _rate_bytes: int = 0

    @property
    def root(self) -> bytes:
        """The content's identity."""
        return self.record.root

    @property
    def count(self) -> int:
        """Number of chunks."""
        return chunk_count(self.record.size, self.record.chunk_size)

    def length(self, index: int) -> int:
        """Bytes of one chunk."""
        return chunk_length(index, self.record.size, self.record.chunk_size)

    def begin(self, have: int, copying: int) -> None:
        """The partial file is open: what is there, what is being copied from our own store."""
        everything = full_set(self.count)
        self.have = have & everything
        self.copying = copying & everything & ~self.have
        self.needed = everything & ~self.have & ~self.copying
        self.phase = Phase.PULLING

    @property
    def complete(self) -> bool:
        """Every chunk is here and verified."""
        return self.phase is Phase.PULLING and not self.needed and not self.copying and not self.asked

    def take(self, indices: list[int]) -> None:
        """These chunks were asked of one more peer."""
        taken = 0
        for index in indices:
            self.asked[index] = self.asked.get(index, 0) + 1
            taken |= 1 << index
        self.needed &= ~taken

    def give_back(self, indices: list[int]) -> None:
        """A request for these chunks came to nothing."""
        for index in indices:
            times = self.asked.get(index, 0)
            if times > 1:
                self.asked[index] = times - 1
            elif times == 1:
                del self.asked[index]
                self.needed |= 1 << index

    def stored(self, index: int, amount: int, now: float) -> bool:
        """A chunk is verified and written; return False if it was here already."""
        bit = 1 << index
        if self.have & bit:
            return False
        self.have |= bit
        self.needed &= ~bit
        self.copying &= ~bit
        self.asked.pop(index, None)
        self.last_progress = now
        self.stall_told = False
        self.bytes_received += amount
        self._rate_bytes += amount
        seconds = now - self._rate_since
        if seconds >= 0.5:
            sample = self._rate_bytes / seconds
            self.rate = sample if not self.rate else 0.5 * (self.rate + sample)
            self._rate_since, self._rate_bytes = now, 0
        return True

    def copied(self, done: int, failed: int, now: float) -> None:
        """Chunks were copied from elsewhere in our store, or could not be."""
        done &= self.copying
        self.copying &= ~done & ~failed
        self.have |= done
        self.needed |= failed & ~self.have
        self.last_progress = now

    def set_holder(self, peer: PeerId, chunks: int) -> None:
        """A peer told what it has: `ALL`, or a set."""
        before = self.holders.get(peer)
        if before is not None and before != ALL:
            self.availability.remove(before)
        self.holders[peer] = chunks
        if chunks != ALL:
            self.availability.add(chunks)

    def add_to_holder(self, peer: PeerId, indices: tuple[int, ...]) -> None:
        """A peer verified more chunks."""
        before = self.holders.get(peer, 0)
        if before == ALL:
            return
        count, more = self.count, 0
        for index in indices:
            if index < count:
                more |= 1 << index
        more &= ~before
        self.holders[peer] = before | more
        self.availability.add(more)

    def remove_from_holder(self, peer: PeerId, indices: tuple[int, ...]) -> None:
        """A peer does not have these after all; no indices: it has nothing."""
        before = self.holders.get(peer)
        if before is None:
            return
        if not indices:
            self.drop_holder(peer)
            return
        lost, count = 0, self.count
        for index in indices:
            if index < count:
                lost |= 1 << index
        known = full_set(count) if before == ALL else before
        self.set_holder(peer, known & ~lost)

    def drop_holder(self, peer: PeerId) -> None:
        """Nothing more is to be had from this peer."""
        before = self.holders.pop(peer, None)
        if before is not None and before != ALL:
            self.availability.remove(before)
        for place in [place for place, asked in self.pages_asked.items() if asked == peer]:
            del self.pages_asked[place]

    def bytes_done(self) -> int:
        """Bytes that are here, for people to look at."""
        if self.phase is Phase.FINISHING or not self.count:
            return self.record.size
        whole = self.have.bit_count() * self.record.chunk_size
        if self.have >> (self.count - 1) & 1:
            whole -= self.record.chunk_size - self.length(self.count - 1)
        return whole

    def asked_once(self) -> int:
        """The set of chunks that exactly one peer was asked for."""
        chunks = 0
        for index, times in self.asked.items():
            if times == 1:
                chunks |= 1 << index
        return chunks
