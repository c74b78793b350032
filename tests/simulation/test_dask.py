"""A sweep on Dask: a cluster of two workers on this machine gives what one process gives."""

from pathlib import Path

import pytest

from ringgossip.simulation.engines import Here, engine
from ringgossip.simulation.scenario_schema import read_story
from ringgossip.simulation.sweep import sweep

pytest.importorskip("distributed")


@pytest.mark.slow
def test_two_workers_of_a_local_cluster_find_what_one_process_finds(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("peers: 3\nsafety: 3\nliveness: {within: 30}\n")
    story = read_story(path)
    with engine("dask", 2) as executor:
        there = sweep(story, range(4), executor, jobs=2)
    here = sweep(story, range(4), Here())
    assert there.passed and there.as_dict() == here.as_dict()
