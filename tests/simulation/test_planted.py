"""Would a bug be found? Bugs are planted in machines, one at a time, and a few seeds must show each.

The machines are changed here and nowhere else; the story is a plain one.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringgossip.protocol.anti_entropy import AntiEntropy
from ringgossip.protocol.core import NEVER, SendChunk
from ringgossip.protocol.evidence import Standing
from ringgossip.protocol.myself import Myself
from ringgossip.protocol.receipts import Receipts
from ringgossip.protocol.rumors import Rumors
from ringgossip.protocol.serving import Serving
from ringgossip.simulation.running import run_story
from ringgossip.simulation.scenario import Story
from ringgossip.simulation.scenario_schema import read_story

STORY = """
story: planted
peers: [{count: 5, role: selfplay, want: all, name: peer}]
copies: 3
workload:
  - publish: {by: all, kind: models, name: best.pth, size: 3 MB, at: 3, every: 6, until: 15, spread: 5}
faults:
  - partition: {at: 5, group: [0, 1], seconds: 8}
  - pause: {at: 6, peer: 3, seconds: 6}
safety: 18
liveness: {within: 40}
promises:
  eventually: {L1: 40, L2: 40, L3: 40, quiet: 40}
"""
SEEDS = range(6)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    path = tmp_path / "planted.yaml"
    path.write_text(STORY)
    return read_story(path)


def found(story: Story) -> set[str]:
    return {run_story(story, seed).failure for seed in SEEDS} - {""}


def test_without_a_bug_nothing_is_found(story: Story) -> None:
    assert found(story) == set()


def _nothing(*_: Any, **__: Any) -> list[Any]:
    return []


BUGS: list[tuple[str, list[tuple[type, str, Callable[..., Any]]]]] = [
    # Nobody tells news, nobody compares: a catalog stays as it is.
    (
        "L1",
        [
            (AntiEntropy, "wake", _nothing),
            (AntiEntropy, "heard_root", _nothing),
            (AntiEntropy, "next_wakeup", lambda *_: NEVER),
            (Rumors, "tell", _nothing),
        ],
    ),
    # Whoever hears that it is suspected or dead lets it be said.
    ("L2", [(Myself, "hear", lambda *_: False)]),
    # What others say of their copies is not listened to.
    ("L3", [(Receipts, "receive", lambda *_: ([], []))]),
    # Any statement about a member overrides any other.
    ("monotone_incarnations", [(Standing, "is_overridden_by", lambda *_: True)]),
]


@pytest.mark.parametrize(("promise", "changes"), BUGS, ids=[promise for promise, _ in BUGS])
def test_a_planted_bug_is_found(
    story: Story,
    monkeypatch: pytest.MonkeyPatch,
    promise: str,
    changes: list[tuple[type, str, Callable[..., Any]]],
) -> None:
    for machine, method, bug in changes:
        monkeypatch.setattr(machine, method, bug)
    failures = found(story)
    assert promise in failures or (promise, "no_resurrection" in failures) == ("monotone_incarnations", True)


def test_s4_a_chunk_nobody_asked_for_is_found(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    grant = Serving._grant

    def wrong(serving: Serving, now: float) -> list[Any]:
        effects = grant(serving, now)
        return [
            replace(effect, index=effect.index + 1) if isinstance(effect, SendChunk) else effect
            for effect in effects
        ]

    monkeypatch.setattr(Serving, "_grant", wrong)
    assert "S4" in found(story)
