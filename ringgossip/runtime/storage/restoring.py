"""What is really still there when a store is opened again? Look at every file, hash none.

A copy counts if its size, times and inode are what the index remembers. What
is superseded and not pinned goes now: whoever pulled it asks for the newer one.
Leftovers of a crash in our own folders are cleared.
"""

import os
import sqlite3
from pathlib import Path

from ringgossip.content.chunking import chunk_count
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.protocol.core import Restored
from ringgossip.runtime.storage import ledger, manifests
from ringgossip.runtime.storage.disk import Signature, remove
from ringgossip.runtime.storage.holdings import Holdings
from ringgossip.runtime.storage.places import BitSet, Place, PlaceKind
from ringgossip.runtime.storage.receiving import Receiving


def restore(holdings: Holdings, receiving: Receiving) -> Restored:
    """Fill the table of places from the index and the disk."""
    ask = holdings.index.ask
    _finish_renames(holdings)
    _restore_copies(holdings)
    rows = [row for row in ask(ledger.partials) if _is_there(holdings, row)]
    gone = [row.record.root for row in ask(ledger.partials) if row not in rows]

    def clear(database: sqlite3.Connection) -> None:
        for root in gone:
            ledger.drop_partial(database, root)
        manifests.drop_unused(database)

    ask(clear)
    receiving.restore(rows)
    _clear_leftovers(holdings, {holdings.layout.part(row.record.root) for row in rows})
    store = ask(ledger.store_id)
    versions = {record: place for place in holdings.all_places() for record in place.records}
    return Restored(
        store=store,
        fresh=not ask(lambda database: ledger.has_published(database, store)),
        records=ask(ledger.records),
        certificates=ask(ledger.certificates),
        holdings=tuple(sorted(versions, key=lambda record: (record.key, record.sequence))),
        paths={
            (*record.key, record.sequence): str(place.path)
            for record, place in versions.items()
            if place.own is None
        },
        marks=ask(ledger.marks),
        spent=ask(ledger.spent),
    )


def _finish_renames(holdings: Holdings) -> None:
    """Take a replica as complete that was renamed into place before the index could say so.

    Only a whole and synced partial file is ever renamed there, and its inode tells that it is the one.
    """
    layout = holdings.layout
    for row in holdings.index.ask(ledger.partials):
        if layout.part(row.record.root).exists():
            continue
        for kept in (None, row.record.sequence):
            path = layout.replica_path(*row.record.key, kept=kept)
            found = _look(path)
            if found is not None and found.inode == row.inode and found.size == row.record.size:
                kind = PlaceKind.REPLICA if kept is None else PlaceKind.KEPT
                held = ledger.HoldingRow(row.record, kind.value, layout.shown(path), found, False)

                def work(database: sqlite3.Connection, held: ledger.HoldingRow = held) -> None:
                    ledger.drop_partial(database, held.record.root)
                    ledger.put_holding(database, held)

                holdings.index.ask(work)


def _restore_copies(holdings: Holdings) -> None:
    layout = holdings.layout
    places: dict[tuple[str, bytes], Place] = {}
    lost: list[Record] = []
    newest: dict[ArtifactKey, Record] = {}
    rows = holdings.index.ask(lambda database: list(ledger.holdings(database)))
    changes = holdings.index.ask(ledger.changes)
    for row in rows:
        record = row.record
        place = places.get((row.path, record.root)) or _place(holdings, row)
        if place is not None and place.kind is PlaceKind.CHANGES and place.base is None:
            place = _leaning(holdings, place, changes.get(record.root))
        if place is None:
            lost.append(record)
            continue
        places[row.path, record.root] = place
        if layout.shown(place.path) != row.path:
            moved = holdings.row(record, place)
            holdings.index.call(lambda database, moved=moved: ledger.put_holding(database, moved))  # type: ignore[misc]
        holdings.link(record, place)
        newest[record.key] = record
    holdings.forget_rows(lost)
    # Rows come older versions first, so `newest` has the last of each.
    for row in rows:
        held = holdings.version(row.record)
        if held is not None and not held.pinned and newest[row.record.key] is not row.record:
            holdings.drop(row.record)


def _place(holdings: Holdings, row: ledger.HoldingRow) -> Place | None:
    """Return the place of a copy if it is still there, also under the name that a crash gave it."""
    record = row.record
    kind = PlaceKind(row.place)
    path = holdings.layout.found(row.path)
    found = _look(path, follow=kind is PlaceKind.USER)
    if kind is PlaceKind.USER:
        if found != row.signature:
            return None
        return Place(kind, path, row.signature, record.root, record.chunk_size)
    pinned = row.pinned
    if kind is PlaceKind.REPLICA and (found is None or found.inode != row.signature.inode):
        # A newer version was renamed over it, after this one got its own name; keep it for
        # good, since the index was not told whether it may go.
        path = holdings.layout.replica_path(*record.key, kept=record.sequence)
        kind, found, pinned = PlaceKind.KEPT, _look(path), True
    if found is None or not found.same_file(row.signature):
        return None
    place = Place(kind, path, found, record.root, record.chunk_size, pinned=pinned).unproven()
    # Another name's changes may lean on it, and have been here before.
    return holdings.restore_base(place) if kind is PlaceKind.SNAPSHOT else place


def _leaning(holdings: Holdings, place: Place, row: ledger.ChangesRow | None) -> Place | None:
    """Return the place of changes with what it leans on, if that is still there."""
    if row is None:
        return None
    path = holdings.layout.found(row.path)
    found = _look(path)
    if found is None or not found.same_file(row.signature):
        return None
    base = Place(PlaceKind.SNAPSHOT, path, found, row.base, place.chunk_size).unproven()
    holdings.restore_base(base)
    place.base, place.own = row.base, BitSet(chunk_count(place.size, place.chunk_size), row.own)
    return place


def _look(path: Path, follow: bool = False) -> Signature | None:
    try:
        return Signature.of(path.stat() if follow else path.lstat())
    except OSError:
        return None


def _is_there(holdings: Holdings, row: ledger.PartialRow) -> bool:
    found = _look(holdings.layout.part(row.record.root))
    whole = (chunk_count(row.record.size, row.record.chunk_size) + 7) // 8 == len(row.have)
    return found is not None and found.inode == row.inode and found.size == row.record.size and whole


def _clear_leftovers(holdings: Holdings, wanted: set[Path]) -> None:
    """Delete what a crash left in the folders where everything is ours and named by the index."""
    layout = holdings.layout
    wanted |= {place.path for place in holdings.all_places()}
    for folder in (layout.partial, layout.snapshots, layout.published):
        with os.scandir(folder) as entries:
            for entry in entries:
                path = folder / entry.name
                if path not in wanted and entry.is_file(follow_symlinks=False):
                    remove(path)
