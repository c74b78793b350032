"""Which limit holds, how is it shared, and what may still leave today?"""

from datetime import date

import pytest

from ringgossip.config.blocks import Bandwidth, Budget
from ringgossip.strategy.bandwidth import Spent, divide, left, peer_limit, spend, turn_page

MB = 1_000_000
LIMITS = Bandwidth(
    hosts=(("runpod-h100", 5 * MB),),
    globs=(("runpod-h*", 60 * MB), ("runpod-*", 100 * MB), ("vast-?", 1 * MB)),
    providers=(("vast", 50 * MB), ("Hetzner", 25 * MB)),
    peer_bytes_per_second=90 * MB,
)


@pytest.mark.parametrize(
    ("name", "provider", "rate"),
    [
        ("runpod-h100", "runpod", 5 * MB),  # its own value
        ("runpod-h200", "runpod", 60 * MB),  # the first glob, not the best
        ("runpod-a40", "runpod", 100 * MB),
        ("vast-1", "vast", 1 * MB),
        ("vast-12345", "vast", 50 * MB),  # its provider
        ("box-1", "hetzner", 25 * MB),  # whatever the case
        ("lambda-1", "lambda", 90 * MB),  # everybody
    ],
)
def test_host_then_first_glob_then_provider_then_everybody(name: str, provider: str, rate: float) -> None:
    assert peer_limit(name, provider, LIMITS).rate == rate


def test_the_order_of_the_file_decides_between_globs() -> None:
    turned = Bandwidth(globs=tuple(reversed(LIMITS.globs)))
    assert peer_limit("runpod-h200", "runpod", turned).rate == 100 * MB


def test_globs_know_upper_and_lower_case() -> None:
    assert peer_limit("RUNPOD-a40", "x", LIMITS).rate == 90 * MB


def test_without_rules_there_is_no_limit_and_a_rule_is_named() -> None:
    assert peer_limit("a", "a", Bandwidth()).rate is None
    limit = peer_limit("runpod-a40", "", LIMITS)
    assert (limit.key, limit.rule) == ("bandwidth.globs", "it matches 'runpod-*'")


def test_priority_words_divide_an_uplink() -> None:
    assert divide(100.0, ["critical", "low"]) == [80.0, 20.0]
    assert divide(9.0, ["high", "high", "high"]) == [3.0, 3.0, 3.0]
    assert divide(100.0, ["background", "low", "normal", "high", "critical"]) == pytest.approx(
        [100 * share / 5.25 for share in (0.25, 0.5, 1, 1.5, 2)]
    )


# --- budgets ---------------------------------------------------------------------------


def day(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def test_a_day_and_a_month_are_counted_apart() -> None:
    budget = Budget(send_bytes_per_day=100, send_bytes_per_month=250)
    spent = Spent()
    rests = []
    for text in ("2026-01-29", "2026-01-30", "2026-01-31", "2026-02-01"):
        rests.append(left(budget, spent, day(text)))
        spent = spend(spent, min(100, left(budget, spent, day(text)) or 0), day(text))
    assert rests == [100, 100, 50, 100]
    assert left(budget, spent, day("2026-02-01")) == 0
    assert spent == Spent(day("2026-02-01"), 100, 100)


def test_without_a_budget_everything_may_leave() -> None:
    assert left(Budget(), Spent(5, 10**15, 10**15), 5) is None


def test_more_than_the_budget_leaves_nothing_and_never_less_than_nothing() -> None:
    assert left(Budget(send_bytes_per_day=10), spend(Spent(), 25, 100), 100) == 0


def test_a_clock_that_goes_back_gives_nothing_back() -> None:
    spent = spend(Spent(), 80, day("2026-03-02"))
    assert turn_page(spent, day("2026-02-27")) is spent
    assert left(Budget(send_bytes_per_day=100), spent, day("2026-02-27")) == 20


def test_the_same_month_of_another_year_is_another_month() -> None:
    spent = spend(Spent(), 80, day("2026-03-02"))
    assert left(Budget(send_bytes_per_month=100), spent, day("2027-03-02")) == 100


@pytest.mark.parametrize("wild", [-(10**12), 10**12])
def test_a_wild_day_stops_nobody(wild: int) -> None:
    assert spend(Spent(), 5, wild).today == 5
