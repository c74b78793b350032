"""How are manifests kept, so that versions share what they share, and a chunk is found by its hash?

Pages are blobs keyed by their hash and shared between contents; a content names
its pages by place. `chunk_pages` leads from the first 8 bytes of a chunk's hash
to the pages that name it, so any version that has such a page can give the chunk.

All functions run in the index thread and take its connection.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

from ringgossip.content.hashing import HASH_BYTES
from ringgossip.content.manifest import HASHES_PER_PAGE, Manifest, level_lengths, page_hash

PREFIX_BYTES: Final = 8
# How many of a content's hashes are looked up to see whether looking for all is worth it.
_SAMPLE: Final = 256


def put(database: sqlite3.Connection, manifest: Manifest) -> list[int]:
    """Keep a manifest; return the ids of pages that were new, whose chunks `put_chunks` makes findable."""
    root = manifest.root
    if has(database, root):
        return []
    top = manifest.level_count - 1
    fresh = []
    for level in range(manifest.level_count):
        pages = max(1, -(-level_lengths(manifest.size, manifest.chunk_size)[level] // HASHES_PER_PAGE))
        for place in range(pages):
            data = manifest.page(level, place)
            hash_ = root if level == top else page_hash(data)
            row = database.execute("SELECT id FROM pages WHERE hash = ?", (hash_,)).fetchone()
            if row is None:
                cursor = database.execute("INSERT INTO pages(hash, data) VALUES(?, ?)", (hash_, data))
                page = int(cursor.lastrowid or 0)
                if level == 0:
                    fresh.append(page)
            else:
                page = row[0]
            database.execute("INSERT INTO content_pages VALUES(?, ?, ?, ?)", (root, level, place, page))
    database.execute("INSERT INTO contents VALUES(?, ?, ?)", (root, manifest.size, manifest.chunk_size))
    return fresh


def put_chunks(database: sqlite3.Connection, page: int) -> None:
    """Make the chunks of one page findable by hash: about a millisecond."""
    row = database.execute("SELECT data FROM pages WHERE id = ?", (page,)).fetchone()
    if row is not None:
        database.executemany(
            "INSERT OR IGNORE INTO chunk_pages VALUES(?, ?)", ((prefix, page) for prefix in _prefixes(row[0]))
        )


def has(database: sqlite3.Connection, root: bytes) -> bool:
    """Tell whether the whole manifest of this root is here."""
    return database.execute("SELECT 1 FROM contents WHERE root = ?", (root,)).fetchone() is not None


def get(database: sqlite3.Connection, root: bytes) -> Manifest | None:
    """Return a manifest."""
    row = database.execute("SELECT size, chunk_size FROM contents WHERE root = ?", (root,)).fetchone()
    if row is None:
        return None
    query = """SELECT data FROM content_pages JOIN pages ON id = page
               WHERE root = ? AND level = 0 ORDER BY place"""
    return Manifest(row[0], row[1], b"".join(page[0] for page in database.execute(query, (root,))))


def page_of(database: sqlite3.Connection, root: bytes, level: int, place: int) -> bytes | None:
    """Return one page of a content."""
    query = (
        "SELECT data FROM content_pages JOIN pages ON id = page WHERE root = ? AND level = ? AND place = ?"
    )
    row = database.execute(query, (root, level, place)).fetchone()
    return None if row is None else bytes(row[0])


def find_pages(database: sqlite3.Connection, hashes: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return those of the pages that are here, whichever content brought them."""
    found = {}
    for hash_ in hashes:
        row = database.execute("SELECT data FROM pages WHERE hash = ?", (hash_,)).fetchone()
        if row is not None:
            found[hash_] = bytes(row[0])
    return found


def drop(database: sqlite3.Connection, root: bytes) -> None:
    """Forget a manifest that no copy and no partial file needs; pages that others share stay."""
    query = """SELECT 1 FROM holdings WHERE root = ? UNION ALL SELECT 1 FROM partials WHERE root = ?
               UNION ALL SELECT 1 FROM changes WHERE base = ?"""
    if database.execute(query, (root, root, root)).fetchone() is not None:
        return
    pages = [
        (page, level)
        for page, level in database.execute("SELECT page, level FROM content_pages WHERE root = ?", (root,))
    ]
    database.execute("DELETE FROM content_pages WHERE root = ?", (root,))
    database.execute("DELETE FROM contents WHERE root = ?", (root,))
    for page, level in pages:
        if database.execute("SELECT 1 FROM content_pages WHERE page = ?", (page,)).fetchone() is not None:
            continue
        if level == 0:
            data = database.execute("SELECT data FROM pages WHERE id = ?", (page,)).fetchone()[0]
            rows = ((prefix, page) for prefix in _prefixes(data))
            database.executemany("DELETE FROM chunk_pages WHERE prefix = ? AND page = ?", rows)
        database.execute("DELETE FROM pages WHERE id = ?", (page,))


def drop_unused(database: sqlite3.Connection) -> None:
    """Forget every manifest without a copy or a partial file."""
    query = """SELECT root FROM contents WHERE root NOT IN (SELECT root FROM holdings)
               AND root NOT IN (SELECT root FROM partials) AND root NOT IN (SELECT base FROM changes)"""
    for (root,) in database.execute(query).fetchall():
        drop(database, root)


def worth_searching(database: sqlite3.Connection, hashes: list[bytes]) -> bool:
    """Tell from a sample whether any of these chunks lie in our store.

    A large file of which we have nothing would otherwise cost a search per chunk.
    """
    step = max(1, len(hashes) // _SAMPLE)
    query = "SELECT 1 FROM chunk_pages WHERE prefix = ?"
    return any(database.execute(query, (prefix,)).fetchone() for prefix in map(_prefix, hashes[::step]))


def find_chunks(
    database: sqlite3.Connection, hashes: list[bytes], but: bytes
) -> dict[bytes, list[tuple[bytes, int]]]:
    """Return up to 8 places (root, index) for each of these chunks, leaving out the content `but`."""
    places_of_page: dict[int, list[tuple[bytes, int]]] = {}
    data_of_page: dict[int, bytes] = {}
    found: dict[bytes, list[tuple[bytes, int]]] = {}
    for hash_ in hashes:
        query = "SELECT page FROM chunk_pages WHERE prefix = ? LIMIT 8"
        for (page,) in database.execute(query, (_prefix(hash_),)).fetchall():
            if page not in places_of_page:
                if len(data_of_page) > 256:  # 8 MiB of pages
                    data_of_page.clear()
                    places_of_page.clear()
                query = (
                    "SELECT root, place FROM content_pages WHERE page = ? AND level = 0 AND root <> ? LIMIT 8"
                )
                places_of_page[page] = database.execute(query, (page, but)).fetchall()
                row = database.execute("SELECT data FROM pages WHERE id = ?", (page,)).fetchone()
                data_of_page[page] = b"" if row is None else row[0]
            places = places_of_page[page]
            offset = _offset(data_of_page[page], hash_) if places else -1
            if offset >= 0:
                found.setdefault(hash_, []).extend(
                    (root, place * HASHES_PER_PAGE + offset) for root, place in places
                )
    return found


def _offset(page: bytes, hash_: bytes) -> int:
    at = page.find(hash_)
    while at >= 0 and at % HASH_BYTES:
        at = page.find(hash_, at + 1)
    return at // HASH_BYTES if at >= 0 else -1


def _prefix(hash_: bytes) -> int:
    return int.from_bytes(hash_[:PREFIX_BYTES], "big", signed=True)


def _prefixes(page: bytes) -> Iterator[int]:
    return (_prefix(page[at : at + PREFIX_BYTES]) for at in range(0, len(page), HASH_BYTES))
