"""How long may a suspect defend itself?"""

import pytest

from ringgossip.protocol.suspicion import Suspicion, SuspicionSettings


def suspicion(needed: int = 3, started: float = 0.0) -> Suspicion:
    return Suspicion(b"bob.", started, 2.0, 30.0, needed)


@pytest.mark.parametrize(("confirmations", "seconds"), [(0, 30.0), (1, 16.0), (2, 7.81), (3, 2.0), (9, 2.0)])
def test_the_time_falls_with_confirmations_as_lifeguard_says(confirmations: int, seconds: float) -> None:
    assert suspicion().allowed(confirmations) == pytest.approx(seconds, abs=0.005)


def test_each_accuser_counts_once_and_only_as_many_as_are_needed() -> None:
    doubt = suspicion(started=100.0)
    assert not doubt.confirm(b"bob.")
    assert doubt.confirm(b"eve.")
    assert not doubt.confirm(b"eve.")
    assert doubt.deadline == pytest.approx(116.0)
    assert doubt.confirm(b"mia.") and doubt.confirm(b"tom.")
    assert not doubt.confirm(b"zoe.")
    assert doubt.deadline == pytest.approx(102.0)


def test_where_nobody_else_can_confirm_the_shortest_time_is_enough() -> None:
    assert suspicion(needed=0).deadline == 2.0


def test_time_in_which_we_were_away_does_not_count() -> None:
    doubt = suspicion()
    doubt.postpone(5.0)
    assert doubt.deadline == 35.0


@pytest.mark.parametrize(
    ("members", "patience", "span"),
    [(2, 0.0, (4.0, 24.0)), (10, 0.0, (4.0, 24.0)), (100, 0.0, (8.0, 48.0)), (1000, 0.0, (12.0, 72.0)),
     (10, 15.0, (16.0, 24.0)), (10, 60.0, (61.0, 61.0))],
)  # fmt: skip
def test_the_span_grows_with_the_logarithm_of_the_cluster_and_respects_patience(
    members: int, patience: float, span: tuple[float, float]
) -> None:
    assert SuspicionSettings().span(members, 1.0, patience) == pytest.approx(span)
