"""Do peers of the users' own file find each other, keep its limits, and say what they leave behind?"""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import PeerProcess, make_cluster, until

MB = 1_000_000
HOSTS = """\
auto_sync:
  bandwidth_limit_mbps: 500
  host_bandwidth_overrides: {{"thin-*": {rate}, "*-1": 400}}
sync_routing: {{replication_target: 2}}
hosts:
  train-1: {{tailscale_ip: {host}.1, ssh_host: 192.0.2.1, role: {role}}}
  thin-1: {{ssh_host: {host}.2, role: gpu_selfplay}}
  vast-1: {{tailscale_ip: {host}.3, is_ephemeral: true}}
  gone-1: {{tailscale_ip: {host}.4, status: offline}}
"""
NAMES = ["train-1", "thin-1", "vast-1"]


class Fleet:
    """Three hosts of one file, each at its own loopback address and the usual port."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.host = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        self.peers: dict[str, PeerProcess] = {}
        make_cluster(folder, *NAMES)
        self.write()
        for number, name in enumerate(NAMES, 1):
            monkeypatch.setenv("RINGGOSSIP_LISTEN", f"{self.host}.{number}:7946")
            where = ["--node", name, "--data", str(folder / f"{name}-data")]
            self.peers[name] = PeerProcess(
                folder / f"{name}.yaml", *where, "--credentials", str(folder / name)
            )

    def write(self, rate: float = 2, role: str = "gpu_training") -> None:
        for name in NAMES:
            text = HOSTS.format(host=self.host, rate=rate, role=role)
            (self.folder / f"{name}.yaml").write_text(text)

    def reload(self) -> None:
        for peer in self.peers.values():
            said = peer.err.read_text().count("reloaded: ")
            peer.send(signal.SIGHUP)
            until(lambda peer=peer, said=said: peer.err.read_text().count("reloaded: ") > said)

    def seconds_to(self, name: str, size: int, file: str) -> float:
        """How long a model of train-1 needs to `name`."""
        (self.folder / file).write_bytes(os.urandom(size))
        began = time.monotonic()
        self.peers["train-1"].client.publish("models", self.folder / file)
        self.peers[name].client.wait_for("models", file, timeout=40)
        return time.monotonic() - began


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    made = Fleet(tmp_path, monkeypatch)
    try:
        for peer in made.peers.values():
            peer.ready()
        yield made
    finally:
        for peer in made.peers.values():
            peer.kill()


def alive(peer: PeerProcess) -> list[str]:
    return sorted(member["name"] for member in peer.client.members() if member["state"] == "alive")


def test_hosts_of_one_file_meet_keep_its_limits_and_say_what_they_leave(fleet: Fleet) -> None:
    train, thin, vast = (fleet.peers[name] for name in NAMES)
    # No seed is written anywhere: they are the file's ready hosts.
    for peer in fleet.peers.values():
        until(lambda peer=peer: alive(peer) == sorted(NAMES), 40.0)
    # The first glob that fits is meant, though a later one and the limit for everybody allow more.
    slow = fleet.seconds_to("thin-1", 12 * MB, "limited.pth")
    assert slow > 12 * 0.8 / 2, "2 MB/s, but for what may come at once"
    told = train.client.explain("models/train-1/limited.pth", "thin-1")
    assert told["limit"] == 2e6 and "thin-*" in told["sentence"], told
    assert train.client.explain("models/train-1/limited.pth", "vast-1")["limit"] == 400e6
    fleet.write(rate=100)
    fleet.reload()
    assert fleet.seconds_to("thin-1", 12 * MB, "free.pth") < slow / 2
    # Its role changes: what it takes does too.
    fleet.write(rate=100, role="gpu_selfplay")
    fleet.reload()
    until(lambda: {m["name"]: m["wants"] for m in vast.client.members()}["train-1"] == ["models"])
    # Two copies are wanted: of this one there can be one, of the next one none.
    thin.kill()
    (fleet.folder / "once.pth").write_bytes(os.urandom(MB))
    vast.client.publish("models", fleet.folder / "once.pth", copies=1, timeout=20)
    train.kill()
    (fleet.folder / "never.pth").write_bytes(os.urandom(MB))
    vast.client.publish("models", fleet.folder / "never.pth")
    began = time.monotonic()
    vast.send(signal.SIGTERM)
    assert vast.end(20.0) == 0
    assert time.monotonic() - began < 8.0 + 4.0
    said = vast.err.read_text()
    assert "nobody else holds models/vast-1/never.pth: keep" in said, said
    assert "models/vast-1/once.pth (1 of 2)" in said, said
    assert "; too few copies of models/vast-1/" in said, "the last event is told as well"
