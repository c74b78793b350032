"""How much is asked of a holder at once, and how far is it believed?"""

from artifacts import peer

from ringgossip.protocol.core import NEVER
from ringgossip.protocol.sources import FORGIVEN_AFTER, Ask, Source

MIB = 2**20


def test_a_window_is_what_the_link_brings_in_time_but_two_chunks_at_least() -> None:
    source = Source(peer(1))
    assert source.window(65536, 0.25, 16 * MIB) == 2 * MIB, "nothing is known yet"
    source.rate = 100_000.0
    assert source.window(65536, 0.25, 16 * MIB) == 2 * 65536
    source.rate = 1e9
    assert source.window(65536, 0.25, 16 * MIB) == 16 * MIB
    assert source.window(16 * MIB, 0.25, 16 * MIB) == 32 * MIB


def test_the_rate_is_what_came_in_a_tenth_of_a_second_smoothed() -> None:
    source = Source(peer(1))
    source.asked(Ask(1, b"", dict.fromkeys(range(100), MIB), 0.0), 0.0)
    for step in range(1, 21):
        source.received(MIB, step * 0.01)
    assert 90 * MIB < source.rate < 110 * MIB


def test_released_items_are_not_counted_on_and_still_welcome() -> None:
    source = Source(peer(1))
    ask = Ask(1, b"", {1: 10, 2: 20}, 0.0)
    source.asked(ask, 0.0)
    assert source.stalled_at(10.0) == 10.0
    source.release(ask, [1])
    assert (source.outstanding, source.chunks) == (20, 1)
    assert source.answered(ask, 2)
    assert source.stalled_at(10.0) == NEVER
    assert not source.answered(ask, 1)
    assert source.asks == {}


def test_a_wrong_chunk_is_forgiven_after_many_good_ones() -> None:
    source = Source(peer(1))
    source.lied(0.0)
    assert source.rank(0.0) == (1, 0)
    for _ in range(FORGIVEN_AFTER):
        source.received(1, 1.0)
    assert source.rank(0.0) == (0, 0)
