"""A message is as long as the sum of its fields says: compared with the codec, for every kind of message."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.simulation.sizes import packed_size
from ringgossip.wire.codec import Shape, encode, shapes_of
from ringgossip.wire.messages import TAGS, Bytes, Items, Message, Text, Whole

# Around each length and each number at which msgpack takes a longer header.
EDGES = (0, 1, 15, 16, 31, 32, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1)


def value_of(shape: Shape) -> st.SearchStrategy[Any]:
    limits = shape.limits
    if isinstance(limits, Whole):
        low, high = limits.min, limits.max
        edges = [edge for edge in EDGES if low <= edge <= high]
        found: st.SearchStrategy[Any] = st.sampled_from([low, high, *edges]) | st.integers(low, high)
    elif isinstance(limits, Bytes):
        most = min(limits.max, 70_000)
        lengths = [edge for edge in (limits.min, *EDGES) if limits.min <= edge <= most]
        found = st.sampled_from(lengths).map(lambda n: bytes(n - n % limits.multiple))
    elif isinstance(limits, Text):
        found = st.text(max_size=min(limits.max, 300) // 4) | st.just("x" * min(limits.max, 40))
    elif isinstance(limits, Items):
        most = min(limits.max, 40)
        found = st.lists(value_of(shape.parts[0]), max_size=most).map(tuple)
    elif shape.type is tuple:
        found = st.tuples(*(value_of(part) for part in shape.parts))
    elif shape.type is bool:
        found = st.booleans()
    else:
        found = st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 1000)
    return st.none() | found if shape.optional else found


@pytest.mark.parametrize("kind", TAGS, ids=lambda kind: kind.__name__)
def test_a_message_is_as_long_as_its_fields_say(kind: type[Message]) -> None:
    @given(st.tuples(*(value_of(shape) for shape in shapes_of(kind).values())))
    def holds(values: tuple[Any, ...]) -> None:
        message = kind(*values)
        assert packed_size(message) == len(encode(message))

    holds()
