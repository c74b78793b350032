"""Is what we want pulled from those who have it, and from nobody else more than must be?"""

from random import Random

from artifacts import Origin, manifest_of, peer
from hypothesis import given
from hypothesis import strategies as st
from puller import Puller, pulling
from pytest import approx

from ringgossip.content.record import Record
from ringgossip.events import ArtifactRejected, BadChunk, TransferStalled
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import NEVER, Abandon, DiscardBody, Finalise, NeedLink, Tell
from ringgossip.protocol.guide import Guide
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.simulation import World
from ringgossip.wire.messages import (
    Busy,
    CancelChunks,
    GetChunks,
    GetPages,
    Have,
    HaveMore,
    Interest,
    NoChunks,
    Page,
)

A, B, C = peer(1), peer(2), peer(3)
FORTY = manifest_of(40)
ONE = manifest_of(1, "small")


def deliver_all(puller: Puller, record: Record) -> int:
    """Let holders answer until the pull ends; return how many chunks were accepted."""
    done, accepted = 0, 0
    while record not in puller.finished:
        asked = puller.asked()
        assert done < len(asked), "nobody is asked for the rest"
        accepted += puller.deliver(*asked[done])
        done += 1
        puller.check() if record not in puller.finished else None
    return accepted


def test_from_nothing_to_a_whole_copy() -> None:
    puller = Puller()
    record = puller.origin.record(FORTY)
    puller.link(A)
    puller.want(record, A)
    assert puller.sent(GetChunks) == []
    puller.give_pages(FORTY)
    assert deliver_all(puller, record) == 40
    assert sorted(index for _, _, index in puller.asked()) == list(range(40))
    assert puller.finished == [record]
    assert puller.transfer.next_wakeup() == NEVER


def test_an_empty_file_needs_no_holder() -> None:
    puller = Puller()
    record = puller.origin.record(manifest_of(0))
    puller.want(record)
    assert puller.finished == [record]


def test_a_manifest_of_two_levels_is_fetched_page_by_page() -> None:
    manifest = manifest_of(3000)
    puller = Puller()
    puller.link(A, B)
    puller.want(puller.origin.record(manifest), A, B)
    puller.give_pages(manifest)
    assert puller.pull.manifest == manifest


def test_a_page_that_does_not_verify_is_asked_of_somebody_else() -> None:
    puller = Puller()
    puller.link(A, B)
    puller.want(puller.origin.record(FORTY), A, B)
    question = puller.sent(GetPages)[-1]
    assert isinstance(question.message, GetPages)
    lie = Page(question.message.request, FORTY.root, 0, 0, bytes(40 * 32))
    liar = A if question.to == A else B
    puller.hear(liar, lie)
    again = puller.sent(GetPages)[-1]
    assert again.to != liar
    puller.give_pages(FORTY)
    assert puller.pull.manifest == FORTY


def test_what_is_on_disk_already_is_not_fetched_again() -> None:
    puller = Puller()
    record = puller.origin.record(FORTY)
    puller.manifests[record.root] = FORTY
    puller.on_disk[record.root] = 0b1111
    puller.elsewhere[record.root] = 0b110000
    puller.link(A)
    puller.want(record, A)
    assert deliver_all(puller, record) == 34
    assert min(index for _, _, index in puller.asked()) == 6


def test_metadata_alone_moves_nothing() -> None:
    puller, record = pulling(FORTY, A)
    deliver_all(puller, record)
    puller.log.clear()
    puller.want(puller.origin.record(FORTY, sequence=2, metadata={"quality": 1}), A)
    assert len(puller.finished) == 2
    assert puller.log == []


def test_chunks_come_from_several_holders_at_once() -> None:
    puller, _ = pulling(manifest_of(200), A, B, C)
    assert all(puller.asked_of(one) for one in (A, B, C))
    assert len(set(puller.asked())) == len({index for _, _, index in puller.asked()})


def test_the_rarest_chunk_is_asked_for_first() -> None:
    puller = Puller()
    record = puller.origin.record(FORTY)
    puller.manifests[record.root] = FORTY
    puller.want(record)
    common = (2**40 - 1) & ~(1 << 17)
    for one, chunks in ((A, common), (B, 2**40 - 1)):
        puller.link(one)
        # Too busy to be asked while the others tell what they have.
        puller.transfer._sources[one].busy_until = 1.0
        puller.hear(one, Have(record.root, 1, 0, chunks.to_bytes(5, "little")))
    puller.wake(1.0)
    assert puller.asked_of(B)[0] == 17


def test_bytes_in_flight_stay_within_the_budget() -> None:
    puller, record = pulling(manifest_of(400), *(peer(n) for n in range(1, 40)), in_flight=10 * 65536)
    assert puller.transfer.outstanding() <= 10 * 65536
    assert deliver_all(puller, record) == 400


def test_a_chunk_larger_than_the_budget_passes_alone() -> None:
    puller, record = pulling(manifest_of(4), A, B, in_flight=1000)
    assert len(puller.asked()) == 1
    done = 0
    while record not in puller.finished:
        puller.deliver(*puller.asked()[done])
        done += 1
    assert done == 4


def test_a_receive_limit_asks_for_one_chunk_at_a_time() -> None:
    puller, record = pulling(FORTY, A, receive_bytes_per_second=65536.0)
    done = 0
    while record not in puller.finished:
        while done < len(puller.asked()):
            puller.deliver(*puller.asked()[done])
            done += 1
        if record not in puller.finished:
            puller.wake(puller.transfer.next_wakeup())
    assert 38.5 <= puller.now <= 40.5


def test_a_refusal_is_given_back_to_the_limit() -> None:
    puller, _ = pulling(FORTY, A, receive_bytes_per_second=65536.0)
    ((_, request, _),) = puller.asked()
    puller.hear(A, Busy(request, 0.1))
    puller.wake(0.2)
    assert len(puller.asked()) == 2


def test_a_chunk_that_a_holder_lost_is_given_back_to_the_limit_of_its_artifact() -> None:
    puller = Puller(1)
    record = puller.origin.record(FORTY)
    puller.manifests[record.root] = FORTY
    puller.link(A, B)
    puller.transfer.limit(record.key, TokenBucket(65536.0, 0.0, 0.0))
    puller.want(record, A, B)
    ((holder, request, index),) = puller.asked()
    puller.hear(holder, NoChunks(request, record.root, (index,), "lost"))
    puller.wake(0.2)
    assert len(puller.asked()) == 2


def test_a_busy_holder_is_asked_again_after_a_while_and_not_before() -> None:
    puller, _ = pulling(FORTY, A)
    asked = puller.asked()
    for request in dict.fromkeys(request for _, request, _ in asked):
        puller.hear(A, Busy(request, 2.0))
    puller.wake(1.9)
    assert puller.asked() == asked
    puller.wake(3.1)
    assert len(puller.asked()) > len(asked)


def test_why_a_holder_gives_nothing_is_told_at_once_unless_another_may_be_asked() -> None:
    why = "byte budget spent until 2026-12-01 00:00 UTC"
    puller, record = pulling(FORTY, A)

    def stalled() -> list[str]:
        told = [effect.event for effect in puller.log if isinstance(effect, Tell)]
        return [event.reason for event in told if isinstance(event, TransferStalled)]

    puller.link(B)
    puller.hear(B, Have(record.root, 2, 0, b""))
    for who in (A, B):
        assert not stalled()
        for request in dict.fromkeys(number for holder, number, _ in puller.asked() if holder == who):
            puller.hear(who, Busy(request, 30.0, why))
    [reason] = stalled()
    assert reason.count(why) == 2
    assert reason in puller.transfer.progress_of(record.key)
    before = len(puller.asked())
    puller.wake(20.0)
    assert len(puller.asked()) == before
    puller.wake(46.0)
    puller.deliver(*puller.asked()[before])
    pull = puller.transfer._keys[record.key]
    assert puller.transfer.refusals(pull).count(why) == 1, "what comes speaks for itself"


def test_who_has_spent_its_budget_is_asked_at_once_for_what_becomes_critical() -> None:
    words: dict[str, str] = {}
    guide = Guide(
        priority=lambda record: words.get(record.name, "normal"),
        rank=lambda record: 0 if record.name in words else 9,
    )
    puller = Puller(1, guide)
    puller.link(A)
    records = [puller.origin.record(FORTY, "urgent"), puller.origin.record(manifest_of(40, "b"), "other")]
    for record, manifest in zip(records, (FORTY, manifest_of(40, "b")), strict=True):
        puller.manifests[manifest.root] = manifest
        puller.want(record, A)
        puller.hear(A, Have(record.root, 2, 0, b""))
    for request in dict.fromkeys(number for _, number, _ in puller.asked()):
        puller.hear(A, Busy(request, 30.0, "byte budget spent until 2026-12-01 00:00 UTC"))
    before = len(puller.sent(GetChunks))
    words["urgent"] = "critical"
    puller.want(records[0], A)
    asked = [send.message for send in puller.sent(GetChunks)[before:]]
    assert asked and {message.root for message in asked} == {FORTY.root}  # type: ignore[union-attr]
    refused = len(puller.sent(GetChunks))
    for message in asked:
        puller.hear(A, Busy(message.request, 30.0, "and no"))  # type: ignore[union-attr]
    assert len(puller.sent(GetChunks)) == refused, "nor again and again of who refuses that too"


def test_who_is_suspected_is_asked_last_and_not_refused() -> None:
    suspects = {A: None}
    puller = Puller(1, Guide(suspected=suspects.__contains__))
    record = puller.origin.record(FORTY)
    puller.manifests[record.root] = FORTY
    puller.link(A, B)
    puller.want(record, A, B)
    assert {who for who, _, _ in puller.asked()} == {B}
    # Nobody better is left, or what was said of it was not true.
    puller.see(puller.transfer.link_broken(B, puller.now))
    assert puller.asked_of(A)


def test_what_others_say_of_a_member_is_known_to_who_asks_it() -> None:
    world = World(4, seed=1)
    world.start()
    world.run(5.0)
    core, other = world.nodes[0].core, world.nodes[3]
    assert core is not None
    peer = other.certificate.peer_id
    assert not core.membership.suspected(peer) and not core.transfer._guide.suspected(peer)
    other.pause()
    assert world.run_until(lambda: core.membership.suspected(peer), 10.0) is not None
    assert core.transfer._guide.suspected(peer)
    other.resume()
    assert world.run_until(lambda: not core.transfer._guide.suspected(peer), 10.0) is not None


def test_a_silent_holder_loses_its_requests_to_others_and_may_answer_late() -> None:
    puller, record = pulling(FORTY, A)
    late = puller.asked()
    puller.link(B)
    puller.known[record.root].append(B)
    puller.wake(9.5)
    puller.see(puller.transfer.holder_known(record.root, B, puller.now))
    puller.wake(10.0)
    assert {s.to for s in puller.sent(CancelChunks)} == {A}
    assert puller.deliver(*late[0])
    puller.check()
    done = 0
    while record not in puller.finished:
        from_b = [entry for entry in puller.asked() if entry[0] == B]
        puller.deliver(*from_b[done])
        done += 1
    assert done >= 39


def test_a_silent_holder_that_is_the_only_one_is_not_asked_twice_for_the_same() -> None:
    puller, _ = pulling(FORTY, A)
    asked = puller.asked()
    puller.wake(100.0)
    assert puller.asked() == asked
    puller.check()


def test_a_wrong_chunk_is_told_and_its_sender_asked_last() -> None:
    puller, record = pulling(FORTY, A, B)
    who, request, index = puller.asked()[0]
    honest = B if who == A else A
    puller.see(puller.transfer.body_arrives(who, request, index, 65536, 0.0))
    before = len(puller.asked())
    out = puller.see(puller.transfer.chunk_bad(who, request, record.root, index, "another hash", 0.0))
    assert Tell(BadChunk(who.hex()[:2], record.key.text, index)) in out
    puller.check()
    puller.wake(6.0)  # everybody known to have all is believed again
    assert all(other == honest for other, _, _ in puller.asked()[before:])
    puller.see(puller.transfer.link_broken(who, puller.now))
    puller.link(who)
    assert puller.transfer._sources[who].strikes == 1, "a new link does not make it honest"


def test_the_only_holder_may_try_again_after_a_wrong_chunk() -> None:
    puller, record = pulling(manifest_of(4), A)
    _, request, index = puller.asked()[0]
    puller.see(puller.transfer.chunk_bad(A, request, record.root, index, "another hash", 0.0))
    assert len(puller.asked()) == 4
    for wrong in range(8):
        before = puller.now
        while len(puller.asked()) == 4 + wrong:
            puller.wake(puller.transfer.next_wakeup())
        assert puller.now - before >= min(300.0, 5.0 * 2**wrong), "later each time"
        _, request, again = puller.asked()[-1]
        assert again == index
        puller.see(puller.transfer.chunk_bad(A, request, record.root, index, "another hash", puller.now))


def test_a_body_of_another_length_is_read_away_and_counts_as_wrong() -> None:
    puller, _record = pulling(FORTY, A)
    _, request, index = puller.asked()[0]
    out = puller.see(puller.transfer.body_arrives(A, request, index, 10, 0.0))
    assert out[0] == DiscardBody(A, request, index, 10)
    assert puller.transfer._sources[A].strikes == 1
    puller.check()


def test_one_body_is_taken_once_however_often_it_is_sent() -> None:
    puller, _ = pulling(FORTY, A)
    _, request, index = puller.asked()[0]
    first = puller.see(puller.transfer.body_arrives(A, request, index, 65536, 0.0))
    second = puller.see(puller.transfer.body_arrives(A, request, index, 65536, 0.0))
    assert not isinstance(first[0], DiscardBody)
    assert second == [DiscardBody(A, request, index, 65536)]


def test_the_last_chunks_are_asked_twice_and_the_slower_answer_is_cancelled() -> None:
    puller, record = pulling(manifest_of(1), A, B)
    ((slow, request, _),) = puller.asked()
    other = B if slow == A else A
    puller.wake(0.3)
    assert puller.asked_of(other) == [0]
    puller.check()
    fast = next(entry for entry in puller.asked() if entry[0] == other)
    assert puller.deliver(*fast)
    assert puller.finished == [record]
    assert [s.message for s in puller.sent(CancelChunks)] == [CancelChunks(request, (0,))]
    assert not puller.transfer._sources[slow].asks


def test_a_second_answer_that_was_under_way_when_it_was_cancelled_counts_against_the_limit() -> None:
    puller, _ = pulling(manifest_of(1), A, B, receive_bytes_per_second=65536.0)
    while len(puller.asked()) < 2:
        puller.wake(puller.now + 0.1)
    (first, request, _), (second, other, _) = puller.asked()
    bucket = puller.transfer._bucket
    asked_for = bucket.ready_at(puller.now)
    puller.transfer.body_arrives(second, other, 0, 65536, puller.now)
    assert bucket.ready_at(puller.now) < asked_for, "what was cancelled is given back"
    late = puller.transfer.body_arrives(first, request, 0, 65536, puller.now)
    assert late == [DiscardBody(first, request, 0, 65536)]
    assert bucket.ready_at(puller.now) == approx(asked_for)
    puller.transfer.body_arrives(first, request, 0, 65536, puller.now)
    assert bucket.ready_at(puller.now) == approx(asked_for), "what nobody asked for is no debt"


def test_a_cancelled_answer_that_comes_all_the_same_counts_against_the_limit_of_its_artifact() -> None:
    puller = Puller(1)
    record = puller.origin.record(manifest_of(1))
    puller.manifests[record.root] = manifest_of(1)
    puller.link(A, B)
    own = TokenBucket(65536.0, 0.0, 4.0)
    puller.transfer.limit(record.key, own)
    puller.want(record, A, B)
    while len(puller.asked()) < 2:
        puller.wake(puller.now + 0.1)
    (first, request, _), (second, other, _) = puller.asked()
    asked_for = own.ready_at(puller.now)
    puller.transfer.body_arrives(second, other, 0, 65536, puller.now)
    assert own.ready_at(puller.now) < asked_for
    puller.transfer.body_arrives(first, request, 0, 65536, puller.now)
    assert own.ready_at(puller.now) == approx(asked_for)


def test_what_a_broken_link_owed_goes_to_others() -> None:
    puller, record = pulling(FORTY, A, B)
    owed = set(puller.asked_of(A))
    puller.see(puller.transfer.link_broken(A, 0.0))
    puller.check()
    while puller.transfer._sources[B].outstanding:
        for entry in [entry for entry in puller.asked() if entry[0] == B]:
            if record in puller.finished:
                break
            puller.deliver(*entry)
        if record in puller.finished:
            break
    assert owed <= set(puller.asked_of(B))


def test_partial_holders_tell_what_they_have_and_are_asked_for_no_more() -> None:
    puller = Puller()
    record = puller.origin.record(FORTY)
    puller.link(A, B)
    puller.want(record, A)
    assert {s.to for s in puller.sent(Interest)} == {A, B}
    puller.hear(B, Have(record.root, 1, 0, b"\x07\0\0\0\0"))
    assert puller.pull.holders[B] == 0, "no set is kept before the manifest is proven"
    puller.give_pages(FORTY)
    assert [s.to for s in puller.sent(Interest)][2:] == [B], "asked again when sets can be kept"
    puller.hear(B, Have(record.root, 1, 0, b"\x07\0\0\0\0"))
    puller.hear(B, HaveMore(record.root, (9, 40, 10**15)))
    assert set(puller.asked_of(B)) <= {0, 1, 2, 9}
    assert puller.pull.holders[B] == 0b1000000111


def test_a_short_pull_is_told_to_its_holders_and_only_if_it_lasts_to_all_who_hear_of_its_end_too() -> None:
    puller = Puller()
    short = manifest_of(16)
    record = puller.origin.record(short)
    puller.manifests[record.root] = short
    puller.link(A, B)
    puller.want(record, A)

    def told(wanted: bool) -> list[PeerId]:
        said = [send for send in puller.sent(Interest) if send.message == Interest(record.root, wanted)]
        return [PeerId(bytes(send.to)) for send in said if not isinstance(send.to, Address)]

    assert told(True) == [A]
    puller.wake(0.9)
    puller.link(C)
    assert told(True) == [A]
    puller.wake(1.1)
    assert told(True) == [A, B, C]
    puller.link(peer(4))
    assert told(True) == [A, B, C, peer(4)]
    puller.see(puller.transfer.link_broken(B, puller.now))
    deliver_all(puller, record)
    assert told(False) == [A, C, peer(4)]


def test_lies_about_holdings_cost_nothing_and_break_nothing() -> None:
    puller, record = pulling(FORTY, A)
    puller.link(B)
    for offset in (8, 7, 40, 2**62, 2**63 - 1):
        puller.hear(B, Have(record.root, 1, offset, b"\xff" * 900_000))
        puller.hear(B, Have(record.root, 1, offset, b""))
    puller.hear(B, HaveMore(record.root, (40, 2**40, 2**63 - 1)))
    puller.hear(B, NoChunks(77, record.root, (2**63 - 1,), "no"))
    assert puller.pull.holders.get(B, 0) < 2**40
    assert all(index < 40 for index in puller.asked_of(B))
    puller.check()


def test_a_record_that_claims_a_huge_size_takes_no_memory_before_its_manifest_is_proven() -> None:
    puller = Puller()
    record = puller.origin.record(ONE, size=(2**32 - 1) * 65536)
    puller.link(A, B)
    puller.want(record, A)
    puller.hear(B, Have(record.root, 1, 2**32 - 64, b"\xff" * 8))
    puller.hear(B, HaveMore(record.root, (2**32 - 9,)))
    puller.hear(A, NoChunks(1, record.root, (5,), "no"))
    question = puller.sent(GetPages)[0].message
    assert isinstance(question, GetPages)
    level, index = question.levels[0], question.indices[0]
    puller.hear(A, Page(question.request, record.root, level, index, bytes(32 * 4)))
    puller.wake(60.0)
    assert puller.pull.holders[B] == 0
    assert puller.pull.availability.rarest(1) == 1


def test_a_holder_that_lost_it_is_not_asked_in_a_tight_loop() -> None:
    puller, record = pulling(FORTY, A)
    for _ in range(30):
        for _, request, _ in puller.asked()[-1:]:
            puller.hear(A, NoChunks(request, record.root, (), "not here"))
        puller.wake(puller.now + 0.5)
    assert len(puller.sent(GetChunks)) <= 40


def test_a_newer_version_waits_for_the_one_under_way_and_the_newest_wins() -> None:
    puller, first = pulling(FORTY, A)
    second, third = (
        puller.origin.record(manifest_of(40, f"v{number}"), sequence=number) for number in (2, 3)
    )
    puller.want(second, A)
    puller.want(third, A)
    puller.want(second, A)
    assert len(puller.transfer.pulls()) == 1
    deliver_all(puller, first)
    assert [pull.record for pull in puller.transfer.pulls()] == [third]


def test_a_version_that_nobody_serves_any_more_makes_room_for_the_newer_one() -> None:
    puller, first = pulling(FORTY, A)
    newer = puller.origin.record(manifest_of(40, "v2"), sequence=2)
    puller.want(newer, A)
    puller.known[first.root].clear()
    for request in dict.fromkeys(request for _, request, _ in puller.asked()):
        if puller.pull.record == first:
            puller.hear(A, NoChunks(request, first.root, (), "superseded"))
    assert puller.pull.record == newer
    assert Abandon(first.root, keep=True) in puller.log


def test_a_version_whose_holders_fell_silent_makes_room_for_the_newer_one() -> None:
    puller, _first = pulling(FORTY, A)
    puller.want(puller.origin.record(manifest_of(40, "v2"), sequence=2), B)
    puller.wake(20.0)
    assert puller.pull.record.sequence == 2


def test_a_full_disk_parks_the_pull_and_tries_again_later_each_time() -> None:
    puller = Puller()
    puller.refusal = "no space left"
    record = puller.origin.record(FORTY)
    puller.want(record, A)
    assert puller.log[0] == Tell(TransferStalled(record.key.text, 1, "no space left"))
    tries = []
    for _ in range(5):
        puller.wake(puller.transfer.next_wakeup())
        tries.append(puller.now)
    pauses = [after - before for before, after in zip([0.0, *tries], tries, strict=False)]
    assert pauses == sorted(pauses)
    puller.refusal = None
    puller.link(A)
    puller.wake(puller.transfer.next_wakeup())
    assert puller.sent(GetPages)


def test_what_our_disk_refused_is_tried_at_once_when_so_much_became_free() -> None:
    puller = Puller()
    puller.refusal = "no space left"
    puller.want(puller.origin.record(FORTY), A)
    puller.refusal = None
    puller.link(A)
    puller.see(puller.transfer.room_made(40 * 65536 - 1, puller.now))
    assert not puller.transfer.pulls()
    puller.see(puller.transfer.room_made(40 * 65536, puller.now))
    assert puller.transfer.pulls()


def test_wanting_again_what_our_disk_refused_does_not_hurry_it_but_insisting_does() -> None:
    puller = Puller()
    puller.refusal = "no space left"
    record = puller.origin.record(FORTY)
    puller.want(record, A)
    told = Tell(TransferStalled(record.key.text, 1, "no space left"))
    assert puller.log.count(told) == 1
    due = puller.transfer.next_wakeup()
    # Others offer it again and again; each try would be told, and cost a look at the disk.
    for _ in range(3):
        puller.want(record, A)
    assert puller.log.count(told) == 1
    assert puller.transfer.next_wakeup() == due
    puller.see(puller.transfer.want(record, puller.now, insist=True))
    assert puller.log.count(told) == 2
    # A newer version may be smaller.
    puller.want(puller.origin.record(manifest_of(1, "newer"), sequence=2), A)
    assert Tell(TransferStalled(record.key.text, 2, "no space left")) in puller.log


def test_a_chunk_that_our_disk_refused_parks_the_pull_and_late_bodies_are_read_away() -> None:
    puller, record = pulling(FORTY, A)
    first, second = puller.asked()[:2]
    puller.see(puller.transfer.body_arrives(*first, 65536, 0.0))
    puller.see(puller.transfer.body_arrives(*second, 65536, 0.0))
    puller.see(puller.transfer.chunk_unstored(A, first[1], record.root, first[2], "no space", 0.0))
    puller.see(puller.transfer.chunk_stored(A, second[1], record.root, second[2], 65536, 0.0))
    third = puller.asked()[2]
    assert puller.see(puller.transfer.body_arrives(*third, 65536, 0.0)) == [DiscardBody(*third, 65536)]
    puller.wake(10.0)
    puller.check()
    assert puller.pull.proven


def test_a_second_body_that_comes_too_late_does_not_stop_a_version_from_becoming_visible() -> None:
    puller, record = pulling(ONE, A)
    ((_, request, _),) = puller.asked()
    puller.transfer.body_arrives(A, request, 0, 65536, 0.0)
    out = puller.transfer.chunk_stored(A, request, record.root, 0, 65536, 0.0)
    assert Finalise(record, keep_predecessor=False) in out
    # The store has let go of the file already, and says so before it says that all is well.
    assert puller.transfer.chunk_unstored(B, 9, record.root, 0, "it is no longer received", 0.0) == []
    puller.see(out)
    assert puller.finished == [record]


def test_content_that_is_not_its_kind_is_never_pulled_again() -> None:
    puller, record = pulling(ONE, A)
    del puller.shelf
    ((_, request, _),) = puller.asked()
    puller.transfer.body_arrives(A, request, 0, 65536, 0.0)
    puller.transfer.chunk_stored(A, request, record.root, 0, 65536, 0.0)
    out = puller.transfer.rejected(record, "no SQLite database", True, 0.0)
    assert Tell(ArtifactRejected(record.key.text, 1, "no SQLite database")) in out
    assert puller.transfer.want(record, 1.0) == []


def test_models_go_first_and_many_of_one_kind_do_not_keep_out_another() -> None:
    puller = Puller(active=2)
    puller.link(A)
    for number in range(200):
        content = manifest_of(40, f"npz {number}")
        puller.want(puller.origin.record(content, f"{number}.npz", "npz"), A)
    games, model = manifest_of(40, "games"), manifest_of(40, "model")
    puller.want(puller.origin.record(games), A)
    puller.want(puller.origin.record(model, "m.pth", "models"), A)
    assert sorted(pull.record.kind for pull in puller.transfer.pulls()) == ["games", "models", "npz", "npz"]
    puller.log.clear()
    puller.give_pages(model) if puller.sent(GetPages) else None
    assert puller.transfer.waiting() == 198


def test_what_is_urgent_is_asked_for_although_a_holder_owes_us_a_window_full_of_what_is_not() -> None:
    puller = Puller()
    games, model = manifest_of(80, "games"), manifest_of(40, "model")
    for manifest in (games, model):
        puller.manifests[manifest.root] = manifest
    puller.link(A)
    puller.want(puller.origin.record(games), A)
    owed = len(puller.asked())
    assert owed < 80, "its window is full"
    puller.want(puller.origin.record(model, "m.pth", "models"), A)
    more = len(puller.asked()) - owed
    assert more > 0
    puller.wake(1.0)
    puller.check()
    assert len(puller.asked()) == owed + more, "and that is a window of its own, not more"


def test_holders_that_are_not_linked_are_dialled() -> None:
    puller, _ = pulling(FORTY)
    puller.known[FORTY.root] = [A]
    puller.wake(6.0)
    assert NeedLink(A) in puller.log


def test_a_stall_is_told_once() -> None:
    puller, record = pulling(FORTY)
    puller.wake(200.0)
    stalls = [e for e in puller.log if isinstance(e, Tell) and isinstance(e.event, TransferStalled)]
    assert stalls == [Tell(TransferStalled(record.key.text, 1, "no holder is reachable"))]


STEPS = st.lists(st.integers(0, 2**32 - 1), min_size=20, max_size=120)


@given(STEPS)
def test_whatever_holders_and_links_do_the_books_agree_and_nothing_spins(steps: list[int]) -> None:
    run(steps)


@given(STEPS)
def test_the_same_inputs_give_the_same_effects(steps: list[int]) -> None:
    assert repr(run(steps).log) == repr(run(steps).log)


def run(steps: list[int]) -> Puller:
    origin = Origin()
    manifests = [manifest_of(30, "x"), manifest_of(12, "y"), manifest_of(1, "z")]
    records = [
        origin.record(manifests[0], "x"),
        origin.record(manifests[1], "x", sequence=2),
        origin.record(manifests[2], "z"),
    ]
    puller = Puller(in_flight=20 * 65536, silence=2.0)
    for manifest in manifests:
        puller.manifests[manifest.root] = manifest
    peers = [peer(number) for number in range(1, 5)]
    coming: list[tuple[PeerId, int, bytes, int]] = []  # bodies that began
    for step in steps:
        rng = Random(step)
        who = peers[rng.randrange(4)]
        record = records[rng.randrange(3)]
        sources = puller.transfer._sources.values()
        requests = [(ask.request, ask) for source in sources for ask in source.asks.values()]
        request, ask = requests[rng.randrange(len(requests))] if requests else (rng.randrange(9), None)
        index = rng.randrange(32)
        transfer, now = puller.transfer, puller.now
        match rng.randrange(15):
            case 0 if who not in transfer._sources:
                puller.link(who)
            case 1:
                puller.see(transfer.link_broken(who, now))
            case 2:
                puller.want(record, who)
            case 3:
                puller.wake(now + rng.random() * 4)
            case 4:
                puller.hear(who, Have(record.root, rng.randrange(3), 8 * rng.randrange(5), rng.randbytes(4)))
            case 5:
                puller.hear(who, HaveMore(record.root, (index, rng.randrange(40))))
            case 6:
                puller.hear(who, Busy(request, rng.random()))
            case 7:
                puller.hear(who, NoChunks(request, record.root, (index,) * rng.randrange(2), "no"))
            case 8:
                puller.see(transfer.unwant(record.key, now)) if rng.random() < 0.2 else None
            case 9 if ask is not None:
                puller.see(transfer.chunk_bad(who, request, ask.root, index % 12, "bad", now))
            case 10 if ask is not None:
                puller.see(transfer.chunk_unstored(who, request, ask.root, index % 12, "full", now))
            case _ if ask is not None and not ask.pages:
                giver = next(source.peer for source in sources if request in source.asks)
                for wanted in [*ask.waiting, *ask.late][: rng.randrange(1, 9)]:
                    out = puller.see(transfer.body_arrives(giver, request, wanted, 65536, now))
                    if out and not isinstance(out[0], DiscardBody):
                        coming.append((giver, request, ask.root, wanted))
        while coming and rng.random() < 0.7:
            puller.see(transfer.chunk_stored(*coming.pop(rng.randrange(len(coming))), 65536, puller.now))
        puller.check()
        puller.wake(puller.now)
    return puller


def test_wanting_what_waits_again_and_again_makes_nothing_grow() -> None:
    puller = Puller(active=1)
    puller.want(puller.origin.record(FORTY), A)
    waiting = [puller.origin.record(manifest_of(9, name), name) for name in ("a", "b", "c")]
    for _ in range(1000):
        for record in waiting:
            puller.want(record)
    puller.transfer.unwant(waiting[0].key, 0.0)
    puller.want(waiting[0])
    assert puller.transfer.waiting() == 3
    assert len(puller.transfer._queued._heaps["games"]) <= 4


def test_a_record_of_more_chunks_than_memory_can_name_is_refused_before_anything_is_reserved() -> None:
    puller = Puller()
    puller.refusal = "it was asked for"
    bomb = puller.origin.record(FORTY, size=2**40, chunk_size=4096)
    for _ in range(2):
        puller.want(bomb, A)
    (told,) = [effect.event for effect in puller.log if isinstance(effect, Tell)]
    assert isinstance(told, ArtifactRejected)
    assert puller.transfer.waiting() == 0
    puller.want(puller.origin.record(FORTY, "large", size=2**40), A)
    assert puller.transfer.waiting() == 1


def test_a_record_that_names_anothers_root_with_a_false_size_is_refused_once_the_content_is_here() -> None:
    puller, true = pulling(FORTY, A)
    deliver_all(puller, true)
    false = puller.origin.record(FORTY, "false", size=FORTY.size + 70_000)
    longer = puller.origin.record(FORTY, sequence=2, size=FORTY.size + 70_000)
    for lie in (false, longer):
        puller.want(lie, A)
    assert puller.finished == [true]
    assert puller.transfer.pulls() == []
    assert len([e for e in puller.log if isinstance(e, Tell) and isinstance(e.event, ArtifactRejected)]) == 2
    assert all(e.keep for e in puller.log if isinstance(e, Abandon)), "the true content stays"


def test_a_record_that_names_anothers_root_keeps_nobody_from_the_true_one() -> None:
    puller = Puller()
    false = puller.origin.record(FORTY, "false", size=FORTY.size + 70_000)
    true = puller.origin.record(FORTY, "true")
    puller.link(A)
    puller.want(false)
    puller.want(true)
    puller.hear(A, Have(FORTY.root, 2, 0, b""))
    puller.give_pages(FORTY)
    assert puller.transfer._sources[A].strikes == 0, "what A gave is true"
    puller.wake(6.0)
    assert puller.pull.record == true
    puller.hear(A, Have(FORTY.root, 2, 0, b""))
    puller.give_pages(FORTY)
    assert deliver_all(puller, true) == 40
    puller.wake(600.0)
    assert puller.finished == [true]
    assert puller.transfer.pulls() == []
