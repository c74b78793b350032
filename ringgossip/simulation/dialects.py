"""How does a peer of another version speak? It lacks some messages, or knows more than we do.

Peers skip tags that they do not know and ignore fields beyond those they know;
these two dialects see to it that everybody else may rely on that.
"""

from dataclasses import dataclass

import msgpack

from ringgossip.wire.messages import CancelChunks, HaveMore, Message, Nack, NewsKnown, Placed, PlaceWanted

# What makes things faster and nothing else possible: an older peer may well lack it.
_LUXURIES = frozenset({NewsKnown, Nack, HaveMore, CancelChunks, PlaceWanted, Placed})


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a version knows."""

    name: str
    lacks: frozenset[type[Message]] = frozenset()
    more_fields: bool = False

    def spoken(self, packed: bytes) -> bytes:
        """Return a packed message as this version packs it."""
        if not self.more_fields:
            return packed
        fields = msgpack.unpackb(packed, use_list=True)
        longer: bytes = msgpack.packb([*fields, 7, b"new"])
        return longer


CURRENT = Dialect("current")
DIALECTS: dict[str, Dialect] = {
    "current": CURRENT,
    "older": Dialect("older", lacks=_LUXURIES),
    "newer": Dialect("newer", more_fields=True),
}
