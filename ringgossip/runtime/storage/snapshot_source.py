"""How is a database copied while others write it, without them or their files noticing?

Runs in the snapshot helper process only: it opens databases raw, which would
drop the POSIX locks of a process that has them open.

What was found by experiment, with SQLite 3.40, and decides which way is taken:

| database | way |
|---|---|
| WAL mode, `-shm` there (open, or its writer was killed) | `mode=ro&readonly_shm=1` and the backup API: no byte or time of file, `-wal` or `-shm` changes; without `readonly_shm` the `-shm` does |
| WAL mode, no `-shm` (closed, or sidecars copied by hand) | a reader would make `-wal` and `-shm`: copied as it lies, then recovered in our folder |
| rollback mode | `mode=ro` and the backup API; a writer cannot commit meanwhile, which is measured |
| rollback mode, hot journal of a dead writer | a reader fails with `SQLITE_READONLY_ROLLBACK`: file and journal are copied, and the copy is rolled back |

As root, SQLite sets the owner of sidecars to what it is, which moves their ctime.

A copy "as it lies" is only taken if size, times and inode of every part were the
same 50 ms before it and after it: longer than the tick of file times, so no
writer can have come and gone unseen.

The backup runs in steps inside one read transaction: a step cannot restart, and
between two steps the stall of a rollback writer is projected and bounded. Under
the same transaction large databases are copied by the kernel (`snapshot_bulk.py`).
Source: field notes, section 2, incident 1; design, section 7.
"""  # noqa: E501

import errno
import fcntl
import os
import sqlite3
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ringgossip.content.hashing import hash_bytes
from ringgossip.content.kinds.games import HEADER_BYTES, LIVE_READING, uri_of
from ringgossip.errors import ArtifactRefused, SnapshotPostponed, StoreError
from ringgossip.runtime.storage.snapshot_bulk import (
    WAL_HEADER_BYTES,
    Again,
    copy_main,
    copy_wal,
    refuse_if_not_sqlites,
    worth_bulk,
)
from ringgossip.runtime.storage.snapshot_changes import WAL_INDEX_HEADER_BYTES, Commit, Gathering, bring_in

STILL_SECONDS = 0.05
ATTEMPTS = 10
# 2 MiB of 4 KiB pages a step: steps of this size cost nothing measurable and take about 3 ms.
STEP_PAGES = 512
# SQLite's lock bytes (os_unix.c): all readers share this range, also beside a WAL.
SHARED_FIRST = 0x40000002
SHARED_SIZE = 510
# Of a `-shm`: held by whoever has the database open.
SHM_IN_USE = 128

_DISK_PROBLEMS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


@dataclass(frozen=True, slots=True)
class Copied:
    """How a copy was made; `writer_stall` in seconds is how long a writer could not have committed."""

    journal_mode: str
    writer_stall: float
    gathered: bool = False  # only what changed


def fingerprint(source: Path) -> bytes:
    """Return 32 bytes that differ after any commit to the database, however quick it was.

    Cheap: some stats and 180 bytes read. May also differ where nothing was
    committed (a checkpoint, a transaction that is under way).
    """
    try:
        for part in (source, *(Path(f"{source}{suffix}") for suffix in ("-wal", "-shm", "-journal"))):
            # A pipe that nobody fills would hold up this process, and with it all snapshots, for ever.
            # Sidecars come and go beside a writer: one look, or what has gone would count as strange.
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(part.stat().st_mode):
                    raise ArtifactRefused(f"{part} is no regular file")
        main = source.stat()
        parts: list[object] = [main.st_size, main.st_mtime_ns, main.st_ctime_ns, main.st_ino]
        header = _read_start(source, HEADER_BYTES)
        parts += [header[24:28], header[92:96]]
    except OSError as problem:
        raise ArtifactRefused(f"{source} cannot be read: {problem.strerror}") from None
    # The ctime of sidecars is left out: our own reading may move it.
    for suffix, length in (("-wal", WAL_HEADER_BYTES), ("-shm", WAL_INDEX_HEADER_BYTES)):
        try:
            beside = Path(f"{source}{suffix}")
            found = beside.stat()
            parts += [found.st_size, found.st_ino, _read_start(beside, length)]
            if suffix == "-wal":
                parts.append(found.st_mtime_ns)
        except OSError:
            parts.append(None)
    return hash_bytes(repr(parts).encode())


def copy_database(
    source: Path,
    destination: Path,
    max_stall: float,
    lock_timeout: float,
    bulk_from: int,
    gathering: Gathering | None = None,
) -> Copied:
    """Fill the empty file `destination` with one committed state of `source`.

    From `bulk_from` bytes on the kernel copies, below it SQLite; or what changed is gathered, where
    the database is in WAL mode and in use.

    Raises `ArtifactRefused` when it is no whole database, `SnapshotPostponed`
    when a writer would be blocked beyond `max_stall` seconds or holds it locked
    beyond `lock_timeout`, `StoreError` when our disk does not take it.
    """
    restless = ""
    for _attempt in range(ATTEMPTS):
        wal_mode = _journal_mode(source) == "wal"
        try:
            if not wal_mode or Path(f"{source}-shm").exists():
                return _copy_live(
                    source, destination, wal_mode, max_stall, lock_timeout, bulk_from, gathering
                )
            _refuse_if_exclusive(source, lock_timeout)
            return _copy_at_rest(source, destination, "wal")
        except Again as again:
            restless = str(again)
            os.truncate(destination, 0)
            time.sleep(STILL_SECONDS)
    raise SnapshotPostponed(f"{source} did not hold still for a snapshot: {restless}; it is tried again")


def _journal_mode(source: Path) -> str:
    try:
        size, header = source.stat().st_size, _read_start(source, HEADER_BYTES)
    except OSError as problem:
        raise ArtifactRefused(f"{source} cannot be read: {problem.strerror}") from None
    if size == 0:
        raise ArtifactRefused(f"{source} is empty: publish it when something was committed to it")
    if len(header) < HEADER_BYTES or not header.startswith(b"SQLite format 3\0"):
        raise ArtifactRefused(f"{source} is no SQLite database")
    return "wal" if header[19] == 2 else "rollback"


def _copy_live(
    source: Path,
    destination: Path,
    wal_mode: bool,
    max_stall: float,
    lock_timeout: float,
    bulk_from: int,
    gathering: Gathering | None,
) -> Copied:
    beside = Path(f"{destination}-wal")
    try:
        # Our own descriptor outlives SQLite's: closing it drops the locks of this process.
        with (
            _sidecars_kept(source, lock_timeout) if wal_mode else source.open("rb", buffering=0) as file,
            _shm(source) if wal_mode else nullcontext() as shm,
        ):
            uri = f"{uri_of(source)}?mode=ro&{LIVE_READING}"
            with closing(
                sqlite3.connect(uri, uri=True, timeout=lock_timeout, isolation_level=None)
            ) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                locked_since = time.monotonic()
                mode = "wal" if reader.execute("PRAGMA journal_mode").fetchone()[0] == "wal" else "rollback"
                watch = _watch(source, locked_since, None if mode == "wal" else max_stall)
                bulk = worth_bulk(source, bulk_from)
                told = bulk and gathering is not None and _in_use(shm)
                commit = _same_commit(source, reader, shm) if told else None
                if commit is not None and gathering is not None:
                    _refuse_if_replaced(source, file)
                    gathering.gather(
                        file.fileno(), Path(f"{source}-wal"), beside, commit, reader, destination
                    )
                    _refuse_if_replaced(source, file)
                elif bulk:
                    _refuse_if_replaced(source, file)
                    with_wal = mode == "wal" and copy_wal(Path(f"{source}-wal"), beside)
                    copy_main(file.fileno(), destination, watch)
                    _refuse_if_replaced(source, file)
                else:
                    _backup(source, reader, destination, watch)
        stall = 0.0 if mode == "wal" else time.monotonic() - locked_since
        if commit is not None:
            if beside.exists():
                bring_in(destination, beside)
        elif bulk and with_wal:
            _recover(source, destination)
    except sqlite3.Error as problem:
        return _explain(source, destination, problem, lock_timeout)
    finally:
        beside.unlink(missing_ok=True)
    return Copied(mode, stall, commit is not None)


def _in_use(shm: BinaryIO | None) -> bool:
    """Whether another process has the `-shm` open: else it may be a leftover of another WAL.

    SQLite does not believe it then either, and reads the WAL itself.
    """
    if shm is None:
        return False
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, SHM_IN_USE, 1, 0)
    in_our_way: tuple[int, ...] = struct.unpack("hhqqi4x", fcntl.fcntl(shm, fcntl.F_GETLK, lock))
    return in_our_way[0] != fcntl.F_UNLCK


def _same_commit(source: Path, reader: sqlite3.Connection, shm: BinaryIO | None) -> Commit | None:
    """Return the very commit that the reader sees, in a new transaction; None if that cannot be told."""
    if shm is None:
        return None
    for _attempt in range(ATTEMPTS):
        reader.execute("COMMIT")
        before = Commit.read(shm.fileno())
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        after = Commit.read(shm.fileno())
        if before is not None and before == after:
            if not os.path.samestat(Path(f"{source}-shm").stat(), os.fstat(shm.fileno())):
                raise Again("another program opened it anew")
            return after
    return None


def _refuse_if_replaced(source: Path, file: BinaryIO) -> None:
    """SQLite opened the file by its path, and we did: it must be one file."""
    if not os.path.samestat(source.stat(), os.fstat(file.fileno())):
        raise Again("another program replaced it")
    refuse_if_not_sqlites(file)


def _watch(source: Path, since: float, limit: float | None) -> Callable[[int, int], None]:
    """Return who gives up as soon as it is clear that a writer would wait longer than `limit` seconds."""

    def watch(done: int, total: int) -> None:
        if limit is None:
            return
        elapsed = time.monotonic() - since
        needed = elapsed * total / max(1, done)
        # The first steps may meet a cold disk: believe the projection from a tenth of the limit on.
        if elapsed > limit or (elapsed > limit / 10 and needed > limit):
            raise SnapshotPostponed(
                f"a snapshot of {source} would block its writer for about {max(needed, elapsed):.1f} s, "
                f"{limit:g} s are allowed: switch it to PRAGMA journal_mode=WAL, which never blocks"
            )

    return watch


def _backup(
    source: Path, reader: sqlite3.Connection, destination: Path, watch: Callable[[int, int], None]
) -> None:
    """Copy all pages, one after the other."""

    def progress(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise SnapshotPostponed(f"{source} is locked by another program: it is tried again")
        watch(total - remaining, total)

    with closing(sqlite3.connect(destination, isolation_level=None)) as writer:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
            writer.execute(f"PRAGMA {pragma}")
        reader.backup(writer, pages=STEP_PAGES, progress=progress, sleep=0.05)


def _explain(source: Path, destination: Path, problem: sqlite3.Error, lock_timeout: float) -> Copied:
    """Turn an error of a live copy into another way, or into whose problem it is."""
    name = getattr(problem, "sqlite_errorname", "")
    if name == "SQLITE_READONLY_ROLLBACK":
        os.truncate(destination, 0)
        return _copy_at_rest(source, destination, "rollback")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
        # Its sidecars went or came between our look and SQLite's, or are not for us to read.
        raise Again(str(problem)) from None
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        raise SnapshotPostponed(_locked(source, lock_timeout)) from None
    if name.startswith("SQLITE_FULL"):
        raise StoreError(f"the disk of {destination.parent} is full") from None
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        raise ArtifactRefused(f"{source} is damaged: {problem}") from None
    if name.startswith("SQLITE_IOERR"):
        raise StoreError(f"copying {source} to {destination.parent} failed: {problem}") from None
    raise ArtifactRefused(f"{source} cannot be read: {problem}") from None


def _copy_at_rest(source: Path, destination: Path, mode: str) -> Copied:
    """Copy a database that nobody has open, with its sidecars, and recover the copy."""
    before = _parts(source)
    time.sleep(STILL_SECONDS)
    _refuse_if_moved(source, before, mode)
    copies = [destination]
    try:
        _copy_file(source, destination)
        for suffix in ("-wal", "-journal"):
            if before[suffix] is not None:
                copies.append(Path(f"{destination}{suffix}"))
                _copy_file(Path(f"{source}{suffix}"), copies[-1])
        _refuse_if_moved(source, before, mode)
        _recover(source, destination)
    except OSError as problem:
        raise StoreError(f"copying {source} to {destination.parent} failed: {problem.strerror}") from None
    finally:
        for copy in copies[1:]:
            copy.unlink(missing_ok=True)
    return Copied(mode, 0.0)


def _recover(source: Path, copy: Path) -> None:
    """Roll back or check in what the sidecars of our copy say; afterwards it stands alone."""
    try:
        with closing(sqlite3.connect(copy, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous=OFF")
            database.execute("PRAGMA locking_mode=EXCLUSIVE")
            database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if database.execute("PRAGMA journal_mode=DELETE").fetchone()[0] != "delete":
                raise StoreError(f"the copy of {source} could not be recovered")
    except sqlite3.Error as problem:
        if getattr(problem, "sqlite_errorname", "").startswith("SQLITE_FULL"):
            raise StoreError(f"the disk of {copy.parent} is full") from None
        raise ArtifactRefused(f"{source} is damaged: {problem}") from None


def _parts(source: Path) -> dict[str, tuple[int, ...] | None]:
    """Return what a writer would change: size, times and inode of the file, its WAL and its journal."""
    found: dict[str, tuple[int, ...] | None] = {}
    for suffix in ("", "-wal", "-journal"):
        try:
            stat = Path(f"{source}{suffix}").stat()
            # As root, SQLite itself moves the ctime of sidecars when it only looks at them.
            ctime = stat.st_ctime_ns if not suffix else 0
            found[suffix] = (stat.st_size, stat.st_mtime_ns, ctime, stat.st_ino)
        except FileNotFoundError:
            found[suffix] = None
        except OSError as problem:
            raise ArtifactRefused(f"{source}{suffix} cannot be read: {problem.strerror}") from None
    return found


def _refuse_if_moved(source: Path, before: dict[str, tuple[int, ...] | None], mode: str) -> None:
    if _parts(source) != before or (mode == "wal" and Path(f"{source}-shm").exists()):
        raise Again("another program writes it")


@contextmanager
def _shm(source: Path) -> Iterator[BinaryIO | None]:
    """Open the `-shm`, if we may, until SQLite has closed it: closing it before would drop SQLite's locks."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(f"{source}-shm").open("rb", buffering=0))
        except OSError:
            file = None
        yield file


@contextmanager
def _sidecars_kept(source: Path, lock_timeout: float) -> Iterator[BinaryIO]:
    """Hold a reader's lock, so that nobody who closes the database last removes `-wal` and `-shm` now."""
    with _shared_lock(source, lock_timeout) as file:
        if not Path(f"{source}-shm").exists():
            raise Again("another program closed it")
        yield file


def _refuse_if_exclusive(source: Path, lock_timeout: float) -> None:
    """A WAL without `-shm` may be that of a writer in exclusive locking mode: the file is locked then."""
    with _shared_lock(source, lock_timeout):
        pass


@contextmanager
def _shared_lock(source: Path, lock_timeout: float) -> Iterator[BinaryIO]:
    """Hold a reader's lock; raise `SnapshotPostponed` if it is not given within `lock_timeout` seconds."""
    give_up = time.monotonic() + lock_timeout
    with source.open("rb", buffering=0) as file:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
                break
            except OSError:
                if time.monotonic() > give_up:
                    raise SnapshotPostponed(_locked(source, lock_timeout)) from None
                time.sleep(0.01)
        yield file


def _locked(source: Path, lock_timeout: float) -> str:
    return f"{source} has been locked by another program for {lock_timeout:g} s: it is tried again"


def _copy_file(source: Path, destination: Path) -> None:
    with source.open("rb", buffering=0) as reading, destination.open("wb", buffering=0) as writing:
        try:
            while os.copy_file_range(reading.fileno(), writing.fileno(), 1 << 30):
                pass
            return
        except OSError as problem:
            if problem.errno in _DISK_PROBLEMS:
                raise
        # Two filesystems, or one that cannot: by hand, from where the kernel stopped.
        while piece := reading.read(1 << 20):
            view = memoryview(piece)
            while view:
                view = view[writing.write(view) :]


def _read_start(path: Path, length: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read(length)
