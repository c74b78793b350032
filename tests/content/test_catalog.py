"""Do all catalogs that were offered the same hold the same, whatever the order?"""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringgossip.content.catalog import SETS, Catalog, CatalogLimits, Outcome
from ringgossip.content.record import ArtifactKey, Record, verify_record
from ringgossip.errors import PeerMisbehaved
from ringgossip.identity import PeerId
from ringgossip.protocol.admission import Admission
from ringgossip.protocol.core import VerifyRecords

CLUSTER = "ringrift"


@pytest.fixture
def catalog(alice: Any) -> Catalog:
    """A catalog that knows alice."""
    catalog = Catalog(CLUSTER)
    catalog.add_certificate(alice)
    return catalog


class Member:
    """A catalog behind the door of the protocol, where records wait for their certificates."""

    def __init__(self, limits: CatalogLimits) -> None:
        self.catalog = Catalog(CLUSTER, limits)
        self.door = Admission(self.catalog)

    def offer(self, item: Any) -> None:
        """Offer a record or a certificate; workers check at once what may be checked."""
        if isinstance(item, Record):
            effects = self.door.offer((item.packed,), PeerId(bytes(16))).effects
        else:
            self.catalog.add_certificate(item)
            effects = self.door.certificate_arrived(item)
        for effect in effects:
            if isinstance(effect, VerifyRecords):
                self.door.records_verified(
                    effect.batch, tuple(self._reason(record) for record, _ in effect.records)
                )

    def _reason(self, record: Record) -> str | None:
        certificate = self.catalog.certificate(record.signer)
        assert certificate is not None
        return verify_record(record, CLUSTER, certificate)

    def contents(self, keys: list[ArtifactKey]) -> Any:
        """Everything that can be asked, in no particular order of arrival."""
        catalog = self.catalog
        return (
            catalog.root,
            [catalog.digest(set_).whole_root for set_ in SETS],
            sorted(record.packed for record in catalog.records()),
            sorted(certificate.der for certificate in catalog.certificates()),
            [(catalog.get(key), catalog.proof(key), catalog.sequence_after(key)) for key in keys],
            [(catalog.named(key.kind, key.name), catalog.conflict(key.kind, key.name)) for key in keys],
            [catalog.stamp_after(key.kind, key.name) for key in keys],
            [(catalog.latest(key.kind, key.name), catalog.retired(key.origin)) for key in keys],
            sorted(record.packed for record in catalog.listed()),
            self.door.waiting(),
        )


@pytest.fixture(scope="session")
def history(author: Callable[..., Any]) -> tuple[list[Any], list[ArtifactKey]]:
    """Certificates, records and orders of an eventful cluster: forgery, conflict, new generations."""
    alice, bob, carol, alice2 = author("alice"), author("bob"), author("carol"), author("alice", generation=2)
    stranger = author("alice", cluster="other")
    items: list[Any] = [alice, bob, carol, alice2]
    for one in (alice, bob, alice2):
        for sequence in (1, 2, 3):
            items.append(one.record("best.pth", sequence=sequence, stamp=sequence))
    items += [alice.record("torn.npz", kind="npz", content=bytes([number])) for number in range(4)]
    items += [
        alice.record("torn.npz", kind="npz", sequence=2, content=bytes([number])) for number in range(3)
    ]
    items += [carol.record("stolen.pth", origin="bob"), stranger.record("foreign.pth")]
    items += [one.record("games.db", kind="games") for one in (alice, bob, carol)]
    items += [carol.record(f"model-{number}.pth") for number in range(8)]
    # Withdrawn, published again and withdrawn again; withdrawn and not, with one sequence; retired names.
    items += [carol.record("gone.pth", sequence=n, stamp=n, withdrawn=n % 2 == 0) for n in range(1, 5)]
    items += [carol.record("both.pth", sequence=2, withdrawn=flag) for flag in (True, False)]
    items += [author("alice", retires=True), author("bob", retires=True), author("dora", retires=True)]
    items += [author("bob", generation=3, retires=True), author("alice", retires=True).record("order.pth")]
    keys = list(dict.fromkeys(item.key for item in items if isinstance(item, Record)))
    return items, keys


@given(st.integers(0, 2**62), st.sampled_from([3, 6, 200_000]))
@settings(max_examples=80, deadline=None)
def test_catalogs_offered_the_same_in_any_order_are_the_same(
    history: tuple[list[Any], list[ArtifactKey]], seed: int, limit: int
) -> None:
    items, keys = history
    limits = CatalogLimits(records_per_origin=limit)
    expected = Member(limits)
    for item in items:
        expected.offer(item)
    rng = random.Random(seed)
    shuffled = items + [rng.choice(items) for _ in range(rng.randrange(10))]
    rng.shuffle(shuffled)
    other = Member(limits)
    for item in shuffled:
        other.offer(item)
    # A record of an unknown cluster's certificate waits for ever, in whatever order.
    assert other.contents(keys) == expected.contents(keys)
    assert other.door.waiting() == 1


@pytest.mark.parametrize("limit", [4, 200_000])
def test_catalogs_that_exchange_what_they_kept_become_the_same(
    history: tuple[list[Any], list[ArtifactKey]], limit: int
) -> None:
    items, keys = history
    for seed in range(20):
        rng = random.Random(seed)
        members = [Member(CatalogLimits(records_per_origin=limit)) for _ in range(3)]
        for item in items:
            for one in rng.sample(members, rng.randint(1, 3)):
                one.offer(item)
        for giver in [*members, *members]:
            for taker in members:
                for item in [*giver.catalog.certificates(), *giver.catalog.records()]:
                    taker.offer(item)
        assert len({one.catalog.root for one in members}) == 1
        for key in keys:
            assert len({one.catalog.get(key) for one in members}) == 1


def test_what_is_withdrawn_is_listed_no_more_until_published_again(catalog: Catalog, alice: Any) -> None:
    catalog.admit(alice.record(stamp=1))
    withdrawn = alice.record(sequence=2, stamp=2, withdrawn=True)
    assert catalog.admit(withdrawn).outcome is Outcome.NEWER
    assert (list(catalog.listed()), list(catalog.records())) == ([], [withdrawn])
    assert catalog.unlisted(withdrawn) == "withdrawn"
    assert catalog.latest("models", withdrawn.name) is None
    assert catalog.stamp_after("models", withdrawn.name) == 3, "what comes next is later than what ended"
    assert catalog.sequence_after(withdrawn.key) == 3
    again = alice.record(sequence=3, stamp=3)
    catalog.admit(again)
    assert list(catalog.listed()) == [again] == [catalog.latest("models", again.name)]


def test_a_retired_name_lists_nothing_until_a_later_generation_publishes(
    catalog: Catalog, alice: Any, author: Callable[..., Any]
) -> None:
    catalog.add_certificate(author("bob"))
    theirs = author("bob").record("other.pth")
    for record in (theirs, alice.record(), alice.record("second.pth")):
        catalog.admit(record)
    before = catalog.root
    catalog.add_certificate(author("alice", retires=True))
    assert catalog.root != before, "else nobody would hear of it"
    assert list(catalog.listed()) == [theirs]
    late = alice.record("late.pth", sequence=5)
    assert catalog.admit(late).outcome is Outcome.NEW, "admission asks no order"
    assert catalog.unlisted(late) == "retired"
    catalog.add_certificate(author("alice", generation=2))
    again = author("alice", generation=2).record(sequence=2)
    catalog.admit(again)
    assert {record.name for record in catalog.listed()} == {again.name, theirs.name}
    catalog.add_certificate(author("alice", generation=2, retires=True))
    assert list(catalog.listed()) == [theirs]


def test_nothing_is_published_with_an_order(catalog: Catalog, author: Callable[..., Any]) -> None:
    order = author("alice", retires=True)
    catalog.add_certificate(order)
    assert catalog.admit(order.record()).outcome is Outcome.REFUSED


def test_each_outcome_says_what_happened(catalog: Catalog, alice: Any, author: Callable[..., Any]) -> None:
    first, third = alice.record(), alice.record(sequence=3)
    assert catalog.admit(first).outcome is Outcome.NEW
    assert catalog.admit(first).outcome is Outcome.KNOWN
    newer = catalog.admit(third)
    assert (newer.outcome, newer.previous) == (Outcome.NEWER, first)
    assert catalog.admit(alice.record(sequence=2)).outcome is Outcome.OLDER
    unknown = catalog.admit(author("bob").record())
    assert unknown.outcome is Outcome.REFUSED
    assert "certificate" in (unknown.reason or "")
    catalog.add_certificate(author("mallory"))
    forged = catalog.admit(author("mallory").record(origin="alice"))
    assert forged.outcome is Outcome.REFUSED
    assert "only alice may publish" in (forged.reason or "")
    assert catalog.get(first.key) == third
    assert len(catalog) == 1


def test_of_two_records_with_one_sequence_the_smaller_hash_is_kept_and_the_other_proves_it(
    alice: Any, catalog: Catalog
) -> None:
    small, middle, large = sorted(
        (alice.record(content=bytes([number])) for number in range(3)), key=lambda record: record.hash
    )
    catalog.admit(large)
    assert catalog.admit(middle).outcome is Outcome.EQUIVOCATION
    assert (catalog.get(small.key), catalog.proof(small.key)) == (middle, large)
    assert catalog.admit(small).outcome is Outcome.EQUIVOCATION
    assert (catalog.get(small.key), catalog.proof(small.key)) == (small, middle)
    for again in (small, middle, large):
        assert catalog.admit(again).outcome is Outcome.KNOWN
    catalog.admit(alice.record(sequence=2))
    assert catalog.proof(small.key) is None


def test_a_certificate_of_another_cluster_is_misbehaviour(author: Callable[..., Any]) -> None:
    with pytest.raises(PeerMisbehaved, match="other"):
        Catalog(CLUSTER).add_certificate(author("eve", cluster="other"))


def test_beyond_its_limit_an_origin_keeps_the_smallest_key_hashes(author: Callable[..., Any]) -> None:
    alice, bob = author("alice"), author("bob")
    records = sorted((alice.record(f"{number}.pth") for number in range(12)), key=lambda one: one.key.hash)
    catalog = Catalog(CLUSTER, CatalogLimits(records_per_origin=5))
    catalog.add_certificate(alice)
    catalog.add_certificate(bob)
    for record in reversed(records[3:]):
        admission = catalog.admit(record)
        assert admission.outcome is Outcome.NEW
    assert admission.displaced == records[8]
    assert catalog.latest("models", records[8].name) is None
    assert not catalog.room_for(records[0].key)
    assert catalog.room_for(records[3].key)
    refused = catalog.admit(records[11])
    assert (refused.outcome, refused.reason) == (Outcome.REFUSED, "alice has more than 5 artifacts")
    assert catalog.admit(alice.record(records[4].name, sequence=2)).outcome is Outcome.NEWER
    for record in records[:3]:
        catalog.admit(record)
    assert {one.name for one in catalog.records()} == {one.name for one in records[:5]}
    assert catalog.admit(bob.record()).outcome is Outcome.NEW


def test_the_latest_of_one_name_is_the_highest_stamp_then_the_smaller_origin(
    catalog: Catalog, alice: Any, author: Callable[..., Any]
) -> None:
    bob = author("bob")
    catalog.add_certificate(bob)
    name = "best.pth"
    assert catalog.latest("models", name) is None
    assert catalog.stamp_after("models", name) == 1
    catalog.admit(bob.record(name, stamp=4))
    catalog.admit(alice.record(name, stamp=3))
    assert catalog.latest("models", name) == bob.record(name, stamp=4)
    assert catalog.conflict("models", name) is None
    assert catalog.stamp_after("models", name) == 5
    tied = alice.record(name, stamp=4, sequence=2)
    catalog.admit(tied)
    assert catalog.latest("models", name) == tied
    assert catalog.conflict("models", name) == (tied, bob.record(name, stamp=4))
    catalog.admit(bob.record(name, stamp=2**48, sequence=2))
    assert catalog.stamp_after("models", name) == 2**48
    assert catalog.conflict("models", name) is None


def test_games_of_one_name_never_conflict(catalog: Catalog, alice: Any, author: Callable[..., Any]) -> None:
    bob = author("bob")
    catalog.add_certificate(bob)
    catalog.admit(alice.record("games.db", kind="games"))
    catalog.admit(bob.record("games.db", kind="games"))
    assert len(catalog.named("games", "games.db")) == 2
    assert catalog.conflict("games", "games.db") is None


def test_a_fresh_store_starts_above_what_its_origin_published_before(catalog: Catalog, alice: Any) -> None:
    key = alice.record().key
    assert catalog.sequence_after(key) == 1
    catalog.admit(alice.record(sequence=41))
    assert catalog.sequence_after(key) == 42


def test_what_digests_list_can_be_fetched_by_key_hash(catalog: Catalog, alice: Any) -> None:
    record = alice.record()
    catalog.admit(record)
    (entry,) = catalog.digest("models").entries_at(0, 0)
    assert catalog.by_hash("models", entry[:32]) == record
    assert entry[32:] == record.hash
    (entry,) = catalog.digest("certificates").entries_at(0, 0)
    assert catalog.certificate_by_hash(entry[:32]) == alice
    assert catalog.certificate_by_hash(bytes(32)) is None
    assert catalog.certificate(PeerId(bytes(16))) is None
    assert [one.kind for one in catalog.records("models")] == ["models"]
    assert list(catalog.records("npz")) == []
