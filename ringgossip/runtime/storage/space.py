"""Is there room for one more file? Free space, less what was promised and not yet written.

`statvfs` counts what lies on the disk: replicas, snapshots, and of a partial
file the blocks it has. What partial files will still grow by was promised to
them, so nobody else gets it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

from ringgossip.runtime.storage.disk import NoRoom, free_bytes


def allocated(path: Path) -> int:
    """Return how many bytes of the disk a file takes, 0 if there is none."""
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0


@dataclass(slots=True)
class Space:
    """Promises of bytes. Thread-safe."""

    folder: Path
    min_free_bytes: int
    _promised: dict[bytes, tuple[int, Path]] = field(default_factory=dict)
    _lock: RLock = field(default_factory=RLock)

    def reserve(
        self, root: bytes, size: int, path: Path, make_room: Callable[[int], bool] | None = None
    ) -> None:
        """Promise `size` bytes to the file at `path`, or raise `NoRoom` with the reason.

        `make_room(bytes)` may delete what nobody needs; True if it did.
        """
        with self._lock:
            while True:
                room = self._room(but=root)
                needed = size - allocated(path)
                if needed <= room:
                    self._promised[root] = (size, path)
                    return
                if make_room is None or not make_room(needed - room):
                    break
        raise NoRoom(
            f"no room for {size} bytes below {self.folder}: {max(0, room)} can be used, "
            f"{self.min_free_bytes} stay free; free some, it is tried again"
        )

    def release(self, root: bytes) -> None:
        """Give a promise back, or forget it because the file is complete."""
        with self._lock:
            self._promised.pop(root, None)

    def _room(self, but: bytes) -> int:
        outstanding = sum(
            max(0, size - allocated(path)) for root, (size, path) in self._promised.items() if root != but
        )
        return free_bytes(self.folder) - self.min_free_bytes - outstanding
