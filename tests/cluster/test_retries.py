"""Do what users asked for, and how long it is put off, outlive a SIGKILL? On real processes and disks.

Source: field notes, incident 13; reference, "Fallback Chain" (queue for retry).
"""

import resource
import time
from pathlib import Path

import pytest
from cluster import Cluster, Node, until

from ringgossip.client import Artifact
from ringgossip.errors import TimedOut

MB = 1_000_000


def npz(node: Node, folder: Path, name: str, size: int) -> Artifact:
    """Publish a small array file that nobody takes by itself; return it."""
    import numpy

    path = folder / name
    with path.open("wb") as file:
        numpy.savez(file, values=numpy.random.default_rng(1).integers(0, 2**62, size // 8))
    node.client.publish("npz", path)
    return node.catalog()[f"npz/{node.name}/{name}"]


def test_what_was_asked_for_and_its_back_off_outlive_a_sigkill(cluster: Cluster, tmp_path: Path) -> None:
    origin, killed, absent = cluster.start(3, want=["models"], copies=0)
    small, large = npz(origin, tmp_path, "small.npz", MB // 10), npz(origin, tmp_path, "large.npz", 8 * MB)
    for artifact in (small, large):
        until(lambda text=artifact.text: text in killed.catalog(), f"{artifact.text} to be known")

    # A disk that takes no file of more than 4 MB: what the kernel refuses is put off, longer each time.
    resource.prlimit(killed.pid, resource.RLIMIT_FSIZE, (4 * MB, 4 * MB))
    result = killed.client.sync("npz", targets=[killed.name], priority="high", timeout=1.0)
    rows = {item["artifact"]: item["outcome"] for item in result["details"]["items"]}
    assert rows[small.text] == "moved" and rows[large.text].startswith("failed: ")

    absent.stop()
    until(lambda: killed.states().get(absent.name) == "left", "it to be gone")
    result = killed.client.sync("npz", targets=[absent.name], timeout=1.0)
    outcomes = {item["outcome"] for item in result["details"]["items"]}
    assert outcomes == {f"failed: {absent.name} is not reachable"}

    with pytest.raises(TimedOut, match="nobody has published it"):
        killed.client.wait_for("npz", "later.npz", timeout=0.1)

    killed.kill()
    killed.start()
    began = time.monotonic()
    until(lambda: killed.sees([origin.name]), "the killed one to be back")
    assert not killed.holds(large)
    # A first attempt that failed puts the second off for 5 s, of which at least a half is waited for again.
    until(lambda: killed.holds(large), "the large one to come without being asked for again")
    assert 1.5 <= time.monotonic() - began <= 20.0

    later = npz(origin, tmp_path, "later.npz", MB // 10)
    until(lambda: killed.holds(later), "what was asked for before it was there")

    absent.start()
    until(lambda: absent.holds(small) and absent.holds(large), "the absent one to be told and to pull")
