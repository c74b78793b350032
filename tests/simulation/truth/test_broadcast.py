"""Does a file reach everybody in little more than the least time that lines allow, and never in less?"""

from math import floor, log2

import pytest

from ringgossip.simulation.truth.broadcast import run, theory


@pytest.mark.parametrize(("receivers", "chunks"), [(1, 16), (2, 16), (4, 32)])
def test_equal_uplinks_are_never_beaten(receivers: int, chunks: int) -> None:
    setup = {"n": receivers, "m": chunks, "down": None}
    assert theory(setup, {})["rounds"] == chunks + floor(log2(receivers))
    assert 1.0 <= run(setup, "test")["ratio"] <= 1.5


def test_who_gives_to_one_alone_takes_a_chunk_time_for_each_chunk() -> None:
    found = run({"n": 1, "m": 16, "down": None}, "test")
    assert found["rounds"] == pytest.approx(16.0, abs=0.1)
    assert found["seed copies"] == found["bytes over need"] == 1.0


def test_nobody_is_faster_than_the_slowest_downlink() -> None:
    found = run({"n": 1, "m": 32, "down": 0.25}, "test")
    assert found["rounds"] == pytest.approx(128.0, rel=0.02)
    assert found["ratio"] >= 1.0
