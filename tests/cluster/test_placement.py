"""Ten nodes of every sort: is everything exactly where the rules say, and does `explain` agree?

What should be where is written down here by hand, rule by rule; only who of several
equals is chosen to hold a copy is reckoned, from the members' cards, by `strategy` alone.
"""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, Node, until

from ringgossip.cli.demo_games import add_games, create_games_db
from ringgossip.cli.demo_matter import write_checkpoint, write_npz
from ringgossip.client import Artifact
from ringgossip.content.record import ArtifactKey
from ringgossip.identity import PeerId
from ringgossip.strategy.candidates import Candidate, DiskUse
from ringgossip.strategy.wanting import Census

MB = 1_000_000
LIMIT = 5 * MB
COPIES = 3
# Whoever runs this may have a full disk: only the node that is meant to minds.
ROOMY = {"stop_percent": 100, "resume_percent": 100, "floor_bytes": 0}
NODES: dict[str, dict[str, Any]] = {
    "head": {"role": "coordinator"},
    "train-1": {"role": "training"},
    "thin-1": {"role": "training", "bandwidth": {"receive_bytes_per_second": LIMIT}},
    "nfs-1": {"role": "training", "storage_group": "nfs"},
    "nfs-2": {"role": "training", "storage_group": "nfs"},
    "full-1": {"role": "training"},
    "vast-1": {"ephemeral": True, "drain_seconds": 0.5},
    "vast-2": {"ephemeral": True, "drain_seconds": 0.5},
    "play-1": {},
    "play-2": {"copies": COPIES},
}


def _small_disk(folder: Path) -> Iterator[dict[str, object]]:
    """A disk of its own that is nearly full; where nobody may mount, a rule by which any disk is."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1000m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield ROOMY | {"floor_percent": 99.9}
        return
    try:
        with (folder / "ballast").open("wb") as ballast:
            # The store itself keeps 256 MiB free; models must still find room above that.
            os.posix_fallocate(ballast.fileno(), 0, 600 * 2**20)
        yield {"stop_percent": 55, "resume_percent": 50, "min_free_bytes": 600 * MB, "floor_bytes": 4 * MB}
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture(scope="module")
def nodes(shared_cluster: Cluster) -> Iterator[dict[str, Node]]:
    small = shared_cluster.folder / "small"
    for full in _small_disk(small):
        for name, keys in NODES.items():
            more: dict[str, Any] = {"disk": full if name == "full-1" else ROOMY, "want": None}
            if name == "full-1":
                more["data"] = str(small / "data")
            shared_cluster.node(name, **{**more, **keys})
            if name == "full-1":
                shared_cluster.nodes[name].data = small / "data"
        everybody = list(shared_cluster.nodes.values())
        # Ten at once would wait for each other's imports.
        for few in (everybody[:4], everybody[4:7], everybody[7:]):
            for node in few:
                node.start(wait=False)
            for node in few:
                node.ready()
        shared_cluster.meet(*everybody)
        until(lambda: _agree(shared_cluster.nodes), "all to know that one disk is full")
        time.sleep(4.0)  # who was just born chooses no holders yet
        yield shared_cluster.nodes
        for node in shared_cluster.nodes.values():
            node.kill()


def _agree(nodes: dict[str, Node]) -> bool:
    cards = [{m["name"]: m["refuses"] for m in node.client.members()} for node in nodes.values()]
    return all(
        card == cards[0] and card["full-1"] == {"games": "disk", "npz": "disk"} and len(card) == len(nodes)
        for card in cards
    )


def census(node: Node, kind: str) -> Census:
    """Reckon from what one node knows of all cards."""
    found = []
    for member in node.client.members():
        free, share = member["disk_free"], min(member["disk_used"], 0.99)
        found.append(
            Candidate(
                member["name"],
                PeerId(bytes.fromhex(member["id"])),
                role=member["role"],
                ephemeral=member["ephemeral"],
                storage_group=member["storage_group"],
                disk=DiskUse(round(free * share / (1 - share)), free),
                want=tuple(member["wants"]),
                refuses=member["refuses"],
            )
        )
    return Census(kind, found, COPIES)


def publish(nodes: dict[str, Node], folder: Path) -> list[Artifact]:
    write_checkpoint(folder / "best.pth", 3 * MB)
    write_checkpoint(folder / "late.pth", 2 * MB)
    write_npz(folder / "data.npz", 2000)
    for name in ("one.db", "two.db", "three.db"):
        database = create_games_db(folder / name, "wal")
        add_games(database, 40, random.Random(1))
        database.close()
    made = []
    for node, kind, file in (
        ("train-1", "models", "best.pth"),
        ("vast-1", "games", "one.db"),
        ("play-1", "games", "two.db"),
        ("nfs-1", "npz", "data.npz"),
        ("vast-2", "models", "late.pth"),
        ("head", "npz", "data.npz"),
        ("train-1", "games", "three.db"),
    ):
        made.append(nodes[node].client.publish(kind, folder / file, num_players=2).artifact)
    return made


TAKES_ALL = ("train-1", "thin-1", "full-1")  # by their role; and one of the pair
MAY_HOLD = ("vast-1", "vast-2", "play-1", "play-2")  # when those are too few
PAIR = ("nfs-1", "nfs-2")


def by_hand(kind: str, origin: str, chosen: set[str]) -> dict[str, str]:
    """Return node -> the code of `explain`, as the rules say; `chosen` settles who of equals is meant."""
    codes = {"head": "coordinator"}
    takers = TAKES_ALL if kind == "models" else TAKES_ALL[:2]
    if kind != "models":
        codes["full-1"] = "disk"  # models are small, and still received
    puller = origin if origin in PAIR else next(name for name in PAIR if name in chosen)
    codes |= {name: "role" if name == puller else "storage_group" for name in PAIR}
    codes |= dict.fromkeys(takers, "role")
    if kind == "models":
        codes |= dict.fromkeys(MAY_HOLD, "role")  # self-play nodes take models
    else:
        # A copy at the origin's own place is none; of the pair one place counts.
        places = [name for name in takers if name != origin] + ([] if origin in PAIR else ["nfs"])
        missing = max(0, COPIES - len(places))
        holding = [name for name in MAY_HOLD if name in chosen and name != origin]
        assert len(holding) == missing, (kind, origin, holding)
        codes |= {name: "holder" if name in holding else "not_wanted" for name in MAY_HOLD}
    return codes | {origin: "origin"}


def holders(nodes: dict[str, Node], artifact: Artifact) -> list[str]:
    return sorted(name for name, node in nodes.items() if node.holds(artifact))


def _arrives(nodes: dict[str, Node], artifact: Artifact, expected: list[str]) -> None:
    until(lambda: set(holders(nodes, artifact)) >= set(expected), f"{artifact.text} to be at {expected}")


def test_everything_is_exactly_where_the_rules_say_and_explain_agrees(
    nodes: dict[str, Node], tmp_path: Path
) -> None:
    for artifact in publish(nodes, tmp_path):
        key = ArtifactKey.parse(artifact.text)
        chosen = census(nodes["head"], artifact.kind).holders(key.hash, artifact.origin)
        expected = sorted({artifact.origin, *(candidate.name for candidate in chosen)})
        codes = by_hand(artifact.kind, artifact.origin, set(expected))
        assert expected == sorted(n for n, code in codes.items() if code in ("origin", "role", "holder"))
        _arrives(nodes, artifact, expected)
        time.sleep(1.0)
        assert holders(nodes, artifact) == expected, artifact.text
        _agrees(nodes, artifact, codes)
        _shows(nodes, artifact, expected)


def _agrees(nodes: dict[str, Node], artifact: Artifact, codes: dict[str, str]) -> None:
    """`explain` says the same of every node, whoever is asked: itself, the origin, or the coordinator."""
    for name, node in nodes.items():
        for asked in (nodes["head"], nodes[artifact.origin], node):
            until(
                lambda asked=asked, name=name: _says(asked, artifact, name, codes),  # type: ignore[misc]
                f"{asked.name} to say {codes[name]} of {name} and {artifact.text}",
            )


def _says(asked: Node, artifact: Artifact, name: str, codes: dict[str, str]) -> bool:
    answer = asked.client.explain(artifact.text, name)
    has = codes[name] in ("origin", "role", "holder")
    assert (answer["code"], answer["wanted"]) == (codes[name], has), answer["sentence"]
    assert answer["sentence"].startswith(f"{name} "), answer["sentence"]
    # Who holds it is heard on links, a moment later.
    return bool(answer["held"] == has)


def _shows(nodes: dict[str, Node], artifact: Artifact, expected: list[str]) -> None:
    """Who of the pair did not pull reads the very file of the one that did."""
    [puller] = set(PAIR) & set(expected)
    other = nodes[next(name for name in PAIR if name != puller)]
    shown = other.client.wait_for(artifact.kind, artifact.name, origin=artifact.origin, timeout=20)
    own = nodes[puller].catalog()[artifact.text].path
    assert (shown.via, shown.path) == (puller, own)


def test_a_node_of_five_megabytes_a_second_receives_five(nodes: dict[str, Node], tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "big.pth", 90 * MB)
    nodes["train-1"].client.publish("models", tmp_path / "big.pth")
    thin = nodes["thin-1"]
    before = thin.counter("chunk_bytes_received")
    until(lambda: thin.counter("chunk_bytes_received") > before + 2 * MB, "the pull to begin")
    start, began = thin.counter("chunk_bytes_received"), time.monotonic()
    time.sleep(10.0)
    rate = (thin.counter("chunk_bytes_received") - start) / (time.monotonic() - began)
    assert rate == pytest.approx(LIMIT, rel=0.05)
    # Whoever is not limited has it long since, and nobody was suspected meanwhile.
    assert nodes["play-2"].client.wait_for("models", "big.pth", timeout=5).complete
    assert not [event for node in nodes.values() for event in node.events("PeerLost")]
