"""What do the tests of the doors share? A cluster of two nodes, and what a peer of it is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers import CLUSTER, make_cluster

from ringgossip.config import KINDS, PeerConfig
from ringgossip.identity import Address


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doors")
    make_cluster(folder, "alice", "bob")
    return folder


@pytest.fixture
def config(enrolled: Path, tmp_path: Path) -> Callable[..., PeerConfig]:
    def make(node: str = "alice", **more: Any) -> PeerConfig:
        return PeerConfig(
            cluster=CLUSTER,
            node=node,
            data=tmp_path / node,
            credentials=enrolled / node,
            listen=Address("127.0.0.1", 0),
            **{"want": KINDS, **more},
        )

    return make
