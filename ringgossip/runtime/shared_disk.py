"""Where is a file that another node put on the disk we share, and is it what its origin signed?

Each node mounts the disk where it likes; places are relative to its root,
`shared_folder`, or the mount that the data folder lies on. What another names
is not believed: it must lie below that root, be a regular file of the right
size, and every byte of it must be proven before anybody is shown it. A file
that was proven is not read again while its size, times and inode stay.
"""

import os
import stat
from pathlib import Path

from ringgossip.content.chunking import hash_stream
from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record
from ringgossip.errors import ArtifactRefused, StoreError
from ringgossip.runtime.storage.disk import Handle, Signature, trouble

_MOST_PROVEN = 50_000  # what was forgotten is read again

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class SharedDisk:
    """The disk as this node sees it; `look` blocks, and is called by one thread at a time."""

    def __init__(self, folder: Path | None, data: Path) -> None:
        self._root = folder if folder is not None else mount_of(data)
        self._resolved = self._root.resolve()
        self._proven: dict[bytes, tuple[Path, Signature]] = {}

    def place_of(self, path: Path | None) -> str:
        """Return how others find a file of ours; empty for one that is not on the shared disk."""
        for root in (self._resolved, self._root):
            if path is not None and path.is_relative_to(root):
                return str(path.relative_to(root))
        return ""

    def look(self, record: Record, place: str) -> Path:
        """Return where the file can be read here. Raises `StoreError` with the reason why it cannot."""
        path = self._root / place
        if place.startswith("/") or "\0" in place or ".." in Path(place).parts:
            raise StoreError("its place leaves the shared disk")
        try:
            with Handle(os.open(path, _OPEN)) as fd:
                self._prove(record, path, fd)
        except OSError as problem:
            raise trouble(problem, f"{path} cannot be read") from None
        return path

    def _prove(self, record: Record, path: Path, fd: int) -> None:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != record.size:
            self._proven.pop(record.root, None)
            raise StoreError(f"{path} is not the file that was published: its size or kind is another")
        before = Signature.of(found)
        if self._proven.get(record.root) == (path, before):
            return
        with os.fdopen(os.dup(fd), "rb", buffering=0) as file:
            try:
                hashes = hash_stream(file, record.size, record.chunk_size)
            except ArtifactRefused as problem:
                raise StoreError(f"{path}: {problem}") from None
        if Manifest(record.size, record.chunk_size, hashes).root != record.root:
            raise StoreError(f"{path} is damaged, or was replaced")
        if Signature.of(os.fstat(fd)) != before:
            raise StoreError(f"{path} was changed while it was read")
        self._proven[record.root] = (path, before)
        if len(self._proven) > _MOST_PROVEN:
            del self._proven[next(iter(self._proven))]


def mount_of(folder: Path) -> Path:
    """Return the root of the file system that a folder lies on, as it is mounted here."""
    folder = folder.resolve()
    return next((above for above in (folder, *folder.parents) if above.is_mount()), Path("/"))
