"""How is of a new snapshot only that kept which differs from the one before it?

As a sparse file that has the changed chunks at their places; the others are read
from the whole snapshot before it, the base, which stays for as long as anybody
leans on it (`holdings.py`). A base is never written again, so nothing that was
published can be torn by what comes after it.

Source: issue 2, point 7; design, section 7.
"""

import os
from pathlib import Path
from typing import Final

from ringgossip.content.hashing import HASH_BYTES
from ringgossip.runtime.storage.disk import copy_range

# Above this share of changed chunks a whole snapshot is kept: it is the base of those that follow.
LARGEST_SHARE: Final = 0.5


def changed_chunks(hashes: bytes, base: bytes) -> list[int] | None:
    """Return the chunks that are not at the same place in `base`; None when they are too many."""
    starts = range(0, len(hashes), HASH_BYTES)
    changed = [
        at // HASH_BYTES for at in starts if hashes[at : at + HASH_BYTES] != base[at : at + HASH_BYTES]
    ]
    return changed if len(changed) <= LARGEST_SHARE * len(starts) else None


def copy_changed(whole: Path, sparse: Path, size: int, chunk_size: int, changed: list[int]) -> None:
    """Fill the new file `sparse` with these chunks of `whole`, at the same places; raises `OSError`."""
    with whole.open("rb", buffering=0) as source, sparse.open("r+b", buffering=0) as target:
        os.ftruncate(target.fileno(), size)
        for index in changed:
            at = index * chunk_size
            copy_range(source.fileno(), at, min(chunk_size, size - at), target.fileno(), at)
