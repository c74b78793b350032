"""`withdraw` and `retire` on real peers: listed no more, wanted no more, and every file where it was."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import PeerProcess, make_cluster, until, write_config

from ringgossip.cli import main

Captured = pytest.CaptureFixture[str]
Peers = dict[str, PeerProcess]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ending")
    make_cluster(folder, "alice", "bob", "carol")
    return folder


@pytest.fixture(scope="module")
def peers(folder: Path) -> Iterator[Peers]:
    """Three that take everything; carol's machine will be gone."""
    found: Peers = {}
    try:
        for name in ("alice", "bob", "carol"):
            seeds = [found["alice"].address] if found else []
            found[name] = PeerProcess(write_config(folder, name, seeds=seeds))
            found[name].ready()
        for peer in found.values():
            until(lambda peer=peer: sum(entry["state"] == "alive" for entry in peer.client.members()) == 3)  # type: ignore[misc]
        yield found
    finally:
        for peer in found.values():
            peer.kill()


def run(capsys: Captured, *arguments: object, code: int = 0) -> Any:
    """Run a command with --json; return the one object on standard output."""
    assert main([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def complaint(capsys: Captured, *arguments: object, code: int) -> str:
    """Run a command that fails; return its one line."""
    assert main([*map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def names(capsys: Captured, peer: PeerProcess, *more: str) -> dict[str, Any]:
    return {
        entry["name"]: entry for entry in run(capsys, "artifacts", *more, "--data", peer.data)["artifacts"]
    }


def published(peers: Peers, name: str, model: Path) -> dict[str, tuple[str, int]]:
    """Publish at `name`, wait for both copies; return where each file lies, and its inode."""
    model.write_bytes(b"weights" * 5000)
    peers[name].client.publish("models", model, copies=2)
    found = {}
    for other, peer in peers.items():
        path = peer.client.wait_for("models", model.name).path
        assert path is not None
        found[other] = (path, Path(path).stat().st_ino)
    return found


def untouched(files: dict[str, tuple[str, int]]) -> bool:
    return all(Path(path).stat().st_ino == inode for path, inode in files.values())


def test_what_its_origin_withdraws_is_listed_no_more_and_no_file_goes(
    peers: Peers, tmp_path: Path, capsys: Captured
) -> None:
    alice, bob = peers["alice"], peers["bob"]
    model = tmp_path / "net.safetensors"
    files = published(peers, "alice", model)
    artifact = f"models/alice/{model.name}"
    assert "only alice may withdraw" in complaint(capsys, "withdraw", artifact, "--data", bob.data, code=1)
    ended = run(capsys, "withdraw", artifact, "--data", alice.data)["artifact"]
    assert (ended["sequence"], ended["unlisted"]) == (2, "withdrawn")
    assert run(capsys, "withdraw", artifact, "--data", alice.data)["artifact"]["sequence"] == 2
    until(lambda: model.name not in names(capsys, bob))
    [shown] = [entry for entry in names(capsys, bob, "--all").values() if entry["name"] == model.name]
    assert (shown["unlisted"], shown["path"]) == ("withdrawn", files["bob"][0])
    explained = run(capsys, "explain", artifact, "bob", "--data", bob.data)
    assert (explained["code"], explained["wanted"]) == ("withdrawn", False)
    assert untouched(files)
    # The same bytes again: a new sequence, and nothing moves.
    again = run(capsys, "publish", "models", model, "--copies", 2, "--data", alice.data)
    assert again["artifact"]["sequence"] == 3 and again["receipt"]["copies"] == 2
    assert names(capsys, bob)[model.name]["unlisted"] == ""


def test_a_node_whose_machine_is_gone_is_retired_by_the_authority(
    peers: Peers, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    alice, bob = peers["alice"], peers["bob"]
    model = tmp_path / "gone.safetensors"
    files = published(peers, "carol", model)
    peers["carol"].kill()
    authority, order = folder / "authority", tmp_path / "orders" / "carol.order"
    said = run(capsys, "retire", authority, "--node", "carol", "-o", order)
    assert said == {"node": "carol", "order": str(order), "handed": False}
    assert model.name in names(capsys, alice), "an order in a drawer changes nothing"
    handed = run(capsys, "retire", order, "--data", bob.data)
    assert (handed["node"], handed["generation"], handed["handed"]) == ("carol", 1, True)
    until(lambda: model.name not in names(capsys, alice))
    assert names(capsys, alice, "--all")[model.name]["unlisted"] == "retired"
    assert untouched(files)
    # Said again it changes nothing.
    run(capsys, "retire", authority, "--node", "carol", "--data", alice.data)
    assert model.name not in names(capsys, bob)


def test_a_mistake_is_one_line(folder: Path, tmp_path: Path, capsys: Captured, peers: Peers) -> None:
    authority, data = folder / "authority", peers["alice"].data
    assert "did you mean 'carol'" in complaint(
        capsys, "retire", authority, "--node", "carl", "--data", data, code=1
    )
    assert "--node NAME" in complaint(capsys, "retire", authority, "--data", data, code=2)
    assert "--data DIR" in complaint(capsys, "retire", authority, "--node", "carol", code=2)
    assert "cannot be read" in complaint(capsys, "retire", tmp_path / "none", "--data", data, code=2)
    (tmp_path / "text").write_text("no order")
    assert "no order" in complaint(capsys, "retire", tmp_path / "text", "--data", data, code=2)
    certificate = folder / "alice" / "node.crt"
    assert "a certificate of alice" in complaint(capsys, "retire", certificate, "--data", data, code=2)
    assert "nobody has published" in complaint(
        capsys, "withdraw", "models/alice/x.pth", "--data", data, code=1
    )
    assert "kind/origin/name" in complaint(capsys, "withdraw", "x.pth", "--data", data, code=2)
