"""Does a peer do its work where the world is poor: no UDP, a full disk, readers that never let go?"""

import contextlib
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, Node, each, everywhere, free_port, until
from games import add_games, count_committed, create_games_db
from tcp_only import TcpOnly

from ringgossip.cli.demo_checks import file_hash, look_into
from ringgossip.cli.demo_matter import write_checkpoint

MIB = 2**20
# Rules that never stop it: what is shown here is how the store itself meets a full disk.
NO_RULES = {"stop_percent": 100, "resume_percent": 100, "min_free_bytes": 0, "floor_bytes": 0}


@pytest.fixture
def small_disk(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A disk of 320 MiB; a peer leaves 256 of them free, so it can use 64."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=320m", "none", str(folder)]
    if os.geteuid() or subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    for node in cluster.nodes.values():
        node.kill()
    # Its snapshot helper ends when it sees that its peer has.
    until(lambda: not subprocess.run(["umount", folder], capture_output=True).returncode, "it to be let go")


def fill(path: Path, size: int) -> None:
    """Write a file of another program."""
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))


def fill_completely(path: Path) -> None:
    """Write until nothing fits any more."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(MIB))


def test_where_udp_is_blocked_everything_goes_over_links(cluster: Cluster, tmp_path: Path) -> None:
    ways: list[TcpOnly] = []
    try:
        nodes = [cluster.node(f"node-{number}") for number in range(1, 4)]
        for node in nodes:
            host, _, port = node.address.rpartition(":")
            outside = free_port(host)
            ways.append(TcpOnly(host, outside, (host, int(port))))
            node.keys["advertise"] = [f"{host}:{outside}"]
        for node in nodes:
            node.keys["seeds"] = nodes[0].keys["advertise"]
            node.start(wait=False)
        for node in nodes:
            node.ready()
        cluster.meet(*nodes)
        write_checkpoint(tmp_path / "over-links.pth", 8 * MIB)
        receipt = nodes[1].client.publish("models", tmp_path / "over-links.pth", copies=2, timeout=30)
        assert receipt.fulfilled, receipt
        until(lambda: any(node.events("DatagramsBlocked") for node in nodes), "somebody to say so")
        # Longer than a suspicion lasts here: nobody is thought dead for want of datagrams.
        time.sleep(5)
        for node in nodes:
            assert node.counter("datagram_bytes_received") == 0
            assert not node.events("PeerLost")
            assert not node.events("PeerSuspected")
        assert sum(way.swallowed for way in ways) > 0
        # A crash is noticed over links alone, and a return too.
        nodes[2].kill()
        each(nodes[:2], lambda node: node.states()["node-3"] == "dead", "to notice the crash")
        nodes[2].start()
        cluster.meet(*nodes)
    finally:
        for way in ways:
            way.close()


def test_a_receiver_without_room_says_so_and_takes_it_when_there_is_room(
    cluster: Cluster, small_disk: Path, tmp_path: Path
) -> None:
    origin, small, other = (cluster.node(name) for name in ("origin", "small", "other"))
    small.data = small_disk / "data"
    small.keys |= {"data": str(small.data), "disk": NO_RULES}
    fill(small_disk / "ballast", 40 * MIB)
    for node in (origin, small, other):
        node.start()
    cluster.meet(origin, small, other)
    write_checkpoint(tmp_path / "wide.pth", 32 * MIB)
    receipt = origin.client.publish("models", tmp_path / "wide.pth", copies=2, timeout=3)
    assert (receipt.holders, receipt.missing) == (("other",), ("small",))
    until(lambda: any("room" in line for line in small.lines), "it to say that there is no room")
    assert len([line for line in small.lines if "room" in line]) <= 2
    # Smaller things still find their place.
    write_checkpoint(tmp_path / "narrow.pth", 4 * MIB)
    assert origin.client.publish("models", tmp_path / "narrow.pth", copies=2, timeout=30).fulfilled
    (small_disk / "ballast").unlink()
    everywhere([small], receipt.artifact)


def test_a_disk_that_fills_in_the_middle_is_told_and_the_rest_comes_later(
    cluster: Cluster, small_disk: Path, tmp_path: Path
) -> None:
    origin, small = cluster.node("origin"), cluster.node("small")
    small.data = small_disk / "data"
    small.keys |= {
        "data": str(small.data),
        "disk": NO_RULES,
        "bandwidth": {"receive_bytes_per_second": 8 * MIB},
    }
    origin.start()
    small.start()
    cluster.meet(origin, small)
    write_checkpoint(tmp_path / "long.pth", 40 * MIB)
    artifact = origin.client.publish("models", tmp_path / "long.pth").artifact
    until(lambda: any(pull["done"] > 8 * MIB for pull in small.client.transfers()), "a part of it")
    fill_completely(small_disk / "ballast")
    until(lambda: any("disk is full" in line for line in small.lines), "it to say that its disk is full")
    time.sleep(1)
    assert len([line for line in small.lines if "full" in line]) <= 4
    # It is still there, and says what is wrong.
    assert small.sees(["origin", "small"])
    assert small.client.status()["trouble"]
    fetched = small.counter("chunk_bytes_received")
    assert fetched < artifact.size
    (small_disk / "ballast").unlink()
    everywhere([small], artifact)
    path = small.catalog()[artifact.text].path
    assert path is not None
    assert file_hash(Path(path)) == file_hash(tmp_path / "long.pth")
    # What was stored before was not fetched again; the chunks that found no room were.
    assert small.counter("chunk_bytes_received") <= artifact.size


def test_a_full_disk_is_survived_by_a_restart_too(cluster: Cluster, small_disk: Path, tmp_path: Path) -> None:
    origin, small = cluster.node("origin"), cluster.node("small")
    small.data = small_disk / "data"
    small.keys |= {"data": str(small.data), "disk": NO_RULES}
    origin.start()
    small.start()
    cluster.meet(origin, small)
    write_checkpoint(tmp_path / "first.pth", 4 * MIB)
    assert origin.client.publish("models", tmp_path / "first.pth", copies=1, timeout=30).fulfilled
    fill_completely(small_disk / "ballast")
    write_checkpoint(tmp_path / "second.pth", 4 * MIB)
    second = origin.client.publish("models", tmp_path / "second.pth", copies=1, timeout=2)
    assert not second.fulfilled
    small.kill()
    small.start(wait=False)
    # Either it starts and serves what it has, or it ends with one line that says why.
    until(lambda: not small.alive or _ready(small), "it to start or to refuse")
    if not small.alive:
        errors = [line for line in small.lines if line.startswith("error: ")]
        assert len(small.lines) == 1
        assert "full" in errors[0]
        (small_disk / "ballast").unlink()
        small.start()
    else:
        (small_disk / "ballast").unlink()
    everywhere([small], second.artifact)
    assert small.catalog()["models/origin/first.pth"].complete


def _ready(node: Node) -> bool:
    return bool(node.events("Ready"))


def test_readers_of_a_replica_keep_what_they_opened(cluster: Cluster, tmp_path: Path) -> None:
    origin, reader = cluster.start(2)
    database = create_games_db(tmp_path / "g.db", "wal")
    rng = random.Random(1)
    add_games(database, 100, rng)
    first = origin.client.publish("games", tmp_path / "g.db", copies=1, timeout=30)
    committed = count_committed(database)
    path = reader.catalog()[first.artifact.text].path
    assert path is not None
    opened = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    opened.execute("BEGIN")
    assert opened.execute("SELECT count(*) FROM games").fetchone() == (committed[0],)
    with Path(path).open("rb") as plain:
        before = plain.read(100_000)
        for _ in range(5):
            add_games(database, 50, rng)
            last = origin.client.publish("games", tmp_path / "g.db", copies=1, timeout=30)
            assert last.fulfilled
            # A program that opens it now sees the new version, at the same path.
            assert reader.catalog()[first.artifact.text].path == path
            assert look_into(Path(path)) == ("ok", count_committed(database))
        plain.seek(0)
        assert plain.read(100_000) == before
    assert opened.execute("SELECT count(*) FROM games").fetchone() == (committed[0],)
    assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    opened.close()
    database.close()
    # Superseded versions do not pile up.
    assert last.artifact.sequence == 6
    replicas = list(Path(path).parent.glob("g.db*"))
    assert len(replicas) <= 3, replicas
