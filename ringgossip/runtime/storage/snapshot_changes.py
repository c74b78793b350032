"""How is of a new snapshot only that kept which differs from the one before it?

As a sparse file that has the changed chunks at their places; the others are read
from a whole snapshot before it, the base, which stays for as long as anybody
leans on it (`holdings.py`). A base is never written again, so nothing that was
published can be torn by what comes after it.

A database in WAL mode is never copied whole for that: under a read transaction
each chunk of the file is read and hashed, and written only if it differs, or if
a page in it is in the WAL too. Only those can be torn or newer than the
transaction (`snapshot_bulk.py`); SQLite then brings the WAL into our sparse
file, up to the very commit that the transaction sees, and they are hashed again.
So games can be counted through the transaction. 1 GiB copied to be looked at cost 2.2 CPU
seconds, and 1.5 now, of which 0.8 to read pages that SQLite wrote one by one (measured).

Source: issue 2, point 7; design, section 7; SQLite, "WAL-mode File Format", sections 2.1 and 4.
"""

import os
import sqlite3
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringgossip.content.chunking import chunk_count, chunk_length
from ringgossip.content.hashing import HASH_BYTES, hash_bytes
from ringgossip.errors import StoreError
from ringgossip.runtime.storage.disk import copy_range, read_at, write_at
from ringgossip.runtime.storage.snapshot_bulk import refuse_if_not_sqlites

# Above this share of changed chunks a whole snapshot is kept: it is the base of those that follow.
LARGEST_SHARE: Final = 0.5
READERS: Final = 2
WAL_INDEX_HEADER_BYTES: Final = 48  # it is there twice
_WAL_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_STEP_BYTES: Final = 1 << 20


def changed_chunks(hashes: bytes, base: bytes) -> list[int]:
    """Return the chunks that are not at the same place in `base`."""
    return [
        at // HASH_BYTES
        for at in range(0, len(hashes), HASH_BYTES)
        if hashes[at : at + HASH_BYTES] != base[at : at + HASH_BYTES]
    ]


def copy_changed(whole: Path, sparse: Path, size: int, chunk_size: int, changed: list[int]) -> None:
    """Fill the new file `sparse` with these chunks of `whole`, at the same places; raises `OSError`."""
    with whole.open("rb", buffering=0) as source, sparse.open("r+b", buffering=0) as target:
        os.ftruncate(target.fileno(), size)
        for index in changed:
            at = index * chunk_size
            copy_range(source.fileno(), at, min(chunk_size, size - at), target.fileno(), at)


@dataclass(frozen=True, slots=True)
class Commit:
    """The last commit in a WAL: how many frames and database pages there are then; sizes in bytes.

    All are 0 beside an empty WAL: SQLite then goes by the database file.
    """

    frames: int
    pages: int
    page_size: int
    salt: bytes
    header: bytes  # of the wal-index: equal headers mean that nothing was committed in between

    @classmethod
    def read(cls, shm: int) -> "Commit | None":
        """Return what the open `-shm` says; None while somebody commits."""
        both = os.pread(shm, 2 * WAL_INDEX_HEADER_BYTES, 0)
        header = both[:WAL_INDEX_HEADER_BYTES]
        if (
            len(both) < 2 * WAL_INDEX_HEADER_BYTES
            or header != both[WAL_INDEX_HEADER_BYTES:]
            or not header[12]
        ):
            return None
        stated, frames, pages = struct.unpack("=HII", header[14:24])
        return cls(frames, pages, 65536 if stated == 1 else stated, header[32:40], header)

    @property
    def wal_bytes(self) -> int:
        return _WAL_HEADER_BYTES + self.frames * (_FRAME_HEADER_BYTES + self.page_size)


@dataclass(slots=True)
class Gathering:
    """Brings what changed since `base`, the hashes of a whole snapshot's chunks, into a sparse file."""

    base: bytes
    chunk_size: int
    look: Callable[[sqlite3.Connection], None]  # at the state that is copied
    hashes: bytearray = field(default_factory=bytearray)
    whole: bool = False  # so much had changed that everything was copied
    _again: set[int] = field(default_factory=set)
    _written: set[int] = field(default_factory=set)

    def gather(
        self, source: int, wal: Path, beside: Path, commit: Commit, reader: sqlite3.Connection, target: Path
    ) -> None:
        """Fill the empty file `target`, and `beside` with its WAL, under the read transaction of `reader`."""
        size = os.fstat(source).st_size
        # Without pages nothing was committed since somebody opened it first: all is in the file.
        if commit.pages:
            # A checkpoint may be about to cut off what this commit has no more.
            size = min(size, commit.pages * commit.page_size)
        self.hashes = bytearray(chunk_count(size, self.chunk_size) * HASH_BYTES)
        self._written.clear()
        # The first page tells whose WAL it is; where the file ends, or ended, a chunk is cut or filled up.
        self._again = {0, max(0, size - 1) // self.chunk_size}
        if commit.frames and _copy_wal(wal, beside, commit):
            self._again |= _chunks_in_wal(beside, commit, self.chunk_size)
            self._again.add(max(0, commit.pages * commit.page_size - 1) // self.chunk_size)
        total = len(self.hashes) // HASH_BYTES
        step = max(1, -(-total // READERS))
        with target.open("r+b", buffering=0) as file, ThreadPoolExecutor(READERS) as readers:
            os.ftruncate(file.fileno(), size)
            parts = [
                readers.submit(self._gather, source, file.fileno(), size, range(at, min(total, at + step)))
                for at in range(0, total, step)
            ]
            self.look(reader)
            for part in parts:
                self._written |= part.result()
            self.whole = len(self._written) > LARGEST_SHARE * total
            for index in range(total) if self.whole else ():
                if index not in self._written:
                    at, length = index * self.chunk_size, chunk_length(index, size, self.chunk_size)
                    copy_range(source, at, length, file.fileno(), at)

    def _gather(self, source: int, target: int, size: int, chunks: range) -> set[int]:
        """Hash these chunks; write those that differ or may be torn, and return them."""
        chunk_size, written = self.chunk_size, set()
        per_step = max(1, _STEP_BYTES // chunk_size)
        buffer = memoryview(bytearray(per_step * chunk_size))
        for first in range(chunks.start, chunks.stop, per_step):
            last = min(first + per_step, chunks.stop)
            start = first * chunk_size
            view = buffer[: min(last * chunk_size, size) - start]
            if read_at(source, view, start) < len(view):
                raise StoreError("the database was cut while it was read: it is tried again")
            for index in range(first, last):
                chunk = view[index * chunk_size - start :][:chunk_size]
                hash_, place = hash_bytes(chunk), slice(index * HASH_BYTES, (index + 1) * HASH_BYTES)
                self.hashes[place] = hash_
                if index in self._again or hash_ != self.base[place]:
                    write_at(target, chunk, index * chunk_size)
                    written.add(index)
        return written

    def settle(self, target: Path, size: int) -> None:
        """Hash what the WAL changed; `target` has `size` bytes now, and is not changed any more."""
        total = chunk_count(size, self.chunk_size)
        before = len(self.hashes) // HASH_BYTES
        del self.hashes[total * HASH_BYTES :]
        self.hashes += bytes((total - before) * HASH_BYTES)
        with target.open("rb", buffering=0) as file:
            for index in sorted(self._again | set(range(before, total))):
                if index < total:
                    chunk = memoryview(bytearray(chunk_length(index, size, self.chunk_size)))
                    read_at(file.fileno(), chunk, index * self.chunk_size)
                    self.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES] = hash_bytes(chunk)


def _copy_wal(wal: Path, beside: Path, commit: Commit) -> bool:
    """Copy a WAL up to a commit; False if it was begun anew, and so all of it is in the database already."""
    with wal.open("rb", buffering=0) as file, beside.open("wb", buffering=0) as copy:
        refuse_if_not_sqlites(file)
        copy_range(file.fileno(), 0, commit.wal_bytes, copy.fileno(), 0)
        # Only a transaction that reads nothing from the WAL lets a writer begin it anew.
        if os.pread(file.fileno(), 8, 16) == commit.salt:
            return True
    beside.unlink()
    return False


def _chunks_in_wal(wal: Path, commit: Commit, chunk_size: int) -> set[int]:
    """Return the chunks of which the WAL has a page, or part of one."""
    chunks: set[int] = set()
    with wal.open("rb", buffering=0) as file:
        for at in range(_WAL_HEADER_BYTES, commit.wal_bytes, _FRAME_HEADER_BYTES + commit.page_size):
            start = (int.from_bytes(os.pread(file.fileno(), 4, at), "big") - 1) * commit.page_size
            chunks.update(range(start // chunk_size, (start + commit.page_size - 1) // chunk_size + 1))
    return chunks


def bring_in(copy: Path, beside: Path) -> None:
    """Have SQLite prove the WAL of our sparse copy and bring it in; raises `sqlite3.Error`, `StoreError`.

    Closing does that, and nothing but the first page and the WAL is read for it.
    """
    with closing(sqlite3.connect(copy, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=OFF")
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA schema_version").fetchone()
    if beside.exists():
        raise StoreError(f"the WAL of {copy} could not be brought in")
