"""Shared by the tests of the real world: a cluster of three nodes, and a foreign one."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from ringgossip.identity.authority import create_cluster, enroll


@dataclass(frozen=True)
class Folders:
    alice: Path
    bob: Path
    carol: Path
    mallory: Path  # a node of another cluster


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    ours = tmp_path_factory.mktemp("ours") / "authority"
    theirs = tmp_path_factory.mktemp("theirs") / "authority"
    create_cluster(ours, "ringrift")
    create_cluster(theirs, "ringrift")
    return Folders(
        enroll(ours, "alice"), enroll(ours, "bob"), enroll(ours, "carol"), enroll(theirs, "mallory")
    )
