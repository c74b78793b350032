"""Does a bucket let through what it should, and no more?"""

import math

from hypothesis import given
from hypothesis import strategies as st

from ringgossip.protocol.pacing import TokenBucket

STEPS = st.lists(
    st.tuples(st.floats(0, 3), st.integers(1, 5000)), min_size=1, max_size=40
)  # wait, then want so many bytes


@given(st.floats(1, 1e5), st.floats(0, 1e9), STEPS)
def test_no_stretch_of_time_lets_more_through_than_rate_burst_and_one_chunk(
    rate: float, started: float, steps: list[tuple[float, int]]
) -> None:
    bucket, now = TokenBucket(rate, started), started
    passed: list[tuple[float, int]] = []
    for pause, amount in steps:
        now += pause
        if bucket.may_take(now):
            bucket.take(amount, now)
            passed.append((now, amount))
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            seconds = passed[last][0] - passed[first][0]
            total = sum(amount for _, amount in passed[first : last + 1])
            largest = max(amount for _, amount in passed[first : last + 1])
            assert total <= rate * seconds + rate * 0.1 + largest + 1e-3


@given(st.floats(1, 1e9), st.floats(0, 1e9), st.integers(1, 2**24))
def test_when_it_says_it_is_ready_it_is_and_not_in_the_same_instant(
    rate: float, now: float, amount: int
) -> None:
    bucket = TokenBucket(rate, now)
    for _ in range(3):
        bucket.take(amount, now)
        if not bucket.may_take(now):
            ready = bucket.ready_at(now)
            assert ready > now
            now = ready
            assert bucket.may_take(now)


@given(st.floats(1, 1e6), STEPS)
def test_waiting_for_it_gives_the_rate(rate: float, steps: list[tuple[float, int]]) -> None:
    bucket, now, total = TokenBucket(rate, 0.0), 0.0, 0
    for _, amount in steps:
        now = bucket.ready_at(now)
        bucket.take(amount, now)
        total += amount
    assert bucket.ready_at(now) <= (total / rate) + 1e-3


def test_what_did_not_pass_is_given_back_but_never_saved_up() -> None:
    bucket = TokenBucket(1000.0, 0.0)
    bucket.take(5000, 0.0)
    assert not bucket.may_take(1.0)
    bucket.refund(5000)
    assert bucket.may_take(1.0)
    bucket.refund(10**9)
    assert bucket.level(1.0) == 100.0


def test_no_limit_is_no_limit_and_a_rate_of_nothing_lets_nothing_pass() -> None:
    bucket = TokenBucket(None, 0.0)
    bucket.take(10**12, 0.0)
    assert bucket.may_take(0.0)
    assert bucket.level(0.0) == math.inf
    bucket.set_rate(0.0, 1.0)
    assert not bucket.may_take(2.0)
    assert bucket.ready_at(2.0) == math.inf


def test_a_changed_rate_keeps_the_debt() -> None:
    bucket = TokenBucket(1000.0, 0.0)
    bucket.take(2000, 0.0)
    bucket.set_rate(100.0, 0.0)
    assert 19.9 < bucket.ready_at(0.0) < 20.1
