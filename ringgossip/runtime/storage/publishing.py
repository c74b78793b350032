"""How does a user's file become something to share, without a byte of it being changed or guessed?

Immutable kinds (models, npz) are used where they lie, or cloned where the file
system can; what is hashed must be the same file, unchanged, before and after.
Live databases are only ever read through the snapshot helper; what is shared
is our snapshot. Nothing is hashed again that is known to be unchanged.
Source: design section 7; field notes, incidents 1, 14 and 21.
"""

import contextlib
import errno
import os
import sqlite3
import stat
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock, get_ident
from typing import Final

from ringgossip.content.chunking import hash_stream
from ringgossip.content.kinds import KINDS, Kind
from ringgossip.content.manifest import Manifest
from ringgossip.content.names import require_artifact_name
from ringgossip.content.record import Record, Scalar
from ringgossip.errors import ArtifactRefused, StoreError
from ringgossip.runtime.storage import ledger
from ringgossip.runtime.storage.disk import Handle, Signature, clone, remove, sync_folder, trouble
from ringgossip.runtime.storage.holdings import Holdings
from ringgossip.runtime.storage.inside import open_inside, place_inside
from ringgossip.runtime.storage.live import LiveDatabases
from ringgossip.runtime.storage.places import Place, PlaceKind

_PENDING: Final = 4096  # Prepared and not yet signed.
# What is wrong with a machine or its network, and not with the file that it hides.
_PASSING: Final = (
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN,
)  # fmt: skip

Progress = Callable[[str, int, int], None]  # phase, done, total


@dataclass(frozen=True, slots=True)
class Prepared:
    """A source that can be signed and shared; its bytes are held until then. Sizes in bytes."""

    kind: str
    name: str
    size: int
    chunk_size: int
    root: bytes
    metadata: Mapping[str, Scalar]
    source: str  # The user's path, absolute; links in it are not followed.
    warnings: tuple[str, ...] = ()
    read: bool = True  # False: known to be unchanged, nothing was read.
    writer_stall: float = 0.0  # Seconds for which a database's writer could not have committed.
    snapshot_seconds: float = 0.0


@dataclass(slots=True)
class _Waiting:
    place: Place
    source: str
    users: int = 1  # preparations of these very bytes under this name


@dataclass(slots=True)
class Publishing:
    """What was prepared and waits for its record. Thread-safe."""

    holdings: Holdings
    live: LiveDatabases
    _waiting: OrderedDict[tuple[str, str, bytes], _Waiting] = field(default_factory=OrderedDict)
    _in_hand: dict[int, Place] = field(default_factory=dict)  # what a thread found, and will wait with
    _lock: Lock = field(default_factory=Lock)

    def prepare(
        self,
        kind: str,
        path: Path,
        name: str,
        metadata: Mapping[str, Scalar],
        progress: Progress | None = None,
        inside: Path | None = None,
    ) -> Prepared:
        """Check, hash and hold a source; `progress` hears (`snapshot` or `hash`, bytes done, bytes in all).

        Whatever lies at `path`, it must lie below `inside` if that is given.

        Raises `UsageError` for a name, `ArtifactRefused` for a torn, growing or damaged file,
        `SnapshotPostponed` for a database that cannot be copied now, `StoreError` for our disk.
        """
        require_artifact_name(name)
        rules = KINDS[kind]
        # Not resolved: a link that is pointed elsewhere is the same source with new content.
        path = path.absolute()
        _require_plain_path(path)
        try:
            if rules.live:
                place, row, known, taken = self._snapshot(rules, path, progress, inside)
            else:
                place, row, known = self._steady(rules, path, progress, inside)
                taken = (0.0, 0.0)
            key = (kind, name, place.root)
            with self._lock:
                before = self._waiting.pop(key, None)
                self._waiting[key] = _Waiting(place, str(path), 1 + (0 if before is None else before.users))
                stale = [self._waiting.popitem(last=False)[1] for _ in range(len(self._waiting) - _PENDING)]
        except OSError as problem:
            raise trouble(problem, f"{path} cannot be prepared") from None
        finally:
            with self._lock:
                self._in_hand.pop(get_ident(), None)
        for waiting in stale if before is None else [before, *stale]:
            self._let_go(waiting.place)
        return Prepared(
            kind,
            name,
            place.size,
            place.chunk_size,
            place.root,
            {**metadata, **row.facts},
            str(path),
            row.warnings,
            not known,
            *taken,
        )

    def discard(self, prepared: Prepared) -> None:
        """Forget a source that is not going to be signed after all."""
        key = (prepared.kind, prepared.name, prepared.root)
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting is not None:
                waiting.users -= 1
                waiting = None if waiting.users else self._waiting.pop(key)
        if waiting is not None:
            self._let_go(waiting.place)

    def _let_go(self, place: Place) -> None:
        """Delete our copy unless a version or another preparation uses it."""
        with self._lock:
            used = [*(waiting.place for waiting in self._waiting.values()), *self._in_hand.values()]
            if any(other is place for other in used):
                return
        if place in self.holdings.places(place.root):
            return
        self.holdings.files.forget(place)
        self.live.settled(place)
        if place.kind is not PlaceKind.USER:
            remove(place.path)

    def persist(self, record: Record) -> Path | None:
        """Write our own record, durably, with its copy if it has one here; return where that lies."""
        key = (record.kind, record.name, record.root)
        with self._lock:
            waiting = self._waiting.get(key)
        place = waiting.place if waiting is not None else None
        if place is None:
            # Only the metadata is new, or it is published again above a lost history.
            same = (held for held in self.holdings.versions(record.key) if held.root == record.root)
            place = next(same, None)

        changes = None if place is None else self.holdings.changes_row(place)

        def work(database: sqlite3.Connection) -> None:
            ledger.put_record(database, record)
            if place is not None:
                ledger.put_holding(database, self.holdings.row(record, place))
            if changes is not None:
                ledger.put_changes(database, changes)
            if waiting is not None:
                ledger.set_publication(database, record.kind, record.name, waiting.source)

        self.holdings.index.ask(work)
        if place is None:
            return None
        self.holdings.link(record, place)
        self.live.settled(place)
        with self._lock:
            self._waiting.pop(key, None)
        return place.path if place.own is None else None

    # --- files that nobody writes any more ------------------------------------------------------

    def _steady(
        self, rules: Kind, path: Path, progress: Progress | None, inside: Path | None
    ) -> tuple[Place, ledger.SourceRow, bool]:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            fd = os.open(path, flags) if inside is None else open_inside(inside, path, flags)
        except OSError as problem:
            raise _unreadable(path, problem) from None
        handle = Handle(fd)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise ArtifactRefused(f"{path} is no regular file")
            before = Signature.of(found)
            known = self._known(rules, path, before.pack())
            if known is not None:
                place = self._held(known.root, path, before)
                if place is not None:
                    handle.close()
                    return place, known, True
            return (*self._read(rules, path, fd, handle, before, progress), False)
        except OSError as problem:
            handle.close()
            raise _unreadable(path, problem) from None
        except BaseException:
            handle.close()
            raise

    def _known(self, rules: Kind, path: Path, signature: bytes) -> ledger.SourceRow | None:
        row = self._source(rules, path)
        return row if row is not None and row.signature == signature else None

    def _source(self, rules: Kind, path: Path) -> ledger.SourceRow | None:
        return self.holdings.index.ask(partial(ledger.source, kind=rules.name, path=str(path)))

    def _held(self, root: bytes, path: Path, signature: Signature | None) -> Place | None:
        """Return the place of a source's content, which is in the store or waits to be signed."""
        with self._lock:
            waiting = [entry.place for entry in self._waiting.values() if entry.place.root == root]
            for place in self.holdings.places(root) + waiting:
                whole = place.kind in (PlaceKind.CLONE, PlaceKind.SNAPSHOT) and place.own is None
                ours = whole or place.kind is PlaceKind.CHANGES
                same = place.path == path and place.signature == signature
                if ours or (place.kind is PlaceKind.USER and same):
                    self._in_hand[get_ident()] = place
                    return place
        return None

    def _read(
        self,
        rules: Kind,
        path: Path,
        fd: int,
        handle: Handle,
        before: Signature,
        progress: Progress | None,
    ) -> tuple[Place, ledger.SourceRow]:
        cloned = self._clone(fd, before.size)
        try:
            assert rules.inspect_source is not None
            inspection = rules.inspect_source(path)
            readable = fd if cloned is None else cloned[1]
            os.posix_fadvise(readable, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            os.lseek(readable, 0, os.SEEK_SET)
            done = 0

            def read(view: memoryview) -> int:
                nonlocal done
                count = os.readv(readable, [view])
                done += count
                if progress is not None:
                    progress("hash", done, before.size)
                return count

            hashes = hash_stream(read, before.size, rules.chunk_size)
            try:
                at_path = Signature.of(path.stat())
            except OSError:
                at_path = None
            if not Signature.of(os.fstat(fd)) == before == at_path:
                raise ArtifactRefused(
                    f"{path} changed while it was read: publish it when its writer has closed it"
                )
            manifest = Manifest(before.size, rules.chunk_size, hashes)
            self.holdings.manifests.store(manifest)
        except BaseException:
            if cloned is not None:
                os.close(cloned[1])
                remove(cloned[0])
            raise
        if cloned is None:
            place = Place(PlaceKind.USER, path, before, manifest.root, rules.chunk_size)
            # The open file keeps this version while somebody pulls it, even when it is renamed over.
            self.holdings.files.put(place, handle)
            self._refresh(place)
        else:
            handle.close()
            place = self._keep_clone(cloned, manifest)
        row = ledger.SourceRow(before.pack(), manifest.root, dict(inspection.facts), inspection.warnings)
        self._remember(rules, path, row)
        return place, row

    def _refresh(self, place: Place) -> None:
        """Let versions that lay at the same path, with the same bytes in another file, lie here now."""
        for old in self.holdings.places(place.root):
            same_path = old.kind is PlaceKind.USER and old.path == place.path
            if same_path and self.holdings.replace(old, place):
                for record in place.records:
                    row = self.holdings.row(record, place)
                    self.holdings.index.call(partial(ledger.put_holding, row=row))

    def _remember(self, rules: Kind, path: Path, row: ledger.SourceRow) -> None:
        self.holdings.index.call(partial(ledger.put_source, kind=rules.name, path=str(path), row=row))

    def _clone(self, fd: int, size: int) -> tuple[Path, int] | None:
        """Return a file of ours that shares the user's bytes, or None where the file system cannot."""
        path = _temporary(self.holdings.layout.published)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        copy = None
        try:
            copy = os.open(path, flags, 0o666)
            if size and clone(fd, copy):
                return path, copy
        except OSError as problem:
            if copy is not None:
                os.close(copy)
            remove(path)
            raise trouble(problem, f"{path} cannot be made") from None
        os.close(copy)
        remove(path)
        return None

    def _keep_clone(self, cloned: tuple[Path, int], manifest: Manifest) -> Place:
        temporary, fd = cloned
        path = self.holdings.layout.published / f"{manifest.root.hex()}.{temporary.stem}"
        try:
            os.fsync(fd)
            temporary.rename(path)
            sync_folder(path.parent)
            signature = Signature.of(os.fstat(fd))
        except OSError as problem:
            _clear(temporary, path)
            raise trouble(problem, f"{path} cannot be kept") from None
        finally:
            os.close(fd)
        return Place(PlaceKind.CLONE, path, signature, manifest.root, manifest.chunk_size)

    # --- live databases ------------------------------------------------------------------------------

    def _snapshot(
        self, rules: Kind, path: Path, progress: Progress | None, inside: Path | None
    ) -> tuple[Place, ledger.SourceRow, bool, tuple[float, float]]:
        lies = _lies_inside(inside, path)
        fingerprint = self.live.helper.fingerprint(path)
        known = self._known(rules, path, fingerprint)
        if known is not None:
            place = self._held(known.root, path, None)
            if place is not None:
                return place, known, True, (0.0, 0.0)
        if progress is not None:
            # The helper process copies it in one go: there is a beginning and an end.
            progress("snapshot", 0, _whole_size(path))

        def still() -> None:
            if _lies_inside(inside, path) != lies:
                raise ArtifactRefused(f"{path} was moved while it was read: it is not published")

        before = self._source(rules, path)
        snapshot = self.live.take(
            path, _whole_size(path), rules.chunk_size, None if before is None else before.root, still
        )
        taken, manifest = snapshot.taken, snapshot.manifest
        if progress is not None:
            progress("snapshot", taken.size, taken.size)
        place_or_none = self._held(manifest.root, path, None)
        if place_or_none is not None:
            # Committed, but to the same bytes.
            self.live.forget(snapshot)
            place = place_or_none
        else:
            place = self.live.keep(snapshot)
            try:
                self.holdings.manifests.store(manifest)
            except BaseException:
                # It took the room that the disk may lack now.
                self.live.settled(place)
                _clear(place.path)
                raise
        inspection = taken.inspection()
        row = ledger.SourceRow(
            taken.source_signature, manifest.root, dict(inspection.facts), inspection.warnings
        )
        self._remember(rules, path, row)
        return place, row, False, (taken.writer_stall, taken.seconds)


def _temporary(folder: Path) -> Path:
    return folder / f"{os.urandom(8).hex()}.tmp"


def _clear(*paths: Path) -> None:
    """Delete files of ours that nobody will find, if the disk lets us."""
    for path in paths:
        with contextlib.suppress(OSError):
            remove(path)


def _unreadable(path: Path, problem: OSError) -> ArtifactRefused | StoreError:
    """Return what to tell: a trouble that passes is tried again, any other is the file's own."""
    if problem.errno in _PASSING:
        return trouble(problem, f"{path} cannot be read now")
    return ArtifactRefused(f"{path} cannot be read: {problem.strerror}")


def _require_plain_path(path: Path) -> None:
    """Refuse a path that the index, which keeps text, cannot remember."""
    try:
        path.as_posix().encode()
    except UnicodeEncodeError:
        raise ArtifactRefused(f"{str(path)!a} is not valid UTF-8: rename it, then publish it") from None
    if "\0" in str(path):
        raise ArtifactRefused(f"{str(path)!a} has a zero byte: no file has such a path")


def _lies_inside(inside: Path | None, path: Path) -> tuple[Path, int, int] | None:
    """Return where a database lies that must lie below `inside`; it is never opened in this process."""
    try:
        return None if inside is None else place_inside(inside, path)
    except OSError as problem:
        raise _unreadable(path, problem) from None


def _whole_size(path: Path) -> int:
    try:
        return sum(
            part.stat().st_size for part in (path, Path(f"{path}-wal")) if part == path or part.exists()
        )
    except OSError as problem:
        raise _unreadable(path, problem) from None
