"""Records, contents and moves between stores, for tests that need no keys and no network."""

import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ringgossip.content.chunking import hash_stream
from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record, make_record
from ringgossip.identity import PeerId
from ringgossip.runtime.storage.store import Store

MIB = 2**20


def content(length: int, seed: int = 0) -> bytes:
    """Bytes that no other seed gives."""
    return random.Random(seed).randbytes(length)


def manifest_of(data: bytes, chunk_size: int = MIB) -> Manifest:
    view = memoryview(data)
    place = 0

    def read_into(buffer: memoryview) -> int:
        nonlocal place
        piece = view[place : place + len(buffer)]
        buffer[: len(piece)] = piece
        place += len(piece)
        return len(piece)

    return Manifest(len(data), chunk_size, hash_stream(read_into, len(data), chunk_size))


def record_of(manifest: Manifest, name: str = "net.bin", sequence: int = 1, **changes: Any) -> Record:
    """A record whose signature nobody looks at: stores do not verify, the protocol did."""
    fields: dict[str, Any] = {
        "kind": "models",
        "origin": "alice",
        "name": name,
        "sequence": sequence,
        "stamp": sequence,
        "store": bytes(8),
        "size": manifest.size,
        "chunk_size": manifest.chunk_size,
        "root": manifest.root,
        "metadata": {},
        "signer": PeerId(bytes(16)),
        "cluster": "ringrift",
        "sign": lambda _: bytes(64),
    }
    return make_record(**{**fields, **changes})


def bits(chunks: int) -> list[int]:
    """The members of a bit set."""
    return [index for index in range(chunks.bit_length()) if chunks >> index & 1]


def fill(
    store: Store, record: Record, manifest: Manifest, data: bytes, only: Iterable[int] | None = None
) -> list[int]:
    """Begin and bring in all chunks (or `only` these); return those that had to be fetched."""
    store.reserve(record)
    have, _copying = store.begin_partial(record, manifest)
    for copied, _ in store.copy_local(record.root):
        have |= copied
    fetched = []
    for index in range(manifest.chunk_count):
        if not have >> index & 1 and (only is None or index in only):
            chunk = memoryview(data)[index * manifest.chunk_size : (index + 1) * manifest.chunk_size]
            assert store.verify_and_write(record.root, index, chunk, manifest.chunk_hash(index))
            fetched.append(index)
    return fetched


def receive(
    store: Store, data: bytes, name: str = "net.bin", sequence: int = 1, **changes: Any
) -> tuple[Record, Path]:
    """Receive a whole version from nowhere; return its record and the visible path."""
    keep = changes.pop("keep_predecessor", False)
    manifest = manifest_of(data, changes.pop("chunk_size", MIB))
    record = record_of(manifest, name, sequence, **changes)
    fill(store, record, manifest, data)
    return record, store.finalise(record, keep)


def publish(
    store: Store, path: Path, kind: str = "models", name: str | None = None, sequence: int = 1
) -> Record:
    """Prepare, sign and persist."""
    prepared = store.prepare(kind, path, name or path.name)
    record = record_of(
        Manifest(0, prepared.chunk_size, b""),
        prepared.name,
        sequence,
        kind=kind,
        size=prepared.size,
        root=prepared.root,
        metadata=prepared.metadata,
        store=store.restored.store,
    )
    store.persist(record)
    return record


def read_all(store: Store, record: Record) -> bytes:
    """The content, as it would be sent."""
    count = -(-record.size // record.chunk_size)
    return b"".join(bytes(store.read_chunk(record.root, index)) for index in range(count))


def flip(path: Path, offset: int) -> None:
    """Damage one byte in place, keeping the file's times as a dying disk would."""
    found = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
