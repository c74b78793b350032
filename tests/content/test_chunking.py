"""Do the chunks of a file cover it, and are their hashes those of its bytes?"""

import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.content.chunking import (
    check_chunk_size,
    chunk_count,
    chunk_length,
    hash_stream,
)
from ringgossip.content.hashing import HASH_BYTES, hash_bytes, hash_tagged
from ringgossip.errors import ArtifactRefused, UsageError


def test_a_hash_is_blake3_and_a_tag_changes_it() -> None:
    # The published test vector of the empty input.
    assert hash_bytes(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert len({hash_bytes(b"x"), hash_tagged("a", b"x"), hash_tagged("b", b"x")}) == 3
    assert hash_tagged("a", b"x", b"y") == hash_tagged("a", b"xy")


@given(st.integers(0, 10**7), st.sampled_from([4096, 65536, 2**20]))
def test_chunk_lengths_add_up_to_the_size(size: int, chunk_size: int) -> None:
    lengths = [chunk_length(i, size, chunk_size) for i in range(chunk_count(size, chunk_size))]
    assert sum(lengths) == size
    assert all(length == chunk_size for length in lengths[:-1])
    assert all(0 < length <= chunk_size for length in lengths)


def test_there_is_no_chunk_outside_the_file() -> None:
    for index in (-1, 2):
        with pytest.raises(IndexError):
            chunk_length(index, 8192, 4096)


@pytest.mark.parametrize("chunk_size", [0, 1, 2048, 4097, 12288, 2**25, -4096])
def test_a_chunk_size_that_is_no_power_of_two_in_range_is_refused(chunk_size: int) -> None:
    with pytest.raises(UsageError, match="power of two"):
        check_chunk_size(chunk_size)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 2**20, 2**20 + 1, 3 * 2**20 + 5000])
def test_a_stream_hashes_to_the_hashes_of_its_chunks(size: int) -> None:
    data = bytes(i * 31 % 251 for i in range(size))
    expected = b"".join(hash_bytes(data[at : at + 4096]) for at in range(0, size, 4096))
    assert hash_stream(io.BytesIO(data), size, 4096) == expected


def test_short_reads_do_not_move_the_cuts() -> None:
    data = bytes(range(256)) * 100
    file = io.BytesIO(data)

    def read_a_little(buffer: memoryview) -> int:
        return file.readinto(buffer[:777])

    assert hash_stream(read_a_little, len(data), 4096) == hash_stream(io.BytesIO(data), len(data), 4096)


def test_a_file_cut_while_it_is_read_is_refused() -> None:
    with pytest.raises(ArtifactRefused, match="1000 bytes early"):
        hash_stream(io.BytesIO(bytes(9000)), 10000, 4096)


def test_bytes_appended_meanwhile_are_not_read() -> None:
    file = io.BytesIO(bytes(10000))
    hash_stream(file, 5000, 4096)
    assert file.tell() == 5000


def test_memory_does_not_grow_with_the_file() -> None:
    tracemalloc.start()
    try:
        hashes = hash_stream(lambda buffer: len(buffer), 256 * 2**20, 2**20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(hashes) == 256 * HASH_BYTES
    assert peak < 2 * 2**20
