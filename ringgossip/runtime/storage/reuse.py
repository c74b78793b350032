"""Which chunks of a new version do we have already, and how are they brought into it fast?

First versions of the same artifact are compared by position, a whole manifest
page at a time, since databases change pages in place. Only what is left is
looked up by hash, wherever in the store it lies. Runs of adjacent chunks are
read in pieces that stay in the processor's cache, hashed there and written;
where the file system can share blocks, they are shared and only hashed.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from ringgossip.content.chunking import chunk_length
from ringgossip.content.hashing import HASH_BYTES, hash_bytes
from ringgossip.content.manifest import PAGE_BYTES, Manifest
from ringgossip.errors import StoreError
from ringgossip.runtime.storage import manifests
from ringgossip.runtime.storage.disk import Handle, clone_range, read_at, trouble, write_at
from ringgossip.runtime.storage.holdings import Holdings
from ringgossip.runtime.storage.partial import Partial
from ringgossip.runtime.storage.places import BitSet, PlaceKind

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
    steady: bool = False  # the file is ours and does not change once it was hashed: its blocks may be shared


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
        self._can_share = True
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
            self._add(same, handle, place.root, steady=place.kind is not PlaceKind.USER)
        return missing

    def _add(
        self, indices: list[int], handle: Handle | None, root: bytes = b"", steady: bool = False
    ) -> None:
        for first, count in _runs(indices):
            self.runs.append(Run(first, count, handle, first, root, steady))

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
        done = failed = 0
        length = 0
        told = monotonic()
        buffer = memoryview(bytearray(max(_PIECE, self._partial.record.chunk_size)))
        try:
            for run in self.runs:
                for good, bad, amount in self._copy_run(run, buffer):
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
            self.close()

    def close(self) -> None:
        for handle in self._opened:
            handle.close()
        self._opened.clear()

    def _copy_run(self, run: Run, buffer: memoryview) -> Iterator[tuple[int, int, int]]:
        partial = self._partial
        chunk_size = partial.record.chunk_size
        per_piece = len(buffer) // chunk_size
        for start in range(0, run.count, per_piece):
            first = run.first + start
            count = min(per_piece, run.count - start)
            length = (count - 1) * chunk_size + chunk_length(
                first + count - 1, partial.record.size, chunk_size
            )
            view = buffer[:length]
            got = self._read(run, run.source_first + start, view)
            good, amount = 0, 0
            written: list[int] = []
            for place in range(count):
                at = place * chunk_size
                chunk = view[at : at + chunk_size]
                index = first + place
                if at + len(chunk) <= got and hash_bytes(chunk) == partial.manifest.chunk_hash(index):
                    written.append(index)
                    good |= 1 << place
                    amount += len(chunk)
            self._write(run, run.source_first + start, first, view, written)
            partial.note_written(written, amount)
            yield good << first, (((1 << count) - 1) & ~good) << first, amount

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

    def _write(self, run: Run, source_first: int, first: int, view: memoryview, written: list[int]) -> None:
        chunk_size = self._partial.record.chunk_size
        try:
            with self._partial.handle() as fd:
                for start, count in _runs(written):
                    at = (start - first) * chunk_size
                    piece = view[at : at + count * chunk_size]
                    if not self._share(run, source_first + start - first, len(piece), fd, start):
                        write_at(fd, piece, start * chunk_size)
        except OSError as problem:
            raise trouble(problem, f"{self._partial.record.key.text} cannot be written") from None

    def _share(self, run: Run, source_first: int, length: int, fd: int, first: int) -> bool:
        """Let both files have the same blocks, where the file system can."""
        if not self._can_share or not run.steady or run.source is None:
            return False
        chunk_size = self._partial.record.chunk_size
        with run.source as source:
            shared = clone_range(source, source_first * chunk_size, length, fd, first * chunk_size)
        self._can_share = shared
        return shared


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
