"""Is a peer that goes and comes back, or leaves, seen for what it does, and does it end when told to?

Source: design sections 6 and 9 (signals), issue 2 (membership).
"""

import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cluster import Cluster, Node, each, everywhere, free_port, until

from ringgossip.cli.demo_matter import write_checkpoint


@pytest.fixture(scope="module")
def nodes(shared_cluster: Cluster) -> Iterator[list[Node]]:
    yield shared_cluster.start(5)


@pytest.fixture(autouse=True)
def everybody_is_back(nodes: list[Node], shared_cluster: Cluster) -> None:
    for node in nodes:
        if not node.alive:
            node.start(wait=False)
    for node in nodes:
        node.ready()
    shared_cluster.meet(*nodes)


def told(nodes: list[Node], kind: str, name: str) -> list[int]:
    """Return how many such events about this peer each of these has told."""
    return [len(node.events(kind, name=name)) for node in nodes]


def has_heard(node: Node, **event: str) -> bool:
    return bool(node.events(**event))


def test_a_restart_at_another_port_is_seen_at_once(nodes: list[Node], shared_cluster: Cluster) -> None:
    *others, moved = nodes
    for start in range(3):
        before = told(others, "PeerLost", moved.name)
        moved.kill()
        killed = time.monotonic()
        address = f"{shared_cluster.host}:{free_port(shared_cluster.host)}"
        moved.start(listen=address)
        began = time.monotonic()
        heard = partial(has_heard, kind="PeerRestarted", name=moved.name, address=address)
        each(others, heard, f"to hear of restart {start}")
        # Far below the time in which a dead member is noticed: nobody waited for that.
        assert time.monotonic() - began < 4
        for node in others:
            [member] = [member for member in node.client.members() if member["name"] == moved.name]
            assert member["state"] == "alive"
            assert member["addresses"][0] == address
            assert len(node.client.members()) == len(nodes)
        # On a machine that is too busy to start it any sooner it was dead meanwhile, but not afterwards.
        lost = told(others, "PeerLost", moved.name)
        assert began - killed > 3 or lost == before
    time.sleep(3)  # a suspicion that was still alive would end in this time
    assert told(others, "PeerLost", moved.name) == lost


def test_what_is_published_after_a_move_reaches_the_one_that_moved(
    nodes: list[Node], shared_cluster: Cluster, tmp_path: Path
) -> None:
    moved = nodes[3]
    moved.kill()
    moved.start(listen=f"{shared_cluster.host}:{free_port(shared_cluster.host)}")
    write_checkpoint(tmp_path / "after-the-move.pth", 2**20)
    receipt = nodes[0].client.publish("models", tmp_path / "after-the-move.pth", copies=4, timeout=30)
    assert receipt.fulfilled, receipt
    write_checkpoint(tmp_path / "from-the-new-place.pth", 2**20)
    receipt = moved.client.publish("models", tmp_path / "from-the-new-place.pth", copies=4, timeout=30)
    assert receipt.fulfilled, receipt


def test_a_graceful_leave_is_no_death(nodes: list[Node]) -> None:
    *others, leaving = nodes
    before = [told(others, kind, leaving.name) for kind in ("PeerLost", "PeerSuspected")]
    assert leaving.stop() < 3
    each(others, lambda node: node.states()[leaving.name] == "left", "to hear the goodbye", 5)
    assert all(told(others, "PeerLeft", leaving.name))
    # Longer than a probe would need to find out, and to suspect.
    time.sleep(3)
    assert [told(others, kind, leaving.name) for kind in ("PeerLost", "PeerSuspected")] == before


def test_a_crash_is_noticed_and_a_return_heals_it(nodes: list[Node]) -> None:
    *others, crashed = nodes
    crashed.kill()
    each(others, lambda node: node.states()[crashed.name] == "dead", "to notice the crash")
    crashed.start()
    each(others, lambda node: node.states()[crashed.name] == "alive", "to see the return", 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_peer_in_the_middle_of_work_leaves_within_two_seconds(
    nodes: list[Node], tmp_path: Path, number: signal.Signals
) -> None:
    leaving = nodes[2]
    leaving.kill()
    leaving.start(bandwidth={"receive_bytes_per_second": 4 * 2**20})
    write_checkpoint(tmp_path / f"big-{number.name}.pth", 24 * 2**20)
    artifact = nodes[0].client.publish("models", tmp_path / f"big-{number.name}.pth").artifact
    until(lambda: any(transfer["done"] for transfer in leaving.client.transfers()), "the transfer to begin")
    assert leaving.stop(number) < 2.5  # the promise, and the start of a shared machine's process that waits
    leaving.start(bandwidth={})
    everywhere([leaving], artifact)


def test_a_second_signal_ends_at_once(nodes: list[Node], tmp_path: Path) -> None:
    # It drains, and nobody can take what it has: alone it would wait for its whole deadline.
    # It has published before: a fresh store would wait 10 s for others first.
    alone = nodes[3]
    alone.kill()
    alone.start(ephemeral=True, drain_seconds=60.0)
    others = [node for node in nodes if node is not alone]
    # Who knows nobody has nobody to wait for.
    until(lambda: list(alone.states().values()).count("alive") == len(nodes), "everybody to be seen again")
    for node in others:
        node.send(signal.SIGSTOP)
    try:
        (tmp_path / "only-here.pth").write_bytes(random.randbytes(1000))
        alone.client.publish("models", tmp_path / "only-here.pth")
        alone.send(signal.SIGTERM)
        time.sleep(0.5)
        assert alone.alive
        alone.send(signal.SIGTERM)
        assert alone.end(1.0) == 128 + signal.SIGTERM
    finally:
        for node in others:
            node.send(signal.SIGCONT)
    alone.start(ephemeral=False)
