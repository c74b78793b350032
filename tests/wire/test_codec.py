"""Messages come back as they were sent, and bytes from strangers only ever raise `PeerMisbehaved`."""

import json
import math
import tracemalloc
from pathlib import Path
from typing import Annotated, Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringgossip.errors import PeerMisbehaved
from ringgossip.frozen import frozen
from ringgossip.wire import codec
from ringgossip.wire.codec import Decoder, Shape, UnknownMessage, decode, encode, shapes_of
from ringgossip.wire.frames import MAX_FRAME_BYTES
from ringgossip.wire.messages import (
    MESSAGES,
    TAGS,
    Busy,
    Bytes,
    GetChunks,
    Have,
    HaveMore,
    HoldingsWanted,
    Interest,
    Items,
    Message,
    News,
    NewsKnown,
    NoChunks,
    Records,
    RecordsWanted,
    Text,
    Whole,
)

GOLDEN = Path(__file__).with_name("golden.json")

every_message = pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: message.__name__)


def values(shape: Shape) -> st.SearchStrategy[Any]:
    """Return a strategy for everything that a field may be (long ones up to a size that is quick)."""
    limits = shape.limits
    made: st.SearchStrategy[Any]
    if isinstance(limits, Bytes):
        least = -(-limits.min // limits.multiple)
        most = max(least, min(limits.max, 40 * limits.multiple) // limits.multiple)
        made = st.integers(least, most).flatmap(
            lambda n: st.binary(min_size=n * limits.multiple, max_size=n * limits.multiple)
        )
    elif isinstance(limits, Text):
        made = st.text(st.characters(exclude_categories=("C", "Z")), max_size=limits.max // 4)
    elif isinstance(limits, Whole):
        made = st.integers(limits.min, limits.max)
    elif isinstance(limits, Items):
        item = values(shape.parts[0])
        made = st.integers(0, min(limits.max, 20)).flatmap(
            lambda n: st.lists(item, min_size=n, max_size=n).map(tuple)
        )
    elif shape.type is bool:
        made = st.booleans()
    elif shape.type is float:
        made = st.floats(allow_nan=False, allow_infinity=False)
    else:
        made = st.tuples(*(values(part) for part in shape.parts))
    return st.none() | made if shape.optional else made


def some(message: type[Message]) -> st.SearchStrategy[Message]:
    return st.builds(message, **{name: values(shape) for name, shape in shapes_of(message).items()})


def largest(shape: Shape) -> Any:
    """Return the value of this shape that takes the most bytes."""
    limits = shape.limits
    if isinstance(limits, Bytes):
        return b"\xff" * limits.max
    if isinstance(limits, Text):
        return "x" * limits.max
    if isinstance(limits, Whole):
        return limits.max
    if isinstance(limits, Items):
        return (largest(shape.parts[0]),) * limits.max
    if shape.type is tuple:
        return tuple(largest(part) for part in shape.parts)
    return True if shape.type is bool else 1.5


def example(shape: Shape, place: int) -> Any:
    """Return the same value for ever, another one for each place."""
    limits = shape.limits
    if isinstance(limits, Bytes):
        size = max(limits.min, limits.multiple, min(limits.max, 3) // limits.multiple * limits.multiple)
        return bytes((place * 16 + n) % 256 for n in range(size))
    if isinstance(limits, Text):
        return f"text {place}"
    if isinstance(limits, Whole):
        return max(limits.min, min(limits.max, 1000 * place))
    if isinstance(limits, Items):
        return tuple(example(shape.parts[0], place + n) for n in range(min(2, limits.max)))
    if shape.type is tuple:
        return tuple(example(part, place + n) for n, part in enumerate(shape.parts))
    return place % 2 == 1 if shape.type is bool else place / 2


def example_of(message: type[Message]) -> Message:
    shapes = shapes_of(message)
    return message(**{name: example(shape, n) for n, (name, shape) in enumerate(shapes.items(), 1)})


def refused(data: bytes) -> str:
    with pytest.raises(PeerMisbehaved) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is sent comes back -----------------------------------------------------


@every_message
def test_a_message_comes_back_as_it_was_sent(message: type[Message]) -> None:
    @settings(max_examples=25, deadline=None)
    @given(some(message))
    def check(sent: Message) -> None:
        packed = encode(sent)
        assert decode(packed) == sent
        assert decode(memoryview(packed)) == sent

    check()


@every_message
def test_the_largest_message_fits_into_a_frame_and_comes_back(message: type[Message]) -> None:
    sent = message(**{name: largest(shape) for name, shape in shapes_of(message).items()})
    packed = encode(sent)
    assert len(packed) <= MAX_FRAME_BYTES
    assert decode(packed) == sent


@every_message
def test_the_wire_form_does_not_change(message: type[Message]) -> None:
    golden = json.loads(GOLDEN.read_text())
    packed = encode(example_of(message))
    assert decode(packed) == example_of(message)
    line = f'"{message.__name__}": "{packed.hex()}"'
    assert message.__name__ in golden, f"a new message: add this line to {GOLDEN.name}: {line}"
    assert golden[message.__name__] == packed.hex(), f"older peers would not understand: {line}"


def test_no_message_was_forgotten_or_dropped() -> None:
    assert set(json.loads(GOLDEN.read_text())) == {message.__name__ for message in MESSAGES.values()}
    assert len(TAGS) == len(MESSAGES)


# --- newer peers --------------------------------------------------------------------


def test_an_unknown_tag_is_no_error() -> None:
    assert decode(msgpack.packb([127, {"anything": [1, 2]}])) == UnknownMessage(127)
    assert decode(msgpack.packb([60_000])) == UnknownMessage(60_000)
    assert 60_000 not in codec._DECODERS


@every_message
def test_fields_that_a_newer_peer_adds_are_ignored(message: type[Message]) -> None:
    sent = example_of(message)
    extended = msgpack.packb([*msgpack.unpackb(encode(sent)), b"new", [1, [2]], None])
    assert decode(extended) == sent


@frozen
class Grown(Message):
    """A message whose second version has more fields."""

    old: Annotated[int, Whole(9)]
    flag: bool = True
    rows: Annotated[tuple[tuple[Annotated[bytes, Bytes(2, 2)], Annotated[int, Whole(3)]], ...], Items(4)] = ()
    extra: Annotated[str, Text(5)] | None = None


def test_fields_that_an_older_peer_lacks_take_their_defaults() -> None:
    decoder = Decoder(Grown)
    assert decoder.read(msgpack.packb([9, 1])) == Grown(1)
    assert decoder.read(msgpack.packb([9, 1, False])) == Grown(1, False)
    full = Grown(1, False, ((b"ab", 3), (b"cd", 0)), "hello")
    assert decoder.read(msgpack.packb([9, 1, False, [[b"ab", 3], [b"cd", 0]], "hello"])) == full


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ([9], "Grown has 0 fields, at least 1 are needed"),
        ([9, 10], "Grown.old is 10, out of its range"),
        ([9, True], "Grown.old is bool, not int"),
        ([9, None], "Grown.old is NoneType, not int"),
        ([9, 1, 1], "Grown.flag is int, not bool"),
        ([9, 1, True, [[b"ab"]]], "Grown.rows has an item that is not what it should be"),
        ([9, 1, True, [[b"abc", 1]]], "Grown.rows has an item that is not what it should be"),
        ([9, 1, True, [[b"ab", 4]]], "Grown.rows has an item that is not what it should be"),
        ([9, 1, True, [[b"ab", 1]] * 5], "Grown.rows has 5 items, at most 4 are allowed"),
        ([9, 1, True, [], "sechs!"], "Grown.extra has 6 bytes, 0 to 5 are allowed"),
        ([9, 1, True, [], "äöü"], "Grown.extra has 6 bytes, 0 to 5 are allowed"),
    ],
)
def test_every_broken_limit_has_its_own_reason(wire: list[Any], reason: str) -> None:
    with pytest.raises(PeerMisbehaved) as caught:
        Decoder(Grown).read(msgpack.packb(wire))
    assert str(caught.value) == reason


def test_a_field_without_limits_is_our_own_error() -> None:
    @frozen
    class Careless(Message):
        data: bytes

    with pytest.raises(TypeError, match="needs Bytes"):
        Decoder(Careless)


# --- what is refused -------------------------------------------------------------------


def wire(message: type[Message], *fields: Any) -> bytes:
    return msgpack.packb([TAGS[message], *fields])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not begin with a tag"),
        (b"\x90", "does not begin with a tag"),
        (b"\x01\x02", "does not begin with a tag"),
        (b"\xdc\x00", "does not begin with a tag"),
        (b"\x91\xff", "does not begin with a tag"),
        (b"\x91\xcd\x01", "does not begin with a tag"),
        (b"\xdd\xff\xff\xff\xff\x01", "does not begin with a tag"),
        (wire(HoldingsWanted) + b"\0", "extra data"),
        (wire(Interest, bytes(32), True)[:-1], "incomplete"),
        (wire(Interest, bytes(31), True), "Interest.root has 31 bytes, 32 to 32 are allowed"),
        (wire(Interest, "x" * 32, True), "Interest.root is str, not bytes"),
        (wire(Interest, bytes(32)), "Interest has 1 fields, at least 2 are needed"),
        (wire(NewsKnown, bytes(9)), "NewsKnown.hashes has 9 bytes, no multiple of 8"),
        (wire(News, [bytes(1)] * 65), "News.records has 65 items, at most 64 are allowed"),
        (wire(News, [bytes(1001)]), "News.records has an item"),
        (wire(News, {}), "News.records is dict, not tuple"),
        (wire(News, {1: 2}), "max_map_len"),
        (wire(News, [msgpack.ExtType(5, b"")]), "News.records has an item"),
        (wire(News, [msgpack.ExtType(5, b"x")]), "max_ext_len"),
        (wire(News, [b""] * 200), "max_array_len"),
        (wire(Records, [b""] * 3000), "Records has more than"),
        (wire(Records, [bytes(1000)] * 3, [[[[[[[1]]]]]]]), "Records is nested more than 6 deep"),
        (wire(Records, [bytes(1000)] * 3, {}), "Records holds a map"),
        (wire(GetChunks, -1, bytes(32), []), "GetChunks.request is -1, out of its range"),
        (wire(GetChunks, 2**32, bytes(32), []), "GetChunks.request is 4294967296, out of its range"),
        (wire(GetChunks, 1, bytes(32), [True]), "GetChunks.indices has an item"),
        (wire(GetChunks, 1, bytes(32), [2**63]), "GetChunks.indices has an item"),
        (wire(Busy, 1, math.nan), "Busy.retry_after is nan, out of its range"),
        (wire(Busy, 1, -math.inf), "Busy.retry_after is -inf, out of its range"),
        (wire(NoChunks, 1, bytes(32), [], b"reason"), "NoChunks.reason is bytes, not str"),
        (wire(RecordsWanted, "games", bytes(70_000)), "RecordsWanted of 70013 bytes, at most"),
        (wire(HoldingsWanted) + bytes(5000), "HoldingsWanted of 5002 bytes, at most"),
    ],
)
def test_what_breaks_a_limit_is_refused_with_one_reason(data: bytes, reason: str) -> None:
    assert reason in refused(data)


def test_what_others_say_moves_no_cursor_and_forges_no_line() -> None:
    said = NoChunks(1, bytes(32), (), "gone\x1b[2J\nready: all is well \u202e")
    heard = decode(encode(said))
    assert isinstance(heard, NoChunks)
    assert heard.reason == r"gone\x1b[2J\nready: all is well \u202e" and heard.reason.isprintable()
    long = decode(encode(NoChunks(1, bytes(32), (), "\x1b" * 200)))
    assert isinstance(long, NoChunks) and encode(long)
    assert len(long.reason) == 200
    plain = NoChunks(1, bytes(32), (), "größer als erlaubt: 日本語")
    assert decode(encode(plain)) == plain


def test_text_that_is_not_utf8_is_refused() -> None:
    head = bytes([0x95, TAGS[NoChunks]]) + b"\x01\xc4\x20" + bytes(32) + b"\x90"
    assert "damaged" in refused(head + b"\xa1\xff")


def test_a_number_without_a_fraction_may_be_written_as_one() -> None:
    assert decode(encode(Busy(1, 2))) == Busy(1, 2.0)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x94" + bytes([TAGS[Have]]) + b"\xdd\x00\x0d\x00\x00" + b"\x90" * 850_000,
        b"\x92" + bytes([TAGS[Records]]) + (b"\xdc\x01\xf4" + b"\x91" * 500) * 800,
        b"\x92" + bytes([TAGS[Records]]) + b"\xdc\x01\xf4" + (b"\xdc\x01\xf4" + b"\x01" * 500) * 500,
        b"\x92" + bytes([TAGS[Records]]) + b"\xdc\x01\xf4" * 160_000,
        b"\x92" + bytes([TAGS[Records]]) + b"\x91" * 480_000,
        b"\x92" + bytes([TAGS[Records]]) + b"\x81\x01" * 200_000,
        b"\x92" + bytes([TAGS[Records]]) + b"\x92\xdf\xff\xff\xff\xff" + bytes(100_000),
        b"\x92" + bytes([TAGS[Records]]) + b"\xc6\xff\xff\xff\xff" + bytes(100_000),
    ],
    ids=["wide", "nested wide", "a table", "nested claims", "deep", "maps", "a map", "a length"],
)
def test_a_bomb_is_refused_before_it_takes_memory(bomb: bytes) -> None:
    assert len(bomb) <= MAX_FRAME_BYTES
    tracemalloc.start()
    try:
        refused(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000


def test_a_bomb_in_a_datagram_stays_small() -> None:
    bomb = b"\x92" + bytes([TAGS[HaveMore]]) + b"\xdc\x04\x00" * 430
    tracemalloc.start()
    try:
        refused(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_only_ever_raise_peer_misbehaved(data: bytes) -> None:
    harmless(data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=3000))
def test_random_bytes_behind_a_known_tag_only_ever_raise_peer_misbehaved(tag: int, data: bytes) -> None:
    harmless(bytes([0x90 + len(data) % 15 + 1, tag]) + data)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(MESSAGES)), st.lists(json_like, max_size=6))
def test_wrong_values_behind_a_known_tag_only_ever_raise_peer_misbehaved(tag: int, fields: list[Any]) -> None:
    harmless(msgpack.packb([tag, *fields]))


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(MESSAGES.values(), key=lambda message: message.__name__)).flatmap(some),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4),
    st.integers(0, 10),
)
def test_damaged_messages_only_ever_raise_peer_misbehaved(
    sent: Message, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(encode(sent))
    for place, byte in changes:
        data[place % len(data)] = byte
    harmless(bytes(data[: len(data) - cut]))


def harmless(data: bytes) -> None:
    """Decode: a message within its limits, an unknown one, or `PeerMisbehaved`; whatever came can go on."""
    try:
        got = decode(data)
    except PeerMisbehaved:
        return
    if not isinstance(got, UnknownMessage):
        assert decode(encode(got)) == got
