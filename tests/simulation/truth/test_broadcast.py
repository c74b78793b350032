"""Does a file reach everybody nearly as fast as lines allow, and never faster?"""

from math import floor, log2

import pytest

from ringgossip.simulation.truth.broadcast import run, theory


@pytest.mark.parametrize("setup", [{"n": 1, "m": 16}, {"n": 2, "m": 16}])
def test_few_receivers_have_it_in_the_least_time_and_not_sooner(setup: dict[str, int]) -> None:
    found = run({**setup, "down": None}, "test")
    least = setup["m"] + floor(log2(setup["n"]))
    assert theory(setup, {})["rounds"] == least
    assert found["rounds"] == pytest.approx(least, abs=1.2)
    assert found["ratio"] >= 1.0


def test_eight_receivers_come_within_a_tenth_of_the_least_time() -> None:
    found = run({"n": 8, "m": 64, "down": None}, "test")
    assert 1.0 <= found["ratio"] <= 1.10
    assert found["seed copies"] <= 1.2


def test_nobody_is_faster_than_the_slowest_downlink() -> None:
    # Thin downlinks are beyond a tenth: what several send at once fills them, and comes late together.
    found = run({"n": 4, "m": 32, "down": [1.0, 0.25]}, "test")
    assert found["rounds"] >= 128
    assert 1.0 <= found["ratio"] <= 1.25


def test_where_all_downlinks_are_thin_it_still_ends_although_holders_fall_silent() -> None:
    found = run({"n": 8, "m": 32, "down": 0.25}, "test")
    assert 1.0 <= found["ratio"] <= 1.5
