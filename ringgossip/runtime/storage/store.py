"""One peer's store: everything it remembers, and every byte it can give or take.

All calls block and may come from any worker thread. Nothing here raises
anything but the errors of `ringgossip.errors`: a full disk, a damaged file or
a lost replica is told in one line, and the store goes on.

    publishing   prepare(...) -> Prepared, then persist(record)
    serving      read_chunk, pages, find_pages
    receiving    reserve -> begin_partial -> copy_local, verify_and_write -> finalise, or abandon
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Final

from ringgossip.content.manifest import Manifest
from ringgossip.content.record import ArtifactKey, Record, Scalar
from ringgossip.errors import StoreError
from ringgossip.protocol.core import Restored
from ringgossip.runtime.storage import ledger, manifests
from ringgossip.runtime.storage.disk import ChunkChanged, ChunkMissing, NoRoom, Signature, remove, trouble
from ringgossip.runtime.storage.holdings import Holdings
from ringgossip.runtime.storage.index import Index, IndexBroken, IndexDamaged
from ringgossip.runtime.storage.layout import Layout
from ringgossip.runtime.storage.live import CHANGES_FROM, LiveDatabases
from ringgossip.runtime.storage.places import PlaceKind
from ringgossip.runtime.storage.publishing import Prepared, Progress, Publishing
from ringgossip.runtime.storage.receiving import Receiving
from ringgossip.runtime.storage.restoring import restore
from ringgossip.runtime.storage.scrub import Scrubbed, Scrubber
from ringgossip.runtime.storage.snapshots import SnapshotHelper
from ringgossip.runtime.storage.space import Space
from ringgossip.strategy.bandwidth import Spent

__all__ = ["MIN_FREE_BYTES", "ChunkChanged", "ChunkMissing", "NoRoom", "Prepared", "Store"]

# A guess: enough for logs and an index to grow while somebody is called.
MIN_FREE_BYTES: Final = 256 * 2**20


def _ignore(*_: object) -> None:
    """Nobody listens."""


class Store:
    """Open one with `Store.open`; close it, or let the process end: nothing is lost either way.

    `on_trouble(reason)` hears of disks and damage, `on_lost(record, reason)` of copies that are
    no longer here; both are called in whatever thread found out.
    """

    def __init__(
        self,
        layout: Layout,
        lock: IO[bytes],
        index: Index,
        helper: SnapshotHelper,
        min_free_bytes: int,
        changes_from: int | None,
        on_trouble: Callable[[str], None],
        on_lost: Callable[[Record, str], None],
    ) -> None:
        self._layout = layout
        self._lock = lock
        self._index = index
        self._helper = helper
        self._holdings = Holdings(layout, index, on_trouble, on_lost)
        self._space = Space(layout.data, min_free_bytes)
        self._receiving = Receiving(self._holdings, self._space, on_trouble)
        self._publishing = Publishing(
            self._holdings, LiveDatabases(self._holdings, self._space, helper, changes_from)
        )
        self._scrubber = Scrubber(self._holdings)
        try:
            self.restored: Restored = restore(self._holdings, self._receiving)
        except BaseException as problem:
            self._receiving.close()
            if isinstance(problem, OSError):
                raise trouble(problem, f"{layout.data} cannot be looked through") from None
            raise

    @classmethod
    def open(
        cls,
        data: Path,
        *,
        min_free_bytes: int = MIN_FREE_BYTES,
        changes_from: int | None = CHANGES_FROM,
        helper: Callable[[], SnapshotHelper] = SnapshotHelper,
        on_trouble: Callable[[str], None] = _ignore,
        on_lost: Callable[[Record, str], None] = _ignore,
    ) -> "Store":
        """Lock and open the store in the folder `data`, made if missing.

        From `changes_from` bytes on only changes of a live database are kept (`live.py`).
        Raises `StoreError` when another process has it, or the disk refuses. A
        damaged index is moved aside and a new store begins: what lies in
        `replicas/` is then verified again as its records come back.
        """
        layout = Layout(data)
        lock = layout.lock()
        layout.last_words(None)
        try:

            def opened() -> "Store":
                index = Index.open(layout.index, os.urandom(8))
                try:
                    return cls(
                        layout, lock, index, helper(), min_free_bytes, changes_from, on_trouble, on_lost
                    )
                except BaseException:
                    index.close()
                    raise

            try:
                return opened()
            except (IndexDamaged, IndexBroken) as problem:
                moved = _move_index_aside(layout)
                on_trouble(
                    f"{layout.index} is damaged ({problem}): moved to {moved}, a new one is made; "
                    "what lies in replicas/ is used again as soon as its records come back from others"
                )
                return opened()
        except IndexDamaged as problem:
            lock.close()
            raise StoreError(f"{layout.index} cannot be made: {problem}") from None
        except BaseException:
            lock.close()
            raise

    def next_boot(self, wall_seconds: int) -> int:
        """Return this start's number, higher than any before; on disk already."""
        return self._index.ask(lambda database: ledger.next_boot(database, wall_seconds))

    def last_words(self, why: str) -> None:
        """Leave in the data folder why its peer ends by itself, until the next one opens it."""
        self._layout.last_words(why)

    @property
    def data(self) -> Path:
        """The data folder, links resolved."""
        return self._layout.data

    # --- records ----------------------------------------------------------------------------

    def persist(self, record: Record) -> Path | None:
        """Write a record; on disk when this returns. For one of ours: where its copy lies."""
        if record.store == self.restored.store and not record.withdrawn:
            return self._publishing.persist(record)
        self._index.ask(lambda database: ledger.put_record(database, record))
        return None

    def persist_batch(self, records: Iterable[Record], certificates: Iterable[bytes] = ()) -> None:
        """Write records of others, and certificates, in one transaction."""
        batch, ders = list(records), list(certificates)

        def work(database: sqlite3.Connection) -> None:
            for der in ders:
                ledger.put_certificate(database, der)
            for record in batch:
                ledger.put_record(database, record)

        self._index.ask(work)

    def remember(self, key: ArtifactKey, mark: str, sequence: int) -> None:
        """Keep what a user decided about an artifact; sequence 0 forgets it."""
        self._index.ask(lambda database: ledger.put_mark(database, key, mark, sequence))

    def persist_spent(self, spent: Spent) -> None:
        """Keep what has left of the byte budgets."""
        self._index.ask(lambda database: ledger.put_spent(database, spent))

    # --- publishing ---------------------------------------------------------------------------

    def prepare(
        self,
        kind: str,
        path: Path,
        name: str,
        metadata: Mapping[str, Scalar] | None = None,
        progress: Progress | None = None,
        inside: Path | None = None,
    ) -> Prepared:
        """Check and hash a user's file, or take a snapshot of a live database; its bytes are held from now.

        It must lie below `inside`, if that is given, links in it notwithstanding.

        Raises `UsageError`, `ArtifactRefused`, `SnapshotPostponed` or `StoreError`.
        """
        return self._publishing.prepare(kind, path, name, metadata or {}, progress, inside)

    def discard(self, prepared: Prepared) -> None:
        """Let go of a source that nobody signs: refused, or unchanged."""
        self._publishing.discard(prepared)

    def source_of(self, kind: str, name: str) -> str | None:
        """Return from which absolute path this name of ours was published last."""
        return self._index.ask(partial(ledger.publication, kind=kind, name=name))

    # --- serving --------------------------------------------------------------------------------

    def published_sources(self, kind: str, folder: Path) -> dict[str, ledger.PublishedRow]:
        """Return what lay below a folder when it was published under its name there; not for databases."""
        return self._index.ask(partial(ledger.published_sources, kind=kind, folder=str(folder)))

    def serves(self, record: Record, path: Path, signature: Signature) -> bool:
        """Tell whether this version is served from our clone, or from the user's file as it was then."""
        place = self._holdings.version(record)
        if place is None or place.kind is PlaceKind.CLONE:
            return place is not None
        return place.kind is PlaceKind.USER and place.path == path and place.signature == signature

    def read_chunk(self, root: bytes, index: int, into: memoryview | None = None) -> memoryview:
        """Return a chunk, proven; in `into` if that is given and long enough.

        Raises `ChunkMissing`, `ChunkChanged` (and `on_lost` is told), or another `StoreError`.
        """
        length = self._holdings.length(root, index)
        complete = length is not None
        if length is None:
            length = self._receiving.length(root, index)
        if length is None:
            raise ChunkMissing("not here")
        view = into[:length] if into is not None else memoryview(bytearray(length))
        if len(view) < length:
            raise ChunkMissing(f"a chunk of {length} bytes does not fit")
        if complete:
            self._holdings.read(root, index, view)
        else:
            self._receiving.read(root, index, view)
        return view

    def pages(self, root: bytes, places: Iterable[tuple[int, int]]) -> list[bytes]:
        """Return manifest pages `(level, index)`; raises `ChunkMissing` when one is not here."""
        wanted = list(places)

        def work(database: sqlite3.Connection) -> list[bytes | None]:
            return [manifests.page_of(database, root, level, index) for level, index in wanted]

        found = []
        for place, page in zip(wanted, self._index.ask(work), strict=True):
            if page is None:
                raise ChunkMissing(f"page {place} of the manifest is not here")
            found.append(page)
        return found

    def find_pages(self, pages: Iterable[tuple[int, int, bytes]]) -> dict[bytes, bytes]:
        """Return those of the pages `(level, index, hash)` that any version brought here, by hash."""
        hashes = [hash_ for _, _, hash_ in pages]
        return self._index.ask(lambda database: manifests.find_pages(database, hashes))

    # --- receiving --------------------------------------------------------------------------------

    def reserve(self, record: Record) -> Manifest | None:
        """Promise space for a whole version; return its manifest if it is here. Raises `NoRoom`."""
        return self._receiving.reserve(record)

    def begin_partial(self, record: Record, manifest: Manifest) -> tuple[int, int]:
        """Open or resume the partial file; return (have, copying) as bit sets. Then call `copy_local`."""
        return self._receiving.begin(record, manifest)

    def copy_local(self, root: bytes) -> Iterator[tuple[int, int]]:
        """Copy what lies elsewhere in our store; yield (copied, failed) bit sets as it goes."""
        return self._receiving.copy(root)

    def verify_and_write(self, root: bytes, index: int, data: memoryview, hash_: bytes | None) -> bool:
        """Write a chunk that has this hash, which the manifest says too; False: its sender is to blame.

        Without `hash_` the manifest alone says it.

        Raises `ChunkMissing` when this version is no longer received, `StoreError` when the disk refuses.
        """
        return self._receiving.write(root, index, data, hash_)

    def finalise(self, record: Record, keep_predecessor: bool = False) -> Path:
        """Make a whole version visible, synced; return its path.

        Raises `ArtifactRefused` when its content is to blame, `StoreError` when the disk is.
        """
        return self._receiving.finalise(record, keep_predecessor)

    def abandon(self, root: bytes, keep: bool) -> None:
        """Stop receiving; `keep` what was verified for another time."""
        self._receiving.abandon(root, keep)

    def drop(self, record: Record) -> bool:
        """Delete a superseded version; False if it is pinned or not here. A user's file is never deleted."""
        return self._holdings.drop(record)

    # --- housekeeping --------------------------------------------------------------------------------

    def scrub_next(self, budget: int) -> Scrubbed:
        """Read about `budget` bytes of our copies again and compare them with what was signed."""
        return self._scrubber.scrub(budget)

    def is_gone(self) -> bool:
        """Tell whether the data folder was removed, or another lies, or is mounted, where it was."""
        try:
            found = (self._layout.data / "lock").stat()
        except FileNotFoundError:
            return True
        except OSError:
            return False  # A disk in trouble: whoever reads and writes tells of it.
        return not os.path.samestat(found, os.fstat(self._lock.fileno()))

    def path_of(self, record: Record) -> Path | None:
        """Return where this version can be opened, None if it is not here or not as one file."""
        place = self._holdings.version(record)
        return place.path if place is not None and place.own is None else None

    def close(self) -> None:
        """Sync what is in progress, end the helper and the index, and unlock."""
        self._receiving.close()
        self._helper.close()
        self._holdings.close()
        self._index.close()
        self._lock.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _move_index_aside(layout: Layout) -> Path:
    moved = layout.set_aside(layout.index)
    for suffix in ("-wal", "-shm"):
        beside = Path(f"{layout.index}{suffix}")
        if beside.exists():
            beside.rename(f"{moved}{suffix}")
    for suffix in ("-journal", ".suspect"):
        remove(Path(f"{layout.index}{suffix}"))
    return moved
