"""Where in the data folder does everything lie, and how do names become paths that stay inside?

    <data>/lock                 one process per store
    <data>/stopped              why the last peer here ended by itself; for people
    <data>/index.db             what we know
    <data>/replicas/<kind>/<origin>/<name>[@<sequence>]
    <data>/partial/<root>.part  files in progress
    <data>/published/           clones of users' files, where the file system can
    <data>/snapshots/           snapshots of live databases
    <data>/damaged/             what turned out to be damaged; never deleted by us

Rule of this file: a name is checked again here, although admission did, and
every folder on the way is opened without following links. Whatever else is
broken, nothing outside the data folder is touched.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ringgossip.errors import StoreError
from ringgossip.runtime.forking import close_in_children
from ringgossip.runtime.storage.disk import sync_folder, trouble
from ringgossip.runtime.storage.index import is_index

_FOLDERS = ("replicas", "partial", "published", "snapshots", "damaged")
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Layout:
    """The data folder, made if missing; its path is resolved once, since links inside are not followed."""

    def __init__(self, data: Path) -> None:
        try:
            _refuse_what_is_not_ours(data)
            _make_folder(data)
            self.data = data.resolve(strict=True)
            for name in _FOLDERS:
                folder = self.data / name
                # Replicas may be for others to read, as the umask says; the rest is nobody else's business.
                folder.mkdir(mode=0o777 if name == "replicas" else 0o700, exist_ok=True)
                if not stat.S_ISDIR(folder.lstat().st_mode):
                    raise StoreError(f"{folder} is no folder: move it away")
            sync_folder(self.data)
        except FileExistsError as problem:
            raise StoreError(
                f"{problem.filename} is no folder: move it away, or choose another `data:`"
            ) from None
        except NotADirectoryError:
            raise StoreError(f"{data} lies below what is no folder: choose another `data:`") from None
        except OSError as problem:
            raise trouble(problem, f"the data folder {data} cannot be used") from None
        self.index = self.data / "index.db"
        self.partial = self.data / "partial"
        self.published = self.data / "published"
        self.snapshots = self.data / "snapshots"
        self.damaged = self.data / "damaged"

    # --- one process per store ----------------------------------------------------------

    def lock(self) -> IO[bytes]:
        """Lock the store until the returned file is closed; raise `StoreError` that names who has it."""
        path = self.data / "lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise trouble(problem, f"{path} cannot be opened") from None
        file = os.fdopen(fd, "r+b", buffering=0)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(32).decode("ascii", "replace").strip()
            file.close()
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise StoreError(f"{self.data} is in use by {who}: stop it, or choose another `data:`") from None
        except OSError as problem:
            file.close()
            raise trouble(problem, f"{path} cannot be locked") from None
        close_in_children(file)
        with contextlib.suppress(OSError):
            # Only for whoever is refused; on a full disk the peer must start all the same.
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        return file

    def last_words(self, why: str | None) -> None:
        """Leave a line for whoever asks why no peer runs here, or, with None, take it back."""
        # A disk that refuses is no reason to end otherwise, or not to start.
        with contextlib.suppress(OSError):
            path = self.data / "stopped"
            path.unlink(missing_ok=True)
            if why is not None:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(fd, "w", encoding="utf-8") as file:
                    file.write(f"{why}\n")

    # --- names and paths ------------------------------------------------------------------

    def replica_path(self, kind: str, origin: str, name: str, kept: int | None = None) -> Path:
        """Return where a replica, or a kept version of it, lies; raise `StoreError` for a hostile name."""
        folders, base = _components(kind, origin, name, kept)
        return self.data.joinpath(*folders, base)

    @contextmanager
    def replica_folder(self, kind: str, origin: str, name: str, *, create: bool) -> Iterator[tuple[int, str]]:
        """Give a descriptor of the folder in which a replica lies, and the replica's name in it.

        Folders on the way are made, and synced, if `create`. Raises `StoreError` when
        one is a link or no folder, `FileNotFoundError` when it is missing.
        """
        folders, base = _components(kind, origin, name, None)
        fd = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                inner = self._enter(fd, folder, create)
                os.close(fd)
                fd = inner
            yield fd, base
        finally:
            os.close(fd)

    def _enter(self, fd: int, folder: str, create: bool) -> int:
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, dir_fd=fd)
                sync_folder(fd)
        try:
            return os.open(folder, _OPEN_FOLDER, dir_fd=fd)
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise StoreError(
                f"{folder!r} in {self.data / 'replicas'} is no folder ({problem.strerror}): move it away"
            ) from None

    def shown(self, path: Path) -> str:
        """Return `path` as the index keeps it: relative inside the data folder, which may be moved."""
        return str(path.relative_to(self.data)) if path.is_relative_to(self.data) else str(path)

    def found(self, shown: str) -> Path:
        """Undo `shown`."""
        return self.data / shown

    def part(self, root: bytes) -> Path:
        """Return the path of a file in progress."""
        return self.partial / f"{root.hex()}.part"

    def set_aside(self, path: Path) -> Path:
        """Move a file of ours to the damaged ones and return its new path."""
        if not path.is_relative_to(self.data):
            raise StoreError(f"{path} is not ours to move")
        flat = str(path.relative_to(self.data)).replace("/", "-")[-200:]
        number = 0
        while True:
            target = self.damaged / (f"{flat}.{number}" if number else flat)
            if not os.path.lexists(target):
                path.rename(target)
                return target
            number += 1


def _make_folder(data: Path) -> None:
    """Make the data folder, private to us, and what is missing above it; a power cut leaves it there."""
    missing = [data]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        if not folder.is_dir():
            folder.mkdir(mode=0o700 if folder == data else 0o777, exist_ok=True)
            sync_folder(folder.parent)


def _refuse_what_is_not_ours(data: Path) -> None:
    """Raise `StoreError` for a folder in which somebody else keeps files under names of ours.

    They would be taken for our own, and deleted or moved as such. What a peer
    once ran on has its lock; without it, its index says whose it is.
    """
    index = data / "index.db"
    if (data / "lock").exists() or is_index(index):
        return
    for name in _FOLDERS:
        if (data / name).is_dir() and any((data / name).iterdir()):
            raise StoreError(
                f"{data / name} was not made by ringgossip: choose another `data:`; in a copy of a peer's "
                "data folder its `lock`, or its `index.db` and `index.db-wal`, are missing: copy them too"
            )
    if index.exists() and index.stat().st_size:
        raise StoreError(f"{index} was not made by ringgossip: choose another `data:`")


def _components(kind: str, origin: str, name: str, kept: int | None) -> tuple[list[str], str]:
    *folders, base = name.split("/")
    parts = ["replicas", kind, origin, *folders, base]
    for part in parts:
        if part in ("", ".", "..") or any(sign in part for sign in "/\\\0") or len(os.fsencode(part)) > 255:
            raise StoreError(f"{name[:80]!r} of {origin[:80]!r} cannot be stored: it would leave the store")
    if "/" in kind or "/" in origin:
        raise StoreError(f"{origin[:80]!r} cannot be stored: it would leave the store")
    if kept is not None:
        base = f"{base}@{kept}"
    return parts[:-1], base
