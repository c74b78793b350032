"""Are many small files quick, and does a peer stay small? Field notes, incidents 21 and 22."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster import Cluster, Node, each, everywhere
from games import add_games, create_games_db

from ringgossip.cli.demo_matter import write_npz

FILES = 1000


def proc_io(node: Node) -> int:
    """Return the bytes that its process has read so far, from caches too."""
    for line in Path(f"/proc/{node.pid}/io").read_text().splitlines():
        name, _, value = line.partition(": ")
        if name == "rchar":
            return int(value)
    raise AssertionError("no rchar")


def complete(node: Node) -> int:
    return sum(artifact.complete for artifact in node.client.artifacts("npz"))


@pytest.mark.slow
def test_a_thousand_small_files_are_quick_and_a_restart_hashes_none(cluster: Cluster, tmp_path: Path) -> None:
    # Scrubbing reads them on purpose, slowly; here nobody should.
    origin, *others = cluster.start(3, scrub={"bytes_per_second": 0})
    folder = tmp_path / "small"
    folder.mkdir()
    for number in range(FILES):
        write_npz(folder / f"{number:04}.npz", 10)
    size = sum(path.stat().st_size for path in folder.iterdir())
    began = time.monotonic()
    with ThreadPoolExecutor(8) as programs:
        list(programs.map(lambda path: origin.client.publish("npz", path), sorted(folder.iterdir())))
    published = time.monotonic() - began
    each(others, lambda node: complete(node) == FILES, "to hold all", 90)
    replicated = time.monotonic() - began
    print(f"{FILES} files: published in {published:.1f} s, on all in {replicated:.1f} s")
    # The reference needed 27 hours for 16,000; here also a slow disk has time.
    assert replicated < 120
    for node in (origin, others[0]):
        node.kill()
        began = time.monotonic()
        node.start()
        assert complete(node) == FILES
        print(f"{node.name} is back with all in {time.monotonic() - began:.1f} s")
    cluster.meet(origin, *others)
    # Give it time to do what it should not do.
    time.sleep(2)
    read = {node.name: proc_io(node) for node in (origin, others[0])}
    assert [node.counter("chunk_bytes_received") for node in (origin, others[0])] == [0, 0]
    # The program itself reads some MB at its start, as this one does; files would come on top.
    bare = cluster.node("bare", seeds=[f"{cluster.host}:9"]).start()
    allowed = proc_io(bare) + size // 4
    assert max(read.values()) < allowed, f"files have {size} bytes"
    # Nor does publishing all of them again hash or move any.
    before = proc_io(origin)
    with ThreadPoolExecutor(8) as programs:
        again = list(
            programs.map(lambda path: origin.client.publish("npz", path), sorted(folder.iterdir())[:200])
        )
    assert all(receipt.unchanged for receipt in again)
    assert proc_io(origin) - before < size // 4


def shape(node: Node) -> tuple[int, int, int]:
    """Return how many descriptors and threads its process has, and its resident bytes."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{node.pid}/status").read_text().splitlines())
    return (
        len(list(Path(f"/proc/{node.pid}/fd").iterdir())),
        int(status["Threads"]),
        int(status["VmRSS"].split()[0]) * 1024,
    )


@pytest.mark.slow
def test_descriptors_threads_and_memory_stay_flat_while_much_is_published(
    cluster: Cluster, tmp_path: Path
) -> None:
    nodes = cluster.start(3)
    database = create_games_db(tmp_path / "g.db", "wal")
    rng = random.Random(1)
    add_games(database, 500, rng)
    published = 0

    def publish_for(seconds: float, at_least: int = 0) -> None:
        nonlocal published
        end = time.monotonic() + seconds
        while time.monotonic() < end or published < at_least:
            add_games(database, 5, rng)
            write_npz(tmp_path / "n.npz", 100)
            origin = nodes[published % 2]
            # The same names again and again, from two origins, and every member holds them each time.
            assert origin.client.publish("npz", tmp_path / "n.npz", copies=2, timeout=30).fulfilled
            last = nodes[0].client.publish("games", tmp_path / "g.db", copies=2, timeout=30)
            assert last.fulfilled
            published += 1

    # Pools fill, caches warm up, the allocator finds its size; on a busy machine that takes longer.
    publish_for(6, at_least=25)
    before = [shape(node) for node in nodes]
    count = published
    publish_for(14)
    count = published - count
    everywhere(nodes, nodes[0].catalog()[f"games/{nodes[0].name}/g.db"])
    at_first = dict(zip((node.name for node in nodes), before))
    each(nodes, lambda node: shape(node)[0] <= at_first[node.name][0] + 3, "to close what it opened", 10)
    # trio keeps a thread that has nothing to do for ten seconds.
    each(nodes, lambda node: shape(node)[1] <= at_first[node.name][1] + 2, "to end idle threads", 20)
    for node, (files, threads, memory) in zip(nodes, before):
        now = shape(node)
        print(f"{node.name}: {count} rounds, {(files, threads, memory)} -> {now}")
        assert now[2] <= memory + 12 * 2**20
    for node in nodes:
        held = [path for path in node.data.rglob("*") if path.is_file()]
        assert len(held) < 60, "superseded versions pile up"
        assert not list((node.data / "partial").iterdir())
    database.close()
