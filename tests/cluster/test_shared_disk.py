"""Two nodes on one disk, each its own process: one pulls, the other shows the file where it can read it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, Node, until

from ringgossip.cli.demo_matter import write_checkpoint

MB = 1_000_000


@pytest.fixture(scope="module")
def nodes(shared_cluster: Cluster) -> Iterator[dict[str, Node]]:
    """An origin, and a pair whose data lie on one disk, which each sees at a place of its own."""
    disk = shared_cluster.folder / "disk"
    disk.mkdir()
    shared_cluster.node("origin", want=None, role="coordinator")
    for name in ("nfs-1", "nfs-2"):
        mount = shared_cluster.folder / f"mount-of-{name}"
        mount.symlink_to(disk)
        shared = {"storage_group": "nfs", "shared_folder": str(mount), "data": str(disk / name)}
        shared_cluster.node(name, **shared).data = disk / name
    found = shared_cluster.nodes
    for node in found.values():
        node.start(wait=False)
    for node in found.values():
        node.ready()
    shared_cluster.meet(*found.values())
    # Of a pair that shares a disk one is chosen, once both stand still.
    until(lambda: all(node.states() for node in found.values()), "all to answer")
    yield found


def test_one_pulls_and_the_other_reads_the_very_file(nodes: dict[str, Node], tmp_path: Path) -> None:
    model = tmp_path / "best.pth"
    write_checkpoint(model, 3 * MB)
    artifact = nodes["origin"].client.publish("models", model, copies=1, timeout=30).artifact
    pair = [nodes["nfs-1"], nodes["nfs-2"]]
    until(lambda: any(node.holds(artifact) for node in pair), "one of the pair to hold it")
    puller, other = sorted(pair, key=lambda node: not node.holds(artifact))
    before = other.counter("chunk_bytes_received")
    shown = other.client.wait_for("models", "best.pth", timeout=20)
    assert (shown.complete, shown.via) == (True, puller.name)
    assert shown.path is not None and f"mount-of-{other.name}/{puller.name}/replicas" in shown.path
    assert Path(shown.path).read_bytes() == model.read_bytes()
    assert Path(shown.path).stat().st_ino == Path(puller.catalog()[artifact.text].path or "").stat().st_ino
    # No byte moved, and no copy is counted: the origin knows of one place.
    assert other.counter("chunk_bytes_received") == before == 0
    assert not other.holds(artifact)
    assert set(shown.holders) == {"origin", puller.name}
    assert [event["via"] for event in other.events("ArtifactShown")] == [puller.name]
    told = other.client.explain(artifact.text, other.name)
    assert (told["code"], told["held"]) == ("storage_group", False) and shown.path in told["sentence"]
    # The one who pulled goes: the other has a copy of its own soon.
    puller.stop()
    until(lambda: other.holds(artifact), "the other to take over")
    own = other.client.wait_for("models", "best.pth")
    assert own.via == "" and f"/disk/{other.name}/replicas" in str(own.path)
