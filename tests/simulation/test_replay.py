"""The same seed gives the same run: now, tomorrow, under every hash seed and on every Python we support.

`python tests/helpers/replay.py --write` pins the hashes anew, after a change that is meant to alter runs.
"""

import json
import os
import subprocess
import sys

import pytest
import replay

# Interpreters of other versions that have the dependencies, as `.ci/run` makes them.
OTHERS = [path for path in os.environ.get("RINGGOSSIP_OTHER_PYTHONS", "").split(os.pathsep) if path]


def told_by(python: str, hash_seed: int) -> dict[str, str]:
    said = subprocess.run(
        [python, replay.__file__],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(replay.REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    hashes: dict[str, str] = json.loads(said.stdout)
    return hashes


def test_runs_are_those_that_were_pinned_under_another_hash_seed_too() -> None:
    pinned = json.loads(replay.PINNED.read_text())
    assert told_by(sys.executable, 4711) == pinned, "meant so? then: python tests/helpers/replay.py --write"


@pytest.mark.skipif(not OTHERS, reason="RINGGOSSIP_OTHER_PYTHONS names no other Python; .ci/run makes them")
@pytest.mark.parametrize("python", OTHERS)
def test_runs_are_the_same_on_other_pythons(python: str) -> None:
    assert told_by(python, 42) == json.loads(replay.PINNED.read_text())
