"""May a word that was passed on be trusted, and what does passing on cost?"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from artifacts import CLUSTER, Origin, manifest_of

from ringgossip.content.record import Record
from ringgossip.identity import PeerId
from ringgossip.protocol import relaying
from ringgossip.protocol.cards import MemberFacts
from ringgossip.protocol.core import Effect, Notice, Send
from ringgossip.protocol.member_views import Member
from ringgossip.protocol.receipts import entry_of
from ringgossip.protocol.relaying import PASS_BURST, PASS_RATE, Relaying
from ringgossip.simulation.notary import Authority
from ringgossip.wire.codec import encode
from ringgossip.wire.messages import Holding, HoldingsList, Interest, Relayed

AUTHORITY = Authority(CLUSTER)
NOTARIES = {name: AUTHORITY.enroll(name) for name in ("alice", "bob", "mia", "mallory")}
NAMES = {notary.certificate.peer_id: name for name, notary in NOTARIES.items()}
ALICE, BOB, MIA, MALLORY = NAMES
ORIGIN = Origin("alice", AUTHORITY)


class Someone:
    """One member: `alice` made things, `bob` holds them, both are linked with `mia` only."""

    def __init__(self, name: str, *links: PeerId, boot: int = 7) -> None:
        self.me = NOTARIES[name].certificate.peer_id
        self.holds: list[Record] = []
        self.booked: list[bytes] = []
        self.counted: list[PeerId] = []
        self.links = list(links)
        self.boots = dict.fromkeys(NAMES, 7) | {self.me: boot}
        self.machine = Relaying(
            CLUSTER,
            NOTARIES[name],
            boot,
            Random(1),
            lambda: self.holds,
            entry_of,
            lambda: self.links,
            lambda peer: peer in self.links,
            lambda peer: Member(peer, NAMES[peer], "alive", self.boots[peer], 0, MemberFacts(())),
            lambda known: next((peer for peer, its in NAMES.items() if its == known), None),
            lambda peer: NOTARIES[NAMES[peer]].certificate,
            lambda peer: self.booked,
            lambda: self.counted,
            0.0,
        )

    def hold(self, record: Record, now: float) -> list[Relayed]:
        self.holds.append(record)
        self.machine.held(record, now)
        return words(self.machine.wake(now))

    def hear(self, word: Relayed, sender: PeerId, now: float = 1.0) -> tuple[list[Relayed], Holding | None]:
        out, holding = self.machine.receive(word, sender, now)
        return words(out), holding


def words(out: Sequence[Effect | Notice]) -> list[Relayed]:
    found = []
    for effect in out:
        assert isinstance(effect, Send)
        assert isinstance(effect.message, Relayed)
        found.append(effect.message)
    return found


def record(name: str) -> Record:
    return ORIGIN.record(manifest_of(1, name), name)


def three() -> tuple[Someone, Someone, Someone]:
    return Someone("alice", MIA), Someone("bob", MIA), Someone("mia", ALICE, BOB, MALLORY)


def test_a_holders_word_comes_through_a_third_and_is_the_holders() -> None:
    alice, bob, mia = three()
    best = record("best.pth")
    [word] = bob.hold(best, 1.0)
    [passed], nothing = mia.hear(word, BOB)
    assert nothing is None
    assert passed == word
    assert alice.hear(passed, MIA) == ([], Holding(entry_of(best), b""))


def test_what_a_third_makes_up_or_changes_is_nobodys_word() -> None:
    alice, bob, _ = three()
    [word] = bob.hold(record("best.pth"), 1.0)
    other = encode(Holding(entry_of(record("other.pth")), b""))
    made_up = replace(word, sender=MALLORY, body=other)
    for forged in (replace(word, body=other), replace(word, number=9), replace(word, boot=9), made_up):
        assert alice.hear(forged, MIA) == ([], None)
    assert alice.hear(word, MIA)[1] is not None


def test_an_old_word_is_no_news_though_its_signature_is_good() -> None:
    alice, bob, _ = three()
    best = record("best.pth")
    [held] = bob.hold(best, 1.0)
    bob.machine.dropped(best, 2.0)
    [dropped] = words(bob.machine.wake(2.0))
    assert alice.hear(held, MIA)[1] is not None
    assert alice.hear(dropped, MIA)[1] == Holding(b"", entry_of(best))
    assert alice.hear(held, MIA) == ([], None)
    assert alice.hear(dropped, MIA) == ([], None)
    # Nor does it count in our next life: it was said to another boot.
    assert Someone("alice", MIA, boot=8).hear(held, MIA) == ([], None)


def test_a_word_goes_through_one_member_only_and_only_where_a_link_is() -> None:
    _, bob, mia = three()
    [word] = bob.hold(record("best.pth"), 1.0)
    assert mia.hear(word, MALLORY) == ([], None)  # not its author's link
    mia.links.remove(ALICE)
    assert mia.hear(word, BOB) == ([], None)


def test_what_has_a_link_speaks_for_itself() -> None:
    alice, bob, _ = three()
    [word] = bob.hold(record("best.pth"), 1.0)
    alice.links.append(BOB)
    assert alice.hear(word, MIA) == ([], None)
    bob.links.append(ALICE)
    assert bob.hold(record("next.pth"), 2.0) == []


def test_a_word_that_is_not_about_holdings_is_not_taken() -> None:
    alice, bob, _ = three()
    body = encode(Interest(bytes(32), True))
    signed = bob.machine._signed(BOB, ALICE, 7, 7, 50, body)
    assert alice.hear(Relayed(BOB, ALICE, 7, 50, body, NOTARIES["bob"].sign(signed)), MIA) == ([], None)
    garbage = bob.machine._signed(BOB, ALICE, 7, 7, 51, b"\xc1")
    assert alice.hear(Relayed(BOB, ALICE, 7, 51, b"\xc1", NOTARIES["bob"].sign(garbage)), MIA) == ([], None)


def test_whoever_floods_has_a_bounded_rate_passed_on_and_others_their_own() -> None:
    _, bob, mia = three()
    [word] = bob.hold(record("best.pth"), 1.0)
    passed = sum(bool(mia.hear(word, BOB, now=1.0 + n / 1000)[0]) for n in range(10_000))
    assert passed <= (PASS_BURST + 10 * PASS_RATE) / 4096 + 1
    assert mia.hear(replace(word, sender=MALLORY), MALLORY, now=11.0)[0]


def test_a_comparison_tells_what_was_missed_and_what_is_stale() -> None:
    alice, bob, mia = three()
    best, gone = record("best.pth"), record("gone.pth")
    bob.hold(best, 1.0)  # nobody passes it on
    alice.booked = [entry_of(gone)]  # said on a link that is no more
    at = bob.machine.next_wakeup()
    while True:  # until the round in which digests go
        said = [word for word in words(bob.machine.wake(at)) if word.to == ALICE]
        if said:
            break
        at = bob.machine.next_wakeup()
    [digest] = said
    [wanted], _ = alice.hear(digest, MIA, at)
    [passed], _ = mia.hear(wanted, ALICE, at)
    [listed], _ = bob.hear(passed, MIA, at)
    assert alice.hear(listed, MIA, at) == ([], Holding(entry_of(best), entry_of(gone)))
    # Now both agree: nothing follows the next digest.
    [again] = [word for word in words(bob.machine.wake(bob.machine.next_wakeup())) if word.to == ALICE]
    assert alice.hear(again, MIA, at + 40) == ([], None)


def test_a_list_that_nobody_asked_for_changes_nothing() -> None:
    alice, bob, _ = three()
    body = encode(HoldingsList(True, True, entry_of(record("best.pth"))))
    signed = bob.machine._signed(BOB, ALICE, 7, 7, 1, body)
    assert alice.hear(Relayed(BOB, ALICE, 7, 1, body, NOTARIES["bob"].sign(signed)), MIA) == ([], None)


def test_whoever_holds_nothing_says_nothing_and_is_asked_by_whoever_still_counts_it() -> None:
    alice, bob, mia = three()
    gone = record("gone.pth")
    alice.counted, alice.booked = [BOB], [entry_of(gone)]  # of its earlier life
    assert [words(bob.machine.wake(bob.machine.next_wakeup())) for _ in range(20)] == [[]] * 20
    at = alice.machine.next_wakeup()
    [wanted] = words(alice.machine.wake(at))
    [passed], _ = mia.hear(wanted, ALICE, at)
    [listed], _ = bob.hear(passed, MIA, at)
    assert alice.hear(listed, MIA, at) == ([], Holding(b"", entry_of(gone)))


def test_a_holder_that_is_counted_is_asked_again_only_after_a_long_silence() -> None:
    alice, bob, _ = three()
    [word] = bob.hold(record("best.pth"), 1.0)
    alice.hear(word, MIA, 1.0)
    alice.counted = [BOB]
    asked = []
    while (at := alice.machine.next_wakeup()) < 300:
        asked += [at] * len(words(alice.machine.wake(at)))
    assert asked[0] >= 90 and 30 <= min(b - a for a, b in pairwise(asked)) < 60
    # What it says itself is as good as an answer.
    word = bob.hold(record("next.pth"), 300.0)[0]
    alice.hear(word, MIA, 300.0)
    assert words(alice.machine.wake(alice.machine.next_wakeup())) == []


def test_a_copy_of_a_link_that_is_no_more_is_not_counted_for_ever_by_whoever_hears_news_only() -> None:
    alice, bob, mia = three()
    gone, best = record("gone.pth"), record("best.pth")
    alice.counted, alice.booked = [BOB], [entry_of(gone)]  # bob lost it, and that word was lost too
    alice.hear(bob.hold(best, 1.0)[0], MIA, 1.0)
    at = 2.0
    said: list[Relayed] = []
    while not said:
        at = bob.machine.next_wakeup()
        said = words(bob.machine.wake(at))
    [wanted], _ = alice.hear(said[0], MIA, at)  # though the digest is that of what it told
    [passed], _ = mia.hear(wanted, ALICE, at)
    [listed], _ = bob.hear(passed, MIA, at)
    assert alice.hear(listed, MIA, at) == ([], Holding(entry_of(best), entry_of(gone)))


def test_more_silent_holders_than_there_is_room_for_are_asked_a_few_a_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relaying, "MOST_HOLDERS", 1)
    monkeypatch.setattr(relaying, "_FEW", 1)
    alice = Someone("alice", MIA)
    alice.counted = [BOB, MALLORY]
    asked = [[word.to for word in words(alice.machine.wake(alice.machine.next_wakeup()))] for _ in range(40)]
    assert max(map(len, asked)) <= 2
    assert {each[0] for each in asked if each} == {BOB, MALLORY}
    assert len(alice.machine._told) == 1
