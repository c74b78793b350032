"""Where can the bytes of a content be read? Places, and the descriptors that are open on them."""

import os
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Final

from ringgossip.content.chunking import chunk_count
from ringgossip.content.record import Record
from ringgossip.runtime.storage.disk import ChunkChanged, Handle, Signature

MAX_OPEN: Final = 256  # Design, section 7.


class PlaceKind(StrEnum):
    """Whose file it is, and what may be done with it."""

    USER = "user"  # Used where it lies; never changed, moved or deleted.
    CLONE = "clone"  # Shares the bytes of a user's file; ours.
    SNAPSHOT = "snapshot"  # Of a live database; ours.
    CHANGES = "changes"  # What of a snapshot differs from an older one, its base; ours.
    REPLICA = "replica"  # Received, visible.
    KEPT = "kept"  # A version that was visible, at `<name>@<sequence>`.


class BitSet:
    """A fixed number of bits; setting one costs the same however many there are."""

    __slots__ = ("_bytes", "count", "length")

    def __init__(self, length: int, packed: bytes = b"") -> None:
        self.length = length
        self._bytes = bytearray((length + 7) // 8)
        if len(packed) == len(self._bytes):
            self._bytes[:] = packed
            if length % 8:
                self._bytes[-1] &= (1 << length % 8) - 1
        self.count = int.from_bytes(self._bytes, "little").bit_count()

    def __contains__(self, index: int) -> bool:
        return bool(self._bytes[index >> 3] >> (index & 7) & 1)

    def add(self, index: int) -> bool:
        """Set a bit; return whether it was clear."""
        if index in self:
            return False
        self._bytes[index >> 3] |= 1 << (index & 7)
        self.count += 1
        return True

    @property
    def full(self) -> bool:
        return self.count == self.length

    def packed(self) -> bytes:
        return bytes(self._bytes)

    def as_int(self) -> int:
        """The machines' form: bit i is chunk i."""
        return int.from_bytes(self._bytes, "little")


@dataclass(slots=True, eq=False)
class Place:
    """A file that has the bytes of a root, and the versions of which it is the copy.

    `proven` are chunks that need not be hashed again before they are sent; None:
    all, since this process wrote or read and hashed them. A user's file is
    hashed at every read. A place with `base` holds only its `own` chunks; the
    others are equal to those of the content `base`.
    """

    kind: PlaceKind
    path: Path
    signature: Signature
    root: bytes
    chunk_size: int
    pinned: bool = False
    records: list[Record] = field(default_factory=list)
    proven: BitSet | None = None
    own: BitSet | None = None
    base: bytes | None = None
    complained: bool = False  # that it cannot be read was told
    forgotten: bool = False  # whoever opens it from now on must not keep it open

    @property
    def size(self) -> int:
        return self.signature.size

    def unproven(self) -> "Place":
        """Forget what was proven; done for files of an earlier process."""
        self.proven = BitSet(chunk_count(self.size, self.chunk_size))
        return self

    def is_proven(self, index: int) -> bool:
        return self.kind is not PlaceKind.USER and (self.proven is None or index in self.proven)

    def open(self) -> Handle:
        """Open the file; raise `ChunkChanged` when a user's file is no longer the one that was published."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self.path, flags if self.kind is PlaceKind.USER else flags | os.O_NOFOLLOW)
        found = Signature.of(os.fstat(fd))
        if self.kind is PlaceKind.USER and found != self.signature:
            os.close(fd)
            raise ChunkChanged(f"{self.path} was changed or replaced")
        return Handle(fd)


class OpenFiles:
    """The descriptors of the places read lately, at most `limit`. Thread-safe."""

    def __init__(self, limit: int = MAX_OPEN) -> None:
        self._limit = limit
        self._handles: OrderedDict[Place, Handle] = OrderedDict()
        self._lock = Lock()

    def get(self, place: Place) -> Handle:
        """Return a handle on the place, opened if need be. Raises what `Place.open` raises."""
        with self._lock:
            handle = self._handles.get(place)
            if handle is not None:
                self._handles.move_to_end(place)
                return handle
        return self.put(place, place.open())

    def put(self, place: Place, handle: Handle) -> Handle:
        """Keep an open handle; of two that were opened at once the first stays."""
        evicted = []
        with self._lock:
            known = self._handles.get(place)
            if place.forgotten:
                # Opened while it went: what is deleted must not keep its room on the disk.
                evicted.append(handle)
            elif known is None:
                self._handles[place] = handle
                while len(self._handles) > self._limit:
                    evicted.append(self._handles.popitem(last=False)[1])
            else:
                evicted.append(handle)
        for old in evicted:
            old.close()
        return known or handle

    def forget(self, place: Place) -> None:
        """Close the place's file when its last reader is done."""
        with self._lock:
            place.forgotten = True
            handle = self._handles.pop(place, None)
        if handle is not None:
            handle.close()

    def close(self) -> None:
        with self._lock:
            handles, self._handles = self._handles, OrderedDict()
        for handle in handles.values():
            handle.close()

    def __len__(self) -> int:
        return len(self._handles)
