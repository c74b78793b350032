"""Does the verdict of `ringgossip status` say what is wrong and what to do? Real peers, real conditions."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import PeerProcess, make_cluster, until, write_config

from ringgossip.client import Client
from ringgossip.identity.authority import enroll

Start = Callable[..., PeerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    make_cluster(tmp_path, "alice", "bob")
    running: list[PeerProcess] = []

    def begin(name: str, **more: Any) -> PeerProcess:
        peer = PeerProcess(write_config(tmp_path, name, **more))
        running.append(peer)
        return peer.ready()

    yield begin
    for peer in running:
        peer.kill()


def verdict(client: Client, words: str) -> dict[str, Any]:
    """Wait until the verdict has these words and return the whole status."""
    status: dict[str, Any] = {}

    def says_so() -> bool:
        status.update(client.status())
        return words in status["verdict"]

    until(says_so)
    return status


def test_a_peer_whose_seeds_are_silent_says_so(start: Start) -> None:
    peer = start("alice", seeds=["127.0.0.1:9"], interval_seconds=0.5)
    status = verdict(peer.client, "alone: the seed does not answer; check that it runs")
    assert (status["status"], status["healthy"]) == ("degraded", True)


def test_a_disk_that_its_rules_call_full_says_what_it_keeps_out(start: Start) -> None:
    peer = start("alice", disk={"floor_bytes": 2**60})
    status = verdict(peer.client, "the disk is too full to receive")
    assert "free space, or change `disk:` in node.yaml" in status["verdict"]
    assert status["status"] == "degraded"


def test_a_certificate_that_ends_soon_says_how_to_renew_it(start: Start, tmp_path: Path) -> None:
    enroll(tmp_path / "authority", "alice", tmp_path / "alice", validity=8 * 86400)
    peer = start("alice")
    status = verdict(peer.client, "the certificate of alice expires in 8 days; run `ringgossip enroll DIR")
    assert status["status"] == "degraded"
    [line] = until(lambda: peer.err.read_text().splitlines())
    assert "certificate: the certificate of alice expires in 8 days" in line
