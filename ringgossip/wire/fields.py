"""What may a field of a message be? Its limits, which are checked before memory is taken."""

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any


@dataclass(frozen=True, slots=True)
class Bytes:
    """Limits of a bytes field; `multiple` says that flat items of that size are joined."""

    max: int
    min: int = 0
    multiple: int = 1


@dataclass(frozen=True, slots=True)
class Text:
    """Limit of a str field, in UTF-8 bytes."""

    max: int


@dataclass(frozen=True, slots=True)
class Whole:
    """Limits of an int field."""

    max: int = 2**63 - 1
    min: int = 0


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Message:
    """The root of all messages."""


def quicken(kinds: Iterable[type]) -> None:
    """Let instances of these frozen dataclasses be made in a third of the time, by plain assignments.

    Frozen they stay for mypy, which reads their decorator: it refuses whoever changes a field. At
    run time nothing stands in the way any more, since that is what makes a frozen object dear.
    """
    for kind in kinds:
        space: dict[str, Any] = {}
        arguments, body = ["self"], []
        for field in fields(kind):
            body.append(f" self.{field.name} = {field.name}")
            if field.default is not MISSING:
                space[f"default_{field.name}"] = field.default
                arguments.append(f"{field.name}=default_{field.name}")
            else:
                arguments.append(field.name)
        exec("\n".join([f"def __init__({', '.join(arguments)}):", *(body or [" pass"])]), space)
        kind.__init__ = space["__init__"]  # type: ignore[misc]
        for guard in ("__setattr__", "__delattr__"):
            if guard in vars(kind):
                delattr(kind, guard)
