"""How do we read a file that somebody may still be writing? Steadily, or not at all.

A file is opened without waiting (a FIFO in a shared folder must not hang us),
must be a regular one, and is compared with itself afterwards: whoever changed
while being read is refused, since nothing said about it would be true.
Source: field notes, section 2, incident 14.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ringgossip.content.kinds.metadata import Value
from ringgossip.errors import ArtifactRefused


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in a source: facts to add to its metadata, and what its author should know."""

    facts: Mapping[str, Value] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@contextmanager
def open_steady(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open `path` for reading and give the file and its size in bytes.

    Raises `ArtifactRefused` when it cannot be read or is no regular file, and
    at the end when it changed meanwhile.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_NOCTTY", 0))
    except OSError as problem:
        raise ArtifactRefused(f"{path} cannot be read: {problem.strerror}") from None
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        os.close(descriptor)
        raise ArtifactRefused(f"{path} is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            yield file, before.st_size
        except OSError as problem:
            raise ArtifactRefused(f"{path} cannot be read: {problem.strerror}") from None
        except ArtifactRefused:
            # A file that grows looks torn; say what is the matter, not what it looks like.
            _refuse_if_changed(path, before, os.fstat(descriptor))
            raise
        _refuse_if_changed(path, before, os.fstat(descriptor))


def _refuse_if_changed(path: Path, before: os.stat_result, after: os.stat_result) -> None:
    if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    ):
        raise ArtifactRefused(f"{path} is still being written: publish it when its writer has closed it")
