"""Which chunks of a new version do we have already, and how are they brought into it fast?

First versions of the same artifact are compared by position, a whole manifest
page at a time, since databases change pages in place. Only what is left is
looked up by hash, wherever in the store it lies. Runs of adjacent chunks are
copied by the kernel, which shares blocks where the file system can, and read
back and hashed by a second thread meanwhile: what is proven is what lies in the
new file, whatever became of the old one. Why: through our memory 1 GiB cost 2.6
CPU seconds and one core at a time, so 1.7 on two (measured).
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Final

from ringgossip.content.hashing import HASH_BYTES, hash_bytes
from ringgossip.content.manifest import PAGE_BYTES, Manifest
from ringgossip.errors import StoreError
from ringgossip.runtime.storage import manifests
from ringgossip.runtime.storage.disk import ChunkMissing, Handle, copy_range, read_at, trouble, write_at
from ringgossip.runtime.storage.holdings import Holdings
from ringgossip.runtime.storage.partial import Partial
from ringgossip.runtime.storage.places import BitSet

_PIECE: Final = 1 * 2**20
_TELL_BYTES: Final = 64 * 2**20
_TELL_SECONDS: Final = 0.1
_SLICE: Final = 2048  # hashes looked up in one turn of the index thread
_VERSIONS: Final = 4


@dataclass(slots=True)
class Run:
    """Adjacent chunks of the new file, and where they lie: in an open file, or in another content."""

    first: int
    count: int
    source: Handle | None  # a file whose chunks have the same size...
    source_first: int  # ... and where in it the run begins, in chunks
    root: bytes = b""  # without a file: the content to read from, chunk by chunk


class Reuse:
    """The plan for one partial file; `copy` carries it out."""

    def __init__(
        self, holdings: Holdings, partial: Partial, orphan: Path | None, siblings: Sequence[Partial] = ()
    ) -> None:
        """Plan; `orphan` is an unknown file where the replica belongs, `siblings` are partial older versions.

        The siblings are closed when the copying ends.
        """
        self._holdings = holdings
        self._partial = partial
        self._opened: list[Handle | Partial] = list(siblings)
        self._kernel_copies = True
        # The orphan's inode, while it seems to be the whole new version.
        self.orphan_inode: int | None = None
        self.runs: list[Run] = []
        self.planned = BitSet(partial.written.length)
        try:
            self._plan(orphan, siblings)
        except BaseException:
            self.close()
            raise

    def _plan(self, orphan: Path | None, siblings: Sequence[Partial]) -> None:
        partial = self._partial
        missing = _missing(partial)
        missing = self._by_version(missing) if missing else []
        for sibling in siblings if missing else ():
            same, missing = _split(missing, partial.manifest, sibling.manifest)
            self._add([index for index in same if index in sibling.written], sibling.handle())
            missing = sorted(missing + [index for index in same if index not in sibling.written])
        if orphan is not None and missing:
            missing = self._by_orphan(missing, orphan)
        if missing:
            self._by_hash(missing)
        for run in self.runs:
            for index in range(run.first, run.first + run.count):
                self.planned.add(index)

    # --- planning -------------------------------------------------------------------------------

    def _by_version(self, missing: list[int]) -> list[int]:
        """Plan chunks that lie at the same position in another version of the artifact."""
        record, manifest = self._partial.record, self._partial.manifest
        seen = set()
        candidates = [*self._holdings.versions(record.key)[:_VERSIONS], *self._holdings.places(record.root)]
        for place in candidates:
            if not missing:
                break
            if place.root in seen or place.chunk_size != record.chunk_size or place.own is not None:
                continue
            seen.add(place.root)
            other = self._holdings.manifests.get(place.root)
            if other is None:
                continue
            same, missing = _split(missing, manifest, other)
            try:
                handle: Handle | None = self._holdings.files.get(place)
            except (OSError, StoreError):
                handle = None
            self._add(same, handle, place.root)
        return missing

    def _add(self, indices: list[int], handle: Handle | None, root: bytes = b"") -> None:
        for first, count in _runs(indices):
            self.runs.append(Run(first, count, handle, first, root))

    def _by_orphan(self, missing: list[int], orphan: Path) -> list[int]:
        """Plan chunks from a file where the replica belongs, of which the index (a new one) knows nothing."""
        try:
            fd = os.open(orphan, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return missing
        handle = Handle(fd)
        self._opened.append(handle)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return missing
        partial = self._partial
        record = partial.record
        ends = {index: index * record.chunk_size + partial.length(index) for index in missing}
        inside = [index for index in missing if ends[index] <= found.st_size]
        if len(inside) == partial.written.length and found.st_size == record.size:
            self.orphan_inode = found.st_ino
        self._add(inside, handle)
        return [index for index in missing if ends[index] > found.st_size]

    def _by_hash(self, missing: list[int]) -> None:
        manifest, root = self._partial.manifest, self._partial.record.root
        by_hash: dict[bytes, list[int]] = {}
        for index in missing:
            by_hash.setdefault(manifest.chunk_hash(index), []).append(index)
        hashes = list(by_hash)
        ask = self._holdings.index.ask
        if not ask(lambda database: manifests.worth_searching(database, hashes)):
            return
        for start in range(0, len(hashes), _SLICE):
            some = hashes[start : start + _SLICE]
            found = ask(lambda database, some=some: manifests.find_chunks(database, some, root))  # type: ignore[misc]
            for hash_, places in found.items():
                for other, at in places:
                    if self._is_readable(other, at, manifest.chunk_size):
                        for index in by_hash[hash_]:
                            self._extend(index, other, at)
                        break

    def _is_readable(self, root: bytes, index: int, chunk_size: int) -> bool:
        places = self._holdings.places(root)
        return any(place.chunk_size == chunk_size and index * chunk_size < place.size for place in places)

    def _extend(self, index: int, root: bytes, at: int) -> None:
        last = self.runs[-1] if self.runs else None
        if (
            last is not None
            and last.root == root
            and last.source is None
            and last.first + last.count == index
            and last.source_first + last.count == at
        ):
            last.count += 1
        else:
            self.runs.append(Run(index, 1, None, at, root))

    # --- copying ----------------------------------------------------------------------------------

    def copy(self) -> Iterator[tuple[int, int]]:
        """Copy and verify; yield (copied, failed) sets of chunks as it goes.

        Raises `StoreError` when we cannot write.
        """
        prover = _Prover(self._partial)
        done = failed = 0
        length = 0
        told = monotonic()
        buffer = memoryview(bytearray(self._piece))
        try:
            for good, bad, amount in self._pieces(prover, buffer):
                if bad:
                    self.orphan_inode = None
                done |= good
                failed |= bad
                length += amount
                if length >= _TELL_BYTES or monotonic() - told >= _TELL_SECONDS:
                    yield done, failed
                    done = failed = length = 0
                    told = monotonic()
            if done or failed:
                yield done, failed
        finally:
            prover.close()
            self.close()

    @property
    def _piece(self) -> int:
        return max(_PIECE, self._partial.record.chunk_size)

    def _pieces(self, prover: "_Prover", buffer: memoryview) -> Iterator[tuple[int, int, int]]:
        """Copy piece by piece, and yield what was proven of those before."""
        per_piece = self._piece // self._partial.record.chunk_size
        for run in self.runs:
            for start in range(0, run.count, per_piece):
                count = min(per_piece, run.count - start)
                self._bring(run, start, count, buffer)
                prover.submit(run.first + start, count)
                yield from prover.proven()
        yield from prover.rest()

    def close(self) -> None:
        for handle in self._opened:
            handle.close()
        self._opened.clear()

    def _bring(self, run: Run, start: int, count: int, buffer: memoryview) -> None:
        """Put chunks of a run where they belong, unproven, but for those that came over a link meanwhile."""
        try:
            if not self._fill(run, start, count, buffer):
                for one in range(start, start + count):
                    self._fill(run, one, 1, buffer)
        except OSError as problem:
            raise trouble(problem, f"{self._partial.record.key.text} cannot be written") from None

    def _fill(self, run: Run, start: int, count: int, buffer: memoryview) -> bool:
        partial, first = self._partial, run.first + start
        if run.source is not None and self._kernel_copies:
            try:
                with run.source as source:
                    there = (run.source_first + start) * partial.record.chunk_size
                    return partial.fill(
                        first, count, lambda fd, at, length: copy_range(source, there, length, fd, at)
                    )
            except ChunkMissing:
                pass  # It was closed meanwhile.
            except OSError as problem:
                if problem.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                # Two file systems, one that cannot, or a disk that cannot read: by hand, and see.
                self._kernel_copies = problem.errno == errno.EIO
        view = buffer[: partial.span(first, count)]
        got = self._read(run, run.source_first + start, view)
        return partial.fill(first, count, lambda fd, at, _: write_at(fd, view[:got], at))

    def _read(self, run: Run, first: int, view: memoryview) -> int:
        """Read from the run's file, or from wherever its content can be read; return how many bytes."""
        chunk_size = self._partial.record.chunk_size
        if run.source is not None:
            try:
                with run.source as fd:
                    return read_at(fd, view, first * chunk_size)
            except (OSError, StoreError):
                pass
        if not run.root:
            return 0
        for at in range(0, len(view), chunk_size):
            chunk = view[at : at + chunk_size]
            try:
                self._holdings.read(run.root, first + at // chunk_size, chunk)
            except StoreError:
                # Its hash will tell; the chunks behind it may still be good.
                chunk[:] = bytes(len(chunk))
        return len(view)


def twin(path: Path | None, partial: Partial) -> int | None:
    """Return the inode of a file that has the very bytes of a whole partial file, None if it has others."""
    try:
        fd = os.open(path or "", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found, record = os.fstat(fd), partial.record
        if not stat.S_ISREG(found.st_mode) or found.st_size != record.size:
            return None
        buffer = memoryview(bytearray(record.chunk_size))
        for index in range(partial.manifest.chunk_count):
            view = buffer[: partial.length(index)]
            got = read_at(fd, view, index * record.chunk_size)
            if got < len(view) or hash_bytes(view) != partial.manifest.chunk_hash(index):
                return None
        return found.st_ino
    except OSError:
        return None
    finally:
        os.close(fd)


class _Prover:
    """A thread that reads back what was copied and hashes it, so that both cores work."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._jobs: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[int, int, int] | Exception] = SimpleQueue()
        self._under_way = 0
        self._closed = False
        # A daemon, as all our threads: a disk that hangs must not keep a program from ending.
        self._thread = Thread(target=self._run, name="ringgossip-prove", daemon=True)
        self._thread.start()

    def submit(self, first: int, count: int) -> None:
        """Prove chunks that are in the file."""
        self._under_way += 1
        self._jobs.put((first, count))

    def proven(self) -> Iterator[tuple[int, int, int]]:
        """Yield (good, bad, bytes of the good ones) of what is done; raises what went wrong."""
        while not self._results.empty():
            yield self._next()

    def rest(self) -> Iterator[tuple[int, int, int]]:
        """As `proven`, but wait for everything."""
        while self._under_way:
            yield self._next()

    def _next(self) -> tuple[int, int, int]:
        result = self._results.get()
        self._under_way -= 1
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Leave out what is not proven yet."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        buffer = memoryview(bytearray(max(_PIECE, self._partial.record.chunk_size)))
        while (job := self._jobs.get()) is not None and not self._closed:
            try:
                self._results.put(self._prove(*job, buffer))
            except Exception as problem:
                self._results.put(problem)

    def _prove(self, first: int, count: int, buffer: memoryview) -> tuple[int, int, int]:
        partial = self._partial
        view = buffer[: partial.span(first, count)]
        got = partial.read_back(first, view)
        good = amount = 0
        written: list[int] = []
        for place in range(count):
            at = place * partial.record.chunk_size
            chunk = view[at : at + partial.record.chunk_size]
            if at + len(chunk) <= got and hash_bytes(chunk) == partial.manifest.chunk_hash(first + place):
                written.append(first + place)
                good |= 1 << place
                amount += len(chunk)
        partial.note_written(written, amount)
        return good << first, (((1 << count) - 1) & ~good) << first, amount


def _missing(partial: Partial) -> list[int]:
    return [index for index in range(partial.written.length) if index not in partial.written]


def _split(missing: list[int], manifest: Manifest, other: Manifest) -> tuple[list[int], list[int]]:
    """Tell which of the missing chunks are the same at the same position, and which are not."""
    ours, theirs = manifest.hashes, other.hashes
    same, rest = [], []
    page, equal = -1, False
    for index in missing:
        at = index * HASH_BYTES
        if at // PAGE_BYTES != page:
            page = at // PAGE_BYTES
            start = page * PAGE_BYTES
            equal = ours[start : start + PAGE_BYTES] == theirs[start : start + PAGE_BYTES]
        if equal or ours[at : at + HASH_BYTES] == theirs[at : at + HASH_BYTES]:
            same.append(index)
        else:
            rest.append(index)
    return same, rest


def _runs(indices: list[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, count) of adjacent indices; `indices` ascend."""
    first = count = 0
    for index in indices:
        if count and index == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = index, 1
    if count:
        yield first, count
