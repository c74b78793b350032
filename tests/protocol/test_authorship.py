"""Which number does a publication get, and when may it go out?"""

from dataclasses import replace

from artifacts import CLUSTER, Origin, manifest_of

from ringgossip.content.catalog import Catalog, CatalogLimits
from ringgossip.content.record import MAX_SEQUENCE, Record
from ringgossip.protocol.authorship import Authorship, Out
from ringgossip.protocol.core import NEVER, Draft, Persist, Published, PublishRefused
from ringgossip.protocol.shelf import Shelf

CONTENT = manifest_of(2)


class Desk:
    """An author whose disk answers when told to."""

    def __init__(self, fresh: bool = False, limits: CatalogLimits | None = None) -> None:
        self.origin = Origin()
        self.catalog = Catalog(CLUSTER, limits)
        self.catalog.add_certificate(self.origin.notary.certificate)
        self.shelf = Shelf()
        self.alone = True
        self.author = Authorship(
            CLUSTER,
            self.origin.notary,
            b"store--1",
            fresh,
            self.catalog,
            self.shelf,
            lambda: self.alone,
            0.0,
        )

    def draft(self, ticket: int, seed: str = "content", name: str = "m.pth") -> Draft:
        content = manifest_of(2, seed)
        return Draft(ticket, "models", name, content.size, content.chunk_size, content.root, {"quality": 0.5})

    def persist(self, out: Out) -> tuple[Record, Out]:
        """The record is on disk and in the catalog."""
        record = next(effect.record for effect in out if isinstance(effect, Persist))
        assert self.author.record_persisted(record) is not None
        self.catalog.admit(record)
        self.shelf.add(record)
        return record, self.author.next_after(record.key)


def test_a_sequence_is_on_disk_before_the_next_is_given() -> None:
    desk = Desk()
    first = desk.author.publish(desk.draft(1, "a"), 0.0)
    assert desk.author.publish(desk.draft(2, "b"), 0.0) == []
    record, second = desk.persist(first)
    assert (record.sequence, record.stamp, record.store) == (1, 1, b"store--1")
    record, rest = desk.persist(second)
    assert (record.sequence, record.stamp, rest) == (2, 2, [])


def test_unchanged_content_and_metadata_give_the_known_record() -> None:
    desk = Desk()
    record, _ = desk.persist(desk.author.publish(desk.draft(1), 0.0))
    assert desk.author.publish(desk.draft(2), 0.0) == [Published(2, record, unchanged=True)]
    desk.shelf.remove(record)
    assert isinstance(desk.author.publish(desk.draft(3), 0.0)[0], Persist), "the copy was lost: a new version"


def test_a_disk_that_does_not_take_the_record_refuses_the_publication_and_the_number_is_free() -> None:
    desk = Desk()
    out = desk.author.publish(desk.draft(1), 0.0)
    assert isinstance(out[0], Persist)
    refused = PublishRefused(1, "disk full", again=True)
    assert desk.author.persist_failed(out[0].record, "disk full") == [refused]
    assert desk.persist(desk.author.publish(desk.draft(2), 0.0))[0].sequence == 1


def test_what_no_member_would_admit_is_refused_and_the_next_goes_on() -> None:
    desk = Desk()
    bad = Draft(1, "models", "../x", 1, 65536, CONTENT.root, {})
    out = desk.author.publish(bad, 0.0)
    assert isinstance(out[0], PublishRefused)
    assert desk.author._lines == {}


def test_an_origin_with_as_many_artifacts_as_it_may_have_hears_it_before_anything_is_displaced() -> None:
    desk = Desk(limits=CatalogLimits(records_per_origin=1))
    desk.persist(desk.author.publish(desk.draft(1, name="one"), 0.0))
    out = desk.author.publish(desk.draft(2, name="two"), 0.0)
    assert isinstance(out[0], PublishRefused)
    assert isinstance(desk.author.publish(desk.draft(3, "new", name="one"), 0.0)[0], Persist)


def test_a_fresh_store_waits_for_one_exchange_and_publishes_above_what_it_saw() -> None:
    desk = Desk(fresh=True)
    desk.alone = False
    assert desk.author.publish(desk.draft(1), 0.0) == []
    old = Origin(store=b"the lost").record(manifest_of(9, "old"), "m.pth", "models", sequence=7, stamp=9)
    desk.catalog.admit(old)
    record, _ = desk.persist(desk.author.exchange_completed(3.0))
    assert (record.sequence, record.stamp) == (8, 10)
    assert desk.author.next_wakeup() == NEVER


def test_a_fresh_store_that_is_alone_waits_ten_seconds_and_in_bad_company_a_minute() -> None:
    for alone, until in ((True, 10.0), (False, 60.0)):
        desk = Desk(fresh=True)
        desk.alone = alone
        desk.author.publish(desk.draft(1), 0.0)
        out: Out = []
        for _ in range(50):
            now = desk.author.next_wakeup()
            out = desk.author.wake(now)
            if out:
                break
            assert desk.author.next_wakeup() > now
        assert now == until
        assert isinstance(out[0], Persist)


def test_what_a_lost_disk_had_published_turns_up_later_and_ours_goes_above_it() -> None:
    desk = Desk()
    ours, _ = desk.persist(desk.author.publish(desk.draft(1), 0.0))
    old = Origin(store=b"the lost").record(manifest_of(9, "old"), "m.pth", "models", sequence=7)
    desk.catalog.admit(old)
    again, _ = desk.persist(desk.author.met(old, ours, 5.0))
    assert (again.sequence, again.root) == (8, ours.root)
    assert desk.author.met(again, old, 6.0) == []
    assert desk.author.met(old, None, 6.0) == []


def test_after_the_last_number_there_is_a_clear_word_and_other_names_go_on() -> None:
    desk = Desk()
    desk.catalog.admit(desk.origin.record(manifest_of(2, "a"), "m.pth", "models", sequence=MAX_SEQUENCE))
    (refused,) = desk.author.publish(desk.draft(1), 0.0)
    assert isinstance(refused, PublishRefused)
    assert refused.reason == "models/alice/m.pth has had its last number: publish it under another name"
    ended = replace(desk.draft(2), withdrawn=True)
    assert isinstance(desk.author.publish(ended, 0.0)[0], PublishRefused)
    desk.persist(desk.author.publish(desk.draft(3, name="n.pth"), 0.0))
