"""Where does a file fall into chunks, and what are their hashes?

Chunks have a fixed size, a power of two; only the last one may be shorter.
Fixed cuts, because databases change their pages in place, and zipped tensors
gain nothing from cuts that follow the content.
Source: design section 4.
"""

from collections.abc import Callable
from typing import Final, Protocol

from ringgossip.content.hashing import HASH_BYTES, hash_bytes
from ringgossip.errors import ArtifactRefused, UsageError

MIN_CHUNK_SIZE: Final = 4 * 1024  # A page of SQLite and of most file systems.
MAX_CHUNK_SIZE: Final = 16 * 1024 * 1024  # A receiver holds some whole chunks in memory.
MAX_SIZE: Final = 2**53 - 1  # What JSON carries exactly.
MAX_CHUNKS: Final = 2**32 - 1  # A chunk's index fits four bytes.

# One read serves many small chunks: fewer system calls.
_READ_BYTES: Final = 1024 * 1024


class Readable(Protocol):
    """A binary file, as `open(path, "rb", buffering=0)` gives it."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


def chunk_size_problem(chunk_size: int) -> str | None:
    """Return why `chunk_size` cannot be used, or None when it can."""
    if MIN_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE and chunk_size & (chunk_size - 1) == 0:
        return None
    return f"chunk size {chunk_size} is no power of two from 4096 to 16777216"


def check_chunk_size(chunk_size: int) -> int:
    """Return `chunk_size` if it is a power of two from 4 KiB to 16 MiB, else raise `UsageError`."""
    problem = chunk_size_problem(chunk_size)
    if problem is not None:
        raise UsageError(problem)
    return chunk_size


def chunk_count(size: int, chunk_size: int) -> int:
    """Return into how many chunks `size` bytes fall: 0 for an empty file."""
    return -(-size // chunk_size)


def chunk_length(index: int, size: int, chunk_size: int) -> int:
    """Return the length of chunk `index`; raise `IndexError` where there is none."""
    if not 0 <= index < chunk_count(size, chunk_size):
        raise IndexError(f"chunk {index} of {chunk_count(size, chunk_size)}")
    return min(chunk_size, size - index * chunk_size)


def hash_stream(source: Readable | Callable[[memoryview], int | None], size: int, chunk_size: int) -> bytes:
    """Read `size` bytes and return the hashes of their chunks, 32 bytes each, joined.

    `source` is a binary file or a function that reads into a buffer and returns
    how many bytes it read, 0 at the end. Takes one buffer of at most 16 MiB and
    the hashes, whatever the size. Bytes beyond `size` are not read.

    Raises `ArtifactRefused` when the source ends early: somebody cut the file
    while it was read. Whoever calls looks at the file again afterwards.
    """
    check_chunk_size(chunk_size)
    read_into = source if callable(source) else source.readinto
    hashes = bytearray()
    remaining = size
    with memoryview(bytearray(min(max(chunk_size, _READ_BYTES), max(size, 1)))) as buffer:
        while remaining:
            wanted = min(len(buffer), remaining)
            filled = 0
            while filled < wanted:
                got = read_into(buffer[filled:wanted])
                if not got:
                    raise ArtifactRefused(
                        f"the file ended {remaining - filled} bytes early: it was cut while it was read; "
                        "publish it when its writer has finished"
                    )
                filled += got
            for start in range(0, wanted, chunk_size):
                hashes += hash_bytes(buffer[start : min(start + chunk_size, wanted)])
            remaining -= wanted
    assert len(hashes) == HASH_BYTES * chunk_count(size, chunk_size)
    return bytes(hashes)
