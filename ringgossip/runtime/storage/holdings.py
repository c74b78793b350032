"""Which versions do we have, where are their bytes, and are these still what was signed?

Whatever leaves this room was hashed by this process: what it wrote or checked
itself is trusted until it ends, a replica of an earlier process is hashed when
it is first read, a user's file at every read. A file of ours that fails is
moved to the damaged ones; a user's file is only no longer served.

A place may lean on another, its base, for chunks that are equal. A base is kept
while a place leans on it, or is about to, whether or not it is a version's own
copy still; when it is lost, so is all that leans on it.

Locks are held for looking and linking, never while a disk works.
"""

import errno
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Final

from ringgossip.content.chunking import chunk_length
from ringgossip.content.hashing import hash_bytes
from ringgossip.content.manifest import Manifest
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.errors import StoreError
from ringgossip.runtime.storage import ledger, manifests
from ringgossip.runtime.storage.disk import ChunkChanged, ChunkMissing, read_at, remove, trouble
from ringgossip.runtime.storage.index import Index, IndexBroken
from ringgossip.runtime.storage.layout import Layout
from ringgossip.runtime.storage.places import OpenFiles, Place, PlaceKind

_CACHE_BYTES: Final = 32 * 2**20
_AT_ONCE: Final = 4096  # chunks

Told = Callable[[str], None]
Lost = Callable[[Record, str], None]


class ManifestCache:
    """The manifests used lately, 32 MiB of hashes or one manifest. Thread-safe."""

    def __init__(self, index: Index, path: Path) -> None:
        self._index = index
        self._path = path
        self._known: OrderedDict[bytes, Manifest] = OrderedDict()
        self._bytes = 0
        self._lock = RLock()

    def get(self, root: bytes) -> Manifest | None:
        with self._lock:
            manifest = self._known.get(root)
            if manifest is not None:
                self._known.move_to_end(root)
                return manifest
        manifest = self._index.ask(lambda database: manifests.get(database, root))
        if manifest is not None:
            if manifest.root != root:
                # Good files would be taken for damaged ones.
                raise IndexBroken(
                    f"{self._path} is damaged: the manifest of {root.hex()[:16]} is not what was signed; "
                    "stop the peer, move that file away and start it again: replicas/ is used as it is"
                )
            self.put(manifest)
        return manifest

    def put(self, manifest: Manifest) -> None:
        with self._lock:
            if manifest.root in self._known:
                return
            self._known[manifest.root] = manifest
            self._bytes += len(manifest.hashes)
            while self._bytes > _CACHE_BYTES and len(self._known) > 1:
                self._bytes -= len(self._known.popitem(last=False)[1].hashes)

    def store(self, manifest: Manifest) -> None:
        """Write a manifest to the index; what is asked of the index later finds it there."""
        self.put(manifest)
        index = self._index
        if manifest.chunk_count <= _AT_ONCE:
            index.call(lambda database: _store_small(database, manifest))
            return
        # A page at a time: others wait for the index too.
        for page in index.ask(lambda database: manifests.put(database, manifest)):
            index.call(partial(manifests.put_chunks, page=page))


def _store_small(database: sqlite3.Connection, manifest: Manifest) -> None:
    for page in manifests.put(database, manifest):
        manifests.put_chunks(database, page)


class Holdings:
    """The table of places, and the only one who reads them. Thread-safe."""

    def __init__(self, layout: Layout, index: Index, on_trouble: Told, on_lost: Lost) -> None:
        self.layout = layout
        self.index = index
        self.files = OpenFiles()
        self.manifests = ManifestCache(index, layout.index)
        self._on_trouble = on_trouble
        self._on_lost = on_lost
        self._lock = RLock()
        self._contents: dict[bytes, list[Place]] = {}
        self._versions: dict[ArtifactKey, dict[Record, Place]] = {}
        self._awaited: list[Place] = []  # bases on which something is about to lean
        self._leaners: list[Place] = []  # few of very many places; some may have gone meanwhile

    # --- looking --------------------------------------------------------------------------

    def places(self, root: bytes) -> list[Place]:
        """Return the places of a root, those of ours first."""
        with self._lock:
            return list(self._contents.get(root, ()))

    def version(self, record: Record) -> Place | None:
        """Return the place of this very version."""
        with self._lock:
            return self._versions.get(record.key, {}).get(record)

    def versions(self, key: ArtifactKey) -> list[Place]:
        """Return the places of all versions of an artifact, the newest first."""
        with self._lock:
            known = self._versions.get(key, {})
            newest_first = sorted(known, key=lambda record: record.sequence, reverse=True)
            return list(dict.fromkeys(known[record] for record in newest_first))

    def all_places(self) -> list[Place]:
        with self._lock:
            return [place for places in self._contents.values() for place in places]

    # --- changing ---------------------------------------------------------------------------

    def row(self, record: Record, place: Place) -> ledger.HoldingRow:
        return ledger.HoldingRow(
            record, place.kind.value, self.layout.shown(place.path), place.signature, place.pinned
        )

    def link(self, record: Record, place: Place) -> None:
        """In memory: this version's bytes are at this place."""
        with self._lock:
            known = self._contents.setdefault(place.root, [])
            if place not in known:
                # A user's file is hashed at every read, so it is asked last.
                known.append(place)
                known.sort(key=lambda candidate: candidate.kind is PlaceKind.USER)
                self._note_leaner(place)
            if record not in place.records:
                place.records.append(record)
            versions = self._versions.setdefault(record.key, {})
            before = versions.get(record)
            versions[record] = place
            if before is not None and before is not place:
                self._unlink(record, before)

    def unlink(self, record: Record) -> Place | None:
        """In memory: this version is gone; return its place if nothing else is there."""
        with self._lock:
            versions = self._versions.get(record.key, {})
            place = versions.pop(record, None)
            if place is None:
                return None
            if not versions:
                self._versions.pop(record.key, None)
            return place if self._unlink(record, place) else None

    def _unlink(self, record: Record, place: Place) -> bool:
        if record in place.records:
            place.records.remove(record)
        if place.records or self._is_base(place.root):
            return False
        known = self._contents.get(place.root, [])
        if place in known:
            known.remove(place)
        if not known:
            self._contents.pop(place.root, None)
        return True

    def _is_base(self, root: bytes) -> bool:
        return bool(self._leaning(root)) or any(base.root == root for base in self._awaited)

    def _leaning(self, root: bytes) -> list[Place]:
        self._leaners = [place for place in self._leaners if place in self._contents.get(place.root, ())]
        return [place for place in self._leaners if place.base == root]

    def _note_leaner(self, place: Place) -> None:
        if place.base is not None and place not in self._leaners:
            self._leaners.append(place)

    def replace(self, old: Place, new: Place) -> bool:
        """In memory: the same bytes are now elsewhere; False if `old` went or must stay as it is."""
        with self._lock:
            known = self._contents.get(old.root, [])
            if old not in known or old in self._awaited:
                return False
            # The index says where the base of changes lies, and as a whole file.
            if any(place.kind is PlaceKind.CHANGES for place in self._leaning(old.root)):
                return False
            known[known.index(old)] = new
            self._note_leaner(new)
            new.records = list(old.records)
            for record in new.records:
                self._versions[record.key][record] = new
        self.files.forget(old)
        return True

    def drop(self, record: Record) -> bool:
        """Delete our copy of a version, unless it is pinned; a user's file only stops being served."""
        place = self.version(record)
        if place is None or place.pinned:
            return False
        gone = self.unlink(record)
        if gone is not None:
            self._delete(gone)
        self._forget(record)
        if place.base is not None:
            self._clear_base(place.base)
        return True

    # --- bases -------------------------------------------------------------------------------

    def await_base(self, root: bytes) -> Place | None:
        """Return a whole snapshot on which something will lean, if there is one; kept until `base_taken`."""
        with self._lock:
            for place in self._contents.get(root, ()):
                if place.kind is PlaceKind.SNAPSHOT and place.own is None:
                    self._awaited.append(place)
                    return place
        return None

    def base_taken(self, base: Place) -> None:
        """What was awaited leans on it now, or never will."""
        with self._lock:
            self._awaited.remove(base)
        self._clear_base(base.root)

    def restore_base(self, base: Place) -> Place:
        """Return the place of this whole file, which is `base` if no version has it as its copy."""
        with self._lock:
            known = self._contents.setdefault(base.root, [])
            for place in known:
                if place.path == base.path:
                    return place
            known.append(base)
        return base

    def _clear_base(self, root: bytes) -> None:
        """Delete a base on which nothing leans any more, and which is no version's copy."""
        with self._lock:
            known = self._contents.get(root, [])
            idle = [] if self._is_base(root) else [place for place in known if not place.records]
            for place in idle:
                known.remove(place)
            if not known:
                self._contents.pop(root, None)
        for place in idle:
            self._delete(place)
        if idle:
            self.index.call(partial(manifests.drop, root=root))
            for place in idle:
                if place.base is not None:
                    self._clear_base(place.base)

    def changes_row(self, place: Place) -> ledger.ChangesRow | None:
        """Return what the index must know of a place that has only changes."""
        if place.kind is not PlaceKind.CHANGES or place.own is None or place.base is None:
            return None
        base = next((under for under in self.places(place.base) if under.own is None), None)
        if base is None:
            raise StoreError(f"{place.path} has lost the snapshot that it leans on: publish it again")
        return ledger.ChangesRow(
            place.root, place.own.packed(), place.base, self.layout.shown(base.path), base.signature
        )

    def _delete(self, place: Place) -> None:
        self.files.forget(place)
        if place.kind is not PlaceKind.USER:
            try:
                remove(place.path)
            except OSError as problem:
                self._on_trouble(str(trouble(problem, f"{place.path} cannot be deleted")))

    def _forget(self, record: Record) -> None:
        """In the index, after the file: a crash between the two leaves nothing lying about."""
        needed = bool(self.places(record.root))

        def work(database: sqlite3.Connection) -> None:
            ledger.drop_holding(database, record)
            if not needed:
                manifests.drop(database, record.root)

        self.index.ask(work)

    # --- reading ------------------------------------------------------------------------------

    def read(self, root: bytes, index: int, view: memoryview) -> None:
        """Fill `view` with a chunk of a complete content, proven to be what was signed.

        Raises `ChunkMissing` when no place has it, `ChunkChanged` when the last one was lost just now.
        """
        problem: StoreError = ChunkMissing("not here")
        for _ in range(3):
            places = self.places(root)
            for place in places:
                try:
                    return self._read_place(place, index, view)
                except StoreError as failure:
                    problem = failure
            if places == self.places(root):
                break
        raise problem

    def length(self, root: bytes, index: int) -> int | None:
        """Return how long a chunk is, None if the root is not here."""
        places = self.places(root)
        if not places:
            return None
        try:
            return chunk_length(index, places[0].size, places[0].chunk_size)
        except IndexError as problem:
            raise ChunkMissing(str(problem)) from None

    def _read_place(self, place: Place, index: int, view: memoryview) -> None:
        if place.own is not None and index not in place.own:
            assert place.base is not None
            if not self.places(place.base):
                return self.lose(place, f"{place.path} has lost the snapshot that it leans on")
            self.read(place.base, index, view)
            return self._prove(place, index, view)
        try:
            with self.files.get(place) as fd:
                got = read_at(fd, view, index * place.chunk_size)
        except ChunkChanged as problem:
            return self.lose(place, str(problem))
        except FileNotFoundError:
            return self.lose(place, f"{place.path} is gone")
        except OSError as problem:
            # A user's file stays published: it may be read again later, and we have no better copy to get.
            reason = trouble(problem, f"{place.path} cannot be read")
            lasts = problem.errno == errno.EIO and place.kind is not PlaceKind.USER
            if lasts or problem.errno in (errno.ENOTDIR, errno.ELOOP):
                return self.lose(place, str(reason))
            if not place.complained:
                place.complained = True  # once: whoever asks for it again and again fills no log
                self._on_trouble(str(reason))
            raise reason from None
        if got < len(view):
            return self.lose(place, f"{place.path} was cut short")
        return self._prove(place, index, view)

    def _prove(self, place: Place, index: int, view: memoryview) -> None:
        if not place.is_proven(index):
            if not self.matches(place.root, index, view):
                return self.lose(place, f"{place.path} was changed: chunk {index} is not what was signed")
            if place.proven is not None:
                place.proven.add(index)
        return None

    def matches(self, root: bytes, index: int, view: memoryview) -> bool:
        """Tell whether these are the bytes of a chunk."""
        manifest = self.manifests.get(root)
        return manifest is not None and hash_bytes(view) == manifest.chunk_hash(index)

    def lose(self, place: Place, reason: str) -> None:
        """Stop serving a place, move a damaged file of ours aside, tell; always raises `ChunkChanged`.

        What leans on it, and cannot be read elsewhere, is lost with it.
        """
        lost = self._take_out(place)
        self.files.forget(place)
        if lost:
            if place.kind is not PlaceKind.USER and os.path.lexists(place.path):
                try:
                    moved = self.layout.set_aside(place.path)
                    reason = f"{reason}; moved to {moved}, and pulled again from whoever has it"
                except OSError as problem:
                    reason = f"{reason}; {trouble(problem, 'it could not be moved aside')}"
            if place.kind is not PlaceKind.USER:
                # What a user did to a file of theirs is no trouble of the disk; `_on_lost` tells of it.
                self._on_trouble(reason)
            for gone, records in lost:
                if gone is not place:
                    self._delete(gone)
                for record in records:
                    self._forget(record)
                    self._on_lost(record, reason)
            self.index.call(partial(manifests.drop, root=place.root))
            if place.base is not None:
                self._clear_base(place.base)
        raise ChunkChanged(reason)

    def _take_out(self, place: Place) -> list[tuple[Place, list[Record]]]:
        """In memory: nothing can be read here, nor where it leant on it; return places and versions."""
        with self._lock:
            known = self._contents.get(place.root, [])
            if place not in known:
                return []
            records = list(place.records)
            for record in records:
                self.unlink(record)
            if place in known:
                known.remove(place)
            found = [(place, records)]
            if not known:
                self._contents.pop(place.root, None)
                for other in self._leaning(place.root):
                    found += self._take_out(other)
            return found

    def forget_rows(self, records: Iterable[Record]) -> None:
        """Drop several versions from the index alone, in one transaction."""
        gone = list(records)

        def work(database: sqlite3.Connection) -> None:
            for record in gone:
                ledger.drop_holding(database, record)
                manifests.drop(database, record.root)

        if gone:
            self.index.ask(work)

    def close(self) -> None:
        self.files.close()
