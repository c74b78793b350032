"""How long would a message be if it were packed? A sum, without packing it.

Two messages of one kind differ in length only by their numbers, texts and bytes,
so a function is compiled for each kind from the annotations of its fields.
`tests/simulation/test_sizes.py` compares it with the codec of production.
Source: msgpack's specification of formats.
"""

from collections.abc import Callable
from typing import Any

from ringgossip.wire.codec import Shape, shapes_of
from ringgossip.wire.messages import TAGS, Message


def packed_size(message: Message) -> int:
    """Return `len(encode(message))`."""
    return _SIZES[type(message)](message)


def _whole(value: int) -> int:
    if value < 0x80:
        return 1
    if value < 0x10000:
        return 2 if value < 0x100 else 3
    return 5 if value < 0x100000000 else 9


def _bytes(length: int) -> int:
    if length < 0x100:
        return length + 2
    return length + (3 if length < 0x10000 else 5)


def _text(value: str) -> int:
    length = len(value.encode())
    return length + 1 if length < 32 else _bytes(length)


def _array(length: int) -> int:
    if length < 16:
        return 1
    return 3 if length < 0x10000 else 5


def _expression(shape: Shape, value: str, depth: int = 0) -> str:
    """Return the Python expression for the packed size of `value`."""
    if shape.type is int:
        size = f"whole({value})"
    elif shape.type is bytes:
        size = f"data(len({value}))"
    elif shape.type is str:
        size = f"text({value})"
    elif shape.type is bool:
        size = "1"
    elif shape.type is float:
        # Whoever makes the message may write 1 for 1.0.
        size = f"(9 if type({value}) is float else whole({value}))"
    elif shape.limits is not None:
        item = f"v{depth}"
        each = _expression(shape.parts[0], item, depth + 1)
        size = f"(array(len({value})) + sum([{each} for {item} in {value}]))"
    else:
        parts = (_expression(part, f"{value}[{n}]", depth) for n, part in enumerate(shape.parts))
        size = f"({' + '.join([str(_array(len(shape.parts))), *parts])})"
    return f"(1 if {value} is None else {size})" if shape.optional else size


def _compiled(kind: type[Message]) -> Callable[[Any], int]:
    shapes = shapes_of(kind)
    terms = [str(_array(1 + len(shapes)) + _whole(TAGS[kind]))]
    terms += [_expression(shape, f"message.{name}") for name, shape in shapes.items()]
    space: dict[str, Any] = {"whole": _whole, "data": _bytes, "text": _text, "array": _array}
    exec(f"def size(message): return {' + '.join(terms)}", space)
    size: Callable[[Any], int] = space["size"]
    return size


class _Sizes(dict[type[Message], Callable[[Any], int]]):
    def __missing__(self, kind: type[Message]) -> Callable[[Any], int]:
        size = self[kind] = _compiled(kind)
        return size


_SIZES = _Sizes()
