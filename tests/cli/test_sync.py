"""Do `sync` and `drain` move real data, say what became of each item, and exit with 1 if one did not move?"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import PeerProcess, make_cluster, until, write_config

from ringgossip.cli import main

Captured = pytest.CaptureFixture[str]
Pair = tuple[PeerProcess, PeerProcess]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("sync")
    make_cluster(folder, "alice", "boss")
    alice = PeerProcess(write_config(folder, "alice", copies=1, want=[])).ready()
    boss = PeerProcess(
        write_config(folder, "boss", role="coordinator", receive=["models"], want=[], seeds=[alice.address])
    ).ready()
    try:
        until(lambda: all(len(peer.client.members()) == 2 for peer in (alice, boss)))
        until(lambda: alice.client.status()["links"])
        yield alice, boss
    finally:
        boss.kill()
        alice.kill()


def as_json(capsys: Captured, *arguments: object, code: int = 0) -> Any:
    assert main([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_sync_moves_then_says_that_nothing_was_missing(pair: Pair, tmp_path: Path, capsys: Captured) -> None:
    alice, boss = pair
    (tmp_path / "net.safetensors").write_bytes(bytes(50_000))
    alice.client.publish("models", tmp_path / "net.safetensors")
    answer = as_json(capsys, "sync", "models", "--targets", "boss", "--wait", "--data", alice.data)
    assert answer["success"] and answer["nodes_synced"] == ["boss"]
    assert {item["outcome"] for item in answer["details"]["items"]} <= {"moved", "already_present"}
    assert boss.client.artifacts("models")[0].complete
    assert main(["sync", "models", "--data", str(alice.data)]) == 0
    assert "everything was already there" in capsys.readouterr().out


def test_what_could_not_be_moved_is_told_with_its_rule_and_exits_with_1(
    pair: Pair, tmp_path: Path, capsys: Captured
) -> None:
    alice, _ = pair
    (tmp_path / "x.npz").write_bytes(_npz())
    alice.client.publish("npz", tmp_path / "x.npz")
    answer = as_json(capsys, "sync", "npz", "--targets", "boss", "--data", alice.data, code=1)
    assert answer["details"]["items"][0]["outcome"] == "refused: coordinator"
    assert answer["errors"] == ["npz/alice/x.npz at boss: refused: coordinator"]
    assert main(["sync", "npz", "--targets", "boss", "--data", str(alice.data)]) == 1
    assert "refused: coordinator" in capsys.readouterr().out
    as_json(capsys, "sync", "npz", "--targets", "nobody", "--data", alice.data, code=1)
    assert main(["sync", "npz", "--priority", "urgent", "--data", str(alice.data)]) == 2


def test_drain_reports_what_is_below_its_copies(pair: Pair, capsys: Captured) -> None:
    alice, boss = pair
    answer = as_json(capsys, "drain", "--deadline", 5, "--data", alice.data, code=1)
    assert [short["artifact"] for short in answer["below"]] == ["npz/alice/x.npz"]
    assert alice.client.status()["sync"]["below_copies"] == 1
    assert as_json(capsys, "drain", "--data", boss.data)["complete"]


def _npz() -> bytes:
    import io

    import numpy

    buffer = io.BytesIO()
    numpy.savez(buffer, values=numpy.arange(10))
    return buffer.getvalue()
