"""What runs in the snapshot helper process? Requests in, one at a time; immutable snapshots out.

A process of its own, because opening a database file and closing any descriptor
of it drops the POSIX locks of the process that does so: a program with an
embedded peer would lose the locks of its own database.

A request is one line of JSON on standard input, an answer one on standard output,
each followed by as many raw bytes as its `blob` says. The process
ends when its input ends or its parent changes, also in the middle of a copy, so
that it never outlives a peer that was killed. It leaves no locks behind, and what
it leaves in the destination is the store's to clear.
"""

import io
import json
import os
import select
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

from ringgossip.content.chunking import hash_stream
from ringgossip.content.hashing import HASH_BYTES
from ringgossip.content.kinds.games import GameCounts, count_games, uri_of
from ringgossip.errors import ArtifactRefused, RinggossipError, StoreError
from ringgossip.runtime.storage.snapshot_changes import (
    LARGEST_SHARE,
    Gathering,
    changed_chunks,
    copy_changed,
)
from ringgossip.runtime.storage.snapshot_source import copy_database, fingerprint

# A forked child of the peer may keep our input open after the peer died; so look at our parent too.
PARENT_CHECK_SECONDS = 5.0
MAX_REQUEST_BYTES = 1 << 20
HASHERS = 2
SYNC_SECONDS = 0.05  # So often what was copied meanwhile is brought to the disk.

CHANGED_SUFFIX = ".changed"
TOO_LARGE = "not checked: it is large"

Answer = tuple[dict[str, Any], bytes]


def take_snapshot(
    source: str,
    destination: str,
    chunk_size: int,
    max_stall: float,
    lock_timeout: float,
    check_up_to: int,
    bulk_from: int,
    blob: bytes,
) -> Answer:
    """Write one committed state of `source` to the new file `destination`, synced, and describe it.

    With `blob`, the hashes of another snapshot's chunks, only what differs from it is kept, if that is
    much less; the answer says which.
    """
    started = time.monotonic()
    signature = fingerprint(Path(source))
    target = Path(destination)
    _reserve(Path(source), target)
    seen: list[GameCounts] = []
    gathering = None
    # What SQLite checks must be a whole file.
    if blob and Path(source).stat().st_size > check_up_to:
        gathering = Gathering(blob, chunk_size, lambda reader: seen.append(_count(Path(source), reader)))
    # What is made whole to be looked at, and goes again, need not reach the disk.
    early = nullcontext() if blob and gathering is None else _synced(target)
    try:
        with early, ThreadPoolExecutor(HASHERS) as hashers:
            copied = copy_database(Path(source), target, max_stall, lock_timeout, bulk_from, gathering)
            size = _stand_alone(target)
            if gathering is not None and copied.gathered:
                gathering.settle(target, size)
                hashes, counts, note = bytes(gathering.hashes), seen[-1], TOO_LARGE
            else:
                # Hashes and the disk use other cores, and other seconds, than SQLite's own check.
                parts = _parts(size, chunk_size)
                hashing = [hashers.submit(_hash, target, *part, chunk_size) for part in parts]
                note = _check(Path(source), target) if size <= check_up_to else TOO_LARGE
                with _open(target) as database:
                    counts = _count(Path(source), database)
                hashes = b"".join(part.result() for part in hashing)
        if gathering is not None and copied.gathered:
            only_changes = not gathering.whole
        else:
            only_changes = blob != b"" and _keep_changed(target, size, chunk_size, hashes, blob)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    facts = {
        "size": size,
        "games_total": counts.total,
        "games_completed": counts.completed,
        "count_note": counts.note,
        "check_note": note,
        "journal_mode": copied.journal_mode,
        "writer_stall": copied.writer_stall,
        "seconds": time.monotonic() - started,
        "source_signature": signature.hex(),
        "only_changes": only_changes,
    }
    return facts, hashes


def _keep_changed(target: Path, size: int, chunk_size: int, hashes: bytes, base: bytes) -> bool:
    """Keep of a whole snapshot only what differs from its base, or all if that is much; synced."""
    changed = changed_chunks(hashes, base)
    if len(changed) > LARGEST_SHARE * len(hashes) / HASH_BYTES:
        with _synced(target):
            return False
    sparse = Path(f"{target}{CHANGED_SUFFIX}")
    try:
        os.close(os.open(sparse, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        with _synced(sparse):
            copy_changed(target, sparse, size, chunk_size, changed)
        sparse.rename(target)
    except OSError as problem:
        raise StoreError(f"{sparse} cannot be written: {problem.strerror}") from None
    finally:
        sparse.unlink(missing_ok=True)
    return True


def take_fingerprint(source: str, blob: bytes) -> Answer:
    """Describe what changes with every commit to `source`."""
    return {}, fingerprint(Path(source))


OPERATIONS: dict[str, Callable[..., Answer]] = {"snapshot": take_snapshot, "fingerprint": take_fingerprint}


def _reserve(source: Path, target: Path) -> None:
    """Create `target`, which must not exist, if its disk has room for a copy."""
    try:
        needed = sum(
            part.stat().st_size for part in (source, Path(f"{source}-wal")) if part == source or part.exists()
        )
        room = os.statvfs(target.parent)
        if room.f_bavail * room.f_frsize < needed:
            raise StoreError(
                f"a snapshot of {source} needs {needed} bytes: {target.parent} has not that much free"
            )
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
    except OSError as problem:
        raise StoreError(f"{target} cannot be made: {problem.strerror}") from None


def _stand_alone(target: Path) -> int:
    """Mark the copy as being in rollback mode, so that reading it makes no sidecars; return its size.

    A backup takes over bytes 18 and 19 of a database in WAL mode, but its WAL is already checked in.
    Source: SQLite's file format, section 1.3.3.
    """
    with target.open("r+b", buffering=0) as file:
        file.seek(18)
        file.write(b"\x01\x01")
        return file.seek(0, io.SEEK_END)


def _open(target: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{uri_of(target)}?mode=ro&immutable=1", uri=True, isolation_level=None))


def _check(source: Path, target: Path) -> str:
    """Refuse a damaged database; a backup is only as whole as its source. Return what was found."""
    try:
        with _open(target) as database:
            found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as problem:
        _refuse_damaged(source, problem)
        # It needs a function or module that we do not have: that is no damage.
        return f"not checked: {problem}"
    if found != "ok":
        raise ArtifactRefused(f"{source} is damaged: {found.splitlines()[-1]}")
    return "ok"


def _count(source: Path, database: sqlite3.Connection) -> GameCounts:
    try:
        return count_games(database)
    except sqlite3.Error as problem:
        _refuse_damaged(source, problem)
        return GameCounts(None, None, f"its games are not counted: {problem}")


def _refuse_damaged(source: Path, problem: sqlite3.Error) -> None:
    if getattr(problem, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        raise ArtifactRefused(f"{source} is damaged: {problem}") from None


def _parts(size: int, chunk_size: int) -> list[tuple[int, int]]:
    """Return (offset, length) of a whole number of chunks for each hasher."""
    step = max(1, -(-size // (HASHERS * chunk_size))) * chunk_size
    return [(start, min(step, size - start)) for start in range(0, size, step)]


def _hash(target: Path, offset: int, length: int, chunk_size: int) -> bytes:
    with target.open("rb", buffering=0) as file:
        file.seek(offset)
        return hash_stream(file, length, chunk_size)


@contextmanager
def _synced(target: Path) -> Iterator[None]:
    """Bring a file to the disk while it is written, so that little is left for the end, and then that."""
    failures: list[OSError] = []
    written = threading.Event()

    def sync() -> None:
        try:
            while not written.wait(SYNC_SECONDS):
                os.fdatasync(descriptor)
            os.fsync(descriptor)
        except OSError as problem:
            failures.append(problem)

    descriptor = os.open(target, os.O_RDWR | os.O_CLOEXEC)
    syncing = threading.Thread(target=sync)
    syncing.start()
    try:
        yield
    finally:
        written.set()
        syncing.join()
        os.close(descriptor)
    if failures:
        raise StoreError(f"{target} could not be synced: {failures[0].strerror}")


def answer(request: dict[str, Any], blob: bytes) -> Answer:
    """Perform one request; what goes wrong becomes an answer too."""
    try:
        return OPERATIONS[request.pop("operation")](**request, blob=blob)
    except RinggossipError as problem:
        return {"error": type(problem).__name__, "text": str(problem)}, b""
    except OSError as problem:
        return {"error": "StoreError", "text": f"snapshot failed: {problem}"}, b""
    except Exception as problem:
        return {"error": "StoreError", "text": f"snapshot failed: {type(problem).__name__}: {problem}"}, b""


def read_requests(source: BinaryIO, requests: "SimpleQueue[Answer]") -> None:
    """Pass requests on until the input ends or another process became our parent; then end this process."""
    parent = os.getppid()
    descriptor = source.fileno()
    pending = bytearray()
    request: dict[str, Any] | None = None
    needed = 0
    while request is not None or len(pending) <= MAX_REQUEST_BYTES:
        ready, _, _ = select.select([descriptor], [], [], PARENT_CHECK_SECONDS)
        if os.getppid() != parent:
            break
        if not ready:
            continue
        got = os.read(descriptor, 1 << 16)
        if not got:
            break
        pending += got
        while True:
            if request is None:
                line, end, rest = pending.partition(b"\n")
                if not end:
                    break
                request, pending = json.loads(line), rest
                needed = request.pop("blob", 0)
            if len(pending) < needed:
                break
            requests.put((request, bytes(pending[:needed])))
            del pending[:needed]
            request = None
    # At once: the main thread may be deep in a copy that nobody waits for any more.
    os._exit(0)


def main() -> None:
    """Serve the process that started us until it is gone."""
    # Ctrl-C and a service manager reach the whole group; the peer decides when we are done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    # Whatever prints must not get between our answers.
    os.dup2(2, 1)
    requests: SimpleQueue[Answer] = SimpleQueue()
    threading.Thread(target=read_requests, args=(sys.stdin.buffer, requests), daemon=True).start()
    while True:
        facts, blob = answer(*requests.get())
        try:
            out.write(json.dumps({**facts, "blob": len(blob)}).encode() + b"\n")
            out.write(blob)
            out.flush()
        except BrokenPipeError:
            # Killed while we worked. Not by returning: that would try to flush once more, and complain.
            os._exit(0)


if __name__ == "__main__":
    main()
