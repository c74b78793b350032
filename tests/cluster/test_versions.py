"""Whose is a name, and what becomes of its history? `--replace`, unchanged content, fresh stores, clones.

Source: design sections 4 (fresh disk, certificates' generations) and 9 (publish).
"""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, Node, each, everywhere, free_port, until
from games import add_games, count_committed, create_games_db
from remains import read_index

from ringgossip.cli.demo_checks import look_into
from ringgossip.cli.demo_matter import write_checkpoint, write_npz
from ringgossip.client import connect
from ringgossip.errors import OperationFailed, PeerGone
from ringgossip.identity.authority import enroll


@pytest.fixture(scope="module")
def nodes(shared_cluster: Cluster) -> Iterator[list[Node]]:
    yield shared_cluster.start(3)


def games(path: Path, count: int, seed: int = 1) -> Path:
    database = create_games_db(path, "delete")
    add_games(database, count, random.Random(seed))
    database.close()
    return path


def test_another_file_under_a_name_needs_replace(nodes: list[Node], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_checkpoint(tmp_path / "m.pth", 2**20)
    write_checkpoint(tmp_path / "other" / "m.pth", 2**20)
    client = nodes[0].client
    first = client.publish("models", tmp_path / "m.pth", copies=2, timeout=30)
    with pytest.raises(OperationFailed) as refusal:
        client.publish("models", tmp_path / "other" / "m.pth")
    assert str(tmp_path / "m.pth") in str(refusal.value)
    assert "replace" in str(refusal.value)
    assert nodes[0].catalog()[first.artifact.text].root == first.artifact.root
    second = client.publish("models", tmp_path / "other" / "m.pth", replace=True, copies=2, timeout=30)
    assert second.fulfilled
    assert second.artifact.sequence == first.artifact.sequence + 1
    # From now on the name belongs to the other path; that, too, survives a restart.
    nodes[0].kill()
    nodes[0].start()
    with pytest.raises(OperationFailed, match="replace"):
        nodes[0].client.publish("models", tmp_path / "m.pth")


def test_names_that_differ_only_in_case_are_refused(nodes: list[Node], tmp_path: Path) -> None:
    write_npz(tmp_path / "Case.npz", 10)
    nodes[0].client.publish("npz", tmp_path / "Case.npz")
    with pytest.raises(OperationFailed, match=r"Case\.npz"):
        nodes[0].client.publish("npz", tmp_path / "Case.npz", name="case.npz")


def test_unchanged_content_is_the_same_version_and_moves_nothing(nodes: list[Node], tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "same.pth", 4 * 2**20)
    client = nodes[1].client
    first = client.publish("models", tmp_path / "same.pth", board_type="hex8", copies=2, timeout=30)
    # What earlier tests published may still be on its way to those who need not confirm it.
    until(lambda: not any(node.client.transfers() for node in nodes), "transfers to end")
    moved = [node.counter("chunk_bytes_received") for node in nodes]
    again = client.publish("models", tmp_path / "same.pth", board_type="hex8", copies=2, timeout=30)
    assert again.unchanged
    assert (again.artifact.sequence, again.copies) == (first.artifact.sequence, 2)
    # The same bytes in a new file, as a program that saves again writes them.
    shutil.copy(tmp_path / "same.pth", tmp_path / "beside")
    (tmp_path / "beside").replace(tmp_path / "same.pth")
    assert client.publish("models", tmp_path / "same.pth", board_type="hex8").unchanged
    # Only what is said of it changes: a new version with the same root.
    said = client.publish("models", tmp_path / "same.pth", board_type="square8", copies=2, timeout=30)
    assert said.fulfilled
    assert said.artifact.sequence == first.artifact.sequence + 1
    assert said.artifact.root == first.artifact.root
    for node in nodes:
        assert node.catalog()[said.artifact.text].metadata["board_type"] == "square8"
    assert [node.counter("chunk_bytes_received") for node in nodes] == moved


def test_a_fresh_store_of_a_known_origin_undoes_no_history(
    nodes: list[Node], shared_cluster: Cluster, tmp_path: Path
) -> None:
    *others, origin = nodes
    path = games(tmp_path / "games.db", 300)
    for seed in (2, 3, 4):
        before = origin.client.publish("games", games(path, 50, seed), copies=2, timeout=30)
        assert before.fulfilled
    large = look_into(path)[1]
    assert before.artifact.sequence == 3
    # The machine is imaged again: its store is gone, and its program starts with an empty database.
    origin.kill()
    shutil.rmtree(origin.data)
    path.unlink()
    games(path, 5, seed=9)
    origin.start()
    after = origin.client.publish("games", path, copies=2, timeout=40)
    assert after.fulfilled, after
    assert after.artifact.sequence > before.artifact.sequence
    for node in others:
        held = node.catalog()[after.artifact.text]
        assert held.sequence == after.artifact.sequence
        assert held.path is not None
        # What it lost is still there, whole, under its own name, and somebody was told.
        kept = Path(f"{held.path}@{before.artifact.sequence}")
        assert look_into(kept) == ("ok", large)
        assert node.events("ArtifactShrank", artifact=after.artifact.text)
        assert any("shrank: " in line for line in node.lines)
    # What others keep of it survives their restart, and many more versions.
    for seed in (10, 11, 12):
        last = origin.client.publish("games", games(path, 5, seed), copies=2, timeout=30)
    others[0].kill()
    others[0].start()
    everywhere(nodes, last.artifact)
    held = others[0].catalog()[last.artifact.text]
    assert look_into(Path(f"{held.path}@{before.artifact.sequence}")) == ("ok", large)


def test_a_fresh_store_gets_its_own_artifacts_back(
    nodes: list[Node], shared_cluster: Cluster, tmp_path: Path
) -> None:
    origin = nodes[1]
    write_npz(tmp_path / "lost.npz", 500)
    before = origin.client.publish("npz", tmp_path / "lost.npz", copies=2, timeout=30)
    assert before.fulfilled
    origin.kill()
    shutil.rmtree(origin.data)
    origin.start()
    everywhere([origin], before.artifact)
    restored = origin.catalog()[before.artifact.text]
    assert restored.path is not None
    assert Path(restored.path).read_bytes() == (tmp_path / "lost.npz").read_bytes()
    again = origin.client.publish("npz", tmp_path / "lost.npz", copies=2, timeout=30)
    assert again.artifact.sequence >= before.artifact.sequence
    assert again.fulfilled


def test_a_cloned_machine_stops_with_one_line_and_the_other_goes_on(
    nodes: list[Node], shared_cluster: Cluster, tmp_path: Path
) -> None:
    original = nodes[2]
    shared_cluster.meet(*nodes)
    # An image of the machine: credentials and store, started elsewhere.
    clone = Node(tmp_path, "clone", "", dict(original.keys))
    shutil.copytree(original.data, clone.data, ignore=shutil.ignore_patterns("*.sock", "socket"))
    address = f"{shared_cluster.host}:{free_port(shared_cluster.host)}"
    shared_cluster.nodes["clone"] = clone
    clone.start(wait=False, listen=address, data=str(clone.data))
    until(lambda: not (original.alive and clone.alive), "one of the two to stop")
    stopped, other = (original, clone) if not original.alive else (clone, original)
    assert stopped.end() == 1
    errors = [line for line in stopped.lines if line.startswith("error: ")]
    assert errors == [
        f"error: another machine runs with this node's key, at {other.address}: "
        "enroll one of the two under a name of its own"
    ]
    with pytest.raises(PeerGone, match="the last one stopped: another machine runs with this node's key"):
        connect(stopped.data)
    each(nodes[:2], lambda node: node.states()[original.name] == "alive", "to see the other one")
    assert other.alive
    other.kill()
    del shared_cluster.nodes["clone"]
    original.kill()
    original.start()
    assert not (original.data / "stopped").exists()
    shared_cluster.meet(*nodes)


def test_a_higher_generation_takes_the_name_over_at_once(
    nodes: list[Node], shared_cluster: Cluster, tmp_path: Path
) -> None:
    *others, old = nodes
    write_npz(tmp_path / "before.npz", 10)
    before = old.client.publish("npz", tmp_path / "before.npz", copies=2, timeout=30)
    assert before.fulfilled
    keys = dict(old.keys)
    keys["credentials"] = str(enroll(shared_cluster.authority, old.name, tmp_path / "again"))
    keys["listen"] = f"{shared_cluster.host}:{free_port(shared_cluster.host)}"
    keys["data"] = str(tmp_path / f"{old.name}-data")
    new = Node(tmp_path, old.name, keys["listen"], keys)
    shared_cluster.nodes["again"] = new
    new.start()
    assert old.end() == 1
    errors = [line for line in old.lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert "generation" in errors[0]
    each(others, lambda node: node.events("NameTakenOver", name=old.name), "to be told", 10)
    for node in others:
        assert [member["name"] for member in node.client.members()].count(old.name) == 1
    # The new one has a new key, and its predecessor's artifacts are still believed.
    everywhere([new], before.artifact)
    write_npz(tmp_path / "before.npz", 20)
    after = new.client.publish("npz", tmp_path / "before.npz", copies=2, timeout=30)
    assert after.fulfilled
    assert after.artifact.sequence > before.artifact.sequence


def test_a_publisher_killed_at_any_instant_never_goes_back(cluster: Cluster, tmp_path: Path) -> None:
    """What anybody heard of was on its disk before; the next publication is above it."""
    origin, *others = cluster.start(3)
    path = create_games_db(tmp_path / "g.db", "wal")
    rng = random.Random()
    highest = 0
    for _ in range(5):
        add_games(path, 50, rng)
        # In a process of its own, as a trainer would; it dies with its peer.
        publishing = cluster.publish(origin, "games", tmp_path / "g.db")
        until(lambda: publishing.poll() is not None or rng.random() < 0.02, "a random instant", 5)  # noqa: B023
        origin.kill()
        publishing.wait()
        held = max(
            (node.catalog()[f"games/{origin.name}/g.db"].sequence for node in others if node.catalog()),
            default=0,
        )
        known = read_index(origin.data).known.get(f"games/{origin.name}/g.db", 0)
        assert known >= held
        assert known >= highest
        highest = known
        origin.start()
    after = origin.client.publish("games", tmp_path / "g.db", copies=2, timeout=30)
    assert after.fulfilled
    assert after.artifact.sequence >= highest
    committed = count_committed(path)
    path.close()
    for node in others:
        replica = node.catalog()[after.artifact.text].path
        assert replica is not None
        assert look_into(Path(replica)) == ("ok", committed)
    with sqlite3.connect(tmp_path / "g.db") as user:
        assert user.execute("PRAGMA journal_mode").fetchone() == ("wal",)
