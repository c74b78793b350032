"""How does a peer get an immutable snapshot of a database that is being written?

It asks a helper process (`snapshot_process.py` says why it is one), which is
started at the first question, restarted when it dies, and ends with the peer,
however the peer ends. All calls here block: make them from worker threads.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ringgossip
from ringgossip.content.kinds.games import GameCounts, inspection_of
from ringgossip.content.kinds.sources import Inspection
from ringgossip.errors import ArtifactRefused, OperationFailed, PeerGone, SnapshotPostponed, StoreError

MAX_STALL = 2.0  # Design, section 7: longer is deferred and told.
LOCK_TIMEOUT = 5.0  # What Python's sqlite3 itself waits for a lock.
SHARE_OF_TIME = 0.1  # Design, section 7: snapshots take at most 10 % of the time.
# quick_check reads 0.2-1.5 GB/s, so up to here it costs about a second. Above, the chunks are
# still proven to be what SQLite gave us; that SQLite's own file was whole is then its owner's word.
CHECK_UP_TO = 256 << 20
# Below, a backup page by page takes no time worth the name.
BULK_FROM = 16 << 20
STOP_SECONDS = 2.0
# Without any work done by the helper: a file server that does not answer. Longer than a disk that is very
# busy takes for one sync; sources are tried again after ten times as long, as after any snapshot.
HANGS_AFTER = 300.0

_ERRORS: dict[str, type[OperationFailed]] = {
    error.__name__: error for error in (ArtifactRefused, SnapshotPostponed, StoreError)
}


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """One committed state of a database, in a file of ours, synced. Seconds and bytes."""

    size: int
    hashes: bytes  # BLAKE3 of each chunk, 32 bytes each, joined.
    games_total: int | None
    games_completed: int | None
    count_note: str  # Why something was not counted, or nothing.
    check_note: str  # "ok" after quick_check, or why it was not run.
    journal_mode: str  # Of the source: "wal" or "rollback".
    seconds: float
    writer_stall: float  # How long the source's writer could not have committed.
    source_signature: bytes  # The fingerprint of the source just before.
    only_changes: bool  # The file has only those chunks that `base` lacks, at their places.

    def inspection(self) -> Inspection:
        """Return the facts for the record's metadata, and what its author should know."""
        found = inspection_of(GameCounts(self.games_total, self.games_completed, self.count_note))
        if self.check_note == "ok":
            return found
        return Inspection(found.facts, (*found.warnings, f"integrity {self.check_note}"))


class SnapshotPacer:
    """Snapshots of one source take at most a tenth of the time. Pure: `now` goes in."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = float("-inf")

    def allowed(self, now: float) -> bool:
        """Whether a snapshot may begin."""
        return now >= self._next

    def finished(self, now: float, seconds: float) -> None:
        """Note that a snapshot, or an attempt at one, ended `now` and took `seconds`."""
        self._next = now + seconds * (1 / SHARE_OF_TIME - 1)


class SnapshotHelper:
    """The helper process, as seen by the peer. Thread-safe; one request at a time."""

    def __init__(self, python: str = sys.executable, hangs_after: float = HANGS_AFTER) -> None:
        self._python = python
        self._hangs_after = hangs_after
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._closed = False
        self._hung = False  # so did the helper that was asked last

    @property
    def pid(self) -> int | None:
        """The helper's process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def snapshot(
        self,
        source: Path,
        destination: Path,
        *,
        chunk_size: int,
        max_stall: float = MAX_STALL,
        lock_timeout: float = LOCK_TIMEOUT,
        check_up_to: int = CHECK_UP_TO,
        bulk_from: int = BULK_FROM,
        base: bytes = b"",
    ) -> SnapshotTaken:
        """Write one committed state of `source` to `destination`, a new file, and sync it.

        With the hashes of another snapshot, `base`, only what differs from it may be kept
        (`snapshot_changes.py`).

        The caller syncs the folder. Nothing is left at `destination` when this
        raises: `ArtifactRefused` (no database, damaged, unreadable),
        `SnapshotPostponed` (locked, or a rollback writer would be blocked beyond
        `max_stall` seconds), `StoreError` (our disk), `PeerGone` (closed).
        """
        request = {
            "operation": "snapshot",
            "source": str(source.absolute()),
            "destination": str(destination.absolute()),
            "chunk_size": chunk_size,
            "max_stall": max_stall,
            "lock_timeout": lock_timeout,
            "check_up_to": check_up_to,
            "bulk_from": bulk_from,
        }
        facts, hashes = self._ask(request, destination, base)
        signature = bytes.fromhex(facts.pop("source_signature"))
        return SnapshotTaken(hashes=hashes, source_signature=signature, **facts)

    def fingerprint(self, source: Path) -> bytes:
        """Return 32 bytes that differ after any commit to the database at `source`; cheap.

        Equal to a snapshot's `source_signature`: nothing was committed since.
        Raises `ArtifactRefused` when it cannot be read.
        """
        return self._ask({"operation": "fingerprint", "source": str(source.absolute())}, None)[1]

    def close(self) -> None:
        """End the helper, in the middle of a copy if need be; later calls raise `PeerGone`."""
        self._closed = True
        process = self._process
        if process is None or self._owner != os.getpid():
            return
        try:
            if process.stdin is not None:
                process.stdin.close()
        except OSError:
            pass
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        with self._turn:
            self._bury()

    def __enter__(self) -> "SnapshotHelper":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(
        self, request: dict[str, Any], made: Path | None, blob: bytes = b""
    ) -> tuple[dict[str, Any], bytes]:
        """Return the helper's answer, starting it anew once if it died; `made` is then removed."""
        with self._turn:
            for _attempt in (1, 2):
                if self._closed:
                    break
                # Only what this request makes is ours to remove after a death.
                fresh = made is not None and not os.path.lexists(made)
                answer = self._exchange(json.dumps({**request, "blob": len(blob)}).encode() + b"\n" + blob)
                if answer is not None:
                    return answer
                self._bury()
                if fresh and made is not None:
                    for suffix in ("", "-wal", "-journal", ".changed"):
                        Path(f"{made}{suffix}").unlink(missing_ok=True)
                if self._hung and not self._closed:
                    raise StoreError(
                        f"{request['source']} could not be read in {self._hangs_after:.0f} s: its disk or "
                        "file server does not answer; other files go on, and it is tried again"
                    )
        if self._closed:
            raise PeerGone("the snapshot helper was closed")
        raise StoreError("the snapshot helper process died twice: is this machine out of memory?")

    def _exchange(self, request: bytes) -> tuple[dict[str, Any], bytes] | None:
        """Send one request and return its answer, or None if the helper died."""
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(request)
            process.stdin.flush()
            if not self._stirs(process, process.stdout):
                return None
            head = process.stdout.readline()
            if not head.endswith(b"\n"):
                return None
            facts: dict[str, Any] = json.loads(head)
            blob = _read_exactly(process.stdout, facts.pop("blob"))
        except (OSError, ValueError):
            # A broken pipe, or one that `close` closed under us.
            return None
        if blob is None:
            return None
        if "error" in facts:
            raise _ERRORS.get(facts["error"], StoreError)(facts["text"])
        return facts, blob

    def _stirs(self, process: subprocess.Popen[bytes], answers: IO[bytes]) -> bool:
        """Wait until the helper says something, or ends; False if it does no work for too long."""
        poll = select.poll()
        poll.register(answers, select.POLLIN)
        self._hung = False
        work, since = _work_of(process.pid), time.monotonic()
        while not poll.poll(500):
            before, work, now = work, _work_of(process.pid), time.monotonic()
            if self._closed:
                return False
            if work != before:
                since = now
            elif now - since >= self._hangs_after:
                self._hung = True
                return False
        return True

    def _bury(self) -> None:
        """Collect a helper that broke off, and its pipes."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)  # Who waits for a file server may not even die before it answers.
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                # What was still to be written to it is of no interest any more.
                pass

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the helper, started if it does not run. After a fork the child gets one of its own."""
        process = self._process
        if process is not None and self._owner == os.getpid() and process.poll() is None:
            return process
        # -P: a folder that happens to hold a `json.py` must not be imported from.
        package = str(Path(ringgossip.__file__).resolve().parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            self._process = subprocess.Popen(
                [self._python, "-P", "-m", "ringgossip.runtime.storage.snapshot_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                cwd="/",
            )
        except OSError as problem:
            raise StoreError(f"the snapshot helper cannot be started: {problem.strerror}") from None
        self._owner = os.getpid()
        return self._process


def _work_of(pid: int) -> bytes:
    """Return something that differs when a process has read or written, or its first thread has computed.

    The others wake all the while, also beside a source that does not answer: to sync, and to look at us.
    """
    try:
        times = Path(f"/proc/{pid}/task/{pid}/stat").read_bytes().rpartition(b")")[2].split()[11:13]
        return b" ".join(times) + Path(f"/proc/{pid}/io").read_bytes()
    except OSError:
        return b""


def _read_exactly(stream: IO[bytes], length: int) -> bytes | None:
    got = stream.read(length)
    return got if len(got) == length else None
