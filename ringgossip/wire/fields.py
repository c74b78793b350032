"""What may a field of a message be? Its limits, which are checked before memory is taken."""

from typing import Annotated

from ringgossip.frozen import frozen


@frozen
class Bytes:
    """Limits of a bytes field; `multiple` says that flat items of that size are joined."""

    max: int
    min: int = 0
    multiple: int = 1


@frozen
class Text:
    """Limit of a str field, in UTF-8 bytes."""

    max: int


@frozen
class Whole:
    """Limits of an int field."""

    max: int = 2**63 - 1
    min: int = 0


@frozen
class Items:
    """How many items a tuple field may have."""

    max: int


Peer = Annotated[bytes, Bytes(16, 16)]
Hash = Annotated[bytes, Bytes(32, 32)]
Short = Annotated[bytes, Bytes(8, 8)]
Count = Annotated[int, Whole()]
Request = Annotated[int, Whole(2**32 - 1)]
Packed = Annotated[bytes, Bytes(1000)]  # one record
Card = Annotated[bytes, Bytes(1200)]  # one member's signed card
Certificate = Annotated[bytes, Bytes(1024)]  # DER
Indices = Annotated[tuple[Count, ...], Items(1024)]


@frozen
class Message:
    """The root of all messages."""
