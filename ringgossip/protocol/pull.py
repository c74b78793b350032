"""One artifact on its way to us: which phase, which chunks, which holders."""

from bisect import bisect
from dataclasses import dataclass, field
from enum import Enum

from ringgossip.content.chunking import chunk_count, chunk_length
from ringgossip.content.manifest import Manifest, ManifestBuilder
from ringgossip.content.record import Record
from ringgossip.identity import PeerId
from ringgossip.protocol.core import NEVER
from ringgossip.strategy.order import Availability, ChunkSet, every, full_set, set_of, without

ALL = -1  # as a bit set: every bit is set


class Phase(Enum):
    """The life of a pull; each phase waits for one thing."""

    RESERVING = "reserving space"
    FINDING_PAGES = "looking for known manifest pages"
    MANIFEST = "fetching the manifest"
    PREPARING = "opening the partial file"
    PULLING = "pulling chunks"
    FINISHING = "checking and renaming"


ASKING = (Phase.MANIFEST, Phase.PULLING)  # something is asked of holders


@dataclass(slots=True)
class Pull:
    """The state of one transfer. `needed` are chunks that nobody was asked for yet.

    While it is pulled, every chunk is in exactly one of `have`, `copying`,
    `needed` and `asked`. Nothing here grows with the size that a record claims
    before the manifest is proven: a record may claim anything.
    """

    record: Record
    rank: int  # smaller goes first
    started_at: float
    urgency: float = 1.0  # among those of one rank: twice the weight, twice the bytes
    phase: Phase = Phase.RESERVING
    builder: ManifestBuilder | None = None
    manifest: Manifest | None = None
    pages_asked: dict[tuple[int, int], PeerId] = field(default_factory=dict)
    have: ChunkSet = field(default_factory=lambda: ChunkSet(0))
    copying: int = 0
    needed: int = 0
    asked: dict[int, int] = field(default_factory=dict)  # chunk -> how many peers were asked
    availability: Availability = field(default_factory=Availability)
    # ALL, or the chunks it has: until the manifest is proven only whether it has something (0).
    holders: dict[PeerId, int] = field(default_factory=dict)
    told: dict[PeerId, None] | None = None  # peers that know that we are interested; None: nobody need
    told_all: bool = False  # not known holders alone
    newer: Record | None = None
    _share: tuple[int, int, int] = (1, 0, ALL)  # pullers, our place among them, the chunks of that place
    look_at: float = -NEVER  # when to look for more holders
    last_progress: float = 0.0
    asked_last: float = -NEVER
    stall_told: bool = False
    bytes_received: int = 0
    rate: float = 0.0
    usual: float = 0.0  # seconds from a chunk's first byte to its end, smoothed; 0 while unknown
    count: int = field(init=False)  # of chunks
    partial_holders: int = 0
    _rate_since: float = 0.0
    _rate_bytes: int = 0

    def __post_init__(self) -> None:
        self.count = chunk_count(self.record.size, self.record.chunk_size)

    @property
    def root(self) -> bytes:
        """The content's identity."""
        return self.record.root

    def length(self, index: int) -> int:
        """Bytes of one chunk."""
        return chunk_length(index, self.record.size, self.record.chunk_size)

    def begin(self, have: int, copying: int, now: float) -> None:
        """The partial file is open: what is there, what is being copied from our own store."""
        everything = full_set(self.count)
        have &= everything
        self.have = ChunkSet(self.count, have)
        self.copying = without(copying & everything, have)
        self.needed = everything ^ have ^ self.copying
        self.phase = Phase.PULLING
        self.last_progress = self._rate_since = now

    @property
    def complete(self) -> bool:
        """Every chunk is here and verified."""
        return self.phase is Phase.PULLING and not self.needed and not self.copying and not self.asked

    def take(self, indices: list[int]) -> None:
        """These chunks were asked of one more peer."""
        for index in indices:
            self.asked[index] = self.asked.get(index, 0) + 1
        self.needed = without(self.needed, set_of(indices))

    def give_back(self, indices: list[int]) -> None:
        """A request for these chunks came to nothing."""
        freed = []
        for index in indices:
            times = self.asked.get(index, 0)
            if times > 1:
                self.asked[index] = times - 1
            elif times == 1:
                del self.asked[index]
                freed.append(index)
        self.needed |= set_of(freed)

    def stored(self, index: int, amount: int, now: float) -> bool:
        """A chunk is verified and written; return False if it was here already."""
        if self.phase is not Phase.PULLING or index >= self.count or index in self.have:
            return False
        self.have.add(index)
        if self.asked.pop(index, None) is None:
            # A late answer, to a question that had been given up.
            bit = 1 << index
            self.needed = without(self.needed, bit)
            self.copying = without(self.copying, bit)
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

    def took(self, seconds: float) -> None:
        """So long a chunk was on its way, whoever sent it."""
        self.usual = 0.75 * self.usual + 0.25 * seconds if self.usual else seconds

    def copied(self, done: int, failed: int, now: float) -> None:
        """Chunks were copied from elsewhere in our store, or could not be."""
        done &= self.copying
        failed = without(failed & self.copying, done)
        self.copying ^= done ^ failed
        self.have.add_all(done)
        self.needed |= failed
        self.last_progress = now

    # --- holders -------------------------------------------------------------------

    @property
    def proven(self) -> bool:
        """Whether the manifest is, so that sets of chunks may be kept."""
        return self.phase is Phase.PULLING

    def set_holder(self, peer: PeerId, chunks: int) -> None:
        """A peer told what it has: `ALL`, or a set."""
        self._leave_count(peer)
        self.holders[peer] = chunks
        if chunks != ALL:
            self.availability.add(chunks)
            self.partial_holders += 1

    def _leave_count(self, peer: PeerId) -> None:
        before = self.holders.get(peer, ALL)
        if before != ALL:
            self.availability.remove(before)
            self.partial_holders -= 1

    def hear_some(self, peer: PeerId, chunks: int) -> None:
        """A peer that had these chunks, or some that we cannot name yet, says so."""
        before = self.holders.get(peer, 0)
        if before != ALL:
            self.set_holder(peer, before | chunks)

    def add_to_holder(self, peer: PeerId, indices: tuple[int, ...]) -> None:
        """A peer verified more chunks; those that do not exist are ignored."""
        before = self.holders.get(peer, 0)
        if before == ALL:
            return
        self.partial_holders += peer not in self.holders
        more = 0
        if self.proven:
            more = without(set_of(index for index in indices if index < self.count), before)
        self.holders[peer] = before | more
        self.availability.add(more)

    def remove_from_holder(self, peer: PeerId, indices: tuple[int, ...]) -> None:
        """A peer does not have these after all; no indices: it has nothing."""
        before = self.holders.get(peer)
        if before is None:
            return
        if not indices:
            self.drop_holder(peer)
        elif self.proven:
            known = full_set(self.count) if before == ALL else before
            self.set_holder(peer, without(known, set_of(index for index in indices if index < self.count)))

    def share_of(self, me: PeerId) -> int:
        """Return the chunks that this peer should ask whole holders for first.

        All who pull the same root divide it by the order of their ids, so that
        different chunks leave the seed first although nobody speaks of it.
        """
        pullers = sorted(peer for peer, holding in self.holders.items() if holding != ALL)
        count, place = len(pullers) + 1, bisect(pullers, me)
        if self._share[:2] != (count, place):
            self._share = (count, place, every(self.count, count, place))
        return self._share[2]

    def drop_holder(self, peer: PeerId) -> None:
        """Nothing more is to be had from this peer."""
        self._leave_count(peer)
        self.holders.pop(peer, None)
        for place in [place for place, asked in self.pages_asked.items() if asked == peer]:
            del self.pages_asked[place]

    def offered(self) -> bool:
        """Tell whether some linked peer has anything that we still need."""
        if not self.proven:
            return bool(self.holders)
        return any(holding == ALL or holding & self.needed for holding in self.holders.values())

    def bytes_done(self) -> int:
        """Bytes that are here, for people to look at."""
        if self.phase is Phase.FINISHING or not self.count:
            return self.record.size
        whole = len(self.have) * self.record.chunk_size
        if self.count - 1 in self.have:
            whole -= self.record.chunk_size - self.length(self.count - 1)
        return whole
