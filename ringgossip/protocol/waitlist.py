"""Which of the versions that wait for a place is pulled next?

A heap for each kind. However often a version is wanted while it waits, it stands
there once, and only what moved it in the order makes work: who asks again and
again must not make the heap grow.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.protocol.core import Draw

Entry = tuple[int, int, int, int, Record]  # rank, known holders, chance, serial: the smallest first


class Waitlist:
    """One version of an artifact each: the last that was put."""

    def __init__(self, kinds: Iterable[str], rng: Draw) -> None:
        self._rng = rng
        self._heaps: dict[str, list[Entry]] = {kind: [] for kind in kinds}
        self._entries: dict[ArtifactKey, Entry] = {}  # what else lies in a heap is passed over
        self._serial = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: ArtifactKey) -> bool:
        return key in self._entries

    def get(self, key: ArtifactKey) -> Record | None:
        """Return the version that waits."""
        entry = self._entries.get(key)
        return None if entry is None else entry[-1]

    def put(self, record: Record, rank: int, holders: int) -> None:
        """Let it wait, in the place of any other version: by `rank`, then the scarcer first."""
        known = self._entries.get(record.key)
        if known is not None and (known[0], known[1], known[-1]) == (rank, holders, record):
            return
        self._serial += 1
        # Ties at random, or all peers would pull the same artifact from the same holder first.
        self._push((rank, holders, self._rng.getrandbits(16), self._serial, record))

    def put_back(self, entry: Entry) -> None:
        """Let what was taken wait on, where it was."""
        self._push(entry)

    def _push(self, entry: Entry) -> None:
        record = entry[-1]
        self._entries[record.key] = entry
        heap = self._heaps[record.kind]
        heappush(heap, entry)
        if len(heap) > 64 + 4 * len(self._entries):
            heap[:] = [one for one in heap if self._entries.get(one[-1].key) is one]
            heapify(heap)

    def leave(self, key: ArtifactKey) -> None:
        """It need not wait."""
        self._entries.pop(key, None)

    def first_rank(self, kind: str) -> int | None:
        """Return the rank of what is next of a kind; None: nothing waits."""
        heap = self._heaps[kind]
        while heap:
            if self._entries.get(heap[0][-1].key) is heap[0]:
                return heap[0][0]
            heappop(heap)
        return None

    def take(self, kind: str) -> Entry:
        """Take out what is next of a kind, of which something waits."""
        self.first_rank(kind)
        entry = heappop(self._heaps[kind])
        del self._entries[entry[-1].key]
        return entry
