"""Does a peer run from the users' own file, and take over at SIGHUP what changed in it?"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import PeerProcess, make_cluster, until

from ringgossip.cli.demo_matter import write_npz

HOSTS = """\
auto_sync: {{min_games_to_sync: 25, votes: 3}}
sync_routing:
  excluded_hosts: {excluded}
hosts:
  alice: {{role: {role}, ssh_user: root, bandwidth_mbps: {mbps}}}
  bob: {{role: gpu_selfplay, status: offline}}
"""


def write(folder: Path, role: str = "gpu_selfplay", mbps: float = 10, excluded: str = "[]") -> Path:
    path = folder / "alice.yaml"
    path.write_text(HOSTS.format(role=role, mbps=mbps, excluded=excluded))
    return path


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PeerProcess]:
    make_cluster(tmp_path, "alice")
    monkeypatch.setenv("RINGGOSSIP_LISTEN", "127.0.0.1:0")
    options = ["--node", "alice", "--data", str(tmp_path / "alice-data")]
    running = PeerProcess(write(tmp_path), *options, "--credentials", str(tmp_path / "alice"))
    yield running.ready()
    running.kill()


def me(peer: PeerProcess) -> dict[str, object]:
    [member] = peer.client.members()
    return member


def test_it_runs_from_the_users_file_and_takes_over_what_changes(peer: PeerProcess, tmp_path: Path) -> None:
    said = peer.err.read_text().splitlines()
    assert len(said) == 2
    assert all("means nothing here" in line for line in said), said
    assert (me(peer)["role"], me(peer)["wants"], me(peer)["refuses"]) == ("selfplay", ["models"], {})
    excluded = "[{name: alice, receive_models: true, receive_npz: true}]"
    write(tmp_path, role="gpu_training", mbps=20, excluded=excluded)
    peer.send(signal.SIGHUP)
    until(lambda: "reloaded" in peer.err.read_text())
    assert (me(peer)["role"], me(peer)["wants"]) == ("training", ["games", "models", "npz"])
    assert me(peer)["refuses"] == {"games": "excluded"}
    line = next(line for line in peer.err.read_text().splitlines() if line.startswith("reloaded"))
    assert {"role", "exclude", "bandwidth"} <= set(line.removeprefix("reloaded: ").split(", "))


def test_a_mistake_in_the_file_is_one_line_and_changes_nothing(peer: PeerProcess, tmp_path: Path) -> None:
    write(tmp_path, mbps=-1)
    before = me(peer)
    peer.send(signal.SIGHUP)
    until(lambda: "not reloaded" in peer.err.read_text())
    assert me(peer) == before
    [line] = [line for line in peer.err.read_text().splitlines() if line.startswith("not reloaded")]
    assert "bandwidth_mbps" in line
    assert "alice.yaml:5" in line


def test_plans_are_chosen_anew_when_the_role_changes_while_it_runs(peer: PeerProcess, tmp_path: Path) -> None:
    model = tmp_path / "best.pth"
    model.write_bytes(bytes(1000))
    arrays = tmp_path / "data.npz"
    write_npz(arrays, 10)
    peer.client.publish("models", model)
    peer.client.publish("npz", arrays)

    published = (("models", "best.pth"), ("npz", "data.npz"))

    def plans() -> tuple[dict[str, object], list[str]]:
        shown = peer.client.status()["sync"]["plans"]
        told = [peer.client.explain(f"{kind}/alice/{name}", "alice")["plan"] for kind, name in published]
        return {kind: (plan["plan"], plan.get("interval_seconds")) for kind, plan in shown.items()}, told

    hybrid, broadcast, ephemeral = ("hybrid", 60), ("broadcast", 60), ("ephemeral", 30)
    assert plans() == ({"games": hybrid, "models": broadcast, "npz": hybrid}, ["broadcast", "hybrid"])
    for times, (role, shown, told) in enumerate(
        [
            (
                "gpu_selfplay, is_ephemeral: true",
                {"games": ephemeral, "models": broadcast, "npz": ephemeral},
                ["broadcast", "ephemeral"],
            ),
            ("coordinator", dict.fromkeys(("games", "models", "npz"), ("skip", None)), ["skip", "skip"]),
            ("gpu_training", {"games": hybrid, "models": broadcast, "npz": hybrid}, ["broadcast", "hybrid"]),
        ],
        1,
    ):
        write(tmp_path, role=role)
        peer.send(signal.SIGHUP)
        until(lambda times=times: peer.err.read_text().count("reloaded") == times)  # type: ignore[misc]
        assert plans() == (shown, told)
