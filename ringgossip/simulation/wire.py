"""How large is a message here, and does it survive the real wire?

`real` packs every message with the codec of production and unpacks it at the
other side, so that a message that breaks its own limits is found. `sized` only
measures, and hands the object over.
"""

from typing import Any

from ringgossip.simulation.dialects import CURRENT, Dialect
from ringgossip.wire.codec import UnknownMessage, decode, encode
from ringgossip.wire.frames import HEADER_BYTES
from ringgossip.wire.messages import Message
from ringgossip.wire.seal import MAX_PLAINTEXT_BYTES, OVERHEAD_BYTES

# What UDP, TCP and IP add: a datagram's headers, and a share of a segment's.
UDP_BYTES = 28


class BrokenLimit(AssertionError):
    """A machine made a message that its own wire refuses."""


class Wire:
    """Turns messages into what the network carries and back."""

    __slots__ = ("real",)

    def __init__(self, real: bool) -> None:
        self.real = real

    def datagram(self, message: Message, dialect: Dialect = CURRENT) -> tuple[Any, int]:
        """Return what to carry and its length on the wire, seal and headers included."""
        packed = encode(message)
        if len(packed) > MAX_PLAINTEXT_BYTES:
            name = type(message).__name__
            raise BrokenLimit(f"{name} of {len(packed)} bytes: a datagram holds {MAX_PLAINTEXT_BYTES}")
        if not self.real:
            return message, len(packed) + OVERHEAD_BYTES + UDP_BYTES
        packed = dialect.spoken(packed)
        return packed, len(packed) + OVERHEAD_BYTES + UDP_BYTES

    def frame(self, message: Message, dialect: Dialect = CURRENT) -> tuple[Any, int]:
        """Return what to carry on a link and its length."""
        packed = encode(message)
        if not self.real:
            return message, len(packed) + HEADER_BYTES
        packed = dialect.spoken(packed)
        return packed, len(packed) + HEADER_BYTES

    def open(self, carried: Any) -> Message | UnknownMessage:
        """Return the message; raises `PeerMisbehaved` for one that breaks its limits."""
        # Liars say bytes on either wire.
        return decode(carried) if type(carried) is bytes else carried
