"""Is this game database whole, may it be copied, and how many games are in it?

Databases are opened through SQLite and read-only: the file, its sidecars and its
journal mode stay as they are. A file with a `-wal` or `-journal` beside it is
never read without them. One at rest is opened with `immutable=1`, because
SQLite would otherwise make sidecars beside every database that was in WAL mode.

Trap: closing any descriptor of a file drops the POSIX locks its process holds on
it. SQLite itself knows, so a database that this process has open is only opened
through SQLite here. Where a program brings a second SQLite library of its own,
call the checks in another process, as peers do for every live database
(`runtime/storage/snapshot_process.py`).
Source: field notes, sections 1 (database checks) and 3 (schema).
"""

import os
import sqlite3
import urllib.parse
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ringgossip.content.kinds.metadata import Value
from ringgossip.content.kinds.sources import Inspection, open_steady
from ringgossip.errors import ArtifactRefused

COMPLETED = ("completed", "finished")
HEADER_BYTES = 100
# Another program's commit may hold the lock for a moment.
BUSY_TIMEOUT = 5.0
# Without readonly_shm even a reader writes its marks into the -shm.
LIVE_READING = "readonly_shm=1"
# The mark older writers leave beside a database they fill; ignored once stale.
WRITING_MARK_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Yes or no with its reason, and usable as a bool."""

    passed: bool
    reason: str

    def __bool__(self) -> bool:
        return self.passed


@dataclass(frozen=True, slots=True)
class GameCounts:
    """How many games a database holds; None where its schema does not tell, and then `note` says so."""

    total: int | None
    completed: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class CountVerdict:
    """Whether the number of games is the expected one, and usable as a bool."""

    passed: bool
    counts: GameCounts
    reason: str

    def __bool__(self) -> bool:
        return self.passed


def check_sqlite_integrity(path: str | os.PathLike[str]) -> Verdict:
    """Run SQLite's whole `integrity_check` on the database at `path`; reads all of it."""
    try:
        database = open_reading(Path(path))
        try:
            found = [str(row[0]) for row in database.execute("PRAGMA integrity_check(1)")]
        finally:
            database.close()
    except (sqlite3.Error, ArtifactRefused) as problem:
        return Verdict(False, f"{path}: {problem}")
    if found == ["ok"]:
        return Verdict(True, "every page, row and index is whole")
    return Verdict(False, f"{path}: {found[0] if found else 'no answer'}")


def is_database_safe_to_sync(path: str | os.PathLike[str]) -> Verdict:
    """Say whether the bare file at `path` may be copied as it is: nobody writes it, nothing lies beside it.

    No is not "cannot be published": `publish` takes a snapshot of a live
    database. A `<db>.writing` mark younger than 300 s counts as a writer.
    """
    path = Path(path)
    try:
        for suffix, meaning in (("-wal", "committed pages"), ("-journal", "an unfinished transaction")):
            if _size(path, suffix):
                return Verdict(False, f"{path}{suffix} may hold {meaning}: publish it, do not copy it")
        if _marked_as_written(path):
            return Verdict(False, f"{path}.writing says that it is being written")
        if Path(f"{path}-shm").exists():
            return Verdict(False, f"{path} may be open in another program: publish it, do not copy it")
        database = open_reading(path, timeout=0.0)
        try:
            database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        finally:
            database.close()
    except OSError as problem:
        return Verdict(False, f"{path} cannot be read: {problem.strerror}")
    except (sqlite3.Error, ArtifactRefused) as problem:
        return Verdict(False, f"{path}: {problem}")
    return Verdict(True, "nobody writes it, and nothing but the file belongs to it")


def verify_game_count(path: str | os.PathLike[str], expected: int) -> CountVerdict:
    """Say whether the database at `path` holds `expected` games, unfinished ones included."""
    try:
        database = open_reading(Path(path))
        try:
            counts = count_games(database)
        finally:
            database.close()
    except (sqlite3.Error, ArtifactRefused) as problem:
        return CountVerdict(False, GameCounts(None, None, str(problem)), f"{path}: {problem}")
    if counts.total is None:
        return CountVerdict(False, counts, f"{path}: {counts.note}")
    return CountVerdict(counts.total == expected, counts, f"{counts.total} games, {expected} expected")


def count_games(database: sqlite3.Connection) -> GameCounts:
    """Count the games of an open database, completed ones apart. Raises `sqlite3.Error` if it is damaged."""
    kind = database.execute("SELECT type FROM sqlite_schema WHERE name = 'games'").fetchone()
    if kind is None or kind[0] not in ("table", "view"):
        return GameCounts(None, None, "it has no table 'games', so its games are not counted")
    total = int(database.execute("SELECT count(*) FROM games").fetchone()[0])
    columns = {row[1] for row in database.execute("PRAGMA table_info(games)")}
    if "game_status" not in columns:
        return GameCounts(total, None, "its games have no game_status, so completed ones are not told apart")
    query = "SELECT count(*) FROM games WHERE game_status IN (?, ?)"
    return GameCounts(total, int(database.execute(query, COMPLETED).fetchone()[0]))


def inspection_of(counts: GameCounts) -> Inspection:
    """Return the facts that a snapshot adds to its record's metadata, and what could not be counted."""
    facts: dict[str, Value] = {}
    if counts.total is not None:
        facts["games_total"] = counts.total
    if counts.completed is not None:
        facts["games_completed"] = counts.completed
    return Inspection(facts, (counts.note,) if counts.note else ())


def check_arrival(path: Path) -> str | None:
    """Return why an arrived replica is no whole database, or None; reads only its first 100 bytes.

    Reads them raw: nobody else can have a file open that has just arrived.
    """
    try:
        with open_steady(path) as (file, size):
            return check_header(file.read(HEADER_BYTES), size)
    except ArtifactRefused as refusal:
        return str(refusal)


def check_header(header: bytes, size: int) -> str | None:
    """Return why these first 100 bytes cannot begin a published database of `size` bytes, or None.

    Source: SQLite's file format, section 1.3.
    """
    if len(header) < HEADER_BYTES or not header.startswith(b"SQLite format 3\0"):
        return "it does not begin like an SQLite database"
    stated = int.from_bytes(header[16:18], "big")
    page = 65536 if stated == 1 else stated
    if page < 512 or page & (page - 1):
        return f"its page size {page} is impossible"
    pages = int.from_bytes(header[28:32], "big")
    if pages * page != size:
        return f"it has {size} bytes where {pages} pages of {page} are stated"
    if header[18:20] != b"\x01\x01":
        return "it was not published from a snapshot: reading it would make sidecars"
    return None


def open_reading(path: Path, timeout: float = BUSY_TIMEOUT) -> sqlite3.Connection:
    """Open the database at `path` so that nothing on disk changes, waiting up to `timeout` seconds for locks.

    Raises `ArtifactRefused` if it cannot be read without making or changing a sidecar.
    """
    if not path.is_file():
        raise ArtifactRefused("no such file")
    shared = Path(f"{path}-shm").exists()
    if _size(path, "-wal") and not shared:
        raise ArtifactRefused("its -wal has lost its -shm: publish it, a snapshot recovers a copy")
    at_rest = not shared and not _size(path, "-journal") and not _open_in_this_process(path)
    options = "immutable=1" if at_rest and _is_wal_mode(path) else LIVE_READING
    try:
        uri = f"{uri_of(path)}?mode=ro&{options}"
        return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
    except sqlite3.Error as problem:
        raise ArtifactRefused(str(problem)) from None


def uri_of(path: Path) -> str:
    """Return the start of an SQLite URI for `path`, to which options may be added."""
    return "file:" + urllib.parse.quote(os.fsencode(path.absolute()))


def _is_wal_mode(path: Path) -> bool:
    with open_steady(path) as (file, _):
        return file.read(HEADER_BYTES)[18:19] == b"\2"


def _open_in_this_process(path: Path) -> bool:
    """Whether a descriptor of this process is open on `path`: reading it raw would then drop its locks."""
    wanted = path.stat()
    for descriptor in Path("/dev/fd").iterdir():
        try:
            found = os.fstat(int(descriptor.name))
        except (OSError, ValueError):
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def _size(path: Path, suffix: str) -> int:
    try:
        return Path(f"{path}{suffix}").stat().st_size
    except OSError:
        return 0


def _marked_as_written(path: Path) -> bool:
    try:
        marked = path.with_name(path.name + ".writing").stat().st_mtime
    except OSError:
        return False
    # A file's time is the wall clock's, so its age can only be told by that clock.
    return datetime.now(UTC).timestamp() - marked < WRITING_MARK_SECONDS
