"""What do tests with real processes share? Clusters that end with the test, and their logs when it fails."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import cluster as clusters
import pytest
from cluster import Cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Generator[None, Any, Any]:
    """Show what every peer said when a test fails, while they still run."""
    report = yield
    if report.failed:
        for running in clusters.running:
            for node in running.nodes.values():
                report.sections.append((f"{node.name}: log", node.story("err")))
                report.sections.append((f"{node.name}: events", node.story("out")))
    return report


def _closed(cluster: Cluster) -> None:
    bugs = cluster.close()
    assert not bugs, bugs


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without nodes yet."""
    made = Cluster(tmp_path)
    yield made
    _closed(made)


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests of a file."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    _closed(made)


@pytest.fixture
def second_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Cluster]]:
    """Other clusters, with authorities of their own."""
    made: list[Cluster] = []

    def make(name: str = "elsewhere") -> Cluster:
        made.append(Cluster(tmp_path_factory.mktemp("second"), name))
        return made[-1]

    yield make
    for other in made:
        _closed(other)
