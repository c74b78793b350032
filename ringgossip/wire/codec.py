"""How does a message become bytes, and how much of what comes back is believed?

A message is the msgpack array `[tag, field, ...]`. Its limits stand in the
annotations of `messages`; from them one decoder is compiled per message, at first
use. What happens to bytes from another machine, in this order:

1. The tag is read by itself. An unknown one is `UnknownMessage`: skipped, no error.
2. What is longer than this message can be is refused before anything is unpacked.
3. A long message is counted through: one byte can claim an array of thousands,
   so a megabyte of them would be a hundred megabytes of objects.
4. It is unpacked: no maps, no extension types, no hooks, arrays bounded.
5. Every field is held against its type and limits; what is not printable in a text
   is escaped. Fields beyond the known ones are ignored: they are a newer peer's.

Whatever fails raises `PeerMisbehaved` with one reason, and nothing else is raised.
Bytes fields hold what others packed (records, cards) and are copied, never unpacked here.
"""

import types
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from math import isfinite
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgpack
from msgpack import unpackb

from ringgossip.errors import PeerMisbehaved
from ringgossip.wire.messages import MESSAGES, TAGS, Bytes, Items, Message, Text, Whole

# How much more than it knows a peer reads over in silence: fields that newer peers add.
SPARE_BYTES = 4096
SPARE_VALUES = 64

# Below this no bomb fits: unpacking is cheaper than counting first.
_SHORT_BYTES = 2048
_MAX_DEPTH = 6


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A message with a tag that this version does not know; the caller counts it."""

    tag: int


def encode(message: Message) -> bytes:
    """Return the wire form of `message`."""
    return _ENCODERS[type(message)](message)


def decode(data: bytes | memoryview) -> Message | UnknownMessage:
    """Return the message in `data`, all of it, or raise `PeerMisbehaved` with the reason."""
    # A short array and a small tag, as nearly all have them, need no more than this look.
    tag = data[1] if len(data) > 1 and 0x90 < data[0] < 0xA0 and data[1] < 0x80 else _tag(data)
    decoder = _DECODERS[tag]
    if decoder is None:
        return UnknownMessage(tag)
    return decoder.read(data)


def _tag(data: bytes | memoryview) -> int:
    """Read the array's header and the tag in it; tags are small whole numbers."""
    if len(data) >= 2:
        first = data[0]
        at = 1 if 0x91 <= first <= 0x9F else 3 if first == 0xDC else 0
        if at and len(data) > at:
            if data[at] <= 0x7F:
                return data[at]
            size = {0xCC: 1, 0xCD: 2}.get(data[at])
            if size is not None and len(data) > at + size:
                return int.from_bytes(data[at + 1 : at + 1 + size], "big")
    raise PeerMisbehaved("message does not begin with a tag")


# --- what an annotation allows ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """What one field may be: a scalar within limits, a tuple of one shape, or a row of several."""

    type: type
    limits: Bytes | Text | Whole | Items | None
    parts: tuple["Shape", ...] = ()
    optional: bool = False

    @property
    def most_values(self) -> int:
        """How many msgpack values this can be at most, itself included."""
        if isinstance(self.limits, Items):
            return 1 + self.limits.max * self.parts[0].most_values
        return 1 + sum(part.most_values for part in self.parts)

    @property
    def most_bytes(self) -> int:
        """How many bytes this can be at most; headers are counted at their longest."""
        if isinstance(self.limits, Items):
            return 5 + self.limits.max * self.parts[0].most_bytes
        if isinstance(self.limits, Bytes | Text):
            return 5 + self.limits.max
        return 9 + sum(part.most_bytes for part in self.parts)

    @property
    def most_items(self) -> int:
        """The length of the longest array in this."""
        own = self.limits.max if isinstance(self.limits, Items) else len(self.parts)
        return max([own, *(part.most_items for part in self.parts)])


def shape_of(hint: Any, limits: Any = None) -> Shape:
    """Read an annotation; raises `TypeError` for one without the limits it needs."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *notes = get_args(hint)
        known = [note for note in notes if isinstance(note, Bytes | Text | Whole | Items)]
        return shape_of(inner, known[0] if known else limits)
    if origin in (Union, types.UnionType):
        inner = [part for part in get_args(hint) if part is not type(None)]
        if len(inner) != 1:
            raise TypeError(f"a field has one type, or that and None: {hint}")
        shape = shape_of(inner[0], limits)
        return Shape(shape.type, shape.limits, shape.parts, optional=True)
    if origin is tuple:
        parts = get_args(hint)
        if len(parts) == 2 and parts[1] is Ellipsis:
            if not isinstance(limits, Items):
                raise TypeError(f"{hint} needs Items(max)")
            return Shape(tuple, limits, (shape_of(parts[0]),))
        return Shape(tuple, None, tuple(shape_of(part) for part in parts))
    needs = {bytes: Bytes, str: Text, int: Whole}.get(hint)
    if needs is not None and not isinstance(limits, needs):
        raise TypeError(f"{hint} needs {needs.__name__}(...)")
    if needs is None and hint not in (bool, float):
        raise TypeError(f"no wire form for {hint}")
    return Shape(hint, limits)


def shapes_of(message: type[Message]) -> dict[str, Shape]:
    """Return what each field of a message may be, in order."""
    hints = get_type_hints(message, include_extras=True)
    return {field.name: shape_of(hints[field.name]) for field in fields(message)}


def _wrong(shape: Shape, value: str, depth: int = 0) -> str:
    """Return the Python expression that is true when `value` breaks its limits."""
    limits = shape.limits
    tests = [f"type({value}) is not {shape.type.__name__}"]
    if isinstance(limits, Whole):
        tests.append(f"not {limits.min} <= {value} <= {limits.max}")
    elif isinstance(limits, Bytes):
        if limits.min == limits.max:
            tests.append(f"len({value}) != {limits.max}")
        elif limits.min:
            tests.append(f"not {limits.min} <= len({value}) <= {limits.max}")
        else:
            tests.append(f"len({value}) > {limits.max}")
        if limits.multiple > 1:
            tests.append(f"len({value}) % {limits.multiple}")
    elif isinstance(limits, Text):
        tests += [f"len({value}) > {limits.max}", f"len({value}.encode()) > {limits.max}"]
    elif isinstance(limits, Items):
        item = f"v{depth}"
        tests.append(f"len({value}) > {limits.max}")
        tests.append(f"any([{_wrong(shape.parts[0], item, depth + 1)} for {item} in {value}])")
    elif shape.type is float:
        # Whoever makes the message may write 1 for 1.0.
        tests = [f"type({value}) not in (float, int)", f"not isfinite({value})"]
    elif shape.type is tuple:
        tests.append(f"len({value}) != {len(shape.parts)}")
        tests += [_wrong(part, f"{value}[{n}]", depth) for n, part in enumerate(shape.parts)]
    test = "(" + " or ".join(tests) + ")"
    return f"({value} is not None and {test})" if shape.optional else test


# --- one decoder and one encoder per message ------------------------------------------


class Decoder:
    """Reads one kind of message. Its check of the fields is compiled Python, made from the annotations."""

    def __init__(self, message: type[Message]) -> None:
        shapes = shapes_of(message)
        self.name = message.__name__
        self.message = message
        self.most_bytes = 8 + sum(shape.most_bytes for shape in shapes.values()) + SPARE_BYTES
        self.most_values = 2 + sum(shape.most_values for shape in shapes.values()) + SPARE_VALUES
        longest = max([0, *(shape.most_items for shape in shapes.values())])
        self._longest = max(longest, 1 + len(shapes) + SPARE_VALUES)
        self._build = _compile(message, shapes)

    def read(self, data: bytes | memoryview) -> Message:
        """Return the message, or raise `PeerMisbehaved`."""
        size = len(data)
        if size > _SHORT_BYTES:
            if size > self.most_bytes:
                raise PeerMisbehaved(f"{self.name} of {size} bytes, at most {self.most_bytes} are allowed")
            count_through(data, self.most_values, self.name)
        try:
            # Written out: handing limits on in a dict takes longer than unpacking a probe.
            values = unpackb(data, use_list=False, max_array_len=self._longest, max_map_len=0, max_ext_len=0)
        except (ValueError, msgpack.UnpackException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise PeerMisbehaved(f"{self.name} is damaged: {reason:.100}") from None
        return self._build(values)


def _compile(message: type[Message], shapes: dict[str, Shape]) -> Callable[[tuple[Any, ...]], Message]:
    """Return a function from the unpacked array to the message, with every check written out in line."""
    name = message.__name__
    required = [f.name for f in fields(message) if f.default is MISSING and f.default_factory is MISSING]
    if required != list(shapes)[: len(required)]:
        raise TypeError(f"{name}: fields with a default come last")
    lines = ["def build(values):", " count = len(values)"]
    lines += [f" if count < {1 + len(required)}: fail_short(count)"]
    for number, (field, shape) in enumerate(shapes.items(), 1):
        if number > len(required):
            arguments = ", ".join(list(shapes)[: number - 1])
            lines += [f" if count == {number}: return message({arguments})"]
        lines += [f" {field} = values[{number}]", f" if {_wrong(shape, field)}: fail({number - 1}, {field})"]
        if isinstance(shape.limits, Text):
            # Reasons and words end up on terminals and in logs, where a sign can do harm or forge a line.
            plain = f"ascii({field})[1:-1][:{shape.limits.max}]"
            lines += [f" if {field} and not {field}.isprintable(): {field} = {plain}"]
    lines += [f" return message({', '.join(shapes)})"]
    listed = list(shapes.items())

    def fail(number: int, value: Any) -> None:
        field, shape = listed[number]
        raise PeerMisbehaved(f"{name}.{field} {_complaint(shape, value)}")

    def fail_short(count: int) -> None:
        raise PeerMisbehaved(f"{name} has {count - 1} fields, at least {len(required)} are needed")

    space: dict[str, Any] = {"message": message, "fail": fail, "fail_short": fail_short, "isfinite": isfinite}
    exec(compile("\n".join(lines), f"<decoder of {name}>", "exec"), space)
    build: Callable[[tuple[Any, ...]], Message] = space["build"]
    return build


def _complaint(shape: Shape, value: Any) -> str:
    """Say in words what is wrong with a value that was found wrong."""
    allowed = (float, int) if shape.type is float else (shape.type,)
    if type(value) not in allowed:
        return f"is {type(value).__name__}, not {shape.type.__name__}"
    limits = shape.limits
    if isinstance(limits, Whole) or shape.type is float:
        return f"is {value!r:.30}, out of its range"
    if isinstance(limits, Bytes) and limits.min <= len(value) <= limits.max:
        return f"has {len(value)} bytes, no multiple of {limits.multiple}"
    if isinstance(limits, Bytes | Text):
        size = len(value.encode()) if isinstance(value, str) else len(value)
        return f"has {size} bytes, {getattr(limits, 'min', 0)} to {limits.max} are allowed"
    if isinstance(limits, Items) and len(value) > limits.max:
        return f"has {len(value)} items, at most {limits.max} are allowed"
    return "has an item that is not what it should be"


_PACKER = msgpack.Packer()


def _encoder(message: type[Message]) -> Callable[[Any], bytes]:
    values = "".join(f", message.{field.name}" for field in fields(message))
    # One packer for all: making one takes longer than packing. It calls nothing back, so no thread
    # can come in between.
    space: dict[str, Any] = {"pack": _PACKER.pack}
    exec(f"def encode(message): return pack(({TAGS[message]}{values},))", space)
    encoder: Callable[[Any], bytes] = space["encode"]
    return encoder


class _Decoders(dict[int, "Decoder | None"]):
    """Tag -> decoder, made at first use. Unknown tags are not kept: strangers could choose many."""

    def __missing__(self, tag: int) -> Decoder | None:
        message = MESSAGES.get(tag)
        if message is None:
            return None
        decoder = self[tag] = Decoder(message)
        return decoder


class _Encoders(dict[type[Message], Callable[[Any], bytes]]):
    def __missing__(self, message: type[Message]) -> Callable[[Any], bytes]:
        encoder = self[message] = _encoder(message)
        return encoder


_DECODERS = _Decoders()
_ENCODERS = _Encoders()


# --- counting without unpacking ---------------------------------------------------------


def _sizes() -> list[int]:
    """Return for each first byte of a msgpack value its size; -n: n bytes of length follow; 0: special."""
    sizes = [1] * 0x80 + [0] * 0x20 + [1 + n for n in range(0x20)] + [0] * 0x20 + [1] * 0x20
    sizes[0xC0] = sizes[0xC2] = sizes[0xC3] = 1
    for first, size in {0xC4: -1, 0xC5: -2, 0xC6: -4, 0xD9: -1, 0xDA: -2, 0xDB: -4}.items():
        sizes[first] = size
    sizes[0xCA], sizes[0xCB] = 5, 9
    for power in range(4):
        sizes[0xCC + power] = sizes[0xD0 + power] = 1 + (1 << power)
    return sizes


_SIZES = _sizes()


def count_through(data: bytes | memoryview, most_values: int, name: str) -> None:
    """Raise `PeerMisbehaved` if `data` is more than `most_values` values or nested more than 6 deep.

    Takes no memory. Whether the bytes are whole is left to the unpacker.
    """
    at, end, claimed = 0, len(data), 1
    left = 1  # values that the innermost open array still lacks
    outer: list[int] = []  # the same of the arrays around it
    while at < end:
        while not left:
            if not outer:
                return
            left = outer.pop()
        left -= 1
        first = data[at]
        size = _SIZES[first]
        if size > 0:
            at += size
        elif size < 0:
            at += 1 - size + int.from_bytes(data[at + 1 : at + 1 - size], "big")
        elif 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
            width = 0 if first <= 0x9F else 2 if first == 0xDC else 4
            count = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else first & 0x0F
            at += 1 + width
            claimed += count
            if claimed > most_values:
                raise PeerMisbehaved(f"{name} has more than {most_values} values")
            outer.append(left)
            left = count
            if len(outer) > _MAX_DEPTH:
                raise PeerMisbehaved(f"{name} is nested more than {_MAX_DEPTH} deep")
        else:
            raise PeerMisbehaved(f"{name} holds a map or an extension type")
