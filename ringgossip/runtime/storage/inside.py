"""How is a file reached that may lie in one folder only, whatever somebody does to its links meanwhile?

Links inside a shared folder are followed, links out of it never. To look where
a link leads and then to open it leaves a moment in which it can be turned; so
the way that was found is walked again from the folder, and no link is followed
on it. What comes out of that walk lies inside, or there is no such way any more.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ringgossip.errors import ArtifactRefused

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_inside(top: Path, path: Path, flags: int) -> int:
    """Open what `path` leads to; raises `ArtifactRefused` if that is not below `top`, else as `os.open`."""
    with _parent(top, path) as (folder, name, _):
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)


def place_inside(top: Path, path: Path) -> tuple[Path, int, int]:
    """Return path without links, device and inode of what is not to be opened; raises as `open_inside`."""
    with _parent(top, path) as (folder, name, real):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return real, found.st_dev, found.st_ino


@contextmanager
def _parent(top: Path, path: Path) -> Iterator[tuple[int, str, Path]]:
    """Give the folder that `path` leads to, open, the name in it, and the whole path without links."""
    try:
        top = top.resolve(strict=True)
        real = path.resolve(strict=True)
    except RuntimeError as problem:  # links in a circle
        raise ArtifactRefused(f"{path} leads nowhere: {problem}") from None
    if not real.is_relative_to(top) or real == top:
        raise ArtifactRefused(f"{path} leads out of the shared folder {top}: it is not published")
    *folders, name = real.relative_to(top).parts
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd, name, real
    finally:
        os.close(fd)
