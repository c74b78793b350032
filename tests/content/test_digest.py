"""Is a digest a function of the set alone, whatever happened before?"""

import random
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringgossip.content.digest import LEAF_ENTRIES, Digest
from ringgossip.content.hashing import hash_bytes


def make_digest(entries: dict[bytes, bytes]) -> Digest:
    digest = Digest()
    for key, value in entries.items():
        digest.insert(key, value)
    return digest


def entries_of(digest: Digest) -> Iterator[tuple[bytes, bytes]]:
    for entry in digest.entries_at(0, 0):
        yield entry[:32], entry[32:]


def close_key(number: int) -> bytes:
    """A key whose first 60 bits are those of all others: as deep a tree as there is."""
    return bytes(7) + number.to_bytes(2) + bytes(23)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[bool, bytes, bytes]]:
    """Insertions (True) and removals of a few hundred keys, many of them close together."""
    count = draw(st.integers(1, 300))
    rng = random.Random(draw(st.integers(0, 2**32)))
    keys = [close_key(rng.getrandbits(9)) if rng.random() < 0.5 else rng.randbytes(32) for _ in range(count)]
    return [
        (rng.random() < 0.7, rng.choice(keys), hash_bytes(bytes([rng.getrandbits(2)])))
        for _ in range(2 * count)
    ]


@given(histories())
@settings(max_examples=60, deadline=None)
def test_after_any_history_the_root_is_that_of_the_set(history: list[tuple[bool, bytes, bytes]]) -> None:
    digest, model = Digest(), dict[bytes, bytes]()
    for number, (inserted, key, value) in enumerate(history):
        if inserted:
            digest.insert(key, value)
            model[key] = value
        else:
            assert digest.remove(key) == (model.pop(key, None) is not None)
        if number % 50 == 0:
            assert digest.whole_root == make_digest(model).whole_root
    fresh = make_digest(dict(sorted(model.items(), reverse=True)))
    assert digest.whole_root == fresh.whole_root
    assert list(entries_of(digest)) == sorted(model.items())
    assert len(digest) == len(model)
    for key in (key for _, key, _ in history):
        assert digest.get(key) == model.get(key)


def test_one_entry_more_less_or_changed_changes_the_root() -> None:
    rng = random.Random(4)
    for count in (0, 1, LEAF_ENTRIES, LEAF_ENTRIES + 1, 2000):
        digest = make_digest({rng.randbytes(32): rng.randbytes(32) for _ in range(count)})
        before = digest.whole_root
        assert digest.root == before[:8]
        key = rng.randbytes(32)
        digest.insert(key, bytes(32))
        more = digest.whole_root
        digest.insert(key, bytes(31) + b"\x01")
        assert len({before, more, digest.whole_root}) == 3
        digest.remove(key)
        assert digest.whole_root == before


def test_the_empty_set_has_a_root_of_zeros_and_nothing_in_it() -> None:
    digest = Digest()
    assert (digest.whole_root, digest.root, len(digest)) == (bytes(32), bytes(8), 0)
    assert digest.get(bytes(32)) is None
    assert not digest.remove(bytes(32))


@given(st.sampled_from([0, 5, 40, 700, 5000]), st.sampled_from([0, 2, 4, 6, 8, 10, 14, 64]), st.data())
@settings(deadline=None)
def test_a_hash_at_a_prefix_depends_on_the_entries_below_it_only(
    count: int, bits: int, data: st.DataObject
) -> None:
    rng = random.Random(count)
    entries = {rng.randbytes(32): rng.randbytes(32) for _ in range(count)}
    seeded = random.Random(data.draw(st.integers(0, 2**30)))
    near = seeded.randbytes(32)
    if entries and seeded.random() < 0.5:
        near = seeded.choice(sorted(entries))
    prefix = int.from_bytes(near[:8]) >> (64 - bits)
    inside = {
        key: value for key, value in entries.items() if int.from_bytes(key[:8]) >> (64 - bits) == prefix
    }
    whole, part = make_digest(entries), make_digest(inside)
    assert whole.hash_at(bits, prefix) == part.hash_at(bits, prefix)
    assert whole.count_at(bits, prefix) == len(inside)
    assert [(entry[:32], entry[32:]) for entry in whole.entries_at(bits, prefix)] == sorted(inside.items())


@given(st.integers(0, 2000), st.integers(0, 2**30))
@settings(max_examples=20, deadline=None)
def test_the_whole_is_told_apart_by_its_parts(count: int, seed: int) -> None:
    rng = random.Random(seed)
    digest = make_digest({rng.randbytes(32): rng.randbytes(32) for _ in range(count)})
    for bits in (2, 4, 6, 8):
        assert sum(digest.count_at(bits, prefix) for prefix in range(1 << bits)) == count
        runs = (run for prefix in range(1 << bits) for run in digest.entries_at(bits, prefix))
        assert list(runs) == list(digest.entries_at(0, 0))


def test_keys_and_values_must_be_hashes() -> None:
    for key, value in ((bytes(31), bytes(32)), (bytes(32), bytes(33))):
        with pytest.raises(ValueError, match="32 bytes"):
            Digest().insert(key, value)


def test_a_key_takes_little_memory() -> None:
    rng = random.Random(1)
    worst = 0.0
    tracemalloc.start()
    try:
        digest = Digest()
        before, _ = tracemalloc.get_traced_memory()
        for count in range(1, 20_001):
            digest.insert(rng.randbytes(32), rng.randbytes(32))
            if count > 1000 and count % 1000 == 0:
                _ = digest.root
                worst = max(worst, (tracemalloc.get_traced_memory()[0] - before) / count)
    finally:
        tracemalloc.stop()
    assert worst < 250
