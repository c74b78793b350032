"""Twice the weight, twice the chance; nobody starves; plans choose whom they say."""

from collections import Counter
from random import Random

import pytest
from candidates import peer

from ringgossip.identity import PeerId
from ringgossip.strategy.candidates import Candidate
from ringgossip.strategy.partners import Turns, patience, push_targets, sample
from ringgossip.strategy.plans import PLANS

WEIGHTS = {"light": 1.0, "double": 2.0, "heavy": 5.0}


def share(counts: Counter[str], name: str) -> float:
    return counts[name] / counts.total()


def test_twice_the_weight_is_twice_the_chance() -> None:
    rng = Random(1)
    counts = Counter(sample(WEIGHTS, 1, rng)[0] for _ in range(20_000))
    for name, weight in WEIGHTS.items():
        # 0.012 is four standard errors of the largest share.
        assert share(counts, name) == pytest.approx(weight / 8, abs=0.014)


def test_taking_turns_keeps_the_shares() -> None:
    rng, turns = Random(2), Turns[str]()
    counts = Counter(turns.draw(WEIGHTS, 1, rng)[0] for _ in range(20_000))
    for name, weight in WEIGHTS.items():
        assert share(counts, name) == pytest.approx(weight / 8, abs=0.014)


def test_several_are_drawn_without_drawing_anybody_twice() -> None:
    rng = Random(3)
    for _ in range(200):
        drawn = sample(WEIGHTS, 2, rng)
        assert len(set(drawn)) == 2
    assert sorted(sample(WEIGHTS, 9, rng)) == sorted(WEIGHTS)
    assert sample({}, 3, rng) == sample(WEIGHTS, 0, rng) == []


def test_the_second_of_two_is_drawn_from_the_rest_by_weight() -> None:
    # Without replacement: P(light among 2) = 1/8 + 2/8 * 1/6 + 5/8 * 1/3.
    rng = Random(4)
    counts = Counter(name for _ in range(20_000) for name in sample(WEIGHTS, 2, rng))
    assert counts["light"] / 20_000 == pytest.approx(1 / 8 + 2 / 48 + 5 / 24, abs=0.014)


def test_what_weighs_nothing_is_never_drawn() -> None:
    rng = Random(5)
    assert all(sample({"a": 0.0, "b": 1.0}, 2, rng) == ["b"] for _ in range(100))


class Unlucky(Random):
    """Draws the largest numbers for ever, so the race is always won by the heaviest."""

    def random(self) -> float:
        return 0.999


@pytest.mark.parametrize(("others", "count"), [(1, 1), (10, 1), (40, 3)])
def test_nobody_waits_longer_than_the_bound_even_without_any_luck(others: int, count: int) -> None:
    weights = {"light": 1.0, **{f"heavy-{index}": 120.0 for index in range(others)}}
    turns, rng = Turns[str](), Unlucky()
    bound = patience(1.0, sum(weights.values()), count) + len(weights) // count + 1
    waited = longest = 0
    for _ in range(3 * bound):
        waited = 0 if "light" in turns.draw(weights, count, rng) else waited + 1
        longest = max(longest, waited)
    assert 0 < longest <= bound


def test_who_was_away_has_no_claim() -> None:
    turns, rng = Turns[str](), Unlucky()
    for _ in range(1000):
        turns.draw({"heavy": 100.0, "light": 1.0}, 1, rng)
        turns.draw({"heavy": 100.0}, 1, rng)
    assert turns.draw({"heavy": 100.0, "light": 1.0}, 1, rng) == ["heavy"]


# --- pushing -------------------------------------------------------------------------


def targets(plan: str, *candidates: Candidate, seed: int = 0) -> list[str]:
    chosen = push_targets(PLANS[plan], candidates, lambda _: 1.0, Turns[PeerId](), Random(seed))
    return [candidate.name for candidate in chosen]


PEERS = [peer(f"gpu-{index}") for index in range(6)]


def test_hybrid_tells_three_and_broadcast_everybody_and_skip_nobody() -> None:
    names = {each.name for each in PEERS}
    assert len(set(targets("hybrid", *PEERS)) & names) == 3
    assert set(targets("broadcast", *PEERS)) == names
    assert targets("skip", *PEERS) == []


def test_ephemeral_tells_persistent_peers_first() -> None:
    vast = [peer(f"vast-{index}", ephemeral=True) for index in range(6)]
    for seed in range(50):
        told = targets("ephemeral", *vast, *PEERS[:2], seed=seed)
        assert set(told[:2]) == {"gpu-0", "gpu-1"}
        assert told[2].startswith("vast-")


def test_of_peers_that_share_a_disk_one_is_told() -> None:
    sharing = [peer(f"nfs-{index}", storage_group="nfs") for index in range(4)]
    for seed in range(20):
        told = targets("broadcast", *sharing, *PEERS, seed=seed)
        assert len(told) == len(PEERS) + 1


def test_heavier_peers_are_told_more_often() -> None:
    rng, turns = Random(6), Turns[PeerId]()
    counts = Counter(
        each.name
        for _ in range(4000)
        for each in push_targets(
            PLANS["hybrid"], PEERS, lambda each: 3.0 if each.name == "gpu-0" else 1.0, turns, rng
        )
    )
    assert counts["gpu-0"] > 1.5 * max(counts[f"gpu-{index}"] for index in range(1, 6))
    assert min(counts.values()) > 1000
