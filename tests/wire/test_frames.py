"""Frames and bodies come out as they went in, however the stream is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringgossip.errors import PeerMisbehaved
from ringgossip.wire.frames import MAX_BODY_BYTES, MAX_FRAME_BYTES, FrameReader, pack_frame


class Stream:
    """Bytes that arrive in pieces of given sizes, over and over."""

    def __init__(self, data: bytes, cuts: list[int]) -> None:
        self.data, self.cuts, self.place, self.turn = data, cuts, 0, 0

    def recv_into(self, target: memoryview) -> int:
        size = min(len(target), self.cuts[self.turn % len(self.cuts)], len(self.data) - self.place)
        assert size > 0, "asked for more than was sent, or into no room"
        target[:size] = self.data[self.place : self.place + size]
        self.place += size
        self.turn += 1
        return size


def read_all(stream: Stream, count: int) -> list[tuple[bytes, bytes]]:
    """Read `count` frames; one that begins with `B` has a body, whose length is the rest of it."""
    reader = FrameReader()
    out = []
    while len(out) < count:
        frame = reader.next_frame()
        if frame is None:
            reader.received(stream.recv_into(reader.writable()))
            continue
        head, body = bytes(frame), b""
        if head[:1] == b"B":
            length = int(head[1:])
            buffer = bytearray(length)
            target = memoryview(buffer)
            reader.expect_body(length)
            early = reader.take_body()
            target[: len(early)] = early
            while reader.body_left:
                reader.body_received(stream.recv_into(target[length - reader.body_left :]))
            body = bytes(buffer)
        out.append((head, body))
    assert reader.between_frames
    assert stream.place == len(stream.data)
    return out


def said(sizes: list[tuple[bool, int]]) -> list[tuple[bytes, bytes]]:
    parts = []
    for number, (has_body, size) in enumerate(sizes):
        filling = (number + 1).to_bytes(2, "big") * (size // 2 + 1)
        parts.append((b"B%d" % size, filling[:size]) if has_body else (b"m" + filling[: size - 1], b""))
    return parts


def on_the_wire(parts: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(pack_frame(head) + body for head, body in parts)


sizes = st.one_of(st.integers(1, 50), st.integers(1, 40_000))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 8).flatmap(lambda n: st.lists(st.tuples(st.booleans(), sizes), min_size=n, max_size=n)),
    st.lists(st.one_of(st.integers(1, 9), st.integers(1, 70_000)), min_size=1, max_size=6),
)
def test_any_split_of_the_stream_gives_the_same_frames_and_bodies(
    shape: list[tuple[bool, int]], cuts: list[int]
) -> None:
    if sum(size for _, size in shape) / min(cuts) > 20_000:
        cuts = [cut + 50 for cut in cuts]
    parts = said(shape)
    assert read_all(Stream(on_the_wire(parts), cuts), len(parts)) == parts


def test_the_longest_frame_and_a_long_body_arrive() -> None:
    parts = [(b"m" * MAX_FRAME_BYTES, b""), (b"B1000000", bytes(1_000_000)), (b"m", b"")]
    assert read_all(Stream(on_the_wire(parts), [16_384, 7]), 3) == parts


def test_one_byte_at_a_time_is_enough() -> None:
    parts = said([(False, 3), (True, 5), (False, 1), (True, 1)])
    assert read_all(Stream(on_the_wire(parts), [1]), 4) == parts


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_a_frame_over_the_limit_is_refused_before_there_is_memory_for_it(length: int) -> None:
    reader = FrameReader()
    reader.writable()[:4] = length.to_bytes(4, "big")
    reader.received(4)
    with pytest.raises(PeerMisbehaved, match=f"frame of {length} bytes"):
        reader.next_frame()
    assert len(reader.writable()) <= 16 * 1024


def test_first_words_can_be_held_shorter() -> None:
    reader = FrameReader(limit=100)
    reader.writable()[:4] = (101).to_bytes(4, "big")
    reader.received(4)
    with pytest.raises(PeerMisbehaved, match="1 to 100 are allowed"):
        reader.next_frame()


@pytest.mark.parametrize("length", [0, -1, MAX_BODY_BYTES + 1])
def test_a_body_over_the_limit_is_refused(length: int) -> None:
    with pytest.raises(PeerMisbehaved, match="body of"):
        FrameReader().expect_body(length)


def test_a_big_frame_does_not_keep_its_memory() -> None:
    reader = FrameReader()
    stream = Stream(on_the_wire([(b"m" * 500_000, b""), (b"x", b"")]), [16_384])
    while (frame := reader.next_frame()) is None:
        reader.received(stream.recv_into(reader.writable()))
    assert len(frame) == 500_000
    del frame
    assert len(reader.writable()) <= 16 * 1024


def test_a_stream_that_ends_inside_a_frame_or_body_is_noticed() -> None:
    reader = FrameReader()
    assert reader.between_frames
    for byte in pack_frame(b"hello")[:-1]:
        reader.writable()[0] = byte
        reader.received(1)
        assert reader.next_frame() is None
        assert not reader.between_frames
    reader.writable()[0] = ord("o")
    reader.received(1)
    assert bytes(reader.next_frame() or b"") == b"hello"
    assert reader.between_frames
    reader.expect_body(2)
    assert not reader.between_frames


def test_misuse_by_the_runtime_is_our_own_error() -> None:
    reader = FrameReader()
    reader.expect_body(3)
    for wrong in (reader.writable, reader.next_frame, lambda: reader.body_received(4)):
        with pytest.raises(RuntimeError):
            wrong()
    with pytest.raises(ValueError, match="a frame holds"):
        pack_frame(b"")
    with pytest.raises(ValueError, match="a frame holds"):
        pack_frame(bytes(MAX_FRAME_BYTES + 1))
