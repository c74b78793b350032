"""Which files in a shared folder are finished? Publish those, each once per content.

A folder is looked through twice a second, in a thread; nothing is opened for it.
A file counts as finished when it lay still for the settle time, or, at the
second look, when it was renamed into place: a rename is the last thing that
happened to it, after its last write. The store looks once more after hashing,
so a writer that was only slow is found out. A live database is never finished:
it is published when it or its WAL changed, as often as snapshots may cost.

Links are followed inside the folder, never out of it; when it opens a file the
store looks again (`storage.inside`). What was refused is tried again when it
changes. Source: field notes, incidents 1, 14 and 21.
"""

import logging
import math
import os
import stat
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import trio

from ringgossip.config import ShareFolder
from ringgossip.content.kinds import KINDS
from ringgossip.content.names import check_artifact_name
from ringgossip.content.record import Scalar
from ringgossip.errors import OperationFailed, PeerGone, SnapshotPostponed, StoreError, TimedOut, UsageError
from ringgossip.events import Event, SnapshotDeferred, StorageTrouble
from ringgossip.runtime.shapes import Receipt
from ringgossip.runtime.storage.snapshots import SnapshotPacer
from ringgossip.runtime.workers import Workers

log = logging.getLogger("ringgossip")

LOOK_INTERVAL = 0.5
# A folder of 100,000 files takes long to look through: at most a tenth of the time goes there.
_SHARE_OF_TIME = 0.1
_TRY_AGAIN = 5.0
_AT_ONCE = 8  # publications under way; the store's threads are fewer
_SIDECARS = ("-wal", "-shm", "-journal")

Look = tuple[int, ...]  # size, mtime, ctime, inode; for a database those of its WAL too


class Publish(Protocol):
    """`Peer.publish_source`."""

    async def __call__(
        self,
        kind: str,
        source: Path,
        name: str,
        metadata: Mapping[str, Scalar],
        *,
        timeout: float,
        revive: bool,
        inside: Path,
    ) -> Receipt: ...


Already = Callable[[ShareFolder, Mapping[str, Look]], Awaitable[Iterable[str]]]


@dataclass(slots=True)
class _Seen:
    """What is known of one file."""

    look: Look
    since: float  # since when it looks like this
    looks: int = 1
    done: Look | None = None  # how it looked when it was published or refused
    busy: bool = False
    not_before: float = 0.0


class SharedFolder:
    """One `share:` of the configuration."""

    def __init__(
        self,
        share: ShareFolder,
        publish: Publish,
        workers: Workers,
        tell: Callable[[Event], None],
        min_interval: float = 0.0,
        already: Already | None = None,
    ) -> None:
        self._share = share
        self._publish = publish
        self._workers = workers
        self._tell = tell
        self._already = already
        self._min_interval = min_interval  # between two publications of one file
        self._live = KINDS[share.kind].live
        self._seen: dict[str, _Seen] = {}
        self._pacers: dict[str, SnapshotPacer] = {}
        self._complained = False

    async def run(self) -> None:
        """Publish what is finished, for ever."""
        ready, waiting = trio.open_memory_channel[tuple[str, Look]](math.inf)
        async with trio.open_nursery() as nursery:
            # A task for each of 20,000 files would take 100 MB.
            for _ in range(_AT_ONCE):
                nursery.start_soon(self._publish_all, waiting)
            while True:
                started = trio.current_time()
                try:
                    found = await self._workers.call(lambda: dict(look_through(self._share)))
                except (OSError, RuntimeError) as error:  # links in a circle are the latter
                    self._complain(error)
                    found = {}
                else:
                    self._complained = False
                now = trio.current_time()
                if found and not self._seen and not self._live and self._already is not None:
                    with suppress(StoreError):  # then all are looked into
                        for name in await self._already(self._share, found):
                            self._seen[name] = _Seen(found[name], now, done=found[name])
                for name in self.finished(found, now):
                    seen = self._seen[name]
                    seen.busy = True
                    ready.send_nowait((name, seen.look))
                await trio.sleep(max(LOOK_INTERVAL, (now - started) / _SHARE_OF_TIME))

    def finished(self, found: Mapping[str, Look], now: float) -> list[str]:
        """Take one look into account and return the names that are to be published now."""
        for name in [name for name, seen in self._seen.items() if name not in found and not seen.busy]:
            del self._seen[name]
            self._pacers.pop(name, None)
        ready = []
        for name, look in found.items():
            seen = self._seen.get(name)
            if seen is None:
                seen = self._seen[name] = _Seen(look, now)
            elif seen.look != look:
                seen.look, seen.since, seen.looks = look, now, 1
            else:
                seen.looks += 1
            if seen.busy or seen.done == look or now < seen.not_before:
                continue
            if self._is_finished(name, seen, now):
                ready.append(name)
        return ready

    def _is_finished(self, name: str, seen: _Seen, now: float) -> bool:
        if self._live:
            return self._pacers.setdefault(name, SnapshotPacer()).allowed(now)
        _, mtime, ctime, *_ = seen.look
        renamed = ctime > mtime
        return (renamed and seen.looks >= 2) or now - seen.since >= self._share.settle_seconds

    async def _publish_all(self, waiting: "trio.MemoryReceiveChannel[tuple[str, Look]]") -> None:
        async for name, look in waiting:
            await self._publish_one(name, look)

    async def _publish_one(self, name: str, look: Look) -> None:
        seen = self._seen[name]
        started = trio.current_time()
        try:
            await self._publish(
                self._share.kind,
                self._share.folder / name,
                name,
                self._share.metadata,
                timeout=3600.0,
                # A file that lies here as ever does not take back what a user withdrew.
                revive=False,
                inside=self._share.folder,
            )
            seen.done = look
            seen.not_before = started + self._min_interval
        except PeerGone:
            return
        except SnapshotPostponed as error:
            self._tell(SnapshotDeferred(str(self._share.folder / name), str(error)))
            seen.not_before = trio.current_time() + _TRY_AGAIN
        except (StoreError, TimedOut) as error:
            self._tell(StorageTrouble(f"{self._share.folder / name} is not published yet: {error}"))
            seen.not_before = trio.current_time() + _TRY_AGAIN
        except (OperationFailed, UsageError) as error:
            # Torn, unsafe, or a name that is taken: the next attempt is when it changes.
            log.warning("%s", error)
            seen.done = look
        finally:
            seen.busy = False
            if self._live:
                now = trio.current_time()
                self._pacers.setdefault(name, SnapshotPacer()).finished(now, now - started)

    def _complain(self, error: OSError | RuntimeError) -> None:
        if not self._complained:
            self._complained = True
            why = getattr(error, "strerror", None) or error
            self._tell(StorageTrouble(f"shared folder {self._share.folder} cannot be read: {why}"))


def look_through(share: ShareFolder) -> Iterator[tuple[str, Look]]:
    """Yield name and look of every file that matches; blocks. Raises `OSError` for the folder itself."""
    top = share.folder.resolve(strict=True)
    live = KINDS[share.kind].live
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            entries = list(os.scandir(top / below))
        except OSError:
            if not below:
                raise
            continue  # Gone, or not ours to read.
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
                    continue
                if entry.name.endswith(_SIDECARS) or not fnmatchcase(name, share.match):
                    continue
                if entry.is_symlink() and not Path(entry.path).resolve(strict=True).is_relative_to(top):
                    continue
                found = entry.stat()
            except (OSError, RuntimeError):
                continue
            if stat.S_ISREG(found.st_mode) and check_artifact_name(name) is None:
                yield name, _look(found) + (_sidecar(entry.path + "-wal") if live else ())


def _look(found: os.stat_result) -> Look:
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _sidecar(path: str) -> Look:
    try:
        return _look(os.stat(path))  # noqa: PTH116  Called for every database at every look.
    except OSError:
        return ()
