"""How large is a message here, and does it survive the real wire?

`real` packs every message with the codec of production and unpacks it at the
other side, so that a message that breaks its own limits is found. `sized` only
says how long it would be (`sizes`), and hands the object over.
"""

from typing import Any

from ringgossip.identity import PeerId
from ringgossip.simulation.dialects import CURRENT, Dialect
from ringgossip.simulation.sizes import packed_size
from ringgossip.wire.codec import encode
from ringgossip.wire.frames import HEADER_BYTES
from ringgossip.wire.messages import Message
from ringgossip.wire.seal import MAX_PLAINTEXT_BYTES, OVERHEAD_BYTES

# What UDP, TCP and IP add: a datagram's headers, and a share of a segment's.
UDP_BYTES = 28
_DATAGRAM_BYTES = OVERHEAD_BYTES + UDP_BYTES


class BrokenLimit(AssertionError):
    """A machine made a message that its own wire refuses."""


Packet = tuple[PeerId, str, Any, int]
"""A sealed datagram: who sealed it, under which gossip key, what is in it, and the tag of that."""


class Wire:
    """Turns messages into what the network carries and back."""

    __slots__ = ("real",)

    def __init__(self, real: bool) -> None:
        self.real = real

    def datagram(self, message: Message, dialect: Dialect = CURRENT) -> tuple[Any, int]:
        """Return what to carry and its length on the wire, seal and headers included."""
        if self.real and dialect is CURRENT:
            carried: Any = encode(message)
            size = len(carried)
        else:
            carried, size = self._said(message, dialect)
        if size > MAX_PLAINTEXT_BYTES:
            name = type(message).__name__
            raise BrokenLimit(f"{name} of {size} bytes: a datagram holds {MAX_PLAINTEXT_BYTES}")
        return carried, size + _DATAGRAM_BYTES

    def frame(self, message: Message, dialect: Dialect = CURRENT) -> tuple[Any, int]:
        """Return what to carry on a link and its length."""
        carried, size = self._said(message, dialect)
        return carried, size + HEADER_BYTES

    def _said(self, message: Message, dialect: Dialect) -> tuple[Any, int]:
        # A version that knows more fields says them on either wire.
        if not self.real and not dialect.more_fields:
            return message, packed_size(message)
        packed = encode(message)
        if dialect is not CURRENT:
            packed = dialect.spoken(packed)
        return packed, len(packed)
