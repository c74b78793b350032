"""May a story say what users ask of peers, and is what came of it measured?"""

from pathlib import Path

import pytest

from ringgossip.errors import ConfigError
from ringgossip.simulation.running import run_story
from ringgossip.simulation.scenario_schema import read_story

STORY = """\
story: asking
peers:
  - {count: 3, role: selfplay, want: []}
copies: 0
workload:
  - publish: {by: 0, kind: npz, name: a.npz, size: 100 KB, at: 2}
  - sync: {peers: 1, data_type: npz, targets: [2], priority: high, at: 6}
  - sync: {peers: 1, data_type: npz, source: 0, at: 7}
faults: []
safety: 8
liveness: {within: 20}
promises:
  limits: {syncs_failed: 0, asked_missing: 0, sync_seconds_urgent: 3}
"""


def read(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "story.yaml"
    path.write_text(text)
    return read_story(path)


def test_what_was_asked_for_is_measured_and_is_where_it_should_be(tmp_path: Path) -> None:
    run = run_story(read(tmp_path, STORY), 1)
    assert run.passed, run.failure
    assert run.measures["syncs_failed"] == run.measures["asked_missing"] == run.measures["errands_left"] == 0
    assert 0 < run.measures["sync_seconds_urgent"] < 3
    assert run.measures["pulls_at_a_time"] == 1


def test_what_did_not_come_is_counted_and_comes_later(tmp_path: Path) -> None:
    text = STORY.replace("faults: []", "faults: [{crash: {at: 5, peer: 2, seconds: 8, machine: true}}]")
    text = text.replace("at: 6}", "timeout: 1, at: 5.5}").replace("safety: 8", "safety: 30")
    run = run_story(read(tmp_path, text), 1)
    assert (run.failure, run.measures["syncs_failed"]) == ("syncs_failed", 1)
    assert run.measures["asked_missing"] == 0, "whoever was away while it was offered was told again"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("sync: {peers: 9, at: 6}", "workload[1].sync.peers"),
        ("sync: {peers: 1, targets: [nobody], at: 6}", "workload[1].sync.targets"),
        ("sync: {at: 6}", "needs 'peers'"),
        ("sync: {peers: 1, priority: urgent}", "is none of background"),
        ("signal: {peers: 1, word: TRAINING, node: 0}", "is none of TRAINING_STARTED"),
        ("signal: {peers: 1, node: 7}", "workload[1].signal.node"),
        ("sync: {peers: 1, data_type: movies}", "workload[1].sync.data_type"),
    ],
)
def test_a_wrong_word_is_one_line(tmp_path: Path, said: str, line: str) -> None:
    text = STORY.replace("sync: {peers: 1, data_type: npz, targets: [2], priority: high, at: 6}", said)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert line in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/story.yaml:7:")
