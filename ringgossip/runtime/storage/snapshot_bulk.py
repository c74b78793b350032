"""How is a large live database copied at the speed of the disk, and yet never torn?

`Connection.backup` moves page by page: 2.3-4 CPU seconds a GiB, where the kernel
needs 0.6 for the same bytes (measured). What makes a backup whole is not how it
moves them but the read transaction that SQLite holds meanwhile; under that the
files themselves are copied here:

- rollback mode: while a reader holds SHARED nobody writes the file.
- WAL mode: while a reader holds its mark, a checkpoint writes pages into the file
  only from frames up to that mark, and nobody begins the WAL anew over them. A
  reader that needs no WAL (mark 0) lets no checkpoint write at all. So a page that
  is torn or newer in our copy of the file is in our copy of the WAL too; SQLite
  itself then checks that WAL, frame by frame, and brings it into our copy. Only in
  the second case may a writer begin the WAL anew: its header then differs, and the
  WAL is copied again.

Source: SQLite, "WAL-mode File Format", sections 2.3 and 2.3.1; "Locking", section 3.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ringgossip.errors import SnapshotPostponed
from ringgossip.runtime.storage.disk import copy_range

# So much at a time; between two steps the stall of a rollback writer is looked at.
STEP_BYTES = 8 << 20
WAL_HEADER_BYTES = 32
_ATTEMPTS = 10


class Again(Exception):
    """The source changed its state while we looked; look again. The text says what was seen."""


def refuse_if_not_sqlites(file: BinaryIO) -> None:
    """Raise `Again` unless SQLite, in this process, has this very file open, as we have.

    By its path each of the two may have found another one, in a folder that was swapped away and back.
    """
    with suppress(FileNotFoundError):  # without /proc the paths must do
        ours, times = os.fstat(file.fileno()), 0
        for number in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                times += os.path.samestat(os.fstat(int(number.name)), ours)
        if times < 2:
            raise Again("another program replaced it for a while")


def worth_bulk(source: Path, bulk_from: int) -> bool:
    """Whether a database has so many bytes, and more than its WAL, which is copied and then brought in."""
    try:
        size = source.stat().st_size
        wal = Path(f"{source}-wal")
        return size >= bulk_from and (not wal.exists() or wal.stat().st_size <= size // 2)
    except OSError:
        return False


def copy_main(source: int, destination: Path, watch: Callable[[int, int], None]) -> None:
    """Copy the open file `source`; `watch(done, total)` may raise. A read transaction must be held."""
    total = os.fstat(source).st_size
    with destination.open("r+b", buffering=0) as file:
        for start in range(0, total, STEP_BYTES):
            copy_range(source, start, min(STEP_BYTES, total - start), file.fileno(), start)
            watch(min(total, start + STEP_BYTES), total)


def copy_wal(wal: Path, destination: Path) -> bool:
    """Copy a WAL, all of one generation; False if there is nothing in it. The same transaction is held."""
    for _ in range(_ATTEMPTS):
        with wal.open("rb", buffering=0) as file, destination.open("wb", buffering=0) as copy:
            refuse_if_not_sqlites(file)
            header = os.pread(file.fileno(), WAL_HEADER_BYTES, 0)
            if len(header) < WAL_HEADER_BYTES:
                return False
            copy_range(file.fileno(), 0, os.fstat(file.fileno()).st_size, copy.fileno(), 0)
            # A new generation begins with its header, an ended one is cut: older frames never get behind it.
            if os.pread(file.fileno(), WAL_HEADER_BYTES, 0) == header:
                return True
    raise SnapshotPostponed(f"{wal} is begun anew faster than it can be copied: it is tried again")
