"""Who is in our list? The table of members, its digest, and the order in which they are probed.

All work here is O(1) but for reshuffling once a round and for deaths. A member
costs about 100 bytes: everything that is the same in every view is shared.
"""

from collections.abc import Sequence

from ringgossip.protocol.cards import Card
from ringgossip.protocol.core import Draw
from ringgossip.protocol.evidence import ALIVE, DEAD, Standing, standing_of


def draw_below(rng: Draw, bound: int) -> int:
    """Return a whole number in [0, bound)."""
    return int(rng.random() * bound)


class Roster:
    """All members we know, ourselves included, dead ones too until they are forgotten."""

    __slots__ = ("_next", "_ring", "digest", "fallen", "live", "me", "most", "muted", "names", "table")

    def __init__(self, me: Card, most: int) -> None:
        self.me = me.key
        self.most = most
        self.table: dict[bytes, Standing] = {me.key: standing_of(me, 0, ALIVE)}
        self.names: dict[str, bytes] = {me.name: me.key}
        self.fallen: dict[bytes, float] = {}  # dead or left -> since when, in that order
        self.digest = me.mark  # exclusive or of the marks of all who are alive or suspect
        self.live = 1  # how many these are
        self.muted: dict[bytes, None] = {}  # whoever is in the table, and still no member to us
        self._ring: list[bytes] = []  # these without ourselves, in the order of probing
        self._next = 0

    def put(self, standing: Standing, now: float) -> None:
        """Believe `standing`: a newer one of a member, or the first."""
        card = standing.card
        key = card.key
        old = self.table.get(key)
        was = old is not None and old.state < DEAD
        is_ = standing.state < DEAD
        self.table[key] = standing
        if old is None or old.card.name != card.name:
            self.names.setdefault(card.name, key)
        if was and old is not None:
            self.digest ^= old.card.mark
        if is_:
            self.digest ^= card.mark
        if is_ and not was:
            self.live += 1
            self.fallen.pop(key, None)
            self._insert(key)
        elif was and not is_:
            self.live -= 1
            self.fallen[key] = now
            self._remove(key)
        elif old is None:
            self.fallen[key] = now

    def forget(self, key: bytes) -> None:
        """Drop a fallen member altogether."""
        standing = self.table.pop(key)
        del self.fallen[key]
        self.muted.pop(key, None)
        if self.names.get(standing.card.name) == key:
            del self.names[standing.card.name]

    def has_room(self) -> bool:
        """Tell whether one more may enter; makes room by dropping the oldest fallen."""
        if len(self.table) >= self.most and self.fallen:
            self.forget(next(iter(self.fallen)))
        return len(self.table) < self.most

    def mute(self, key: bytes) -> None:
        """Let somebody, known or not yet, be no member to us; the list stays what it is in every view."""
        standing = self.table.get(key)
        if standing is not None and standing.state < DEAD:
            self._remove(key)
        self.muted[key] = None

    def unmute(self, key: bytes) -> None:
        """Let it be one again."""
        del self.muted[key]
        standing = self.table.get(key)
        if standing is not None and standing.state < DEAD:
            self._insert(key)

    # --- the order of probing --------------------------------------------------------

    def _insert(self, key: bytes) -> None:
        """Append: one of those still to come, as `next_target` draws them."""
        if key != self.me and key not in self.muted:
            self._ring.append(key)

    def begin_round(self) -> None:
        """Let the next target be the first of a new round, in a new order."""
        self._next = len(self._ring)

    def mix_in(self, rng: Draw) -> None:
        """Put the one appended last at a random place among those not yet probed in this round."""
        ring = self._ring
        if len(ring) > 1:
            last = len(ring) - 1
            place = min(self._next, last)
            place += draw_below(rng, len(ring) - place)
            ring[place], ring[last] = ring[last], ring[place]

    def _remove(self, key: bytes) -> None:
        if key != self.me and key not in self.muted:
            place = self._ring.index(key)
            del self._ring[place]
            if place < self._next:
                self._next -= 1

    def next_target(self, rng: Draw) -> bytes | None:
        """Return whom to probe next: everybody once a round, each round in a new order."""
        ring = self._ring
        if not ring:
            return None
        if self._next >= len(ring):
            for place in range(len(ring) - 1, 0, -1):
                other = draw_below(rng, place + 1)
                ring[place], ring[other] = ring[other], ring[place]
            self._next = 0
        key = ring[self._next]
        self._next += 1
        return key

    def sample(self, rng: Draw, count: int, but: bytes | None = None) -> list[bytes]:
        """Return up to `count` different live members, drawn at random, without ourselves and `but`."""
        ring = self._ring
        if len(ring) <= count + 1:
            found = [key for key in ring if key != but]
            while len(found) > count:
                del found[draw_below(rng, len(found))]
            return found
        found = []
        while len(found) < count:
            key = ring[draw_below(rng, len(ring))]
            if key != but and key not in found:
                found.append(key)
        return found

    def others(self) -> Sequence[bytes]:
        """Return all live members but ourselves; not to be kept or changed."""
        return self._ring

    def list_entries(self, low: bytes, high: bytes) -> dict[bytes, Standing]:
        """Return who lies in a range of keys, in the order of keys. O(members), for exchanges only."""
        return {key: self.table[key] for key in sorted(self.table) if low <= key <= high}
