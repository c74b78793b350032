"""The rules, each broken once: does its story see it?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringgossip.protocol import rules
from ringgossip.protocol.budgets import Account
from ringgossip.protocol.keeping import Keeping
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.simulation import read_story, run_story
from ringgossip.strategy import eligibility, wanting
from ringgossip.strategy.eligibility import YES, No

FOLDER = Path(__file__).parents[2] / "simulations"
Patch = pytest.MonkeyPatch


def failure(name: str, seeds: int = 2) -> str:
    """The first promise that is broken, of the first seeds."""
    story = read_story(FOLDER / f"rule_{name}.yaml")
    runs = (run_story(story, seed) for seed in range(seeds))
    return next((run.failure for run in runs if run.failure), "")


def without(code: str) -> Callable[..., Any]:
    """`may_receive` that has forgotten one rule."""
    judge = eligibility.may_receive

    def forgetful(*arguments: Any) -> Any:
        verdict = judge(*arguments)
        return YES if isinstance(verdict, No) and verdict.code == code else verdict

    return forgetful


@pytest.mark.parametrize(
    ("story", "code"),
    [("coordinator", "coordinator"), ("excluded", "excluded"), ("status", "status"), ("disk", "disk")],
)
def test_a_rule_of_receiving_that_is_forgotten_is_seen(story: str, code: str, monkeypatch: Patch) -> None:
    for room in (rules, wanting, eligibility):
        monkeypatch.setattr(room, "may_receive", without(code))
    assert failure(story) == "S4"


def test_a_receive_that_is_forgotten_is_seen(monkeypatch: Patch) -> None:
    for room in (rules, wanting, eligibility):
        monkeypatch.setattr(room, "may_receive", without("kind"))
    monkeypatch.setattr(wanting, "row_of", lambda peer: ("games", "models", "npz"))
    assert failure("subscriptions") == "S4"


def test_a_disk_that_goes_on_too_early_is_seen(monkeypatch: Patch) -> None:
    stops = eligibility.disk_stops
    monkeypatch.setattr(rules, "disk_stops", lambda stopped, disk, settings: stops(False, disk, settings))
    assert failure("disk") == "S4"


def test_copies_that_nobody_makes_up_for_are_seen(monkeypatch: Patch) -> None:
    # Either alone would do: who is chosen pulls, and who published offers until enough have it.
    monkeypatch.setattr(wanting.Census, "missing", lambda census, origin: 0)
    monkeypatch.setattr(Keeping, "offer", lambda *_, **__: [])
    assert failure("copies", seeds=1) == "target"


def test_a_budget_that_does_not_hold_is_seen(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Account, "left", lambda account: None)
    assert failure("budget") == "S5"


def test_a_limit_that_does_not_hold_is_seen(monkeypatch: Patch) -> None:
    monkeypatch.setattr(TokenBucket, "may_take", lambda bucket, now: True)
    assert failure("limits") == "S5"
