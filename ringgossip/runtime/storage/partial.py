"""One file in progress: which chunks are written, and which are surely on disk?

Two sets: `written` is what we serve and finish by; `synced` is what the index
says after a crash. A chunk enters the second only after fdatasync returned and
the index was committed, so a chunk is never trusted that a power cut took, and
never fetched again once it was synced.

A sync that fails is the last word about a file: Linux forgets what it could not
write, and the next sync succeeds all the same (the trouble PostgreSQL had in
2018). What was not synced before is then fetched again.
"""

import os
import stat
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Condition, Lock, Thread
from time import monotonic
from typing import Final

from ringgossip.content.chunking import chunk_length
from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record
from ringgossip.errors import StoreError
from ringgossip.runtime.storage import ledger
from ringgossip.runtime.storage.disk import ChunkMissing, Handle, read_at, set_room_aside, trouble, write_at
from ringgossip.runtime.storage.index import Index
from ringgossip.runtime.storage.places import BitSet

SYNC_BYTES: Final = 32 * 2**20  # Written bytes after which a file is synced in the background...
SYNC_SECONDS: Final = 2.0  # ... and how long a written chunk waits at most.
TIDY_SECONDS: Final = 20.0


class Partial:
    """A partial file, open. Thread-safe; chunks may be written by several threads at once."""

    def __init__(
        self,
        record: Record,
        manifest: Manifest,
        path: Path,
        known: ledger.PartialRow | None,
        on_much_written: Callable[[], None],
    ) -> None:
        """Open or make the file; chunks of `known` are trusted only if it is the same file."""
        self._on_much_written = on_much_written
        self.record = record
        self.manifest = manifest
        self.path = path
        self.orphan_inode: int | None = None  # an unknown file at the replica's place with the same bytes
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(path, flags, 0o666)
        except OSError as problem:
            raise trouble(problem, f"{path} cannot be made") from None
        self._handle = Handle(fd)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                raise StoreError(f"{path} is no file of ours: move it away")
            same = known is not None and known.inode == found.st_ino and found.st_size == record.size
            if not same:
                os.ftruncate(fd, 0)
                set_room_aside(fd, record.size)
        except OSError as problem:
            self._handle.close()
            raise trouble(problem, f"{path} cannot be made") from None
        except StoreError:
            # It is tried again and again: each time would cost a descriptor.
            self._handle.close()
            raise
        self.inode = found.st_ino
        self.written = BitSet(manifest.chunk_count, known.have if known is not None and same else b"")
        self.synced = self.written.packed()  # what a sync brought to the disk
        self.row_committed: Future[None] | None = None
        self._failed = False  # a sync did: what was written since the one before may be lost
        self._dirty = 0
        self._dirty_since = 0.0
        self._lock = Lock()
        self._syncing = Lock()
        self._writing = Lock()

    @property
    def have(self) -> int:
        """The chunks that are written, as a bit set."""
        with self._lock:
            return self.written.as_int()

    def handle(self) -> Handle:
        """The open file, for whoever writes many chunks at once."""
        return self._handle

    def write(self, index: int, view: memoryview) -> None:
        """Put a verified chunk in its place; raises `StoreError` when the disk refuses."""
        try:
            # One at a time: the kernel would let the others spin, which costs as much as the copy.
            with self._handle as fd, self._writing:
                if index in self.written:
                    # It came twice. The file may be visible already: its times tell that it is unchanged.
                    return
                write_at(fd, view, index * self.record.chunk_size)
                self.note_written((index,), len(view))
        except OSError as problem:
            raise trouble(problem, f"{self.record.key.text} cannot be written") from None

    def fill(self, first: int, count: int, write: Callable[[int, int, int], None]) -> bool:
        """Have `write(fd, offset, length)` put unproven bytes into chunks; False if one is proven already.

        They are nothing until `note_written`. Raises `OSError`.
        """
        with self._handle as fd, self._writing:
            if any(index in self.written for index in range(first, first + count)):
                return False
            write(fd, first * self.record.chunk_size, self.span(first, count))
            return True

    def read_back(self, index: int, view: memoryview) -> int:
        """Read from chunk `index` on, whatever lies there; return how many bytes."""
        try:
            with self._handle as fd:
                return read_at(fd, view, index * self.record.chunk_size)
        except OSError as problem:
            raise trouble(problem, f"{self.path} cannot be read") from None

    def note_written(self, indices: tuple[int, ...] | range | list[int], length: int) -> None:
        """These verified chunks, `length` bytes in all, are in the file."""
        with self._lock:
            for index in indices:
                self.written.add(index)
            if not self._dirty:
                self._dirty_since = monotonic()
            self._dirty += length
            much = self._dirty >= SYNC_BYTES > self._dirty - length
        if much:
            self._on_much_written()

    def read(self, index: int, view: memoryview) -> None:
        """Fill `view` with a chunk that this process, or one before it, verified."""
        with self._lock:
            if index >= self.written.length or index not in self.written or self._failed:
                raise ChunkMissing("not here yet")
        try:
            with self._handle as fd:
                got = read_at(fd, view, index * self.record.chunk_size)
        except OSError as problem:
            raise trouble(problem, f"{self.path} cannot be read") from None
        if got < len(view):
            raise StoreError(f"{self.path} was cut short")

    def length(self, index: int) -> int:
        return chunk_length(index, self.record.size, self.record.chunk_size)

    def span(self, first: int, count: int) -> int:
        """Return how many bytes `count` chunks from `first` on have."""
        return (count - 1) * self.record.chunk_size + self.length(first + count - 1)

    def due(self, now: float) -> bool:
        """Tell whether it is time to sync."""
        if self._failed:
            return False
        return self._dirty >= SYNC_BYTES or (self._dirty > 0 and now >= self._dirty_since + SYNC_SECONDS)

    def sync(self, index: Index, *, wait: bool = True) -> None:
        """Bring everything written to the disk, then say so in the index."""
        with self._syncing:
            with self._lock:
                written, self._dirty = self.written.packed(), 0
            self._bring_to_disk(os.fdatasync)
            self.synced = written
            root = self.record.root
            committed = index.call(lambda database: ledger.set_have(database, root, written))
        if wait:
            committed.result()

    def flush(self) -> None:
        """Bring everything to the disk; the index need not know, since the file becomes visible now."""
        with self._syncing:
            self._bring_to_disk(os.fsync)

    def _bring_to_disk(self, sync: Callable[[int], None]) -> None:
        name = self.record.key.text
        if self._failed:
            raise StoreError(f"{name} could not be synced: what the disk lost is fetched again")
        try:
            with self._handle as fd:
                sync(fd)
        except OSError as problem:
            self._failed = True
            raise trouble(problem, f"{name} cannot be synced") from None

    def close(self) -> None:
        """Close the file when its last reader is done."""
        self._handle.close()


class Keeper:
    """The thread that syncs files while they are filled, so that the last sync is short; it tidies too."""

    def __init__(
        self,
        partials: Callable[[], list[Partial]],
        index: Index,
        tidy: Callable[[], object],
        on_trouble: Callable[[str], None],
    ) -> None:
        """Start it; `tidy` is called now and then, and may raise `StoreError`."""
        self._partials = partials
        self._index = index
        self._tidy = tidy
        self._on_trouble = on_trouble
        self._wake = Condition()
        self._closed = False
        self._thread = Thread(target=self._run, name="ringgossip keeper", daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """Look now: a file has much to sync, or is the first that is filled."""
        with self._wake:
            self._wake.notify()

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        tidied = monotonic()
        while True:
            with self._wake:
                if self._closed:
                    return
                self._wake.wait(SYNC_SECONDS / 4 if self._partials() else TIDY_SECONDS)
            now = monotonic()
            # Syncing all the while they are filled makes the last sync short.
            for partial in self._partials():
                if partial.due(now):
                    try:
                        partial.sync(self._index)
                    except ChunkMissing:
                        continue  # Finished or given up meanwhile.
                    except StoreError as problem:
                        self._on_trouble(str(problem))
            if now >= tidied + TIDY_SECONDS:
                tidied = now
                try:
                    self._tidy()
                except StoreError as problem:
                    self._on_trouble(str(problem))
