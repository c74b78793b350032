"""How does a version come in: space, partial file, chunks, and then visible at once or not at all?

The order of finishing is the whole point:

    1. every chunk is written and was verified      2. fsync of the file
    3. the kind looks at its structure              4. the version before it gets its own name
    5. rename over the replica's path               6. fsync of the folder
    7. the index says that we hold it

After a crash between 5 and 7 the replica's inode is the one that the index
knows of the partial file, and since nothing is renamed before 1 and 2, the
version is complete: it is taken as such, and nothing is fetched again.
Source: design section 7; targets, crash model.
"""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import RLock

from ringgossip.content.hashing import hash_bytes
from ringgossip.content.kinds import KINDS
from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record
from ringgossip.errors import ArtifactRefused, StoreError
from ringgossip.runtime.storage import ledger, manifests
from ringgossip.runtime.storage.disk import ChunkMissing, Signature, remove, sync_folder, trouble
from ringgossip.runtime.storage.holdings import Holdings
from ringgossip.runtime.storage.partial import Keeper, Partial
from ringgossip.runtime.storage.places import Place, PlaceKind
from ringgossip.runtime.storage.reuse import Reuse, twin
from ringgossip.runtime.storage.space import Space
from ringgossip.runtime.storage.thinning import thin_superseded


class Receiving:
    """All files in progress. Thread-safe; the calls for one root come one after the other."""

    def __init__(self, holdings: Holdings, space: Space, on_trouble: Callable[[str], None]) -> None:
        self._holdings = holdings
        self._layout = holdings.layout
        self._index = holdings.index
        self._space = space
        self._on_trouble = on_trouble
        self._lock = RLock()
        self._open: dict[bytes, Partial] = {}
        self._plans: dict[bytes, Reuse] = {}
        self._idle: dict[bytes, ledger.PartialRow] = {}
        self._keeper = Keeper(self._partials, self._index, lambda: thin_superseded(holdings), on_trouble)

    def _partials(self) -> list[Partial]:
        with self._lock:
            return list(self._open.values())

    # --- beginning ------------------------------------------------------------------------

    def restore(self, rows: list[ledger.PartialRow]) -> None:
        """Take over what an earlier process left; its space is still promised."""
        for row in rows:
            self._idle[row.record.root] = row
            with contextlib.suppress(StoreError):
                self._space.reserve(row.record.root, row.record.size, self._layout.part(row.record.root))

    def reserve(self, record: Record) -> Manifest | None:
        """Promise room for a whole version; return its manifest if it is here. Raises `NoRoom`."""
        self._layout.replica_path(*record.key)  # Refuses a hostile name before anything is done.
        try:
            self._space.reserve(
                record.root,
                record.size,
                self._layout.part(record.root),
                lambda _: self._evict_idle(record.root),
            )
        except OSError as problem:
            raise trouble(problem, f"{self._layout.data} cannot be looked at") from None
        return self._holdings.manifests.get(record.root)

    def _evict_idle(self, but: bytes) -> bool:
        """Delete one partial file that nobody fills; what is being fetched needs the room more."""
        with self._lock:
            root = next((root for root in self._idle if root != but and root not in self._open), None)
        if root is None:
            return False
        self._forget(root)
        return True

    def begin(self, record: Record, manifest: Manifest) -> tuple[int, int]:
        """Open or resume the partial file; return the chunks it has, and those that `copy` will try."""
        root = record.root
        if manifest.root != root:
            raise StoreError(f"the manifest of {record.key.text} is another one")
        self._holdings.manifests.store(manifest)
        with self._lock:
            if root in self._open:
                raise StoreError(f"{record.key.text} is being received already")
            known = self._idle.pop(root, None)
        partial = None
        try:
            partial = Partial(record, manifest, self._layout.part(root), known, self._keeper.nudge)
            row = ledger.PartialRow(record, partial.inode, partial.written.packed())
            partial.row_committed = self._index.call(lambda database: ledger.put_partial(database, row))
            plan = Reuse(self._holdings, partial, self._orphan(record), self._siblings(record))
        except BaseException:
            # It is tried again: what it had must be known then.
            if partial is not None:
                partial.close()
            if known is not None:
                with self._lock:
                    self._idle[root] = known
            raise
        with self._lock:
            self._open[root] = partial
            if plan.planned.count:
                self._plans[root] = plan
            else:
                plan.close()
        self._keeper.nudge()
        return partial.have, plan.planned.as_int()

    def _siblings(self, record: Record) -> list[Partial]:
        """Return older partial files of the same artifact, open."""
        with self._lock:
            rows = [row for row in self._idle.values() if row.record.key == record.key]
        opened = []
        for row in rows:
            manifest = self._holdings.manifests.get(row.record.root)
            path = self._layout.part(row.record.root)
            if manifest is not None and manifest.chunk_size == record.chunk_size and path.exists():
                with contextlib.suppress(StoreError):
                    opened.append(Partial(row.record, manifest, path, row, self._keeper.nudge))
        return opened

    def _orphan(self, record: Record) -> Path | None:
        """Return a file at the replica's place that the index, which must be a new one, does not know."""
        path = self._layout.replica_path(*record.key)
        if any(place.path == path for place in self._holdings.versions(record.key)):
            return None
        return path if path.is_file() and not path.is_symlink() else None

    # --- filling -----------------------------------------------------------------------------

    def copy(self, root: bytes) -> Iterator[tuple[int, int]]:
        """Bring in what lies elsewhere in our store; yield (copied, failed) sets of chunks."""
        with self._lock:
            plan = self._plans.pop(root, None)
        if plan is None:
            return
        try:
            yield from plan.copy()
        except ChunkMissing:
            return  # Given up meanwhile: no trouble of the disk's.
        partial = self._open.get(root)
        if partial is not None:
            partial.orphan_inode = plan.orphan_inode

    def write(self, root: bytes, index: int, data: memoryview, hash_: bytes | None) -> bool:
        """Write a chunk if it has this hash, which is that of the manifest; False: it is a wrong one.

        Without `hash_` that of the manifest counts.

        Raises `ChunkMissing` when the version is no longer received, `StoreError` when the disk refuses.
        """
        partial = self._open.get(root)
        if partial is None:
            raise ChunkMissing("it is no longer received")
        if index >= partial.manifest.chunk_count or len(data) != partial.length(index):
            return False
        right = partial.manifest.chunk_hash(index)
        if hash_ not in (None, right) or hash_bytes(data) != right:
            return False
        partial.write(index, data)
        return True

    def read(self, root: bytes, index: int, view: memoryview) -> None:
        """Fill `view` with a chunk of a version in progress; raises `ChunkMissing`."""
        partial = self._open.get(root)
        if partial is None:
            raise ChunkMissing("not here")
        partial.read(index, view)

    def length(self, root: bytes, index: int) -> int | None:
        partial = self._open.get(root)
        if partial is None:
            return None
        try:
            return partial.length(index)
        except IndexError as problem:
            raise ChunkMissing(str(problem)) from None

    # --- ending --------------------------------------------------------------------------------

    def finalise(self, record: Record, keep_predecessor: bool) -> Path:
        """Make a whole version visible and return its path.

        Raises `ArtifactRefused` when its content is to blame, `StoreError` when our disk is.
        """
        held = self._same_content(record)
        if held is not None:
            return self._rename_version(record, held, keep_predecessor)
        partial = self._open.get(record.root)
        if partial is None or not partial.written.full:
            raise StoreError(f"{record.key.text} is not complete")
        partial.flush()
        reason = KINDS[record.kind].check_arrival(partial.path)
        if reason is not None:
            raise ArtifactRefused(f"{record.key.text} is not what its kind demands: {reason}")
        assert partial.row_committed is not None
        partial.row_committed.result()
        try:
            place, before = self._show(record, partial, keep_predecessor)
        except OSError as problem:
            raise trouble(problem, f"{record.key.text} cannot be made visible") from None
        self._commit(record, place, before)
        for other in [] if before is None else list(before.records):
            if other.sequence == record.sequence:
                # Its origin signed two contents for one sequence; everybody keeps the same one.
                self._holdings.drop(other)
        with self._lock:
            del self._open[record.root]
            self._plans.pop(record.root, None)
        partial.close()
        self._space.release(record.root)
        self._forget_older(record)
        return place.path

    def _show(self, record: Record, partial: Partial, keep_predecessor: bool) -> tuple[Place, Place | None]:
        """Rename the file to where it is visible; return its place and that of the version before it."""
        path = self._layout.replica_path(*record.key)
        # Its chunks may have come from elsewhere in the store, and the file that lies there is as good.
        orphan = partial.orphan_inode or twin(self._orphan(record), partial)
        with self._layout.replica_folder(*record.key, create=True) as (folder, base):
            before = None
            if self._is_newest(record):
                kind = PlaceKind.REPLICA
                before = self._make_way(record, orphan, path, folder, base)
            else:
                # Visible sequences never go back: an older version that took longer gets its own name.
                kind = PlaceKind.KEPT
                path = self._layout.replica_path(*record.key, kept=record.sequence)
                base = path.name
            os.rename(partial.path, base, dst_dir_fd=folder)
            sync_folder(folder)
            signature = Signature.of(os.stat(base, dir_fd=folder, follow_symlinks=False))
        if before is not None:
            before.signature = Signature.of(os.lstat(before.path))
            before.pinned = before.pinned or keep_predecessor
        return Place(kind, path, signature, record.root, record.chunk_size), before

    def _is_newest(self, record: Record) -> bool:
        return not any(
            place.kind is PlaceKind.REPLICA and held.key == record.key and held.sequence > record.sequence
            for place in self._holdings.versions(record.key)
            for held in place.records
        )

    def _same_content(self, record: Record) -> Place | None:
        """Return the place of another version with the same content: then only the record is new."""
        for place in self._holdings.versions(record.key):
            if place.root == record.root and place.own is None:
                return place
        return None

    def _rename_version(self, record: Record, place: Place, keep_predecessor: bool) -> Path:
        shown = None
        if place.kind is PlaceKind.KEPT and self._is_newest(record):
            try:
                shown = self._show_again(record, place, keep_predecessor)
            except OSError as problem:
                raise trouble(problem, f"{record.key.text} cannot be made visible") from None
        moved = [] if shown is None else [self._holdings.row(held, shown) for held in shown.records]
        before = [
            held for held in place.records if held.key == record.key and held.sequence < record.sequence
        ]

        def work(database: sqlite3.Connection) -> None:
            ledger.put_holding(database, self._holdings.row(record, place))
            for row in moved:
                ledger.put_holding(database, row)
            for held in before:
                ledger.drop_holding(database, held)

        self._index.ask(work)
        self._holdings.link(record, place)
        for held in before:
            self._holdings.unlink(held)
        self.abandon(record.root, keep=False)
        return place.path

    def _show_again(self, record: Record, place: Place, keep_predecessor: bool) -> Place | None:
        """Give a kept version, whose content is the newest again, the visible name; return as `_make_way`.

        A crash before the index knows leaves its file where the replica belongs: it is proven and used then.
        """
        path = self._layout.replica_path(*record.key)
        with self._layout.replica_folder(*record.key, create=True) as (folder, base):
            before = self._make_way(record, None, path, folder, base)
            os.rename(place.path.name, base, src_dir_fd=folder, dst_dir_fd=folder)
            sync_folder(folder)
            place.signature = Signature.of(os.stat(base, dir_fd=folder, follow_symlinks=False))
        place.path, place.kind, place.pinned = path, PlaceKind.REPLICA, False
        if before is not None:
            before.signature = Signature.of(os.lstat(before.path))
            before.pinned = before.pinned or keep_predecessor
        return before

    def _make_way(
        self, record: Record, orphan: int | None, path: Path, folder: int, base: str
    ) -> Place | None:
        """Give the version that is visible its own name; return its place. An unknown file is moved aside."""
        try:
            found = os.stat(base, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(found.st_mode):
            raise StoreError(f"{path} is a folder: another artifact's name begins with {record.name!r}")
        for place in self._holdings.versions(record.key):
            if place.path != path:
                continue
            if found.st_ino != place.signature.inode:
                with contextlib.suppress(StoreError):
                    self._holdings.lose(place, f"{path} was replaced by another program")
                return None
            older = max(held.sequence for held in place.records if held.key == record.key)
            self._give_name(path, folder, base, f"{base}@{older}", found.st_ino)
            place.path = path.with_name(f"{base}@{older}")
            place.kind = PlaceKind.KEPT
            return place
        if found.st_ino != orphan:
            moved = self._layout.set_aside(path)
            self._on_trouble(f"{path} was unknown to the index: moved to {moved}")
        return None

    def _give_name(self, path: Path, folder: int, base: str, kept: str, inode: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            if os.stat(kept, dir_fd=folder, follow_symlinks=False).st_ino == inode:
                os.unlink(kept, dir_fd=folder)  # A second name that a crash left here.
            else:
                self._layout.set_aside(path.with_name(kept))
        try:
            os.link(base, kept, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError:
            # No hard links here: for a moment nothing is visible.
            os.rename(base, kept, src_dir_fd=folder, dst_dir_fd=folder)

    def _commit(self, record: Record, place: Place, before: Place | None) -> None:
        rows = [self._holdings.row(record, place)]
        if before is not None:
            rows += [self._holdings.row(held, before) for held in before.records]

        def work(database: sqlite3.Connection) -> None:
            ledger.drop_partial(database, record.root)
            for row in rows:
                ledger.put_holding(database, row)

        self._index.ask(work)
        self._holdings.link(record, place)

    def _forget_older(self, record: Record) -> None:
        """Delete partial files of older versions that nobody fills any more."""
        with self._lock:
            old = [
                root
                for root, row in self._idle.items()
                if row.record.key == record.key and row.record.sequence <= record.sequence
            ]
        for root in old:
            self._forget(root)

    def abandon(self, root: bytes, keep: bool) -> None:
        """Stop receiving: give the promise back; `keep` what was verified for another time."""
        self._space.release(root)
        with self._lock:
            partial = self._open.pop(root, None)
            plan = self._plans.pop(root, None)
        if plan is not None:
            plan.close()
        if partial is None:
            if not keep:
                self._forget(root)
            return
        if keep:
            try:
                partial.sync(self._index)
            except StoreError as problem:
                self._on_trouble(str(problem))
            with self._lock:
                self._idle[root] = ledger.PartialRow(partial.record, partial.inode, partial.synced)
        partial.close()
        if not keep:
            self._forget(root)

    def _forget(self, root: bytes) -> None:
        with self._lock:
            self._idle.pop(root, None)
        self._space.release(root)

        def work(database: sqlite3.Connection) -> None:
            ledger.drop_partial(database, root)
            manifests.drop(database, root)

        self._index.ask(work)
        with contextlib.suppress(OSError):
            remove(self._layout.part(root))

    def close(self) -> None:
        """Sync what is in progress and close it."""
        self._keeper.close()
        for root in [partial.record.root for partial in self._partials()]:
            self.abandon(root, keep=True)
