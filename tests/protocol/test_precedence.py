"""Whoever waits too long behind checkpoints goes ahead: seldom, and for a ninth of the uplink at most."""

from collections import deque
from itertools import pairwise

import pytest
from artifacts import peer

from ringgossip.identity import PeerId
from ringgossip.protocol.askers import Asker, Wanted
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.protocol.precedence import Precedence

UPLINK = 1_000_000  # bytes a second
STARVING, MERCY = 5.0, 1.0


def asker(number: int, rank: int, length: int) -> Asker:
    """One who always has more to ask for."""
    found = Asker(peer(number), TokenBucket(None, 0.0), TokenBucket(None, 0.0))
    found.queue = [Wanted(1, bytes(32), 0, length, rank)]
    return found


def mercies(seconds: float, of_models: int, of_games: int, readers: int) -> tuple[list[float], float]:
    """Let chunks leave in turn; return when games were granted one, and their share of the bytes."""
    precedence = Precedence(1, 0.0, STARVING, MERCY, 0.0)
    askers = [asker(0, 0, of_models), *(asker(number, 1, of_games) for number in range(1, 1 + readers))]
    under_way: deque[tuple[PeerId, int, int]] = deque()
    lengths: dict[tuple[PeerId, int, int], int] = {}
    now, at = 0.0, []
    while now < seconds:
        while chosen := precedence.choose(askers, now):
            who, place = chosen[0]
            wanted = who.queue[place]
            key = (who.peer, len(lengths), 0)
            lengths[key] = wanted.length
            under_way.append(key)
            precedence.granted(key, wanted.rank, wanted.length, now)
            if wanted.rank:
                at.append(now)
                who.overtaken_at = now
        assert under_way, "the uplink is idle"
        key = under_way.popleft()
        now += lengths[key] / UPLINK
        precedence.sent(precedence.settled(key), lengths[key], now)
    return at, len(at) * of_games / sum(lengths.values())


@pytest.mark.parametrize(("of_models", "of_games"), [(2**20, 2**16), (2**18, 2**20), (2**20, 2**20)])
def test_many_who_starve_get_no_more_than_a_ninth(of_models: int, of_games: int) -> None:
    at, share = mercies(300.0, of_models, of_games, readers=40)
    assert at, "and they do get something"
    assert share <= 1 / 9 + 0.01


def test_small_chunks_go_ahead_once_a_second_and_not_sooner() -> None:
    at, _ = mercies(60.0, 2**16, 2**12, readers=40)
    assert at[0] >= STARVING
    assert min(later - earlier for earlier, later in pairwise(at)) >= MERCY


def test_a_single_reader_is_overtaken_for_five_seconds_each_time() -> None:
    at, _ = mercies(60.0, 2**16, 2**12, readers=1)
    assert len(at) > 5
    assert min(later - earlier for earlier, later in pairwise(at)) >= STARVING
