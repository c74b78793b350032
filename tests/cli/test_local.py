"""Do the commands for a running peer print what people read and what scripts rely on?"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import PeerProcess, make_cluster, until, write_config

from ringgossip.cli import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PeerProcess, PeerProcess]]:
    """Two peers that know each other."""
    folder = tmp_path_factory.mktemp("cluster")
    make_cluster(folder, "alice", "bob")
    alice = PeerProcess(write_config(folder, "alice", role="training"))
    try:
        alice.ready()
        bob = PeerProcess(write_config(folder, "bob", seeds=[alice.address]))
        try:
            bob.ready()
            until(lambda: sum(entry["state"] == "alive" for entry in alice.client.members()) == 2)
            yield alice, bob
        finally:
            bob.kill()
    finally:
        alice.kill()


def as_json(capsys: Captured, *arguments: object, code: int = 0) -> Any:
    """Run a command with --json; return the one object on standard output."""
    assert main([*map(str, arguments), "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def as_text(capsys: Captured, *arguments: object, code: int = 0) -> str:
    assert main([*map(str, arguments)]) == code
    return capsys.readouterr().out


def test_members_are_shown_with_ourselves(pair: tuple[PeerProcess, PeerProcess], capsys: Captured) -> None:
    alice, _ = pair
    members = as_json(capsys, "members", "--data", alice.data)["members"]
    assert {entry["name"]: entry["role"] for entry in members} == {"alice": "training", "bob": "selfplay"}
    assert all({"name", "state", "role", "addresses"} <= set(entry) for entry in members)
    assert ["alice", "alive", "training", alice.address] in [
        line.split() for line in as_text(capsys, "members", "--data", alice.data).splitlines()
    ]


def test_a_publication_is_shown_with_its_receipt_here_and_there(
    pair: tuple[PeerProcess, PeerProcess], capsys: Captured, tmp_path: Path
) -> None:
    alice, bob = pair
    path = tmp_path / "m.pth"
    path.write_bytes(os.urandom(500_000))
    options = ("--board-type", "hex8", "--num-players", "2", "--quality", "0.5", "--copies", "1")
    shown = as_json(capsys, "publish", "model", path, *options, "--data", alice.data)
    assert shown["receipt"] == {
        "copies": 1,
        "wanted": 1,
        "holders": ["bob"],
        "missing": [],
        "unchanged": False,
        "warnings": shown["receipt"]["warnings"],
    }
    [artifact] = as_json(capsys, "artifacts", "models", "--data", bob.data)["artifacts"]
    assert set(artifact) >= {
        *("kind", "origin", "name", "sequence", "size", "root", "metadata", "path", "complete", "holders")
    }
    assert artifact["root"] == shown["artifact"]["root"]
    assert artifact["metadata"]["board_type"] == "hex8"
    assert Path(artifact["path"]).read_bytes() == path.read_bytes()
    text = as_text(capsys, "artifacts", "--data", bob.data)
    assert "models/alice/m.pth" in text
    # That she holds it too is told by alice, soon after.
    until(lambda: "alice, bob" in as_text(capsys, "artifacts", "--data", bob.data))
    assert as_json(capsys, "artifacts", "--board-type", "square8", "--data", bob.data) == {"artifacts": []}


def test_fewer_copies_than_wanted_is_exit_one_and_an_honest_receipt(
    pair: tuple[PeerProcess, PeerProcess], capsys: Captured, tmp_path: Path
) -> None:
    alice, _ = pair
    path = tmp_path / "few.pth"
    path.write_bytes(b"x" * 1000)
    arguments = ("publish", "models", path, "--copies", "3", "--timeout", "1", "--data", alice.data)
    shown = as_json(capsys, *arguments, code=1)
    assert (shown["receipt"]["copies"], shown["receipt"]["wanted"]) == (1, 3)
    text = as_text(capsys, *arguments, code=1)
    assert "Unchanged since models/alice/few.pth, version 1" in text
    assert "Wanted: 3; nobody else is there." in text


def test_a_relative_path_is_the_callers(
    pair: tuple[PeerProcess, PeerProcess], capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = pair
    monkeypatch.chdir(tmp_path)
    Path("here.pth").write_bytes(b"x" * 10)
    monkeypatch.setenv("RINGGOSSIP_DATA", str(alice.data))
    assert as_json(capsys, "publish", "models", "here.pth")["artifact"]["name"] == "here.pth"


def test_status_begins_with_the_verdict(pair: tuple[PeerProcess, PeerProcess], capsys: Captured) -> None:
    alice, _ = pair
    shown = as_json(capsys, "status", "--data", alice.data)
    assert {"healthy", "verdict", "node", "sync", "counters"} <= set(shown)
    assert {"chunk_bytes_received", "chunk_bytes_sent", "datagram_bytes_sent"} <= set(shown["counters"])
    text = as_text(capsys, "status", "--data", alice.data)
    assert text.startswith("alice is well: 2 members alive")


def test_transfers_are_shown_while_they_last(
    pair: tuple[PeerProcess, PeerProcess], capsys: Captured, tmp_path: Path
) -> None:
    alice, bob = pair
    until(lambda: not bob.client.transfers())
    assert as_json(capsys, "transfers", "--data", bob.data) == {"transfers": []}
    assert as_text(capsys, "transfers", "--data", bob.data) == "Nothing is being pulled.\n"
    path = tmp_path / "stopped.pth"
    path.write_bytes(os.urandom(64_000_000))
    alice.client.publish("models", path)
    # Stopped in the middle, the one who pulls can be looked at for as long as that takes.
    until(lambda: any(0 < entry["done"] < entry["total"] for entry in bob.client.transfers()))
    alice.send(signal.SIGSTOP)
    try:
        shown = as_json(capsys, "transfers", "--data", bob.data)["transfers"]
        assert all({"artifact", "from", "done", "total", "bytes_per_second"} <= set(entry) for entry in shown)
        assert [entry["artifact"] for entry in shown] == ["models/alice/stopped.pth"]
        assert "models/alice/stopped.pth" in as_text(capsys, "transfers", "--data", bob.data)
    finally:
        alice.send(signal.SIGCONT)
    bob.client.wait_for("models", "stopped.pth", timeout=30)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_watch_prints_each_event_on_its_line(
    pair: tuple[PeerProcess, PeerProcess], capsys: Captured, tmp_path: Path, options: list[str]
) -> None:
    alice, bob = pair
    path = tmp_path / "watched.pth"
    path.write_bytes(os.urandom(1000))
    publish = threading.Timer(0.5, lambda: alice.client.publish("models", path, replace=True))
    publish.start()
    assert main(["watch", "--seconds", "2", "--data", str(bob.data), *options]) == 0
    publish.join()
    lines = capsys.readouterr().out.splitlines()
    if options:
        assert "ArtifactCompleted" in [json.loads(line)["event"] for line in lines]
    else:
        assert any("complete: models/alice/watched.pth@" in line for line in lines)


@pytest.mark.parametrize("name", ["members", "artifacts", "transfers", "status", "watch"])
def test_without_a_peer_the_error_says_what_to_do(name: str, tmp_path: Path, capsys: Captured) -> None:
    assert main([name]) == 2
    assert "give its data folder with --data DIR" in capsys.readouterr().err
    assert main([name, "--data", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"error: no peer runs on {tmp_path}: start it with `ringgossip peer --config ...`\n"
    )
