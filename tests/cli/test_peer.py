"""Does `ringgossip peer` start, speak and end as people and supervisors expect?"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import PeerProcess, make_cluster, until, write_config

Start = Callable[..., PeerProcess]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_cluster(tmp_path, "alice", "bob")
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    running: list[PeerProcess] = []

    def begin(name: str, *options: str, **more: Any) -> PeerProcess:
        peer = PeerProcess(write_config(folder, name, **more), *options)
        running.append(peer)
        return peer

    yield begin
    for peer in running:
        peer.kill()


def one_error(peer: PeerProcess) -> str:
    """Return the one line that a peer which could not start has left."""
    assert peer.end() in (1, 2)
    [line] = peer.err.read_text().splitlines()
    assert peer.out.read_text() == ""
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_leaves_when_asked(start: Start, number: signal.Signals) -> None:
    peer = start("alice").ready()
    [line] = peer.out.read_text().splitlines()
    assert line == f"ready: alice at {peer.address}, data in {peer.data}"
    peer.send(number)
    began = time.monotonic()
    assert peer.end() == 0
    assert time.monotonic() - began < 4
    assert peer.err.read_text() == ""
    assert not (peer.data / "socket").exists()


def test_a_signal_during_the_start_ends_it_as_politely(start: Start) -> None:
    peer = start("alice")
    until(lambda: (peer.data / "lock").exists())
    peer.send(signal.SIGTERM)
    assert peer.end() in (0, -signal.SIGTERM)
    assert "Traceback" not in peer.err.read_text()


def test_events_are_json_lines_and_news_is_logged(start: Start) -> None:
    alice = start("alice", "--json").ready()
    ready = json.loads(alice.out.read_text().splitlines()[0])
    assert ready == {"event": "Ready", "name": "alice", "address": alice.address, "data": str(alice.data)}
    bob = start("bob", seeds=[alice.address]).ready()
    until(lambda: "PeerJoined" in alice.out.read_text())
    bob.send(signal.SIGTERM)
    until(lambda: "PeerLeft" in alice.out.read_text())
    names = [json.loads(line)["event"] for line in alice.out.read_text().splitlines()]
    assert names[:2] == ["Ready", "PeerJoined"]
    until(lambda: "left: bob said goodbye" in alice.err.read_text())
    assert "joined: bob at 127.0.0.1:" in alice.err.read_text()


def test_a_second_signal_ends_a_draining_peer_at_once(start: Start, folder: Path) -> None:
    alice = start("alice").ready()
    peer = start("bob", ephemeral=True, drain_seconds=30.0, seeds=[alice.address]).ready()
    (folder / "a.pth").write_bytes(os.urandom(1000))
    peer.client.publish("models", folder / "a.pth", copies=1, timeout=20)
    # From now on nobody pulls.
    alice.send(signal.SIGSTOP)
    (folder / "b.pth").write_bytes(os.urandom(1000))
    peer.client.publish("models", folder / "b.pth")
    peer.send(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        peer.end(1.0)
    peer.send(signal.SIGTERM)
    assert peer.end(2.0) == 128 + signal.SIGTERM


def test_an_ephemeral_peer_leaves_when_others_hold_what_it_has(start: Start, folder: Path) -> None:
    alice = start("alice").ready()
    bob = start("bob", ephemeral=True, drain_seconds=20.0, seeds=[alice.address]).ready()
    until(lambda: sum(entry["state"] == "alive" for entry in bob.client.members()) == 2)
    (folder / "m.pth").write_bytes(os.urandom(3_000_000))
    bob.client.publish("models", folder / "m.pth")
    bob.send(signal.SIGTERM)
    assert bob.end() == 0
    assert "nobody else holds" not in bob.err.read_text()
    [artifact] = alice.client.artifacts("models")
    assert (artifact.origin, artifact.complete) == ("bob", True)


def test_a_stranger_costs_one_clear_line(start: Start) -> None:
    peer = start("alice").ready()
    host, port = peer.address.split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                stranger.recv(100)
    until(lambda: peer.client.status()["counters"]["strangers_refused"] >= 5)
    lines = until(lambda: peer.err.read_text().splitlines())
    assert len(lines) == 1
    assert "refused a stranger at 127.0.0.1:" in lines[0]
    assert "plain HTTP" in lines[0]


def test_a_data_folder_in_use_is_one_line(start: Start, folder: Path) -> None:
    first = start("alice").ready()
    line = one_error(start("bob", data=str(first.data)))
    assert str(first.data) in line
    assert str(first.process.pid) in line or "another" in line
    assert first.client.status()["healthy"]


def test_a_port_in_use_is_one_line(start: Start) -> None:
    first = start("alice").ready()
    assert f"cannot listen on {first.address}" in one_error(start("bob", listen=first.address))


def test_missing_and_foreign_credentials_are_one_line(start: Start, folder: Path) -> None:
    assert "ringgossip enroll" in one_error(start("alice", credentials=str(folder / "none")))
    assert "belongs to node bob" in one_error(start("alice", credentials=str(folder / "bob")))


def test_an_index_that_was_rebuilt_is_logged_and_is_the_verdict(start: Start, folder: Path) -> None:
    first = start("alice").ready()
    first.send(signal.SIGTERM)
    assert first.end() == 0
    (first.data / "index.db").write_bytes(b"rotten" * 1000)
    again = start("alice").ready()
    [line] = until(lambda: again.err.read_text().splitlines())
    assert "index.db is damaged (file is not a database): moved to" in line
    status = until(lambda: again.client.status()["status"] == "degraded" and again.client.status())
    assert "a new one is made; what lies in replicas/ is used again" in status["verdict"]
