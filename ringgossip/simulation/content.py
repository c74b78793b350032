"""What do simulated files hold? Hashes drawn from labels: real manifests of content that is nowhere.

A new version of a file keeps the chunks that did not change, so that reuse
between versions is as real as it is in production.
"""

import hashlib
from random import Random

from ringgossip.content.chunking import chunk_count
from ringgossip.content.hashing import HASH_BYTES
from ringgossip.content.manifest import Manifest

CHUNK_SIZES = {"games": 64 * 1024, "models": 1024 * 1024, "npz": 1024 * 1024}


def new_content(label: str, size: int, chunk_size: int) -> Manifest:
    """Return the manifest of content nobody has seen before; the same label gives the same one."""
    hashes = (
        hashlib.blake2b(f"{label}\0{index}".encode(), digest_size=HASH_BYTES).digest()
        for index in range(chunk_count(size, chunk_size))
    )
    return Manifest(size, chunk_size, b"".join(hashes))


def changed_content(before: Manifest, label: str, size: int, share: float, generator: Random) -> Manifest:
    """Return the next version of a file: a `share` of its chunks is new, and so is what it grew by."""
    fresh = new_content(label, size, before.chunk_size)
    hashes = bytearray(fresh.hashes)
    # The last chunk of the old version may be shorter than the same chunk now.
    kept = min(before.size // before.chunk_size, size // before.chunk_size)
    for index in range(kept):
        if generator.random() >= share:
            at = index * HASH_BYTES
            hashes[at : at + HASH_BYTES] = before.hashes[at : at + HASH_BYTES]
    return Manifest(size, before.chunk_size, bytes(hashes))
