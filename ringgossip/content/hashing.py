"""What is the hash of these bytes? BLAKE3, 32 bytes, everywhere.

A chunk's hash is plain BLAKE3 of its bytes, so that any tool can check it. A
hash over other hashes is BLAKE3 in its key-derivation mode with a context that
names its purpose: a chunk that happens to look like a page of hashes can then
never be taken for one.
Source: the BLAKE3 paper (O'Connor, Aumasson, Neves, Wilcox-O'Hearn 2020), section 2.3.
"""

from typing import TYPE_CHECKING, Final, NewType

from blake3 import blake3

if TYPE_CHECKING:
    from typing_extensions import Buffer

HASH_BYTES: Final = 32

ChunkHash = NewType("ChunkHash", bytes)
RootHash = NewType("RootHash", bytes)


def hash_bytes(data: "Buffer") -> bytes:
    """Return the 32-byte BLAKE3 hash of `data`, computed on this thread; long inputs release the GIL."""
    return blake3(data).digest()


def hash_tagged(context: str, *parts: "Buffer") -> bytes:
    """Return a 32-byte hash of `parts`, joined, that no other `context` can give.

    Parts are not delimited: give all but the last a fixed length.
    """
    hasher = blake3(derive_key_context=context)
    for part in parts:
        hasher.update(part)
    return hasher.digest()
