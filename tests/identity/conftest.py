"""Shared by the tests of identity: one cluster with two nodes, made once, never changed."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from ringgossip.identity.authority import create_cluster, enroll
from ringgossip.identity.certificate import AuthorityCertificate


@dataclass(frozen=True)
class Cluster:
    folder: Path
    authority: AuthorityCertificate
    alice: Path
    bob: Path


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    folder = tmp_path_factory.mktemp("identity") / "authority"
    authority = create_cluster(folder, "ringrift")
    return Cluster(folder, authority, enroll(folder, "alice"), enroll(folder, "bob"))
