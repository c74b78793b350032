"""Who speaks to index.db? One thread, in batches; a question comes back as a future.

Everything that waits in the queue goes into one transaction, so that many
small writes share one sync, and a future is only answered when its write is on
disk (WAL with synchronous=FULL). A question that fails undoes only itself.

Locking mode is exclusive: no shared memory, so an index on NFS works too.
Source: design section 7.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Final, TypeVar

from ringgossip.errors import StoreError

T = TypeVar("T")

FORMAT: Final = 1
_APPLICATION: Final = 0x52474F53  # in the file's header: an index of ours, and nobody's own database
_QUEUE: Final = 4096
_BATCH: Final = 256
_CHECK_UP_TO: Final = 256 * 2**20  # A check reads everything; above, damage is found where it is met.

_SCHEMA: Final = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE records(
    hash BLOB PRIMARY KEY, kind TEXT, origin TEXT, name TEXT, sequence INTEGER, store BLOB, packed BLOB);
CREATE INDEX records_by_key ON records(kind, origin, name, sequence);
CREATE INDEX records_by_store ON records(store);
CREATE TABLE certificates(hash BLOB PRIMARY KEY, der BLOB) WITHOUT ROWID;
CREATE TABLE contents(root BLOB PRIMARY KEY, size INTEGER, chunk_size INTEGER) WITHOUT ROWID;
CREATE TABLE pages(id INTEGER PRIMARY KEY, hash BLOB UNIQUE, data BLOB);
CREATE TABLE content_pages(
    root BLOB, level INTEGER, place INTEGER, page INTEGER, PRIMARY KEY(root, level, place)) WITHOUT ROWID;
CREATE INDEX contents_of_page ON content_pages(page);
CREATE TABLE chunk_pages(prefix INTEGER, page INTEGER, PRIMARY KEY(prefix, page)) WITHOUT ROWID;
CREATE TABLE holdings(
    record BLOB PRIMARY KEY, root BLOB, place TEXT, path TEXT, size INTEGER, mtime INTEGER, ctime INTEGER,
    inode INTEGER, pinned INTEGER);
CREATE INDEX holdings_of_root ON holdings(root);
CREATE TABLE partials(root BLOB PRIMARY KEY, record BLOB, inode INTEGER, have BLOB);
CREATE TABLE sources(kind TEXT, path TEXT, signature BLOB, root BLOB, found TEXT, PRIMARY KEY(kind, path));
CREATE TABLE publications(kind TEXT, name TEXT, path TEXT, PRIMARY KEY(kind, name));
"""

# Came later: made when an older index is opened, so that its format need not change.
_MARKS: Final = """CREATE TABLE IF NOT EXISTS marks(
    kind TEXT, origin TEXT, name TEXT, mark TEXT, sequence INTEGER, PRIMARY KEY(kind, origin, name, mark))
    WITHOUT ROWID"""
# What a place of the kind `changes` has of its own, and the whole file that has the rest.
_CHANGES: Final = """CREATE TABLE IF NOT EXISTS changes(
    root BLOB PRIMARY KEY, own BLOB, base BLOB, path TEXT, size INTEGER, mtime INTEGER, ctime INTEGER,
    inode INTEGER) WITHOUT ROWID"""


class IndexDamaged(Exception):
    """The file cannot be used; it has to be moved aside and born again."""


class IndexBroken(StoreError):
    """Damage was met while the index was used; at the next start all of it is checked."""


class Index:
    """The database, its thread and its queue. Thread-safe."""

    def __init__(self, connection: sqlite3.Connection, born: bool, path: Path) -> None:
        self.born = born
        self._suspect = _suspect(path)
        self._connection = connection
        self._queue: Queue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None] = Queue(_QUEUE)
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="ringgossip index", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path, store: bytes) -> "Index":
        """Open the index, or make one whose store id is `store`.

        Raises `IndexDamaged`, or `StoreError` when disk or format are in the way.
        """
        # SQLite gives a WAL the mode of its database: names and metadata are nobody else's business.
        with contextlib.suppress(OSError):  # SQLite says better what is wrong.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            born = _prepare(connection, path, store)
        except (sqlite3.DatabaseError, sqlite3.OperationalError) as problem:
            connection.close()
            name = getattr(problem, "sqlite_errorname", "") or ""
            if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "no such table" in str(problem):
                raise IndexDamaged(str(problem)) from None
            raise explain(problem, path) from None
        except BaseException:
            connection.close()
            raise
        return cls(connection, born, path)

    def call(self, work: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Do `work` in the thread; the future is answered when what it wrote is on disk."""
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise StoreError("the store was closed")
            self._queue.put((work, future))
        return future

    def ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in the thread and wait for it; raises `StoreError` for what the disk refuses."""
        return self.call(work).result()

    def close(self) -> None:
        """Finish what is in the queue and close the file."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            batch = []
            item = self._queue.get()
            while item is not None:
                batch.append(item)
                if len(batch) >= _BATCH:
                    break
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            last = item is None
            self._perform(batch)
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _perform(self, batch: list[tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]]) -> None:
        done: list[tuple[Future[Any], Any]] = []
        try:
            self._connection.execute("BEGIN")
            for work, future in batch:
                try:
                    self._connection.execute("SAVEPOINT one")
                    answer = work(self._connection)
                    self._connection.execute("RELEASE one")
                except Exception as problem:
                    # A full disk ends the whole transaction by itself; then nothing in it can be kept.
                    if not self._connection.in_transaction:
                        raise
                    self._connection.execute("ROLLBACK TO one")
                    self._connection.execute("RELEASE one")
                    future.set_exception(self._explained(problem))
                else:
                    done.append((future, answer))
            self._connection.execute("COMMIT")
        except Exception as problem:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            for _, future in batch:
                if not future.done():
                    future.set_exception(self._explained(problem))
            return
        for future, answer in done:
            future.set_result(answer)

    def _explained(self, problem: Exception) -> Exception:
        reason = explain(problem)
        if isinstance(reason, IndexBroken):
            with contextlib.suppress(OSError):
                self._suspect.touch(mode=0o600)
        return reason


def _suspect(path: Path) -> Path:
    """Return the file that says that damage was met in this index."""
    return Path(f"{path}.suspect")


def is_index(path: Path) -> bool:
    """Tell whether this file says that it is an index of ringgossip; it is not opened as a database."""
    try:
        with path.open("rb") as file:
            header = file.read(72)
    except OSError:
        return False
    return header[:15] == b"SQLite format 3" and header[68:] == _APPLICATION.to_bytes(4, "big")


def explain(problem: Exception, path: Path | None = None) -> Exception:
    """Return what to tell for an error of the index; errors of ours stay what they are."""
    if not isinstance(problem, sqlite3.Error):
        return problem
    name = getattr(problem, "sqlite_errorname", "") or ""
    what = f"the index {path}" if path is not None else "the index"
    if name.startswith("SQLITE_FULL"):
        return StoreError(f"{what} cannot be written: the disk is full; free some space")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return IndexBroken(f"{what} is damaged: restart the peer, it is then moved aside and rebuilt")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN")):
        return StoreError(f"{what} cannot be written: {problem}; look at its owner and mode")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(f"{what} is locked by another program: close it")
    if name.startswith("SQLITE_IOERR"):
        return StoreError(f"{what} failed: {problem}; look at the kernel log, and at your quota")
    return StoreError(f"{what} failed: {problem}")


def _prepare(connection: sqlite3.Connection, path: Path, store: bytes) -> bool:
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    newborn = not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if newborn:
        # Before there is a WAL: the file itself says whose it is, also in a copy of a folder in use.
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-8192")
    connection.execute("PRAGMA journal_size_limit=67108864")
    if newborn:
        connection.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        connection.execute(_MARKS)
        connection.execute(_CHANGES)
        facts = [("format", FORMAT), ("store", store), ("boot", 0)]
        connection.executemany("INSERT INTO meta VALUES(?, ?)", facts)
        connection.execute("COMMIT")
        return True
    row = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    if row is None:
        raise IndexDamaged("it does not say its format")
    if row[0] != FORMAT:
        raise StoreError(
            f"{path} has format {row[0]}, this program reads {FORMAT}: use the program that wrote it"
        )
    connection.execute(_MARKS)
    connection.execute(_CHANGES)
    suspect = _suspect(path)
    suspected = suspect.exists()
    if suspected or path.stat().st_size <= _CHECK_UP_TO:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            raise IndexDamaged(found.splitlines()[-1])
        if suspected:
            with contextlib.suppress(OSError):
                suspect.unlink()
    return False
