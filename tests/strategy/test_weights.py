"""Do the five factors weigh what the reference says, and is every weight named by its parts?"""

import pytest
from candidates import disk, peer

from ringgossip.config.words import PRIORITIES
from ringgossip.strategy.weights import (
    SHARES,
    age_factor,
    drain_urgency,
    endangerment,
    holder_worth,
    push_weight,
    quality_factor,
    share_of,
)


@pytest.mark.parametrize(
    ("seconds", "points"), [(None, 10), (0, 0), (900, 2.5), (3600, 10), (1e9, 10), (-5, 0)]
)
def test_the_time_since_the_last_sync_counts_up_to_an_hour(seconds: float | None, points: float) -> None:
    assert age_factor(seconds) == points


@pytest.mark.parametrize(("quality", "points"), [(None, 5), (0.0, 0), (0.99, 9), (1.0, 10), (7.0, 10)])
def test_quality_counts_in_whole_points(quality: float | None, points: int) -> None:
    assert quality_factor(quality) == points


@pytest.mark.parametrize(
    ("facts", "since", "quality", "points"),
    [
        ({"disk": disk(100)}, 0, 0.0, 1),  # nothing counts, and still it is not never
        ({"disk": disk(100), "role": "training"}, 0, 0.0, 50),
        ({"disk": disk(100), "ephemeral": True}, 0, 0.0, 30),
        ({"disk": disk(0)}, 0, 0.0, 20),
        ({"disk": disk(100)}, None, 0.0, 10),
        ({"disk": disk(100)}, 0, 1.0, 10),
        ({"disk": disk(0), "role": "training", "ephemeral": True}, None, 1.0, 120),
    ],
)
def test_drain_urgency_is_the_sum_of_the_reference(
    facts: dict[str, object], since: float | None, quality: float, points: float
) -> None:
    assert drain_urgency(peer("a", **facts), since_sync=since, quality=quality).value == points


def test_what_may_vanish_is_drained_first_and_holds_last() -> None:
    stays, vanishes = peer("a"), peer("b", ephemeral=True)
    assert drain_urgency(vanishes).value == drain_urgency(stays).value + 30
    assert holder_worth(vanishes).value == holder_worth(stays).value - 15


def test_a_training_run_raises_the_weight_until_it_ends() -> None:
    idle = push_weight(peer("gpu-3", role="training")).value
    assert push_weight(peer("gpu-3", role="training", training=True)).value == idle + 50
    assert push_weight(peer("gpu-3", training=True)).value == push_weight(peer("gpu-3")).value + 50


def test_a_priority_node_weighs_twenty_more_and_counts_as_training_node() -> None:
    assert push_weight(peer("a", priority=True)).value == push_weight(peer("a", role="training")).value + 20


def test_headroom_moves_in_quarters_so_that_copies_do_not() -> None:
    worths = {holder_worth(peer("a", disk=disk(percent))).value for percent in range(101)}
    assert worths == {50, 55, 60, 65, 70}
    assert holder_worth(peer("a")).value == 60  # unknown: half full


def test_a_weight_says_what_it_is_made_of() -> None:
    weight = holder_worth(peer("vast-1", ephemeral=True, disk=disk(50)))
    assert str(weight) == "45 (base +50 ephemeral -15 disk headroom +10)"


def test_priority_words_buy_the_shares_of_the_notes() -> None:
    assert tuple(SHARES) == PRIORITIES
    assert [share_of(word) for word in PRIORITIES] == [0.25, 0.5, 1, 1.5, 2]


def test_the_most_endangered_comes_first() -> None:
    # (copies, quality, age): fewest copies, then quality, then age.
    items = [(1, 0.9, 5.0), (0, 0.1, 5.0), (0, 0.9, 5.0), (0, None, 5.0), (0, 0.9, 60.0)]
    assert sorted(items, key=lambda item: endangerment(*item)) == [
        (0, 0.9, 60.0),
        (0, 0.9, 5.0),
        (0, None, 5.0),
        (0, 0.1, 5.0),
        (1, 0.9, 5.0),
    ]
