"""Is the rarest chunk found, and are sets of bits sets?"""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ringgossip.strategy.order import (
    Availability,
    ChunkSet,
    bits_of,
    every,
    full_set,
    pick,
    set_of,
    without,
)

COUNT = 2500  # several windows of `pick`
CHUNKS = st.integers(0, 3).flatmap(
    lambda kind: (
        st.sets(st.integers(0, COUNT - 1), max_size=60)
        if kind
        else st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT)).map(
            lambda ends: set(range(ends[0], min(COUNT, ends[0] + ends[1])))
        )
    )
)


@given(CHUNKS)
def test_a_set_keeps_its_members(chunks: set[int]) -> None:
    as_int = sum(1 << index for index in chunks)
    assert set_of(sorted(chunks)) == as_int
    assert list(bits_of(as_int)) == sorted(chunks)


@given(st.lists(st.integers(0, 300), max_size=40))
def test_a_set_is_made_of_chunks_in_any_order_and_said_twice(chunks: list[int]) -> None:
    assert set(bits_of(set_of(chunks))) == set(chunks)


@given(CHUNKS, CHUNKS)
def test_without_is_the_difference(chunks: set[int], others: set[int]) -> None:
    assert without(set_of(sorted(chunks)), set_of(sorted(others))) == set_of(sorted(chunks - others))


@given(CHUNKS, CHUNKS, st.lists(st.integers(0, COUNT - 1), max_size=30))
def test_a_growing_set_agrees_with_a_plain_one(start: set[int], more: set[int], added: list[int]) -> None:
    chunks = ChunkSet(COUNT, set_of(sorted(start)))
    chunks.add_all(set_of(sorted(more)))
    for index in added:
        chunks.add(index)
    expected = start | more | set(added)
    assert len(chunks) == len(expected)
    assert chunks.as_int() == set_of(sorted(expected))
    assert int.from_bytes(chunks.bitmap(), "little") == chunks.as_int()
    assert [index for index in range(COUNT + 9) if index in chunks] == sorted(expected)


@given(st.lists(CHUNKS, min_size=1, max_size=9), st.data())
def test_the_rarest_are_those_with_the_fewest_holders(holders: list[set[int]], data: st.DataObject) -> None:
    availability = Availability()
    for chunks in holders:
        availability.add(set_of(sorted(chunks)))
    leaving = data.draw(st.integers(0, len(holders)))
    for chunks in holders[:leaving]:
        availability.remove(set_of(sorted(chunks)))
    counts = Counter(index for chunks in holders[leaving:] for index in chunks)
    candidates = data.draw(CHUNKS)
    fewest = min((counts[index] for index in candidates), default=0)
    expected = sorted(index for index in candidates if counts[index] == fewest)
    assert list(bits_of(availability.rarest(set_of(sorted(candidates))))) == expected


@given(CHUNKS, st.integers(0, 80), st.integers())
def test_a_pick_goes_up_from_a_random_place_and_wraps_around(chunks: set[int], limit: int, seed: int) -> None:
    start = Random(seed).getrandbits(32) * COUNT >> 32
    expected = sorted(chunks, key=lambda index: (index < start, index))[:limit]
    assert pick(set_of(sorted(chunks)), COUNT, limit, Random(seed)) == expected


def test_every_chunk_may_be_picked_first() -> None:
    rng = Random(1)
    first = Counter(pick(full_set(8), 8, 1, rng)[0] for _ in range(4000))
    assert sorted(first) == list(range(8))
    assert min(first.values()) > 400


@given(st.integers(0, 300), st.integers(1, 12))
def test_every_nth_chunk_is_a_share_and_the_shares_are_all(count: int, step: int) -> None:
    shares = [set(bits_of(every(count, step, first))) for first in range(step)]
    assert shares == [set(range(first, count, step)) for first in range(step)]
