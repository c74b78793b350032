"""When is what due? Named deadlines.

Setting a name again moves its deadline. What was moved or cancelled stays in the
heap and is passed over when its old time comes, so every operation is cheap.
"""

from heapq import heapify, heappop, heappush

from ringgossip.protocol.core import NEVER

Name = tuple[str, bytes | int]


class Deadlines:
    """Names and the times at which they are due."""

    __slots__ = ("_order", "_when", "heap")

    def __init__(self) -> None:
        self._when: dict[Name, tuple[float, int]] = {}
        self.heap: list[tuple[float, int, Name]] = []  # empty: nothing is due, ever
        self._order = 0

    def set(self, name: Name, when: float) -> None:
        """Make `name` due at `when`, and at no other time; `NEVER` is as good as `cancel`."""
        if when == NEVER:
            self._when.pop(name, None)
            return
        self._order += 1
        self._when[name] = (when, self._order)
        if len(self.heap) > 64 + 4 * len(self._when):
            self.heap = [(when, order, name) for name, (when, order) in self._when.items()]
            heapify(self.heap)
        else:
            heappush(self.heap, (when, self._order, name))

    def cancel(self, name: Name) -> None:
        """Forget `name`; nothing happens if it is not set."""
        self._when.pop(name, None)

    def get(self, name: Name) -> float:
        """Return when `name` is due; `NEVER` if it is not set."""
        entry = self._when.get(name)
        return entry[0] if entry is not None else NEVER

    def names(self, group: str) -> list[Name]:
        """Return the names of one group that are set. Takes a walk over all."""
        return [name for name in self._when if name[0] == group]

    def pop_due(self, now: float) -> Name | None:
        """Take out and return the earliest name that is due, or None."""
        while self.heap and self.heap[0][0] <= now:
            when, order, name = heappop(self.heap)
            if self._when.get(name) == (when, order):
                del self._when[name]
                return name
        return None

    def next(self) -> float:
        """Return the nearest deadline."""
        heap, set_to = self.heap, self._when
        while heap:
            when, order, name = heap[0]
            now_set = set_to.get(name)
            if now_set is not None and now_set[1] == order:
                return when
            heappop(heap)
        return NEVER
