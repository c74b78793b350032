"""What lies in the store of a peer that was killed? Read from the outside, and nothing in it is touched."""

import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from ringgossip.content.chunking import chunk_length
from ringgossip.content.hashing import hash_bytes
from ringgossip.content.manifest import Manifest
from ringgossip.runtime.storage import ledger
from ringgossip.runtime.storage.places import BitSet

_CHUNK_SIZES = {"games": 64 * 1024, "models": 2**20, "npz": 2**20}


@dataclass
class Remains:
    """What the index had committed. Roots are hex; versions are by kind/origin/name."""

    held: dict[str, int] = field(default_factory=dict)  # newest version of which a whole copy was held
    known: dict[str, int] = field(default_factory=dict)  # newest version that was known
    synced: dict[str, int] = field(default_factory=dict)  # bytes of chunks surely on disk, by root


def read_index(data: Path) -> Remains:
    """Return what a dead peer's index says."""
    found = Remains()
    with tempfile.TemporaryDirectory() as beside:
        # A copy: opening it would recover its journal, and that is for the next process to do.
        for name in ("index.db", "index.db-wal"):
            if (data / name).exists():
                shutil.copy(data / name, beside)
        database = sqlite3.connect(Path(beside) / "index.db")
        try:
            for record in ledger.records(database):
                found.known[record.key.text] = max(record.sequence, found.known.get(record.key.text, 0))
            for row in ledger.holdings(database):
                key = row.record.key.text
                found.held[key] = max(row.record.sequence, found.held.get(key, 0))
            for part in ledger.partials(database):
                size, chunk = part.record.size, part.record.chunk_size
                bits = BitSet(-(-size // chunk), part.have)
                found.synced[part.record.root.hex()] = sum(
                    chunk_length(index, size, chunk) for index in range(bits.length) if index in bits
                )
        finally:
            database.close()
    return found


def was_committed(count: tuple[int, int], logged: list[tuple[int, int]]) -> bool:
    """Tell whether a writer committed this count; its log says so only after the commit."""
    total, completed = logged[-1]
    # What `cli.demo_games` may commit next: two completed games, one unfinished, or the unfinished finish.
    return count in (*logged, (total + 2, completed + 2), (total + 1, completed), (total, total))


def visible(data: Path) -> dict[str, str]:
    """Return the root of the bytes of every file that is visible in a store, by kind/origin/name."""
    replicas = data / "replicas"
    found = {}
    for path in sorted(replicas.rglob("*")):
        if path.is_file():
            text = str(path.relative_to(replicas))
            found[text] = root_of(path, _CHUNK_SIZES[text.split("/")[0]])
    return found


def root_of(path: Path, chunk_size: int) -> str:
    """Return the root of a file's bytes."""
    hashes = bytearray()
    with path.open("rb") as file:
        while chunk := file.read(chunk_size):
            hashes += hash_bytes(chunk)
    return Manifest(path.stat().st_size, chunk_size, bytes(hashes)).root.hex()
