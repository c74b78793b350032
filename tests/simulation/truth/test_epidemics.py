"""Do rumors go as Demers and others say? A few runs of what `simulate --truth` runs by the hundred."""

from random import Random
from statistics import mean

import pytest

from ringgossip.protocol.rumors import RumorSettings
from ringgossip.simulation.truth.epidemics import Sites, run, theory


def means(runs: int, **setup: object) -> dict[str, float]:
    results = [run(setup, f"test/{number}") for number in range(runs)]
    return {name: mean(float(result[name]) for result in results) for name in results[0]}  # type: ignore[arg-type]


def test_a_rumor_pushed_with_feedback_misses_as_many_as_it_did_in_1987() -> None:
    found = means(20, epidemic="rumors", n=1000, style="push", feedback=True, k=2)
    assert found["residue"] == pytest.approx(0.037, abs=0.008)
    assert found["traffic"] == pytest.approx(3.3, abs=0.1)
    assert found["t_last"] == pytest.approx(16.9, abs=1.0)


def test_a_rumor_pushed_blindly_with_a_coin_is_cheaper_and_misses_more() -> None:
    found = means(20, epidemic="rumors", n=1000, style="push", coin=True, k=2)
    assert found["residue"] == pytest.approx(0.20, abs=0.03)
    assert found["traffic"] == pytest.approx(1.6, abs=0.1)


def test_a_rumor_that_is_pulled_misses_hardly_anybody() -> None:
    found = means(10, epidemic="rumors", n=1000, style="pull", feedback=True, k=1)
    assert found["residue"] == pytest.approx(0.031, abs=0.008)
    assert found["traffic"] == pytest.approx(2.7, abs=0.1)


def test_a_site_that_served_somebody_begins_its_count_anew() -> None:
    """Without that, and with every call judged at once, tables 1 and 3 do not come out."""
    found = means(10, epidemic="rumors", n=1000, style="push", feedback=True, k=4)
    assert found["traffic"] > 5.4


def test_the_residue_of_sites_that_call_one_after_the_other_follows_the_formula() -> None:
    setup = {"epidemic": "rumors", "n": 1000, "style": "push", "feedback": True, "coin": True, "alone": True}
    assert theory({**setup, "k": 1}, {})["residue"] == pytest.approx(0.2032, abs=1e-4)
    assert means(10, **setup, k=1)["residue"] == pytest.approx(0.2032, abs=0.02)


@pytest.mark.parametrize(("style", "cycles"), [("push", 12.4), ("pull", 9.9), ("push-pull", 6.5)])
def test_a_simple_epidemic_reaches_everybody_in_as_many_cycles_as_published(
    style: str, cycles: float
) -> None:
    found = means(40, epidemic="simple", n=100, style=style)
    assert found["cycles"] == pytest.approx(cycles, abs=0.8)


def test_who_hears_in_a_cycle_tells_in_the_next() -> None:
    settings = RumorSettings(fanout=1, interval=0.5, lose_interest=100, most_rounds=100, burst=0)
    sites = Sites(64, settings, False, Random(3))
    for cycle in range(1, 7):
        sites.step()
        assert sites.known <= 2**cycle
    assert sites.sent <= 2**6 - 1
