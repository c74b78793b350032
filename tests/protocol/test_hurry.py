"""Who else is asked for what somebody owes us, and who hears that it need not send?"""

from artifacts import manifest_of, peer
from puller import Puller, pulling

from ringgossip.identity import PeerId
from ringgossip.wire.messages import CancelChunks, GetChunks

A, B, C = peer(1), peer(2), peer(3)


def begin(puller: Puller, entry: tuple[PeerId, int, int]) -> None:
    """The first byte of a chunk is here."""
    who, request, index = entry
    puller.see(puller.transfer.body_arrives(who, request, index, 65536, puller.now))


def entry_of(puller: Puller, who: PeerId, index: int) -> tuple[PeerId, int, int]:
    """What was asked last of somebody about a chunk."""
    return next(entry for entry in reversed(puller.asked()) if (entry[0], entry[2]) == (who, index))


def cancelled(puller: Puller) -> list[tuple[object, tuple[int, ...]]]:
    return [
        (send.to, send.message.indices)
        for send in puller.sent(CancelChunks)
        if isinstance(send.message, CancelChunks)
    ]


def test_what_nobody_begins_is_asked_of_all_who_are_idle_but_of_no_more_than_eight() -> None:
    puller, _ = pulling(manifest_of(1), *(peer(number) for number in range(1, 13)))
    assert len(puller.asked()) == 1
    puller.wake(0.01)
    assert len(puller.asked()) == 1, "not at once"
    puller.wake(1.0)
    assert len(puller.asked()) == len({who for who, _, _ in puller.asked()}) == 8
    puller.check()


def test_the_first_byte_cancels_all_others_that_were_asked() -> None:
    puller, record = pulling(manifest_of(1), A, B, C)
    puller.wake(0.3)
    assert {who for who, _, _ in puller.asked()} == {A, B, C}
    fast = entry_of(puller, B, 0)
    begin(puller, fast)
    assert sorted(cancelled(puller)) == [(A, (0,)), (C, (0,))]
    assert puller.transfer.outstanding() == 65536
    puller.check()
    puller.wake(puller.now + 0.2)
    assert len(puller.asked()) == 3, "it is on its way: nobody is asked again"
    puller.see(puller.transfer.chunk_stored(B, fast[1], record.root, 0, 65536, puller.now))
    assert puller.finished == [record]


def test_a_body_that_began_and_does_not_end_is_asked_once_more() -> None:
    puller, _ = pulling(manifest_of(1), A, B, C)
    begin(puller, puller.asked()[0])
    puller.wake(3.0)
    assert len(puller.asked()) == 1, "what a chunk takes is not known: two guesses must have passed"
    puller.wake(6.0)
    assert len(puller.asked()) == 2
    puller.check()


def test_late_is_what_takes_longer_than_other_chunks_did() -> None:
    puller, record = pulling(manifest_of(2), A, B)
    first, slow = puller.asked()
    begin(puller, first)
    puller.now += 20.0  # a thin line: so long a chunk takes
    puller.see(puller.transfer.chunk_stored(*first[:2], record.root, first[2], 65536, puller.now))
    begin(puller, slow)
    start = puller.now
    puller.wake(start + 39.0)
    assert [entry for entry in puller.asked() if entry[2] == slow[2]] == [slow], "not even after a silence"
    puller.wake(start + 61.0)
    assert len({who for who, _, index in puller.asked() if index == slow[2]}) == 2
    puller.check()


def test_who_was_given_up_and_then_begins_first_is_counted_on_again() -> None:
    puller, _ = pulling(manifest_of(1), A, B)
    slow = puller.asked()[0]
    other = B if slow[0] == A else A
    source = puller.transfer._sources[slow[0]]
    # As after a silence: the chunk may be asked of others, a late answer is welcome.
    puller.see(puller.transfer._silent(source, puller.now))
    puller.see(puller.transfer.wake(puller.now))
    assert puller.asked()[-1][0] == other
    begin(puller, slow)
    assert cancelled(puller)[-1] == (other, (0,))
    assert source.outstanding == 65536
    puller.check()


def test_a_chunk_that_comes_by_a_forgotten_request_ends_the_others_for_it() -> None:
    puller, record = pulling(manifest_of(2), A, B, silence=2.0)
    who, request, index = puller.asked()[0]
    begin(puller, (who, request, index))
    source = puller.transfer._sources[who]
    for _ in range(2):  # silent twice: even late answers are given up
        puller.now += 5.0
        puller.see(puller.transfer._silent(source, puller.now))
        puller.see(puller.transfer.wake(puller.now))
    assert request not in source.asks
    puller.see(puller.transfer.chunk_stored(who, request, record.root, index, 65536, puller.now))
    if record not in puller.finished:
        puller.check()
    sources = puller.transfer._sources.values()
    assert all(index not in ask.waiting for each in sources for ask in each.asks.values())


def test_what_came_since_the_look_of_the_same_moment_is_not_asked_again() -> None:
    puller, record = pulling(manifest_of(4), A, request_chunks=1)
    late = puller.asked()
    puller.known[record.root] += [B, C]
    puller.now = 3.0
    puller.link(B)
    taken = puller.asked()[len(late) :]
    [(who, _, first)] = taken
    assert who == B
    came = next(entry for entry in late if entry[2] != first)
    begin(puller, came)
    puller.see(puller.transfer.chunk_stored(A, came[1], record.root, came[2], 65536, puller.now))
    puller.link(C)
    assert came[2] not in [index for who, _, index in puller.asked() if who == C]
    puller.check()


def test_an_idle_source_is_considered_for_every_pull_and_not_only_for_the_first() -> None:
    puller, first = pulling(manifest_of(1, "one"), A)
    other = manifest_of(1, "two")
    second = puller.origin.record(other, "two.db")
    puller.manifests[second.root] = other
    puller.link(B)
    puller.want(second, B)
    begin(puller, puller.asked()[0])  # A gives, slowly; B does not begin
    for record in (first, second):
        puller.known[record.root].append(C)
    puller.link(C)
    puller.wake(1.0)
    [ask] = [send.message for send in puller.sent(GetChunks) if send.to == C]
    assert isinstance(ask, GetChunks) and ask.root == second.root
    puller.check()
