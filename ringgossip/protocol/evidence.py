"""Which of two statements about a member is believed? The larger one, always.

Statements about one boot of a member are ordered by (incarnation, state), with
alive < suspect < dead < left; boots are ordered before that. The order is total,
so whoever has heard the same statements, in whatever order and however often,
believes the same, and nothing that was overridden comes back. Only the member
itself raises its incarnation: that is how it refutes.

SWIM's table says the same but for one row. There, "dead" overrides every
"alive" of that life, and a member that was wrongly declared dead must come back
under another name; here it refutes that like a suspicion, which heals partitions.
Source: SWIM (Das et al. 2002), section 4.2.
"""

from functools import lru_cache
from struct import Struct
from typing import Final

from ringgossip.protocol.cards import Card

ALIVE: Final = 0
SUSPECT: Final = 1
DEAD: Final = 2
LEFT: Final = 3
STATE_NAMES: Final = ("alive", "suspect", "dead", "left")

MAX_INCARNATION: Final = 2**32 - 1

# key, boot, incarnation, state; then the accuser (4 bytes) or the version of the card.
UPDATE_BYTES: Final = 25
NOBODY: Final = bytes(4)
_HEAD = Struct(">8sQIB")
_UPDATE = Struct(">8sQIB4s")

Update = tuple[bytes, int, int, int, bytes]


class Standing:
    """What is believed about one member. Never changed, so that many views share one."""

    __slots__ = ("card", "incarnation", "state")

    def __init__(self, card: Card, incarnation: int, state: int) -> None:
        self.card = card
        self.incarnation = incarnation
        self.state = state

    def pack(self, accuser: bytes = NOBODY) -> bytes:
        """Return this as an update for news."""
        card = self.card
        return _HEAD.pack(card.key, card.boot, self.incarnation, self.state) + accuser

    def list_entry(self) -> bytes:
        """Return this as an entry of a list of members."""
        return self.pack(self.card.version.to_bytes(4, "big"))

    def has_begun(self, boot: int) -> bool:
        """Tell whether it lives that life, and nobody was ever heard to doubt it."""
        return self.state == ALIVE and self.incarnation == 0 and self.card.boot == boot

    def is_overridden_by(self, boot: int, incarnation: int, state: int) -> bool:
        """Tell whether a statement says more than this one."""
        return (boot, incarnation, state) > (self.card.boot, self.incarnation, self.state)


@lru_cache(maxsize=4096)
def standing_of(card: Card, incarnation: int, state: int) -> Standing:
    """Return the one standing that says this."""
    return Standing(card, incarnation, state)


def read_updates(packed: bytes) -> list[Update]:
    """Cut joined updates; those with a state that is not known here are left out."""
    return [update for update in _UPDATE.iter_unpack(packed) if update[3] <= LEFT]
