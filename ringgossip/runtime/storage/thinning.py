"""How much of an old snapshot must stay while somebody still pulls it? Only what differs from its successor.

A database of 1 GiB of which 1 % changed is then kept twice for 10 to 160 MB more.
Source: design section 4 (Supersession), section 7.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from ringgossip.content.hashing import HASH_BYTES
from ringgossip.errors import StoreError
from ringgossip.runtime.storage.disk import Signature, read_at, remove, trouble, write_at
from ringgossip.runtime.storage.holdings import Holdings
from ringgossip.runtime.storage.places import BitSet, Place, PlaceKind

# Above this share the file stays whole: thinning would write much to save little.
_LARGEST_SHARE: Final = 0.5


def thin_superseded(holdings: Holdings) -> int:
    """Make every whole snapshot that has a successor sparse, as far as that saves much; return how many."""
    thinned = 0
    for place in holdings.all_places():
        if place.kind is not PlaceKind.SNAPSHOT or place.own is not None or place.pinned:
            continue
        successor = _successor(holdings, place)
        if successor is not None and _thin(holdings, place, successor):
            thinned += 1
    return thinned


def _successor(holdings: Holdings, place: Place) -> Place | None:
    """Return the next newer snapshot of the artifact, if every version at this place has one."""
    found: Place | None = None
    for record in list(place.records):
        versions = holdings.versions(record.key)
        newer = versions[: versions.index(place)] if place in versions else []
        if not newer or newer[-1].kind is not PlaceKind.SNAPSHOT or newer[-1].chunk_size != place.chunk_size:
            return None
        found = newer[-1]
    return found


def _thin(holdings: Holdings, place: Place, successor: Place) -> bool:
    old, new = holdings.manifests.get(place.root), holdings.manifests.get(successor.root)
    if old is None or new is None or place.root == successor.root:
        return False
    differing = [
        index
        for index in range(old.chunk_count)
        if old.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
        != new.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
    ]
    if len(differing) > _LARGEST_SHARE * old.chunk_count:
        return False
    path = place.path.with_name(f"{place.path.stem}.thin.db")
    try:
        _copy(holdings, place, path, differing)
        own = BitSet(old.chunk_count)
        for index in differing:
            own.add(index)
        signature = Signature.of(path.lstat())
        thin = Place(
            PlaceKind.SNAPSHOT, path, signature, place.root, place.chunk_size, own=own, base=successor.root
        )
        if not holdings.replace(place, thin):
            remove(path)
            return False
        remove(place.path)
    except (OSError, StoreError) as problem:
        with contextlib.suppress(OSError):
            remove(path)
        if isinstance(problem, OSError):
            raise trouble(problem, f"{place.path} cannot be made smaller") from None
        raise
    return True


def _copy(holdings: Holdings, place: Place, path: Path, indices: list[int]) -> None:
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.ftruncate(target, place.size)
        buffer = memoryview(bytearray(place.chunk_size))
        with holdings.files.get(place) as source:
            for index in indices:
                offset = index * place.chunk_size
                view = buffer[: min(place.chunk_size, place.size - offset)]
                if read_at(source, view, offset) < len(view) or not holdings.matches(place.root, index, view):
                    raise StoreError(f"{place.path} was changed")
                write_at(target, view, offset)
    finally:
        os.close(target)
