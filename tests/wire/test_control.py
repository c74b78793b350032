"""Does the talk of the control socket survive what comes over it?"""

import pytest

from ringgossip import errors
from ringgossip.errors import ArtifactRefused, ConfigError, OperationFailed, PeerMisbehaved, RinggossipError
from ringgossip.wire.control import Lines, pack, pack_error, unpack, unpack_error


def test_a_message_is_one_line_and_comes_back() -> None:
    message = {"call": "publish", "with": {"path": "/a\nb\u2028ü", "copies": 2, "quality": 0.5, "name": None}}
    line = pack(message)
    assert line.count(b"\n") == 1
    assert unpack(line) == message


@pytest.mark.parametrize("cut", [1, 2, 3, 1000])
def test_lines_come_out_whole_however_the_stream_is_cut(cut: int) -> None:
    stream, lines, found = b"one\n\ntwo\nthree", Lines(10), []
    for start in range(0, len(stream), cut):
        lines.feed(stream[start : start + cut])
        while (line := lines.next()) is not None:
            found.append(line)
    assert found == [b"one", b"", b"two"]
    assert lines.size == len(b"three")


@pytest.mark.parametrize("stream", [b"x" * 11, b"x" * 11 + b"\n", b"ok\n" + b"x" * 11])
def test_a_line_that_is_too_long_is_refused_before_it_ends(stream: bytes) -> None:
    lines = Lines(10)
    lines.feed(stream)
    with pytest.raises(PeerMisbehaved, match="longer than 10 bytes"):
        while lines.next() is not None:
            pass


def test_a_line_of_exactly_the_limit_passes() -> None:
    lines = Lines(10)
    lines.feed(b"x" * 10 + b"\n")
    assert lines.next() == b"x" * 10


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"1", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_refused(line: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        unpack(line)


def every_error() -> list[type[RinggossipError]]:
    return [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RinggossipError)
    ]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_crosses_with_its_class_and_text(kind: type[RinggossipError]) -> None:
    back = unpack_error(unpack(pack(pack_error(kind("torn: publish it again")))))
    assert type(back) is kind
    assert str(back) == "torn: publish it again"
    assert back.exit_code == kind.exit_code


def test_a_private_error_crosses_as_the_nearest_public_one() -> None:
    class Torn(ArtifactRefused):
        pass

    assert type(unpack_error(pack_error(Torn("x")))) is ArtifactRefused


@pytest.mark.parametrize("kind", ["NoSuchError", "Any", "", "__name__", None])
def test_an_error_of_an_unknown_class_is_still_one_of_ours(kind: object) -> None:
    assert type(unpack_error({"kind": kind, "text": "x"})) is OperationFailed


def test_a_usage_error_keeps_its_exit_code() -> None:
    assert unpack_error(pack_error(ConfigError("a:1:1: x"))).exit_code == 2
