"""Plans, a provider's notice, a drain that takes too long, and `keep` read again: on six real peers."""

import os
import random
import signal
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cluster import Cluster, Node, everywhere, until

from ringgossip.cli.demo_games import add_games, create_games_db
from ringgossip.cli.demo_matter import write_npz
from ringgossip.client import Artifact

MB = 1_000_000
DRAIN = 3.0
NODES: dict[str, dict[str, Any]] = {
    "head": {"role": "coordinator", "want": None},
    "train": {"role": "training"},
    "play-1": {},
    "play-2": {},
    "vast-1": {"ephemeral": True, "drain_seconds": DRAIN},
    "vast-2": {"ephemeral": True, "drain_seconds": DRAIN, "bandwidth": {"send_bytes_per_second": MB}},
}


class _Gone(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.server.said else 404)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def provider() -> Iterator[HTTPServer]:
    """A provider's address for notices: 404 until `said`."""
    server = HTTPServer(("127.0.0.1", 0), _Gone)
    server.said = False  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def nodes(shared_cluster: Cluster, provider: HTTPServer) -> dict[str, Node]:
    notices = {
        "vast-1": {"file": str(shared_cluster.folder / "gone"), "every_seconds": 0.2},
        "vast-2": {"url": f"http://127.0.0.1:{provider.server_port}/", "every_seconds": 0.2},
    }
    for name, keys in NODES.items():
        more = {"termination": notices[name]} if name in notices else {}
        shared_cluster.node(name, copies=0, **{**more, **keys})
    everybody = list(shared_cluster.nodes.values())
    for node in everybody:
        node.start(wait=False)
    for node in everybody:
        node.ready()
    shared_cluster.meet(*everybody)
    return shared_cluster.nodes


def publish(node: Node, folder: Path, kind: str, name: str, size: int = MB // 10) -> Artifact:
    path = folder / name
    if kind == "games":
        database = create_games_db(path)
        add_games(database, 12, random.Random(1))
        database.close()
    elif kind == "npz":
        write_npz(path, size // (4 * 577))
    else:
        path.write_bytes(os.urandom(size))  # a checkpoint that is no zip goes unchecked
    node.client.publish(kind, path)
    return node.catalog()[f"{kind}/{node.name}/{name}"]


def pushes(node: Node, kind: str) -> list[tuple[str, set[str]]]:
    return [
        (event["sync_type"], set(event["targets"]))
        for event in node.events("DataSyncStarted", data_type=kind)
    ]


def test_what_is_published_is_pushed_by_the_row_of_its_node_and_kind(
    nodes: dict[str, Node], tmp_path: Path
) -> None:
    takers = set(nodes) - {"head"}
    for name in ("train", "vast-1", "head"):
        publish(nodes[name], tmp_path, "games", f"{name}.db")
        publish(nodes[name], tmp_path, "models", f"{name}.pth")
    [(plan, told)] = until(lambda: pushes(nodes["train"], "games"), "train to push its games")
    assert plan == "hybrid" and len(told) == 3 and told <= takers - {"train"}
    [(plan, told)] = until(lambda: pushes(nodes["vast-1"], "games"), "vast-1 to push its games")
    assert (plan, told) == ("ephemeral", {"train", "play-1", "play-2"}), "persistent ones, first of all"
    for name in ("train", "vast-1"):
        [(plan, told)] = until(lambda name=name: pushes(nodes[name], "models"), f"{name} to push its model")
        assert (plan, told) == ("broadcast", takers - {name}), "every eligible one"
    assert not [*pushes(nodes["head"], "games"), *pushes(nodes["head"], "models")], "skip: gossip does it"
    head = nodes["head"].catalog()["models/head/head.pth"]
    everywhere([nodes[name] for name in takers], head)


def test_a_role_that_changes_while_it_runs_moves_data_by_the_new_rules_and_the_new_plan(
    nodes: dict[str, Node], tmp_path: Path
) -> None:
    head = nodes["head"]
    config = head.folder / f"{head.name}.yaml"
    before = config.read_text()
    artifact = publish(nodes["train"], tmp_path, "npz", "roles.npz")
    everywhere([node for name, node in nodes.items() if name != "head"], artifact)
    assert not head.holds(artifact), "a coordinator takes nothing"
    config.write_text(before.replace('"coordinator"', '"training"'))
    head.send(signal.SIGHUP)
    until(lambda: head.holds(artifact), "the trainer that it has become to take what it lacks")
    assert not pushes(head, "models")
    publish(head, tmp_path, "models", "roles.pth")
    [(plan, told)] = until(lambda: pushes(head, "models"), "it to push by its new plan")
    assert (plan, told) == ("broadcast", set(nodes) - {"head"})
    config.write_text(before)
    head.send(signal.SIGHUP)
    until(lambda: nodes["train"].client.explain(artifact.text, "head")["code"] == "coordinator", "it to be")
    assert head.holds(artifact), "and nothing is taken from it"


def test_keep_that_is_read_again_lets_go_what_others_pledge_to_keep(
    nodes: dict[str, Node], tmp_path: Path
) -> None:
    node = nodes["play-1"]
    held = [publish(nodes["train"], tmp_path, "models", f"{number}.pth") for number in range(3)]
    for artifact in held:
        everywhere([node for name, node in nodes.items() if name != "head"], artifact)
    config = node.folder / f"{node.name}.yaml"
    config.write_text(config.read_text() + "keep: [{kind: models, newest: 1}]\n")
    node.send(signal.SIGHUP)
    gone = until(lambda: [event["artifact"] for event in node.events("ArtifactEvicted")], "something to go")
    until(lambda: sum(node.holds(artifact) for artifact in held) <= 1, "all but the newest to go")
    assert gone and node.lines.count("reloaded: keep")
    assert all(nodes["play-2"].holds(artifact) for artifact in held)


def test_a_notice_in_a_file_brings_what_only_that_node_has_to_safety(
    nodes: dict[str, Node], shared_cluster: Cluster, tmp_path: Path
) -> None:
    node = nodes["vast-1"]
    artifact = publish(node, tmp_path, "npz", "late.npz")
    (shared_cluster.folder / "gone").touch()
    [noticed] = until(lambda: node.events("TerminationNoticed"), "the notice to be seen")
    assert noticed["source"].endswith("/gone")
    [drained] = until(lambda: node.events("DrainCompleted"), "the drain to end")
    assert drained["below"] == []
    assert sum(nodes[name].holds(artifact) for name in ("train", "play-1", "play-2")) >= 2
    assert node.alive, "the provider ends it, not we"


def test_a_drain_with_more_to_do_than_time_ends_in_time_and_says_what_is_not_safe(
    nodes: dict[str, Node], provider: HTTPServer, tmp_path: Path
) -> None:
    node = nodes["vast-2"]
    artifact = publish(node, tmp_path, "npz", "large.npz", size=20 * MB)
    provider.said = True  # type: ignore[attr-defined]
    [noticed] = until(lambda: node.events("TerminationNoticed"), "the notice to be seen")
    assert noticed["source"].startswith("http://127.0.0.1:")
    began = time.monotonic()
    [drained] = until(lambda: node.events("DrainCompleted"), "the drain to end")
    assert DRAIN - 0.5 <= time.monotonic() - began <= DRAIN + 1.5
    assert [artifact.text] == [text.partition("@")[0] for text in drained["below"]]
    # And so at SIGTERM: no later than the deadline, and the last lines name it.
    seconds = node.stop()
    assert DRAIN - 0.5 <= seconds <= DRAIN + 2.5
    assert any(artifact.text in line for line in node.lines[-4:]), node.lines[-4:]
