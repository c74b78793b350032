"""Does a record arrive exactly as it was signed, and is everything else refused?"""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.content.record import (
    MAX_RECORD_BYTES,
    ArtifactKey,
    Record,
    record_signed_bytes,
    unpack_record,
    verify_record,
)
from ringgossip.errors import PeerMisbehaved, UsageError

FIELDS = [
    "kind",
    "origin",
    "name",
    "sequence",
    "stamp",
    "store",
    "size",
    "chunk_size",
    "root",
    "metadata",
    "signer",
]


def repack(record: Record, body: bytes | None = None, **changes: Any) -> bytes:
    """The record as a wrongdoer would send it, with some fields replaced."""
    fields = list(msgpack.unpackb(record.body))
    for label, value in changes.items():
        fields[FIELDS.index(label)] = value
    packed: bytes = msgpack.packb([msgpack.packb(fields) if body is None else body, record.signature])
    return packed


def test_a_record_travels_and_is_verified(alice: Any) -> None:
    record = alice.record(metadata={"quality": 0.8, "board_type": "hex8", "best": True, "note": None})
    assert unpack_record(record.packed) == record
    assert unpack_record(record.packed).packed == record.packed
    assert record.metadata == {"quality": 0.8, "board_type": "hex8", "best": True, "note": None}
    assert record.key.text == "models/alice/canonical_hex8_2p.pth"
    assert verify_record(record, "ringrift", alice) is None


def test_a_withdrawal_travels_and_says_again_what_it_ends(alice: Any) -> None:
    record, ended = alice.record(), alice.record(sequence=2, withdrawn=True)
    assert unpack_record(ended.packed) == ended
    assert (record.withdrawn, ended.withdrawn) == (False, True)
    assert (ended.root, ended.size, ended.metadata) == (record.root, record.size, record.metadata)
    assert verify_record(ended, "ringrift", alice) is None
    fields = msgpack.unpackb(record.body)
    # A field of a later version is no withdrawal, and no reason to refuse: others would admit it.
    for more in ([False], [1], ["withdrawn"], [None, True], [{}]):
        assert not unpack_record(repack(record, msgpack.packb([*fields, *more]))).withdrawn


def test_the_order_in_which_metadata_is_given_does_not_matter(alice: Any) -> None:
    assert alice.record(metadata={"a": 1, "b": 2}).body == alice.record(metadata={"b": 2, "a": 1}).body


def test_the_signature_binds_cluster_and_every_byte_of_the_body(
    alice: Any, author: Callable[..., Any]
) -> None:
    record = alice.record()
    assert "cluster" in (verify_record(record, "other", alice) or "")
    elsewhere = alice.record(cluster="other")
    assert "signature" in (verify_record(elsewhere, "ringrift", alice) or "")
    changed = unpack_record(repack(record, sequence=2))
    assert "signature" in (verify_record(changed, "ringrift", alice) or "")
    assert record_signed_bytes("ab", b"c") != record_signed_bytes("a", b"bc")


def test_only_the_origin_may_sign_its_names(alice: Any, author: Callable[..., Any]) -> None:
    mallory = author("mallory")
    forged = mallory.record(origin="alice")
    assert "only alice may publish" in (verify_record(forged, "ringrift", mallory) or "")
    assert "another certificate" in (verify_record(forged, "ringrift", alice) or "")


def test_unknown_fields_at_the_end_are_kept_under_the_signature(alice: Any) -> None:
    body = msgpack.packb([*msgpack.unpackb(alice.record().body), "later", {"x": [1]}])
    signature = alice.sign(record_signed_bytes("ringrift", body))
    record = unpack_record(msgpack.packb([body, signature]))
    assert record.body == body
    assert verify_record(record, "ringrift", alice) is None
    assert record.hash != alice.record().hash


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "movies"},
        {"kind": 7},
        {"origin": "a/b"},
        {"origin": ""},
        {"name": "../x"},
        {"name": b"bytes"},
        {"name": None},
        {"sequence": 0},
        {"sequence": -1},
        {"sequence": 2**53},
        {"sequence": True},
        {"sequence": 1.0},
        {"stamp": 2**48 + 1},
        {"stamp": -1},
        {"store": bytes(7)},
        {"store": "12345678"},
        {"size": -1},
        {"size": 2**53},
        {"size": 2**52, "chunk_size": 4096},
        {"size": 0},
        {"chunk_size": 5000},
        {"chunk_size": 2**25},
        {"chunk_size": True},
        {"root": bytes(31)},
        {"signer": bytes(32)},
        {"metadata": {"a": 1}},
        {"metadata": msgpack.packb({"a": [1]})},
        {"metadata": msgpack.packb({1: "a"})},
        {"metadata": msgpack.packb({"a": float("nan")})},
        {"metadata": msgpack.packb({"a": b"x"})},
        {"metadata": msgpack.packb([["a", 1]])},
        {"metadata": b"\x82\xa1a\x01\xa1a\x02"},
        {"metadata": b""},
        {"metadata": b"\xc1"},
        {"metadata": msgpack.packb({"a": "x" * 510})},
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(alice: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(PeerMisbehaved, match="breaks a rule"):
        unpack_record(repack(alice.record(), **changes))


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        msgpack.packb([]),
        msgpack.packb({}),
        msgpack.packb(["body", b"s" * 64]),
        msgpack.packb([b"body", b"s" * 64]),
        msgpack.packb([b"body", b"s" * 63]),
        msgpack.packb([msgpack.packb(list(range(10))), b"s" * 64]),
        msgpack.packb([msgpack.packb([[]] * 11), b"s" * 64]),
        b"\x91" * 900,
        b"\xdd\xff\xff\xff\xff",
        bytes(MAX_RECORD_BYTES + 1),
    ],
)
def test_what_is_no_record_is_refused(packed: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        unpack_record(packed)


@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_damage_never_raises_anything_but_misbehaviour(garbage: bytes, at: int) -> None:
    good = _GOOD
    at %= len(good)
    for packed in (garbage, good[:at], good[:at] + garbage[:3] + good[at + 3 :], good + garbage):
        try:
            unpack_record(packed)
        except PeerMisbehaved:
            pass


def test_a_record_that_is_too_long_or_has_a_third_part_is_refused(alice: Any) -> None:
    record = alice.record()
    body = msgpack.packb([*msgpack.unpackb(record.body), "x" * 900])
    with pytest.raises(PeerMisbehaved, match="at most 1000"):
        unpack_record(repack(record, body))
    with pytest.raises(PeerMisbehaved, match="body and signature"):
        unpack_record(msgpack.packb([record.body, record.signature, 1]))


def test_bytes_after_a_record_are_refused(alice: Any) -> None:
    with pytest.raises(PeerMisbehaved):
        unpack_record(alice.record().packed + b"\x00")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../x"},
        {"name": "\ud800"},
        {"metadata": {"a": [1]}},
        {"metadata": {1: "a"}},
        {"metadata": {"a": 2**70}},
        {"metadata": {"a": float("inf")}},
        {"metadata": {"a": "x" * 600}},
        {"kind": "game"},
        {"sequence": 0},
        {
            "name": "n" * 127 + "/" + "n" * 127,
            "metadata": {"a": "x" * 506},
            "sequence": 2**52,
            "size": 2**40,
            "chunk_size": 2**24,
            "stamp": 2**48,
            "origin": "o" * 64,
        },
    ],
)
def test_an_author_hears_of_a_broken_rule_before_anything_is_signed(
    alice: Any, changes: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        alice.record(**changes)


def test_keys_are_parsed_as_people_write_them() -> None:
    key = ArtifactKey.parse("models/node-1/hex8/best.pth")
    assert key == ArtifactKey("models", "node-1", "hex8/best.pth")
    assert ArtifactKey.parse(key.text) == key
    assert key.hash != ArtifactKey("npz", "node-1", "hex8/best.pth").hash
    for text in ("", "models/node-1", "movies/node-1/x", "models/no de/x", "models/node-1/../x"):
        with pytest.raises(UsageError):
            ArtifactKey.parse(text)


def test_an_empty_file_has_a_record(alice: Any) -> None:
    assert unpack_record(alice.record(size=0).packed).size == 0


# A record with an arbitrary signature: unpacking does not look at it.
_GOOD = msgpack.packb(
    [
        msgpack.packb(
            ["npz", "alice", "x.npz", 1, 1, bytes(8), 5, 4096, bytes(32), msgpack.packb({"a": 1}), bytes(16)]
        ),
        bytes(64),
    ]
)
