"""Do two catalogs end up equal, and do equal ones stay silent?"""

from random import Random

import pytest
from artifacts import CLUSTER, Origin, manifest_of, peer
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.content.catalog import Catalog
from ringgossip.content.record import unpack_record
from ringgossip.errors import PeerMisbehaved
from ringgossip.identity import PeerId
from ringgossip.protocol.anti_entropy import AntiEntropy, AntiEntropySettings, Out
from ringgossip.protocol.core import LinkId, NeedLink, Send
from ringgossip.simulation.notary import Authority
from ringgossip.wire.messages import CatalogRoot, Certificates, DigestStep, Records, RecordsWanted

A, B = peer(1), peer(2)
ON = LinkId(1)
AUTHORITY = Authority(CLUSTER)
ORIGINS = [Origin(name, AUTHORITY) for name in ("alice", "bob", "carol")]
RECORDS = [
    origin.record(manifest_of(1, f"{sequence}"), f"{name}", kind, sequence=sequence)
    for origin in ORIGINS
    for kind in ("games", "models")
    for name in range(3)
    for sequence in (1, 2)
]


class Side:
    def __init__(self, seed: int, records: list[int], origins: list[int]) -> None:
        self.catalog = Catalog(CLUSTER)
        for number in origins:
            self.catalog.add_certificate(ORIGINS[number].notary.certificate)
        for number in records:
            self.catalog.admit(RECORDS[number])
        self.machine = AntiEntropy(AntiEntropySettings(), self.catalog, Random(seed), 0.0)
        self.late: list[bytes] = []

    def take(self, message: Certificates | Records) -> None:
        """Admission, with free signatures."""
        if isinstance(message, Certificates):
            for der in message.certificates:
                self.catalog.add_certificate(AUTHORITY.read(der))
        else:
            self.late += message.records
        for packed in self.late:
            self.catalog.admit(unpack_record(packed))


def talk(alice: Side, bob: Side, start: list[tuple[Side, Out]], now: float) -> int:
    """Deliver all that is said until nobody has a word left; return how many messages it took."""
    queue = [(side, effect) for side, out in start for effect in out]
    for count in range(3000):
        if not queue:
            return count
        side, effect = queue.pop(0)
        assert isinstance(effect, Send)
        hearer, teller = (bob, A) if side is alice else (alice, B)
        if isinstance(effect.message, Certificates | Records):
            hearer.take(effect.message)
        else:
            queue += [(hearer, more) for more in hearer.machine.receive(effect.message, teller, ON, now)]
    raise AssertionError("they never stop talking")


NUMBERS = st.lists(st.integers(0, len(RECORDS) - 1), max_size=20)


@given(NUMBERS, NUMBERS, st.integers())
def test_two_catalogs_become_equal_in_a_few_seconds_and_then_nothing_is_said(
    mine: list[int], theirs: list[int], seed: int
) -> None:
    alice, bob = Side(seed, mine, [0, 1, 2]), Side(seed + 1, theirs, [2])
    hellos = [(alice, alice.machine.link_opened(B, 0.0)), (bob, bob.machine.link_opened(A, 0.0))]
    talk(alice, bob, hellos, 0.0)
    now = 0.0
    for _ in range(60):
        for side in (alice, bob):
            while side.machine.next_wakeup() <= now:
                due = side.machine.next_wakeup()
                talk(alice, bob, [(side, side.machine.wake(now))], now)
                assert side.machine.next_wakeup() > due or side.machine.next_wakeup() > now
        if now > 20.0 and alice.catalog.root == bob.catalog.root:
            break
        now += 0.25
    assert alice.catalog.root == bob.catalog.root
    walks = alice.machine.walks + bob.machine.walks
    while now < 60.0:
        now += 0.25
        for side in (alice, bob):
            if side.machine.next_wakeup() <= now:
                assert talk(alice, bob, [(side, side.machine.wake(now))], now) <= 1
    assert alice.machine.walks + bob.machine.walks == walks
    assert alice.machine.exchanges
    assert bob.machine.exchanges


def test_a_difference_that_rumors_settle_is_not_walked() -> None:
    side = Side(1, [0], [0])
    side.machine.link_opened(B, 0.0)
    side.machine.heard_root(B, b"another!", 0.0)
    side.machine.heard_root(B, side.catalog.root, 0.3)
    side.machine.wake(2.0)
    assert side.machine.walks == 0


def test_a_partner_that_differs_and_is_not_linked_is_dialled_not_too_often() -> None:
    side = Side(1, [0], [0])
    side.machine.heard_root(B, b"another!", 0.0)
    asked, now = 0, 0.0
    while now < 10.0:
        now = side.machine.next_wakeup()
        asked += side.machine.wake(now).count(NeedLink(B))
        assert side.machine.next_wakeup() > now
    assert 3 <= asked <= 6


def test_a_partner_that_says_nonsense_ends_the_walk_at_once() -> None:
    side = Side(1, [0], [0])
    side.machine.link_opened(B, 0.0)
    side.machine.heard_root(B, b"another!", 0.0)
    (step,) = [effect for effect in side.machine.wake(0.7) if isinstance(effect, Send)]
    opened = step.message
    assert isinstance(opened, DigestStep)
    nonsense = DigestStep(opened.walk, opened.set, opened.step, False, False, 3, 0, 0, 0, b"", b"", b"odd")
    with pytest.raises(PeerMisbehaved):
        side.machine.receive(nonsense, B, ON, 1.0)
    side.machine.heard_root(B, b"another!", 1.0)
    assert side.machine.wake(3.0) != [], "others, or it again, may be walked with"


def test_a_partner_that_keeps_a_walk_open_for_ever_is_left() -> None:
    side = Side(1, [0], [0])
    side.machine.link_opened(B, 0.0)
    side.machine.heard_root(B, b"another!", 0.0)
    (step,) = [effect for effect in side.machine.wake(0.7) if isinstance(effect, Send)]
    opened, now = step.message, 0.7
    assert isinstance(opened, DigestStep)
    empty = DigestStep(opened.walk, opened.set, opened.step, False, True, 3, 0, 0, 0, b"", b"", b"")
    while now < 70.0 and side.machine._walking is not None:
        now += 1.0
        side.machine.receive(empty, B, ON, now)
        if side.machine.next_wakeup() <= now:
            side.machine.wake(now)
    assert now < 65.0


def test_a_broken_link_ends_its_walk() -> None:
    side = Side(1, [0], [0])
    side.machine.link_opened(B, 0.0)
    side.machine.heard_root(B, b"another!", 0.0)
    assert side.machine.wake(0.7)
    side.machine.link_broken(B, 0.8)
    assert side.machine._walking is None


def test_two_that_differ_tell_each_other_once() -> None:
    alice, bob = Side(1, [0], [0, 1]), Side(2, [], [0, 1])
    for side, other in ((alice, B), (bob, A)):
        side.machine.link_opened(other, 0.0)
    root = CatalogRoot(alice.catalog.root)
    answer = bob.machine.receive(root, A, ON, 0.1)
    assert answer == [Send(A, CatalogRoot(bob.catalog.root), answer[0].lane)]  # type: ignore[union-attr]
    assert bob.machine.receive(root, A, ON, 0.2) == []


def test_a_member_that_walks_without_end_is_answered_with_its_share_and_others_as_ever() -> None:
    side = Side(1, list(range(len(RECORDS))), [0, 1, 2])
    settings = AntiEntropySettings(units_each_second=100.0, units_at_once=5000.0)
    machine = AntiEntropy(settings, side.catalog, Random(1), 0.0)
    steps = DigestStep(1, "games", 1, True, False, 0, 0, 0, 4, b"", b"", bytes(16 * 4))
    wanted = RecordsWanted("games", RECORDS[1].key.hash)

    def is_answered(sender: PeerId, now: float) -> bool:
        (reply,) = machine.receive(steps, sender, ON, now)
        assert isinstance(reply, Send) and isinstance(reply.message, DigestStep)
        return bool(reply.message.body)

    assert 100 < sum(is_answered(B, 0.0) for _ in range(1000)) < 300
    assert machine.receive(wanted, B, ON, 0.0) == []
    assert is_answered(peer(3), 0.0) and machine.receive(wanted, peer(3), ON, 0.0) != []
    answered = [is_answered(B, tick / 10) for tick in range(1000)]
    assert 200 < sum(answered) < 500, "for a hundred seconds"
    # In long stretches: beginnings of walks, one at a time, would find nothing.
    assert max(map(len, "".join("y" if each else "n" for each in answered).split("n"))) > 80
    assert machine.receive(wanted, B, ON, 160.0) != []


def test_who_differs_and_has_a_link_is_compared_with_when_that_has_lasted_and_not_sooner() -> None:
    side, settings = Side(1, [0], [0]), AntiEntropySettings()
    side.machine.link_opened(A, 0.0)
    before = side.machine.next_wakeup()
    side.machine.heard_root(B, b"not ours", 0.0)
    side.machine.heard_root(A, b"not ours", 0.1)
    assert before > settings.settle and side.machine.next_wakeup() == settings.settle
    side.machine.member_down(B)
    assert side.machine.next_wakeup() == 0.1 + settings.settle


def test_who_differed_and_agrees_again_is_not_compared_with() -> None:
    side = Side(1, [0], [0])
    side.machine.link_opened(A, 0.0)
    before, root = side.machine.next_wakeup(), side.catalog.root
    side.machine.heard_root(A, b"not ours", 0.1)
    assert not side.machine.agrees(A, root, 0.2), "its difference is to be forgotten first"
    assert side.machine.heard_root(A, root, 0.2) == []
    assert side.machine.next_wakeup() == before
    assert side.machine.agrees(A, root, 0.3) and not side.machine.agrees(A, b"not ours", 0.3)
