"""Are live databases of both kinds of journal copied whole, and is their owner left alone?

A writer process commits all the while; what is published must be a moment that
it had committed. Source: field notes, incident 1; design section 7.
"""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, Node, until
from games import add_games, count_committed, create_games_db, read_committed, start_writer
from remains import was_committed

from ringgossip.cli.demo_checks import look_into
from ringgossip.client import Artifact

# Each starts while its writer commits; a round of commits takes some milliseconds.
PUBLICATIONS = 6


@pytest.fixture(scope="module")
def nodes(shared_cluster: Cluster) -> Iterator[list[Node]]:
    yield shared_cluster.start(3)


def mode_bytes(path: Path) -> bytes:
    """Return bytes 18 and 19 of the header: the journal mode in the file. Its writer has ended."""
    with path.open("rb") as file:
        return file.read(20)[18:20]


def replica(node: Node, artifact: Artifact) -> Path:
    path = node.catalog()[artifact.text].path
    assert path is not None
    return Path(path)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_every_copy_of_a_live_database_is_a_committed_moment(
    nodes: list[Node], shared_cluster: Cluster, tmp_path: Path, mode: str
) -> None:
    database, log = tmp_path / f"{mode}.db", tmp_path / "committed"
    writer = start_writer(database, log, mode, seconds=300, pause=0.005)
    shared_cluster.others.append(writer)
    seen: set[tuple[int, int]] = set()
    for _ in range(PUBLICATIONS):
        receipt = nodes[0].client.publish("games", database, copies=2, timeout=30)
        assert receipt.fulfilled, receipt
        for node in nodes[1:]:
            path = replica(node, receipt.artifact)
            integrity, count = look_into(path)
            assert integrity == "ok"
            assert was_committed(count, read_committed(log))
            assert mode_bytes(path) == b"\x01\x01"
            # Opening it, as anybody would, left nothing beside it.
            assert not list(path.parent.glob(f"{path.name}-*"))
            seen.add(count)
    assert len(seen) > PUBLICATIONS // 2, "the writer stood still: nothing was shown"
    before = len(read_committed(log))
    until(lambda: len(read_committed(log)) > before, "the writer to go on")
    writer.kill()
    writer.wait()
    assert mode_bytes(database) == (b"\x02\x02" if mode == "wal" else b"\x01\x01")
    owner = sqlite3.connect(database)
    assert owner.execute("PRAGMA journal_mode").fetchone() == (mode,)
    assert owner.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert was_committed(count_committed(owner), read_committed(log))
    owner.close()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_hot_journal_of_a_killed_writer_is_read_through_sqlite(
    nodes: list[Node], tmp_path: Path, mode: str
) -> None:
    database = tmp_path / f"hot-{mode}.db"
    # It dies in the middle of a transaction that has reached the file, or its WAL, already.
    dying = f"""
import os, random, sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "helpers")!r})
from games import add_games, create_games_db
from pathlib import Path
database = create_games_db(Path({str(database)!r}), {mode!r})
add_games(database, 40, random.Random(1))
database.execute("PRAGMA cache_size=1")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE games SET quality_score = 7, parity_status = hex(randomblob(2000))")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", dying], check=False, env={"PYTHONPATH": ":".join(sys.path)})
    sidecar = database.with_name(database.name + ("-wal" if mode == "wal" else "-journal"))
    assert sidecar.stat().st_size > 0
    receipt = nodes[0].client.publish("games", database, copies=2, timeout=30)
    assert receipt.fulfilled, receipt
    path = replica(nodes[1], receipt.artifact)
    integrity, count = look_into(path)
    assert integrity == "ok"
    assert count == (40, 40)
    copied = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    assert copied.execute("SELECT count(*) FROM games WHERE quality_score = 7").fetchone() == (0,)
    copied.close()


def test_only_changed_chunks_of_the_next_snapshot_travel(nodes: list[Node], tmp_path: Path) -> None:
    database = create_games_db(tmp_path / "changes.db", "wal")
    add_games(database, 2000, random.Random(1))
    first = nodes[0].client.publish("games", tmp_path / "changes.db", copies=2, timeout=30)
    assert first.fulfilled
    assert first.artifact.size > 40 * 64 * 1024
    before = nodes[1].counter("chunk_bytes_received")
    database.execute("UPDATE games SET parity_status = 'ok' WHERE rowid = 1000")
    second = nodes[0].client.publish("games", tmp_path / "changes.db", copies=2, timeout=30)
    assert second.fulfilled
    assert second.artifact.sequence == first.artifact.sequence + 1
    travelled = nodes[1].counter("chunk_bytes_received") - before
    # The page of the game, the page with the change counter, and nothing near the whole.
    assert 0 < travelled <= 6 * 64 * 1024
    database.close()
