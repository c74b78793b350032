"""A process is killed at random instants while it receives and publishes; nothing it promised is lost.

The kernel keeps what a killed process wrote. To be as hard as a power cut, all
chunks of partial files that the index does not call synced are overwritten
before the store is opened again.
"""

import itertools
import os
import random
import signal
import sqlite3
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import bits, content, fill, manifest_of, record_of

from ringgossip.content.chunking import chunk_length
from ringgossip.content.record import Record, unpack_record
from ringgossip.runtime.storage import partial
from ringgossip.runtime.storage.store import Store

KILLS = 24
NAMES = ("n0.bin", "n1.bin", "n2.bin")
CHUNK = 4096


def version(name: str, sequence: int) -> bytes:
    """Some content that follows from its name and sequence, with much in common with its predecessor."""
    chunks = [content(CHUNK, seed=NAMES.index(name)) for _ in range(60)]
    for number in range(sequence - 3, sequence):
        chunks[number % 60] = content(CHUNK, seed=1000 + number)
    return b"".join(chunks)[: 60 * CHUNK - sequence % 50]


def work(data: Path, log: int, seed: int) -> None:
    """Receive version after version, and publish, until somebody kills us."""
    partial.SYNC_BYTES, partial.SYNC_SECONDS = 16 * CHUNK, 0.004  # type: ignore[misc]
    rng = random.Random(seed)
    store = Store.open(data)
    reached = {(held.name, held.origin): held.sequence for held in store.restored.holdings}
    own = max((held.sequence for held in store.restored.records if held.origin == "me"), default=0)
    source = data.parent / "mine.bin"
    for number in itertools.count():
        name = rng.choice(NAMES)
        sequence = reached.get((name, "alice"), 0) + 1
        body = version(name, sequence)
        manifest = manifest_of(body, CHUNK)
        record = record_of(manifest, name, sequence)
        fill(store, record, manifest, body)
        store.finalise(record, keep_predecessor=sequence % 7 == 0)
        reached[name, "alice"] = sequence
        os.write(log, f"visible {name} {sequence}\n".encode())
        if number % 4 == 0:
            own += 1
            source.write_bytes(content(CHUNK, seed=own))
            prepared = store.prepare("models", source, "mine.bin")
            facts = {"origin": "me", "store": store.restored.store, "chunk_size": prepared.chunk_size}
            store.persist(
                record_of(manifest, "mine.bin", own, size=prepared.size, root=prepared.root, **facts)
            )
            os.write(log, f"own mine.bin {own}\n".encode())


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "log"
    path.touch()
    yield path


def cpu_seconds(process: int) -> float:
    """Return how long the first thread of a process has run."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def kill_while_working(data: Path, log: Path, rng: random.Random) -> None:
    before = log.stat().st_size
    child = os.fork()
    if child == 0:
        try:
            work(data, os.open(log, os.O_WRONLY | os.O_APPEND), rng.getrandbits(32))
        except BaseException:
            (data.parent / "failure").write_text(traceback.format_exc())
        finally:
            os._exit(1)
    deadline = time.monotonic() + 10
    while log.stat().st_size == before and time.monotonic() < deadline:
        time.sleep(0.001)
    # Counted in what it did: in so many seconds it does nothing where others have the processors.
    began, more = cpu_seconds(child), rng.random() * 0.03
    while cpu_seconds(child) < began + more and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(rng.random() * 0.03)  # also while it waits for the disk
    os.kill(child, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert killed, (data.parent / "failure").read_text()


def spoil_unsynced(data: Path) -> None:
    """Overwrite what a power cut could have taken; read the index from a copy, so as not to touch it."""
    copy = data.parent / "copy.db"
    for suffix in ("", "-wal"):
        source = Path(f"{data / 'index.db'}{suffix}")
        Path(f"{copy}{suffix}").write_bytes(source.read_bytes() if source.exists() else b"")
    database = sqlite3.connect(copy)
    rows = database.execute("SELECT record, have FROM partials").fetchall()
    database.close()
    for packed, have in rows:
        record = unpack_record(packed)
        path = data / "partial" / f"{record.root.hex()}.part"
        if path.exists():
            synced = int.from_bytes(have, "little")
            with path.open("r+b") as file:
                for index in range(-(-record.size // CHUNK)):
                    if not synced >> index & 1:
                        file.seek(index * CHUNK)
                        file.write(b"?" * chunk_length(index, record.size, CHUNK))


def check(data: Path, log: Path, resumed: list[int]) -> None:
    promised: dict[tuple[str, str], int] = {}
    for line in log.read_text().splitlines():
        what, name, sequence = line.split()
        promised[what, name] = int(sequence)
    told: list[str] = []
    with Store.open(data, on_trouble=told.append) as store:
        assert told == []
        held: dict[str, Record] = {}
        for record in store.restored.holdings:
            if record.origin == "alice":
                held[record.name] = record
                path = Path(store.restored.paths[(*record.key, record.sequence)])
                assert path.read_bytes() == version(record.name, record.sequence)
        for (what, name), sequence in promised.items():
            if what == "visible":
                assert held[name].sequence >= sequence, "a version that was complete is lost"
            else:
                known = [record.sequence for record in store.restored.records if record.name == name]
                assert max(known) >= sequence, "a sequence of our own went back"
        for file in (data / "replicas/models/alice").glob("*"):
            name, _, kept = file.name.partition("@")
            sequence = int(kept) if kept else held[name].sequence
            assert file.read_bytes() == version(name, sequence), "something incomplete is visible"
        for part in (data / "partial").iterdir():
            row = next(row for row in store._receiving._idle.values() if row.record.root.hex() == part.stem)
            body = version(row.record.name, row.record.sequence)
            manifest = manifest_of(body, CHUNK)
            have, _ = store.begin_partial(row.record, manifest)
            on_disk = part.read_bytes()
            for index in bits(have):
                assert on_disk[index * CHUNK :][:CHUNK] == body[index * CHUNK :][:CHUNK]
            resumed.append(have.bit_count())
            store.abandon(row.record.root, keep=True)


def test_a_kill_at_any_instant_loses_nothing_that_was_promised(tmp_path: Path, log: Path) -> None:
    data, rng = tmp_path / "data", random.Random(7)
    resumed: list[int] = []
    kills = 0
    # How often a kill meets what it should meet depends on how busy the machine is: as many as it takes.
    while kills < KILLS or (not any(resumed) and kills < 10 * KILLS):
        kills += 1
        kill_while_working(data, log, rng)
        spoil_unsynced(data)
        check(data, log, resumed)
    assert len(log.read_text().splitlines()) > 2 * kills
    assert any(resumed), "no kill met a transfer of which some chunks were synced"


def test_a_rename_that_the_index_did_not_hear_of_is_a_complete_version(tmp_path: Path) -> None:
    data = tmp_path / "data"
    body = version("n0.bin", 5)
    manifest = manifest_of(body, CHUNK)
    record = record_of(manifest, "n0.bin", 5)
    with Store.open(data) as store:
        fill(store, record, manifest, body)
    path = data / "replicas/models/alice/n0.bin"
    path.parent.mkdir(parents=True)
    next((data / "partial").iterdir()).rename(path)
    with Store.open(data) as store:
        assert store.restored.holdings == (record,)
        assert store.restored.paths[(*record.key, 5)] == str(path)


def test_a_predecessor_that_a_crash_left_under_its_own_name_is_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Store.open(data) as store:
        for sequence in (1, 2):
            body = version("n0.bin", sequence)
            manifest = manifest_of(body, CHUNK)
            record = record_of(manifest, "n0.bin", sequence)
            fill(store, record, manifest, body)
            if sequence == 1:
                path = store.finalise(record)
    # What `finalise` does to the disk before it tells the index.
    os.link(path, path.with_name("n0.bin@1"))
    next((data / "partial").iterdir()).rename(path)
    with Store.open(data) as store:
        assert [held.sequence for held in store.restored.holdings] == [1, 2]
        assert path.read_bytes() == version("n0.bin", 2)
        assert path.with_name("n0.bin@1").read_bytes() == version("n0.bin", 1)
