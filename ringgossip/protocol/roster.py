"""Who is in our list? The table of members, its digest, and the order in which they are probed.

All work here is O(1) but for deaths. A member costs about 100 bytes: everything
that is the same in every view is shared.
"""

from collections.abc import Sequence
from functools import lru_cache, reduce

from ringgossip.protocol.cards import Card
from ringgossip.protocol.core import Draw
from ringgossip.protocol.evidence import ALIVE, DEAD, Standing, standing_of


def draw_below(rng: Draw, bound: int) -> int:
    """Return a whole number in [0, bound)."""
    return int(rng.random() * bound)


@lru_cache(maxsize=2)
def _crowd(cards: tuple[Card, ...]) -> tuple[dict[bytes, Standing], dict[str, bytes], int]:
    """Return the table, the names and the digest of all of them, alive; once for a whole made world."""
    table = {card.key: standing_of(card, 0, ALIVE) for card in cards}
    names = {card.name: card.key for card in cards}
    return table, names, reduce(lambda digest, card: digest ^ card.mark, cards, 0)


class Roster:
    """All members we know, ourselves included, dead ones too until they are forgotten."""

    __slots__ = (
        "_lent", "_next", "_ring", "digest", "fallen", "live", "me", "most", "muted", "names", "table",
    )  # fmt: skip

    def __init__(self, me: Card, most: int) -> None:
        self.me = me.key
        self.most = most
        self.table: dict[bytes, Standing] = {me.key: standing_of(me, 0, ALIVE)}
        self.names: dict[str, bytes] = {me.name: me.key}  # changed only after `_names_of_our_own`
        self._lent = False  # these names are a crowd's, shared until somebody's change
        self.fallen: dict[bytes, float] = {}  # dead or left -> since when, in that order
        self.digest = me.mark  # exclusive or of the marks of all who are alive or suspect
        self.live = 1  # how many these are
        self.muted: dict[bytes, None] = {}  # whoever is in the table, and still no member to us
        # These without ourselves; up to `_next` those probed in this round, after it those still to come.
        self._ring: list[bytes] = []
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
            self._names_of_our_own().setdefault(card.name, key)
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
            del self._names_of_our_own()[standing.card.name]

    def fill(self, cards: tuple[Card, ...]) -> None:
        """Know of all these as alive, and of nobody else. Much faster than `put` for each."""
        table, names, self.digest = _crowd(cards)
        mine = self.table[self.me]
        self.table.update(table)
        self.table[self.me] = mine
        if self.names.items() <= names.items():
            self.names, self._lent = names, True
        else:
            self._names_of_our_own().update(names)
        self.digest ^= 0 if self.me in table else mine.card.mark
        self._ring = list(self.table)
        for key in (self.me, *self.muted):
            if key in self.table:
                self._ring.remove(key)
        self.live = len(self.table)

    def name(self, name: str, key: bytes) -> None:
        """Let this member own a name, whoever had it."""
        self._names_of_our_own()[name] = key

    def _names_of_our_own(self) -> dict[str, bytes]:
        if self._lent:
            self.names, self._lent = dict(self.names), False
        return self.names

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

    def _remove(self, key: bytes) -> None:
        if key != self.me and key not in self.muted:
            place = self._ring.index(key)
            del self._ring[place]
            if place < self._next:
                self._next -= 1

    def next_target(self, rng: Draw) -> bytes | None:
        """Return whom to probe next: everybody once a round, each round in a new order.

        Of those still to come each is as likely, newcomers too: one step of a shuffle.
        Source: Fisher and Yates; Durstenfeld 1964.
        """
        ring = self._ring
        if not ring:
            return None
        place = self._next
        if place >= len(ring):
            place = 0
        other = place + int(rng.random() * (len(ring) - place))
        key = ring[other]
        ring[other], ring[place] = ring[place], key
        self._next = place + 1
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

    def is_target(self, key: bytes) -> bool:
        """Tell whether this is a live member that may be probed and asked."""
        standing = self.table.get(key)
        return standing is not None and standing.state < DEAD and key != self.me and key not in self.muted

    def others(self) -> Sequence[bytes]:
        """Return all live members but ourselves; not to be kept or changed."""
        return self._ring

    def list_entries(self, low: bytes, high: bytes) -> dict[bytes, Standing]:
        """Return who lies in a range of keys, in the order of keys. O(members), for exchanges only."""
        return {key: self.table[key] for key in sorted(self.table) if low <= key <= high}
