"""Which of the versions that wait for a place is pulled next?

What is ranked first, of that the scarcest, and of what is as scarce chance says,
in proportion to weights: twice the weight, twice the chance at every turn. One
place in nine goes to what has waited longest, whatever it is: so many turns
after those that came before it, it is pulled.

A heap for each kind. However often a version is wanted while it waits, it stands
there once, and only what moved it in the order makes work: who asks again and
again must not make the heap grow.

Source: exponential races (see `strategy/partners.py`), here on one clock: because
such a race has no memory, who enters later takes part as if all had begun then.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from math import log

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.protocol.core import Draw

# Rank, known holders, when its race ends, serial, weight: the smallest first.
Entry = tuple[int, int, float, int, float, Record]

_MERCY = 9  # of so many turns, one is of what waits longest


class Waitlist:
    """One version of an artifact each: the last that was put."""

    def __init__(self, kinds: Iterable[str], rng: Draw) -> None:
        self._rng = rng
        self._heaps: dict[str, list[Entry]] = {kind: [] for kind in kinds}
        # By kind, in the order in which they came; what else lies in a heap is passed over.
        self._entries: dict[str, dict[ArtifactKey, Entry]] = {kind: {} for kind in self._heaps}
        self._clocks: dict[tuple[str, int, int], float] = {}  # kind, rank, holders: few
        self._turns = dict.fromkeys(self._heaps, 0)
        self._serial = 0

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    def __contains__(self, key: ArtifactKey) -> bool:
        return key in self._entries.get(key.kind, ())

    def get(self, key: ArtifactKey) -> Record | None:
        """Return the version that waits."""
        entry = self._entries.get(key.kind, {}).get(key)
        return None if entry is None else entry[-1]

    def put(self, record: Record, rank: int, holders: int, weight: float = 1.0) -> None:
        """Let it wait, in the place of any other version: by `rank`, the scarcer first, then by `weight`."""
        known = self._entries[record.kind].get(record.key)
        if known is not None and (known[0], known[1], known[4], known[-1]) == (rank, holders, weight, record):
            return
        now = self._clocks.get((record.kind, rank, holders), 0.0)
        if known is not None and known[:2] == (rank, holders):
            # What is left of its race takes longer or shorter, as its weight is less or more.
            end = now + max(0.0, known[2] - now) * known[4] / weight
        else:
            end = now - log(1 - self._rng.random()) / weight
        self._serial += 1
        self._push((rank, holders, end, self._serial, weight, record))

    def put_back(self, entry: Entry) -> None:
        """Let what was taken wait on, where it was."""
        self._push(entry)

    def _push(self, entry: Entry) -> None:
        record = entry[-1]
        entries, heap = self._entries[record.kind], self._heaps[record.kind]
        entries[record.key] = entry
        heappush(heap, entry)
        if len(heap) > 64 + 4 * len(entries):
            heap[:] = entries.values()
            heapify(heap)

    def leave(self, key: ArtifactKey) -> None:
        """It need not wait."""
        self._entries.get(key.kind, {}).pop(key, None)

    def first_rank(self, kind: str) -> int | None:
        """Return the rank of what is next of a kind; None: nothing waits."""
        heap, entries = self._heaps[kind], self._entries[kind]
        while heap:
            if entries.get(heap[0][-1].key) is heap[0]:
                return heap[0][0]
            heappop(heap)
        return None

    def take(self, kind: str) -> Entry:
        """Take out what is next of a kind, of which something waits."""
        self.first_rank(kind)
        self._turns[kind] = turn = (self._turns[kind] + 1) % _MERCY
        entries = self._entries[kind]
        if not turn:
            return entries.pop(next(iter(entries)))
        entry = heappop(self._heaps[kind])
        self._clocks[kind, entry[0], entry[1]] = entry[2]
        return entries.pop(entry[-1].key)
