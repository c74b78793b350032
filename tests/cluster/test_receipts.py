"""Does a receipt say the truth about who holds a copy, also when holders die? Promise S6."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, Node, each, everywhere
from remains import read_index

from ringgossip.cli.demo_matter import write_checkpoint, write_npz


@pytest.fixture(scope="module")
def nodes(shared_cluster: Cluster) -> Iterator[list[Node]]:
    yield shared_cluster.start(5)


def test_copies_are_on_disk_when_the_call_returns(nodes: list[Node], tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "synced.pth", 8 * 2**20)
    receipt = nodes[0].client.publish("models", tmp_path / "synced.pth", copies=4, timeout=30)
    assert receipt.copies == 4
    assert sorted(receipt.holders) == [node.name for node in nodes[1:]]
    assert receipt.missing == ()
    # The proof is what a power cut would leave: three of them die this very moment.
    for node in nodes[2:]:
        node.kill()
    for node in nodes[2:]:
        assert read_index(node.data).held[receipt.artifact.text] == receipt.artifact.sequence
        node.start(wait=False)
    for node in nodes[2:]:
        node.ready()
    everywhere(nodes, receipt.artifact)


def test_a_dead_holder_is_never_counted_and_the_answer_is_in_time(
    nodes: list[Node], shared_cluster: Cluster, tmp_path: Path
) -> None:
    shared_cluster.meet(*nodes)
    dead = nodes[4]
    dead.kill()
    write_npz(tmp_path / "honest.npz", 200)
    began = time.monotonic()
    receipt = nodes[0].client.publish("npz", tmp_path / "honest.npz", copies=4, timeout=3)
    took = time.monotonic() - began
    assert 2.9 < took < 6
    assert not receipt.fulfilled
    assert (receipt.copies, receipt.wanted) == (3, 4)
    assert sorted(receipt.holders) == [node.name for node in nodes[1:4]]
    # Nobody knows yet that it is dead: it is a member that has no copy.
    assert receipt.missing == (dead.name,)
    each(nodes[:4], lambda node: node.states()[dead.name] == "dead", "to notice")
    write_npz(tmp_path / "fewer.npz", 200)
    receipt = nodes[0].client.publish("npz", tmp_path / "fewer.npz", copies=3, timeout=30)
    assert receipt.fulfilled
    assert dead.name not in (*receipt.holders, *receipt.missing)
    dead.start()
    everywhere(nodes, receipt.artifact)


def test_a_holder_that_died_after_its_receipt_counts_again_when_it_is_back(
    nodes: list[Node], shared_cluster: Cluster, tmp_path: Path
) -> None:
    shared_cluster.meet(*nodes)
    write_npz(tmp_path / "again.npz", 200)
    first = nodes[1].client.publish("npz", tmp_path / "again.npz", copies=4, timeout=30)
    assert first.fulfilled
    nodes[3].kill()
    nodes[3].start()
    again = nodes[1].client.publish("npz", tmp_path / "again.npz", copies=4, timeout=30)
    assert again.unchanged
    assert again.artifact.sequence == first.artifact.sequence
    assert again.fulfilled


def test_more_copies_than_there_are_peers_is_said_and_not_hidden(nodes: list[Node], tmp_path: Path) -> None:
    write_npz(tmp_path / "many.npz", 200)
    receipt = nodes[0].client.publish("npz", tmp_path / "many.npz", copies=9, timeout=2)
    assert not receipt.fulfilled
    assert (receipt.copies, receipt.wanted, receipt.missing) == (4, 9, ())
