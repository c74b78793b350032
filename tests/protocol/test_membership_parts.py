"""The small parts of membership: deadlines, the queue of news, the roster, lists in pages."""

import itertools
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from member_network import card_of

from ringgossip.protocol.core import NEVER
from ringgossip.protocol.evidence import ALIVE, DEAD, SUSPECT, standing_of
from ringgossip.protocol.exchange import DATAGRAM_ROOM, compare, pack_cards, pages
from ringgossip.protocol.health import LocalHealth
from ringgossip.protocol.news import News
from ringgossip.protocol.roster import Roster
from ringgossip.protocol.timers import Deadlines
from ringgossip.wire.codec import encode


def roster_of(size: int) -> Roster:
    roster = Roster(card_of("me"), 5000)
    for number in range(size):
        roster.put(standing_of(card_of(f"peer-{number}"), 0, ALIVE), 0.0)
    return roster


def test_a_deadline_that_was_moved_or_cancelled_is_not_due_at_its_old_time() -> None:
    deadlines = Deadlines()
    deadlines.set(("a", 1), 1.0)
    deadlines.set(("b", 1), 2.0)
    deadlines.set(("a", 1), 3.0)
    deadlines.set(("c", 1), 1.5)
    deadlines.cancel(("c", 1))
    assert deadlines.next() == 2.0
    assert [deadlines.pop_due(2.5), deadlines.pop_due(2.5), deadlines.pop_due(3.0)] == [
        ("b", 1),
        None,
        ("a", 1),
    ]
    assert deadlines.next() == NEVER


def test_moving_a_deadline_often_takes_no_more_memory() -> None:
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.set(("a", 1), float(number))
    assert len(deadlines.heap) < 200
    assert deadlines.next() == 9999.0


def test_news_is_told_so_often_newest_and_least_told_first() -> None:
    news: News[str] = News()
    for name in ("old", "new"):
        news.put(name.encode(), 10, name)
    assert news.take(10, 3) == ["new"]
    assert news.take(10, 3) == ["old"]
    news.put(b"last", 10, "last")
    told = Counter(name for _ in range(20) for name in news.take(20, 3))
    assert told == {"old": 2, "new": 2, "last": 3}
    assert len(news) == 0


def test_news_that_others_tell_us_is_told_less_often() -> None:
    news: News[str] = News()
    news.put(b"a", 10, "a")
    news.put(b"b", 10, "b")
    news.known(b"a", 2, 4)
    news.known(b"c", 2, 4)  # of whom nothing is told
    assert [news.take(10, 4) for _ in range(7)] == [["b"], ["b"], ["b"], ["a"], ["a"], ["b"], []]
    news.put(b"a", 10, "a")
    news.known(b"a", 9, 4)
    assert not news


def test_newer_news_of_a_member_replaces_older() -> None:
    news: News[str] = News()
    news.put(b"bob", 10, "suspect")
    news.take(10, 3)
    news.put(b"bob", 10, "alive")
    assert news.take(100, 3) == ["alive"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 50)), max_size=30), st.integers(0, 120))
def test_news_fits_into_the_room_it_gets(items: list[tuple[int, int]], room: int) -> None:
    news: News[int] = News()
    for key, size in items:
        news.put(bytes([key]), size, size)
    for _ in range(5):
        assert sum(news.take(room, 4)) <= room


def test_everybody_is_probed_once_a_round_and_newcomers_in_between() -> None:
    rng, roster = Random(1), roster_of(20)
    for _ in range(3):
        drawn = [roster.next_target(rng) for _ in range(20)]
        assert sorted(map(bytes, drawn)) == sorted(roster.others())  # type: ignore[arg-type]
    before = set(roster.others())
    [roster.next_target(rng) for _ in range(5)]
    for number in range(30):
        roster.put(standing_of(card_of(f"new-{number}"), 0, ALIVE), 1.0)
    rest = [roster.next_target(rng) for _ in range(45)]
    assert len(set(rest)) == 45
    new = [place for place, key in enumerate(rest) if key not in before]
    assert min(new) < 10 and max(new) > 35


def test_a_roster_that_was_filled_is_one_that_met_everybody() -> None:
    cards = tuple(card_of(name) for name in ("me", "ann", "bob"))
    filled, met = Roster(cards[0], 5000), Roster(cards[0], 5000)
    filled.fill(cards)
    for card in cards:
        met.put(standing_of(card, 0, ALIVE), 0.0)
    assert (filled.table, filled.names, filled.digest, filled.live) == (
        met.table, met.names, met.digest, met.live,
    )  # fmt: skip
    assert sorted(filled.others()) == sorted(met.others())


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([ALIVE, SUSPECT, DEAD])), max_size=40))
def test_ring_digest_and_count_follow_the_table(changes: list[tuple[int, int]]) -> None:
    rng, roster = Random(1), Roster(card_of("me"), 5000)
    for at, (number, state) in enumerate(changes):
        roster.put(standing_of(card_of(f"peer-{number}"), at, state), float(at))
        roster.next_target(rng)
        live = [key for key, standing in roster.table.items() if standing.state < DEAD]
        assert sorted(roster.others()) == sorted(set(live) - {roster.me})
        assert roster.live == len(live)
        digest = 0
        for key in live:
            digest ^= roster.table[key].card.mark
        assert roster.digest == digest
        assert set(roster.fallen) == set(roster.table) - set(live)


@pytest.mark.parametrize("size", [0, 2, 3, 4, 5, 30])
def test_a_sample_has_different_members_without_ourselves(size: int) -> None:
    rng, roster = Random(2), roster_of(size)
    for _ in range(50):
        but = card_of("peer-1").key
        found = roster.sample(rng, 3, but=but)
        assert len(found) == len(set(found)) == min(3, size - (size > 1))
        assert roster.me not in found and but not in found


def test_pages_cover_every_key_once_and_fit_into_datagrams() -> None:
    roster = roster_of(130)
    parts = pages(roster, whole=False)
    assert len(parts) == 3
    assert all(len(encode(page)) <= 1300 for page in parts)
    assert parts[0].low == bytes(8) and parts[-1].high == b"\xff" * 8
    for earlier, later in itertools.pairwise(parts):
        assert int.from_bytes(earlier.high, "big") + 1 == int.from_bytes(later.low, "big")


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_two_that_compare_pages_find_all_that_differs(common: int, ours: int, theirs: int) -> None:
    mine, yours = roster_of(common), roster_of(common)
    for number in range(ours):
        mine.put(standing_of(card_of(f"mine-{number}"), 0, ALIVE), 0.0)
    for number in range(theirs):
        yours.put(standing_of(card_of(f"yours-{number}"), 0, ALIVE), 0.0)
    better, strangers = [], []
    for page in pages(yours, whole=False):
        found = compare(page, mine)
        better += [standing.card.name for standing, _, _ in found.better]
        strangers += found.strangers
    assert sorted(better) == sorted(f"mine-{number}" for number in range(ours))
    assert sorted(strangers) == sorted(card_of(f"yours-{number}").key for number in range(theirs))


def test_cards_and_certificates_are_packed_into_datagrams_with_their_states() -> None:
    found = [
        (standing_of(card_of(f"peer-{n}"), 0, DEAD), card_of(f"peer-{n}").packed, b"c" * 270)
        for n in range(9)
    ]
    found.append((standing_of(card_of("big"), 0, ALIVE), b"b" * 1200, b"c" * 1000))
    messages = list(pack_cards(found, DATAGRAM_ROOM))
    assert all(len(encode(message)) <= 1300 for message in messages)
    assert sum(len(message.cards) for message in messages) == 10
    assert sum(len(message.certificates) for message in messages) == 10
    assert all(len(m.states) == 25 * len(m.cards) for m in messages)


def test_health_stays_between_well_and_worst() -> None:
    health = LocalHealth(8)
    health.note(-1)
    assert health.scale(1.0) == 1.0
    health.note(20)
    assert health.scale(0.5) == 4.5
    off = LocalHealth(0)
    off.note(3)
    assert off.scale(1.0) == 1.0
