"""Does a manifest prove every chunk, and can nobody slip a false page into it?"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.content.chunking import chunk_count
from ringgossip.content.hashing import HASH_BYTES
from ringgossip.content.manifest import (
    HASHES_PER_PAGE,
    PAGE_BYTES,
    Manifest,
    ManifestBuilder,
    PageId,
    root_hash,
)

CHUNK = 4096


def make_manifest(chunks: int, seed: int = 0, last: int = 1) -> Manifest:
    """A manifest of `chunks` random hashes; its last chunk is `last` bytes long."""
    size = (chunks - 1) * CHUNK + last if chunks else 0
    return Manifest(size, CHUNK, random.Random(seed).randbytes(chunks * HASH_BYTES))


def fetch(builder: ManifestBuilder, source: Manifest) -> list[PageId]:
    """Fetch until nothing is wanted; return what was fetched."""
    fetched = []
    while pages := builder.wanted(16):
        for page in pages:
            assert builder.add(page.level, page.index, source.page(page.level, page.index))
            fetched.append(page)
    return fetched


@pytest.mark.parametrize("chunks", [0, 1, 2, 1023, 1024, 1025, 2048, 5000])
def test_a_manifest_travels_page_by_page(chunks: int) -> None:
    manifest = make_manifest(chunks)
    builder = ManifestBuilder(manifest.root, manifest.size, CHUNK)
    fetch(builder, manifest)
    assert builder.complete
    assert builder.build() == manifest
    assert builder.build().root == manifest.root


def test_three_levels_travel_too() -> None:
    manifest = make_manifest(HASHES_PER_PAGE**2 + 1)
    assert manifest.level_count == 3
    builder = ManifestBuilder(manifest.root, manifest.size, CHUNK)
    assert len(fetch(builder, manifest)) == 1 + 2 + 1025
    assert builder.build() == manifest


def test_the_root_binds_size_chunk_size_and_every_hash() -> None:
    hashes = bytes(64)
    roots = {
        Manifest(8192, 4096, hashes).root,
        Manifest(8191, 4096, hashes).root,
        Manifest(16384, 8192, hashes).root,
        Manifest(8192, 4096, hashes[:-1] + b"\x01").root,
        Manifest(0, 4096, b"").root,
        Manifest(0, 8192, b"").root,
    }
    assert len(roots) == 6


def test_a_manifest_needs_exactly_its_hashes() -> None:
    for count in (1, 3):
        with pytest.raises(ValueError, match="do not fit"):
            Manifest(8192, 4096, bytes(count * HASH_BYTES))


@given(st.data())
def test_a_changed_page_is_never_taken(data: st.DataObject) -> None:
    manifest = make_manifest(3000)
    builder = ManifestBuilder(manifest.root, manifest.size, CHUNK)
    if data.draw(st.booleans()):
        assert builder.add(1, 0, manifest.page(1, 0))
    page = data.draw(st.sampled_from(builder.wanted(10)))
    good = manifest.page(page.level, page.index)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    assert not builder.add(page.level, page.index, bad)
    assert not builder.add(page.level, page.index, good + b"x")
    assert not builder.add(page.level, page.index, good[:-1])
    assert builder.add(page.level, page.index, good)


@given(st.integers(-3, 5), st.integers(-3, 5000), st.binary(max_size=100))
def test_garbage_is_refused_and_never_raises(level: int, index: int, garbage: bytes) -> None:
    builder = ManifestBuilder(bytes(32), 10**9, CHUNK)
    assert not builder.add(level, index, garbage)
    assert not builder.complete


def test_a_false_size_takes_no_memory_and_never_completes() -> None:
    builder = ManifestBuilder(bytes(32), 2**53 - 1, CHUNK)
    assert builder.wanted(1000) == [PageId(4, 0, bytes(32))]
    assert not ManifestBuilder(bytes(32), 0, CHUNK).complete


def test_a_root_over_a_page_of_the_wrong_length_never_completes() -> None:
    signed_so = bytes(3 * HASH_BYTES)
    builder = ManifestBuilder(root_hash(8192, CHUNK, signed_so), 8192, CHUNK)
    assert not builder.add(0, 0, signed_so)


def test_a_page_below_one_that_is_not_yet_proven_is_not_taken() -> None:
    manifest = make_manifest(3000)
    builder = ManifestBuilder(manifest.root, manifest.size, CHUNK)
    assert not builder.add(0, 0, manifest.page(0, 0))


def test_pages_already_asked_for_are_left_out() -> None:
    manifest = make_manifest(3000)
    builder = ManifestBuilder(manifest.root, manifest.size, CHUNK)
    builder.add(1, 0, manifest.page(1, 0))
    assert [page.index for page in builder.wanted(9, asked={(0, 1)})] == [0, 2]


def test_only_pages_that_differ_from_an_older_version_are_fetched() -> None:
    older = make_manifest(5000)
    changed = bytearray(older.hashes)
    changed[PAGE_BYTES + 5] ^= 1
    newer = Manifest(older.size, CHUNK, bytes(changed))
    builder = ManifestBuilder(newer.root, newer.size, CHUNK)
    builder.add(1, 0, newer.page(1, 0))
    assert builder.reuse(older) == 4
    assert [(page.level, page.index) for page in fetch(builder, newer)] == [(0, 1)]
    assert builder.build() == newer


def test_a_page_is_reused_wherever_it_lies() -> None:
    older = make_manifest(2 * HASHES_PER_PAGE)
    moved = Manifest(older.size + PAGE_BYTES // HASH_BYTES * CHUNK, CHUNK, bytes(PAGE_BYTES) + older.hashes)
    builder = ManifestBuilder(moved.root, moved.size, CHUNK)
    builder.add(1, 0, moved.page(1, 0))
    assert builder.reuse(older) == 2


def test_asking_for_a_page_that_is_not_there_is_an_error() -> None:
    for level, index in [(0, 2), (1, 1), (2, 0), (-1, 0), (0, -1)]:
        with pytest.raises(IndexError):
            make_manifest(1500).page(level, index)


def test_the_manifest_of_fifty_gigabytes_is_fetched_page_by_page() -> None:
    size, chunk_size = 50 * 10**9, 65536
    hashes = random.Random(1).randbytes(chunk_count(size, chunk_size) * HASH_BYTES)
    manifest = Manifest(size, chunk_size, hashes)
    builder = ManifestBuilder(manifest.root, size, chunk_size)
    assert len(fetch(builder, manifest)) == 746 + 1
    assert builder.build().root == manifest.root
