"""What news of members goes into the next packet? What was told least often, newest first.

Each piece of news is told a bounded number of times; a newer one about the same
member replaces it. Source: SWIM (Das et al. 2002), section 4.1.
"""

from typing import Generic, TypeVar

Item = TypeVar("Item")


class News(Generic[Item]):
    """A queue of news, by member. O(1) for each piece put or taken."""

    __slots__ = ("_told", "waiting")

    def __init__(self) -> None:
        self._told: list[dict[bytes, tuple[int, Item]]] = []  # by how often it was told
        self.waiting: dict[bytes, int] = {}  # of whom there is news, and how often it was told

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def untold(self) -> int:
        """How many pieces were never taken."""
        return len(self._told[0]) if self._told else 0

    def put(self, key: bytes, size: int, item: Item) -> None:
        """Add news about a member, `size` bytes long, in place of what was said before."""
        self.discard(key)
        self.waiting[key] = 0
        if not self._told:
            self._told.append({})
        self._told[0][key] = (size, item)

    def discard(self, key: bytes) -> None:
        """Say nothing more about a member."""
        times = self.waiting.pop(key, None)
        if times is not None:
            del self._told[times][key]

    def known(self, key: bytes, times: int, limit: int) -> None:
        """Somebody tells us this too: count it as told so many times more."""
        before = self.waiting.get(key)
        if before is None:
            return
        entry = self._told[before].pop(key)
        after = before + times
        if after >= limit:
            del self.waiting[key]
            return
        while after >= len(self._told):
            self._told.append({})
        self._told[after][key] = entry
        self.waiting[key] = after

    def take(self, room: int, limit: int) -> list[Item]:
        """Return news of at most `room` bytes; each is forgotten once it was taken `limit` times."""
        taken: list[tuple[int, bytes, tuple[int, Item]]] = []
        for times, level in enumerate(self._told):
            while level:
                key, entry = level.popitem()
                if entry[0] > room:
                    level[key] = entry
                    break
                room -= entry[0]
                taken.append((times, key, entry))
        for times, key, entry in taken:
            times += 1
            if times >= limit:
                del self.waiting[key]
                continue
            if times == len(self._told):
                self._told.append({})
            self._told[times][key] = entry
            self.waiting[key] = times
        return [entry[1] for _, _, entry in taken]
