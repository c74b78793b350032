"""Do both sides' books agree, and what does a receipt count?"""

from random import Random

from artifacts import Origin, manifest_of
from hypothesis import given
from hypothesis import strategies as st
from pytest import MonkeyPatch

from ringgossip.content.record import Record
from ringgossip.identity import PeerId
from ringgossip.protocol.core import LINK, LinkId, Send
from ringgossip.protocol.receipts import Out, Receipts, entry_of
from ringgossip.protocol.shelf import Shelf
from ringgossip.wire.messages import Holding, HoldingsDigest, HoldingsList, HoldingsWanted

ON = LinkId(1)
ORIGIN = Origin()
RECORDS = [
    ORIGIN.record(manifest_of(1, f"{name} {sequence}"), str(name), sequence=sequence)
    for name in range(4)
    for sequence in (1, 2)
]


class Keeper:
    """One side: its shelf, its books, and what it says."""

    def __init__(self, name: str, seed: int, held: list[Record]) -> None:
        self.me = PeerId(name.encode() * 16)
        self.shelf = Shelf()
        for record in held:
            self.shelf.add(record)
        self.receipts = Receipts(self.shelf, Random(seed))
        self.receipts.restore()

    def hold(self, record: Record, now: float, origin: PeerId | None = None) -> Out:
        if self.shelf.holds(record):
            return []
        self.shelf.add(record)
        self.receipts.concerned = lambda record: [] if origin is None else [origin]
        return self.receipts.held(record, now)

    def drop(self, record: Record, now: float) -> Out:
        self.shelf.remove(record)
        return self.receipts.dropped(record, now)


def talk(one: Keeper, other: Keeper, out: Out, now: float) -> list[bytes]:
    """Deliver what `one` said and all that follows; return what was new to `other`."""
    new: list[bytes] = []
    queue = [(one, other, effect) for effect in out]
    for _ in range(1000):
        if not queue:
            return new
        teller, hearer, effect = queue.pop(0)
        assert isinstance(effect, Send) and not isinstance(effect.to, str)
        answer, added = hearer.receipts.receive(effect.message, teller.me, ON, now)
        if hearer is other:
            new += added
        queue += [(hearer, teller, more) for more in answer]
    raise AssertionError("they never stop talking")


HELD = st.lists(st.sampled_from(RECORDS), max_size=5)


@given(st.integers(), HELD, HELD)
def test_after_any_history_both_books_agree_within_one_comparison(
    seed: int, mine: list[Record], theirs: list[Record]
) -> None:
    rng, now = Random(seed), 0.0
    alice, bob = Keeper("a", 1, mine), Keeper("b", 2, theirs)
    linked = False
    for _ in range(40):
        now += rng.random() * 3
        one, other = (alice, bob) if rng.random() < 0.5 else (bob, alice)
        record = RECORDS[rng.randrange(len(RECORDS))]
        if linked:
            talk(one, other, one.receipts.wake(now), now)
        match rng.randrange(5):
            case 0 | 1:
                out = one.hold(record, now, other.me if rng.random() < 0.5 else None)
            case 2:
                out = one.drop(record, now)
            case 3 if linked:
                linked = False
                alice.receipts.link_broken(bob.me)
                bob.receipts.link_broken(alice.me)
                continue
            case 4 if not linked:
                linked = True
                talk(alice, bob, alice.receipts.link_opened(bob.me, now), now)
                out, one, other = bob.receipts.link_opened(alice.me, now), bob, alice
            case _:
                continue
        if linked:
            talk(one, other, out, now)
    if not linked:
        talk(alice, bob, alice.receipts.link_opened(bob.me, now), now)
        talk(bob, alice, bob.receipts.link_opened(alice.me, now), now)
    for _ in range(3):
        now += 320.0  # at first each 30 seconds, at last each five minutes
        for one, other in ((alice, bob), (bob, alice)):
            assert one.receipts.next_wakeup() <= now
            talk(one, other, one.receipts.wake(now), now)
            assert one.receipts.next_wakeup() > now
    for one, other in ((alice, bob), (bob, alice)):
        for record in RECORDS:
            assert (one.me in other.receipts.holders(record)) == one.shelf.holds(record)
            later = any(r.key == record.key and r.sequence >= record.sequence for r in one.shelf.versions())
            assert (one.me in other.receipts.confirmed(record)) == later
        (digest,) = one.receipts.wake(now + 320.0)
        assert isinstance(digest, Send)
        assert other.receipts.receive(digest.message, one.me, ON, now + 320.0) == ([], [])


def test_a_copy_is_told_once_however_often_books_are_compared() -> None:
    alice, bob = Keeper("a", 1, RECORDS[:3]), Keeper("b", 2, [])
    assert len(talk(alice, bob, alice.receipts.link_opened(bob.me, 0.0), 0.0)) == 3
    bob.receipts.link_opened(alice.me, 0.0)
    # A word was lost with a link; all is listed again, and only what is new counts as new.
    alice.receipts._linked.clear()
    alice.hold(RECORDS[3], 1.0)
    again = talk(alice, bob, alice.receipts.link_opened(bob.me, 50.0), 50.0)
    assert again == [entry_of(RECORDS[3])]


def test_a_list_that_nobody_asked_for_changes_nothing() -> None:
    bob = Keeper("b", 2, [])
    bob.receipts.link_opened(PeerId(b"a" * 16), 0.0)
    entries = b"".join(map(entry_of, RECORDS))
    assert bob.receipts.receive(HoldingsList(True, True, entries), PeerId(b"a" * 16), ON, 1.0) == ([], [])
    assert bob.receipts.holders(RECORDS[0]) == []


def test_lists_are_not_sent_faster_than_they_may_be_asked_for() -> None:
    alice = Keeper("a", 1, RECORDS)
    bob = PeerId(b"b" * 16)
    alice.receipts.link_opened(bob, 0.0)
    assert len(alice.receipts.receive(HoldingsWanted(), bob, ON, 1.0)[0]) == 1
    assert alice.receipts.receive(HoldingsWanted(), bob, ON, 2.0)[0] == []
    assert len(alice.receipts.receive(HoldingsWanted(), bob, ON, 6.1)[0]) == 1


def test_a_long_list_comes_in_parts_and_an_empty_one_in_one() -> None:
    many = [ORIGIN.record(manifest_of(1), f"{number}") for number in range(2100)]
    bob = PeerId(b"b" * 16)
    for held, parts in ((many, [(True, False), (False, False), (False, True)]), ([], [(True, True)])):
        out = Keeper("a", 1, held).receipts.receive(HoldingsWanted(), bob, ON, 1.0)[0]
        lists = [effect.message for effect in out if isinstance(effect, Send)]
        assert [(a.first, a.last) for a in lists if isinstance(a, HoldingsList)] == parts


def test_a_version_held_twice_is_announced_once_and_dropped_with_the_last() -> None:
    alice, bob = Keeper("a", 1, []), PeerId(b"b" * 16)
    twin = ORIGIN.record(manifest_of(1, "0 1"), "0", metadata={"quality": 1})
    assert entry_of(twin) == entry_of(RECORDS[0])
    alice.receipts.link_opened(bob, 0.0)
    xor = alice.receipts._own_xor
    assert alice.hold(RECORDS[0], 1.0) == alice.hold(twin, 1.0) == []
    after = alice.receipts._own_xor.to_bytes(16)
    assert alice.receipts.wake(2.0) == [Send(bob, Holding(entry_of(twin), b"", 1, after), LINK)]
    assert alice.drop(RECORDS[0], 3.0) == alice.drop(twin, 3.0) == alice.drop(twin, 3.0) == []
    assert alice.receipts.wake(4.0) == [Send(bob, Holding(b"", entry_of(twin), 0, bytes(16)), LINK)]
    assert xor == alice.receipts._own_xor == 0
    assert alice.receipts.wake(100.0) == [Send(bob, HoldingsDigest(0, bytes(16)), LINK)]


def test_the_origin_hears_of_a_copy_at_once_and_the_others_with_what_else_has_changed() -> None:
    alice, bob, carol = Keeper("a", 1, RECORDS[:1]), PeerId(b"b" * 16), PeerId(b"c" * 16)
    for neighbour in (bob, carol):
        alice.receipts.link_opened(neighbour, 0.0)
    new, old = entry_of(RECORDS[1]), entry_of(RECORDS[0])
    assert alice.hold(RECORDS[1], 1.0, bob) == [Send(bob, Holding(new, b""), LINK)]
    assert alice.receipts.wake(1.5) == []
    assert alice.drop(RECORDS[0], 1.5) == [Send(bob, Holding(b"", old), LINK)], "or it would count what went"
    word = Holding(new, old, 1, alice.receipts._own_xor.to_bytes(16))
    assert alice.receipts.wake(2.0) == [Send(carol, word, LINK)]
    assert alice.hold(RECORDS[2], 3.0, bob) != []
    assert [send.to for send in alice.receipts.wake(4.0) if isinstance(send, Send)] == [carol]


def test_what_is_compared_or_listed_was_told_before() -> None:
    """Else books differ by what everybody is about to hear, and whole lists travel for it."""
    bob, carol = PeerId(b"b" * 16), PeerId(b"c" * 16)

    def said(out: Out) -> list[tuple[PeerId, type]]:
        return [(send.to, type(send.message)) for send in out if isinstance(send, Send)]  # type: ignore[misc]

    def with_news() -> tuple[Receipts, float]:
        alice = Keeper("a", 1, [])
        alice.receipts.link_opened(bob, 0.0)
        compares_at = alice.receipts.next_wakeup()
        alice.hold(RECORDS[0], compares_at - 0.5)
        return alice.receipts, compares_at

    receipts, now = with_news()
    assert said(receipts.wake(now)) == [(bob, Holding)]
    receipts, now = with_news()
    assert said(receipts.link_opened(carol, now)) == [(bob, Holding), (carol, HoldingsDigest)]
    receipts, now = with_news()
    assert said(receipts.receive(HoldingsWanted(), bob, ON, now)[0]) == [(bob, Holding), (bob, HoldingsList)]


def test_books_are_compared_ever_more_rarely_until_something_changes() -> None:
    alice, bob = Keeper("a", 1, []), PeerId(b"b" * 16)
    alice.receipts.link_opened(bob, 0.0)
    gaps = []
    for _ in range(5):
        now = alice.receipts.next_wakeup()
        assert len(alice.receipts.wake(now)) == 1
        gaps.append(alice.receipts.next_wakeup() - now)
    assert 45 <= gaps[0] <= 75 and all(180 <= gap <= 300 for gap in gaps[2:])
    alice.hold(RECORDS[0], now + 1.0)
    alice.receipts.wake(now + 2.0)
    assert alice.receipts.next_wakeup() <= now + 2.0 + 37.5
    assert len(alice.receipts.wake(now + 40.0)) == 1
    assert alice.receipts.next_wakeup() <= now + 40.0 + 75.0


def test_a_word_that_was_lost_shows_in_the_next() -> None:
    alice, bob = Keeper("a", 1, []), Keeper("b", 2, [])
    alice.receipts.link_opened(bob.me, 0.0)
    alice.hold(RECORDS[0], 1.0)
    assert alice.receipts.wake(2.0) != []
    alice.hold(RECORDS[2], 3.0)
    assert len(talk(alice, bob, alice.receipts.wake(4.0), 4.0)) == 2


def test_a_full_book_agrees_and_its_list_does_not_travel_again(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr("ringgossip.protocol.receipts._MOST_IN_BOOK", 3)
    one, other = Keeper("a", 1, RECORDS[:6]), Keeper("b", 2, [])
    talk(one, other, one.receipts.link_opened(other.me, 0.0), 0.0)
    assert sum(one.me in other.receipts.holders(record) for record in RECORDS) == 3
    digest = HoldingsDigest(6, one.receipts._own_xor.to_bytes(16))
    assert other.receipts.receive(digest, one.me, ON, 60.0) == ([], [])
    one.receipts.link_opened(other.me, 60.0)
    for record in RECORDS[:4]:  # some of them had room, some had not
        one.drop(record, 61.0)
    one.hold(RECORDS[6], 61.0)
    talk(one, other, one.receipts.wake(62.0), 62.0)
    digest = HoldingsDigest(3, one.receipts._own_xor.to_bytes(16))
    assert other.receipts.receive(digest, one.me, ON, 90.0) == ([], [])
