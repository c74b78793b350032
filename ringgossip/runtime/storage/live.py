"""How does a live database get into the store, and how much of each snapshot is kept?

The first snapshot of a large database is kept whole; of those that follow only
the chunks that differ from it, until these are half of it. Kept that way a
version costs the disk 10 to 160 MB a GiB, and is published when those are
synced. It is no file that could be opened, so where others read our files on a
disk that is shared, and for what is small, snapshots are kept whole.

Source: issue 2, point 7; design, section 7.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Final

from ringgossip.content.manifest import Manifest
from ringgossip.runtime.storage.disk import Signature, remove, sync_folder, trouble
from ringgossip.runtime.storage.holdings import Holdings
from ringgossip.runtime.storage.places import BitSet, Place, PlaceKind
from ringgossip.runtime.storage.snapshot_changes import changed_chunks
from ringgossip.runtime.storage.snapshots import SnapshotHelper, SnapshotTaken
from ringgossip.runtime.storage.space import Space

# A guess: what is smaller is written in a second, and its owner may like to have it as a file.
CHANGES_FROM: Final = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot in a file that has no name yet; of `own` chunks only, if it leans on `base`."""

    taken: SnapshotTaken
    manifest: Manifest
    path: Path
    base: Place | None
    own: BitSet | None


@dataclass(slots=True)
class LiveDatabases:
    """Takes snapshots and keeps them. Thread-safe."""

    holdings: Holdings
    space: Space
    helper: SnapshotHelper
    changes_from: int | None = CHANGES_FROM  # bytes; None: every snapshot is kept whole
    _leaning: dict[Place, Place] = field(default_factory=dict)  # what is no version's copy yet, and its base

    def take(
        self, path: Path, size: int, chunk_size: int, before: bytes | None, still: Callable[[], None]
    ) -> Snapshot:
        """Take a snapshot of about `size` bytes of what was `before` last; `still` may refuse it."""
        temporary = self.holdings.layout.snapshots / f"{token_hex(8)}.tmp"
        promised = str(temporary).encode()
        self.space.reserve(promised, size, temporary)
        base = None
        try:
            base, hashes = self._base(before, size, chunk_size)
            taken = self.helper.snapshot(path, temporary, chunk_size=chunk_size, base=hashes)
            still()
            manifest = Manifest(taken.size, chunk_size, taken.hashes)
            if base is not None and not taken.only_changes:
                self.holdings.base_taken(base)
                base = None
            own = None if base is None else _own(manifest, hashes)
            return Snapshot(taken, manifest, temporary, base, own)
        except BaseException:
            with contextlib.suppress(OSError):
                remove(temporary)
            if base is not None:
                self.holdings.base_taken(base)
            raise
        finally:
            self.space.release(promised)

    def _base(self, before: bytes | None, size: int, chunk_size: int) -> tuple[Place | None, bytes]:
        """Return the snapshot on which the next one may lean, and the hashes of its chunks."""
        if before is None or self.changes_from is None or size < self.changes_from:
            return None, b""
        for place in self.holdings.places(before):
            root = place.base if place.kind is PlaceKind.CHANGES else before
            base = None if root is None else self.holdings.await_base(root)
            if base is None:
                continue
            manifest = self.holdings.manifests.get(base.root)
            if manifest is not None and manifest.chunk_size == chunk_size:
                return base, manifest.hashes
            self.holdings.base_taken(base)
        return None, b""

    def keep(self, snapshot: Snapshot) -> Place:
        """Give a snapshot its name on the disk; return its place, of which no version is known yet."""
        manifest, base = snapshot.manifest, snapshot.base
        path = snapshot.path.with_name(f"{manifest.root.hex()}.{snapshot.path.stem}.db")
        try:
            snapshot.path.rename(path)
            sync_folder(path.parent)
            signature = Signature.of(path.lstat())
        except OSError as problem:
            for left in (snapshot.path, path):
                with contextlib.suppress(OSError):
                    remove(left)
            self._release(base)
            raise trouble(problem, f"{path} cannot be kept") from None
        place = Place(PlaceKind.SNAPSHOT, path, signature, manifest.root, manifest.chunk_size)
        if base is not None:
            place.kind, place.base, place.own = PlaceKind.CHANGES, base.root, snapshot.own
            self._leaning[place] = base
        return place

    def forget(self, snapshot: Snapshot) -> None:
        """Delete a snapshot that was not kept."""
        self._release(snapshot.base)
        remove(snapshot.path)

    def _release(self, base: Place | None) -> None:
        if base is not None:
            self.holdings.base_taken(base)

    def settled(self, place: Place) -> None:
        """A version has its copy there now, or never will: it keeps its base itself, or needs none."""
        self._release(self._leaning.pop(place, None))


def _own(manifest: Manifest, base: bytes) -> BitSet:
    own = BitSet(manifest.chunk_count)
    for index in changed_chunks(manifest.hashes, base):
        own.add(index)
    return own
