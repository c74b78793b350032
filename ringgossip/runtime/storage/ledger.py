"""What does the index know of records, copies, partial files and sources?

All functions run in the index thread and take its connection.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ringgossip.content.hashing import hash_bytes
from ringgossip.content.record import ArtifactKey, Record, unpack_record
from ringgossip.errors import PeerMisbehaved
from ringgossip.runtime.storage.disk import Signature
from ringgossip.strategy.bandwidth import Spent


@dataclass(frozen=True, slots=True)
class HoldingRow:
    """A copy as the index remembers it; `path` is relative to the data folder where it is inside."""

    record: Record
    place: str
    path: str
    signature: Signature
    pinned: bool


@dataclass(frozen=True, slots=True)
class ChangesRow:
    """Which chunks of `root` a sparse file has, and where the content `base`, which has the rest, lies."""

    root: bytes
    own: bytes
    base: bytes
    path: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class PartialRow:
    """A file in progress as the index remembers it: its inode, and the chunks that were synced."""

    record: Record
    inode: int
    have: bytes


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What was found in a user's file when it was last published."""

    signature: bytes
    root: bytes
    facts: dict[str, Any]
    warnings: tuple[str, ...]


# --- the store itself ---------------------------------------------------------------


def store_id(database: sqlite3.Connection) -> bytes:
    """Return the 8 bytes with which this index was born."""
    return bytes(database.execute("SELECT value FROM meta WHERE key = 'store'").fetchone()[0])


def has_published(database: sqlite3.Connection, store: bytes) -> bool:
    """Tell whether this store ever published; until then it may have lost history."""
    return database.execute("SELECT 1 FROM records WHERE store = ? LIMIT 1", (store,)).fetchone() is not None


def next_boot(database: sqlite3.Connection, wall_seconds: int) -> int:
    """Return a number higher than at any earlier start."""
    stored = database.execute("SELECT value FROM meta WHERE key = 'boot'").fetchone()[0]
    boot = max(int(stored) + 1, wall_seconds)
    database.execute("UPDATE meta SET value = ? WHERE key = 'boot'", (boot,))
    return boot


# --- records and certificates -----------------------------------------------------------


def put_record(database: sqlite3.Connection, record: Record) -> None:
    """Keep a record; older ones of its artifact go unless a copy or a partial file needs them.

    Of different records of one sequence two stay, as in the catalog: one is the proof against the
    other, and whoever signs thousands for one sequence fills no disk.
    """
    _insert_record(database, record)
    _drop_older(database, record)


def _insert_record(database: sqlite3.Connection, record: Record) -> None:
    key = (record.kind, record.origin, record.name)
    database.execute(
        "INSERT OR REPLACE INTO records VALUES(?, ?, ?, ?, ?, ?, ?)",
        (record.hash, *key, record.sequence, record.store, record.packed),
    )


def _drop_older(database: sqlite3.Connection, record: Record) -> None:
    key = (record.kind, record.origin, record.name)
    database.execute(
        """DELETE FROM records WHERE kind = ? AND origin = ? AND name = ?
           AND (sequence < (SELECT max(sequence) FROM records WHERE kind = ? AND origin = ? AND name = ?)
               OR hash NOT IN (SELECT hash FROM records WHERE kind = ? AND origin = ? AND name = ?
                   ORDER BY sequence DESC, hash LIMIT 2))
           AND hash NOT IN (SELECT record FROM holdings)""",
        (*key, *key, *key),
    )


def records(database: sqlite3.Connection) -> tuple[Record, ...]:
    """Return every record; what cannot be read is left out and comes back from other peers."""
    found = []
    for (packed,) in database.execute("SELECT packed FROM records ORDER BY kind, origin, name, sequence"):
        try:
            found.append(unpack_record(packed))
        except PeerMisbehaved:
            continue
    return tuple(found)


def put_certificate(database: sqlite3.Connection, der: bytes) -> None:
    database.execute("INSERT OR IGNORE INTO certificates VALUES(?, ?)", (hash_bytes(der), der))


def certificates(database: sqlite3.Connection) -> tuple[bytes, ...]:
    return tuple(bytes(der) for (der,) in database.execute("SELECT der FROM certificates"))


# --- what users decided about single artifacts ----------------------------------------------


def put_mark(database: sqlite3.Connection, key: ArtifactKey, mark: str, sequence: int) -> None:
    """Keep a mark; sequence 0 forgets it."""
    if sequence:
        database.execute("INSERT OR REPLACE INTO marks VALUES(?, ?, ?, ?, ?)", (*key, mark, sequence))
    else:
        database.execute(
            "DELETE FROM marks WHERE kind = ? AND origin = ? AND name = ? AND mark = ?", (*key, mark)
        )


def put_spent(database: sqlite3.Connection, spent: Spent) -> None:
    """Keep what has left of the byte budgets."""
    numbers = json.dumps([spent.day, spent.today, spent.this_month])
    database.execute("INSERT OR REPLACE INTO meta VALUES('spent', ?)", (numbers,))


def spent(database: sqlite3.Connection) -> Spent:
    """Return what had left of the byte budgets."""
    row = database.execute("SELECT value FROM meta WHERE key = 'spent'").fetchone()
    return Spent() if row is None else Spent(*json.loads(row[0]))


def marks(database: sqlite3.Connection) -> tuple[tuple[ArtifactKey, str, int], ...]:
    """Return every mark."""
    query = "SELECT kind, origin, name, mark, sequence FROM marks ORDER BY kind, origin, name, mark"
    return tuple((ArtifactKey(*row[:3]), row[3], row[4]) for row in database.execute(query))


# --- copies -------------------------------------------------------------------------------


def put_holding(database: sqlite3.Connection, row: HoldingRow) -> None:
    """Remember a copy, and the record that it is a copy of."""
    _insert_record(database, row.record)
    database.execute(
        "INSERT OR REPLACE INTO holdings VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row.record.hash, row.record.root, row.place, row.path, *row.signature, row.pinned),
    )
    _drop_older(database, row.record)


def drop_holding(database: sqlite3.Connection, record: Record) -> None:
    """Forget a copy; its record goes too unless it is the newest of its artifact."""
    database.execute("DELETE FROM holdings WHERE record = ?", (record.hash,))
    database.execute(
        "DELETE FROM changes WHERE root = ? AND root NOT IN (SELECT root FROM holdings)", (record.root,)
    )
    key = (record.kind, record.origin, record.name)
    database.execute(
        """DELETE FROM records WHERE hash = ? AND sequence <
           (SELECT max(sequence) FROM records WHERE kind = ? AND origin = ? AND name = ?)""",
        (record.hash, *key),
    )


def holdings(database: sqlite3.Connection) -> Iterator[HoldingRow]:
    """Yield every copy whose record is here, older versions first."""
    query = """SELECT packed, place, path, size, mtime, ctime, inode, pinned
               FROM holdings JOIN records ON hash = record ORDER BY sequence"""
    for packed, place, path, size, mtime, ctime, inode, pinned in database.execute(query):
        try:
            record = unpack_record(packed)
        except PeerMisbehaved:
            continue
        yield HoldingRow(record, place, path, Signature(size, mtime, ctime, inode), bool(pinned))


def put_changes(database: sqlite3.Connection, row: ChangesRow) -> None:
    """Remember on what a sparse copy leans, for as long as there is a copy of this root."""
    database.execute(
        "INSERT OR REPLACE INTO changes VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        (row.root, row.own, row.base, row.path, *row.signature),
    )


def changes(database: sqlite3.Connection) -> dict[bytes, ChangesRow]:
    """Return all of them by root."""
    query = "SELECT root, own, base, path, size, mtime, ctime, inode FROM changes"
    return {
        bytes(root): ChangesRow(bytes(root), bytes(own), bytes(base), path, Signature(*signature))
        for root, own, base, path, *signature in database.execute(query)
    }


# --- files in progress --------------------------------------------------------------------


def put_partial(database: sqlite3.Connection, row: PartialRow) -> None:
    database.execute(
        "INSERT OR REPLACE INTO partials VALUES(?, ?, ?, ?)",
        (row.record.root, row.record.packed, row.inode, row.have),
    )


def set_have(database: sqlite3.Connection, root: bytes, have: bytes) -> None:
    """Note which chunks are surely on disk."""
    database.execute("UPDATE partials SET have = ? WHERE root = ?", (have, root))


def drop_partial(database: sqlite3.Connection, root: bytes) -> None:
    database.execute("DELETE FROM partials WHERE root = ?", (root,))


def partials(database: sqlite3.Connection) -> list[PartialRow]:
    """Return every file in progress."""
    found = []
    for packed, inode, have in database.execute("SELECT record, inode, have FROM partials").fetchall():
        try:
            found.append(PartialRow(unpack_record(packed), inode, bytes(have)))
        except PeerMisbehaved:
            continue
    return found


# --- what users published -------------------------------------------------------------------


def put_source(database: sqlite3.Connection, kind: str, path: str, row: SourceRow) -> None:
    database.execute(
        "INSERT OR REPLACE INTO sources VALUES(?, ?, ?, ?, ?)",
        (kind, path, row.signature, row.root, json.dumps([row.facts, row.warnings])),
    )


def source(database: sqlite3.Connection, kind: str, path: str) -> SourceRow | None:
    """Return what the file at `path` was when it was last published as this kind."""
    query = "SELECT signature, root, found FROM sources WHERE kind = ? AND path = ?"
    row = database.execute(query, (kind, path)).fetchone()
    if row is None:
        return None
    facts, warnings = json.loads(row[2])
    return SourceRow(bytes(row[0]), bytes(row[1]), facts, tuple(warnings))


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A user's file as it was when it was published under its name in a folder."""

    signature: Signature
    root: bytes
    facts: dict[str, Any]


def published_sources(database: sqlite3.Connection, kind: str, folder: str) -> dict[str, PublishedRow]:
    """Return the files below `folder` by their names in it, if they are published under these."""
    query = """SELECT name, signature, root, found FROM publications JOIN sources USING (kind, path)
               WHERE kind = ? AND path = ? || '/' || name"""
    return {
        name: PublishedRow(Signature.unpack(signature), bytes(root), json.loads(found)[0])
        for name, signature, root, found in database.execute(query, (kind, folder))
    }


def set_publication(database: sqlite3.Connection, kind: str, name: str, path: str) -> None:
    database.execute("INSERT OR REPLACE INTO publications VALUES(?, ?, ?)", (kind, name, path))


def publication(database: sqlite3.Connection, kind: str, name: str) -> str | None:
    """Return from which path we last published this name."""
    query = "SELECT path FROM publications WHERE kind = ? AND name = ?"
    row = database.execute(query, (kind, name)).fetchone()
    return None if row is None else str(row[0])
