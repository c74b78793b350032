"""Who is served next, how much is granted ahead, and what is refused?"""

from random import Random

from artifacts import Origin, manifest_of, peer
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.content.record import Record
from ringgossip.identity import PeerId
from ringgossip.protocol.core import LINK, NEVER, LinkId, Send, SendChunk, SendPages
from ringgossip.protocol.serving import Out, Serving, ServingSettings
from ringgossip.protocol.shelf import Shelf
from ringgossip.strategy.order import ChunkSet
from ringgossip.wire.messages import (
    Busy,
    CancelChunks,
    GetChunks,
    GetPages,
    Have,
    HaveMore,
    Interest,
    Message,
    NoChunks,
)

A, B, C = peer(1), peer(2), peer(3)
ON = LinkId(1)
ORIGIN = Origin()
CONTENT = manifest_of(100)
RECORD = ORIGIN.record(CONTENT, "m.pth", "models")
GAMES = ORIGIN.record(manifest_of(8, "games"))


def serving(*records: Record, **settings: float) -> Serving:
    shelf = Shelf()
    for record in records:
        shelf.add(record)
    machine = Serving(ServingSettings(**settings), shelf, Random(1), 0.0)  # type: ignore[arg-type]
    for one in (A, B, C):
        machine.link_opened(one, 0.0)
    return machine


def hear(machine: Serving, who: PeerId, message: Message, now: float = 0.0) -> Out:
    return machine.receive(message, who, ON, now)


def granted(out: Out) -> list[tuple[PeerId, int]]:
    return [(effect.peer, effect.index) for effect in out if isinstance(effect, SendChunk)]


def serve(machine: Serving, out: Out, steps: int) -> list[tuple[PeerId, int]]:
    """Let bodies leave one after the other; return all that was granted."""
    sends = [effect for effect in out if isinstance(effect, SendChunk)]
    done: list[tuple[PeerId, int]] = granted(out)
    for step in range(steps):
        if not sends:
            break
        first = sends.pop(0)
        now = 0.01 * step
        more = machine.chunk_sent(first.peer, first.request, first.index, first.length, now)
        sends += [effect for effect in more if isinstance(effect, SendChunk)]
        done += granted(more)
    return done


def test_two_chunks_are_granted_ahead_and_one_more_for_each_that_left() -> None:
    machine = serving(RECORD)
    out = hear(machine, A, GetChunks(1, RECORD.root, (5, 6, 7, 8)))
    assert granted(out) == [(A, 5), (A, 6)]
    assert granted(machine.chunk_sent(A, 1, 5, 65536, 0.1)) == [(A, 7)]


def test_two_chunks_are_under_way_to_all_together_so_that_the_first_comes_early() -> None:
    machine = serving(RECORD)
    out = [each for who in (A, B, C) for each in hear(machine, who, GetChunks(1, RECORD.root, (5, 6, 7)))]
    assert granted(out) == [(A, 5), (A, 6)]
    assert len(granted(machine.chunk_sent(A, 1, 5, 65536, 0.1))) == 1


def test_peers_that_take_nothing_do_not_keep_out_the_others_for_long() -> None:
    machine = serving(RECORD)
    for who in (A, B, C):
        hear(machine, who, GetChunks(1, RECORD.root, (5, 6, 7)))
    assert machine.next_wakeup() == 1.0
    assert sorted(granted(machine.wake(1.0))) == sorted([(B, 5), (C, 5)])


def test_the_places_of_a_broken_link_are_free() -> None:
    machine = serving(RECORD)
    for who in (A, B, C):
        hear(machine, who, GetChunks(1, RECORD.root, (5, 6, 7)))
    assert sorted(granted(machine.link_broken(A, 0.1))) == sorted([(B, 5), (C, 5)])


def test_a_fast_link_has_twenty_milliseconds_of_its_rate_ahead() -> None:
    machine = serving(RECORD)
    out = hear(machine, A, GetChunks(1, RECORD.root, tuple(range(64))))
    out += hear(machine, A, GetChunks(2, RECORD.root, tuple(range(64))))
    sends = [effect for effect in out if isinstance(effect, SendChunk)]
    assert len(sends) == 2
    for step in range(1, 91):  # 64 KiB each millisecond: 20 chunks in 20 ms
        chunk = sends.pop(0)
        more = machine.chunk_sent(A, chunk.request, chunk.index, chunk.length, 0.001 * step)
        sends += [effect for effect in more if isinstance(effect, SendChunk)]
    assert 18 <= len(sends) <= 21


def test_models_go_at_once_although_games_wait() -> None:
    machine = serving(RECORD, GAMES, ahead_least=1)
    hear(machine, A, GetChunks(1, GAMES.root, (0, 1, 2)))
    hear(machine, B, GetChunks(2, GAMES.root, (3, 4)))
    out = hear(machine, C, GetChunks(3, RECORD.root, (0,)))
    assert [effect.root for effect in out if isinstance(effect, SendChunk)] == [RECORD.root]


def test_of_games_two_chunks_are_under_way_and_none_is_granted_beside_a_model() -> None:
    machine = serving(RECORD, GAMES)
    assert granted(hear(machine, A, GetChunks(1, GAMES.root, (0, 1, 2)))) == [(A, 0), (A, 1)]
    assert granted(hear(machine, B, GetChunks(2, RECORD.root, (0, 1)))) == [(B, 0), (B, 1)]
    assert granted(machine.chunk_sent(A, 1, 0, 65536, 0.5)) == []
    assert granted(machine.chunk_sent(B, 2, 0, 65536, 0.7)) == []
    assert granted(machine.chunk_sent(B, 2, 1, 65536, 0.9)) == [(A, 2)]


def test_a_model_that_its_receiver_takes_far_too_slowly_keeps_no_games_waiting() -> None:
    machine = serving(RECORD, GAMES)
    hear(machine, B, GetChunks(2, RECORD.root, (0, 1)))
    assert granted(hear(machine, A, GetChunks(1, GAMES.root, (0, 1, 2)))) == []
    assert machine.next_wakeup() == 10.0, "nothing is known of the uplink yet"
    assert granted(machine.wake(10.0)) == [(A, 0), (A, 1)]


def test_who_was_idle_for_long_does_not_starve_the_others() -> None:
    machine = serving(RECORD, send_bytes_per_second=655360.0)
    out = hear(machine, A, GetChunks(1, RECORD.root, tuple(range(60))))
    seen, now, asked = granted(out), 0.0, False
    sends = [effect for effect in out if isinstance(effect, SendChunk)]
    while now < 6.0:
        for effect in sends:
            out = machine.chunk_sent(effect.peer, effect.request, effect.index, effect.length, now)
            seen += granted(out)
            sends = [effect for effect in out if isinstance(effect, SendChunk)]
        if len(seen) > 30 and not asked:
            asked = True
            out = hear(machine, B, GetChunks(2, RECORD.root, tuple(range(60))), now)
            seen += granted(out)
            sends += [effect for effect in out if isinstance(effect, SendChunk)]
        due = machine.next_wakeup()
        assert due > now or due == NEVER
        now = min(due, now + 0.5)
        out = machine.wake(now)
        seen += granted(out)
        sends += [effect for effect in out if isinstance(effect, SendChunk)]
    after = [who for who, _ in seen[32:52]]
    assert 7 <= after.count(A) <= 13


def test_while_a_file_spreads_different_chunks_leave_first() -> None:
    machine = serving(RECORD)
    out: Out = []
    for number, who in enumerate((A, B, C)):
        hear(machine, who, Interest(RECORD.root, True))
        out += hear(machine, who, GetChunks(number, RECORD.root, tuple(range(30))))
    first = serve(machine, out, 24)
    assert len({index for _, index in first[:24]}) == 24


def test_beyond_the_queue_an_asker_hears_busy_and_nothing_is_kept() -> None:
    machine = serving(RECORD, queue=70)
    out = hear(machine, A, GetChunks(1, RECORD.root, tuple(range(64))))
    assert hear(machine, A, GetChunks(2, RECORD.root, tuple(range(64)))) == [Send(A, Busy(2, 1.0), LINK)]
    assert len(serve(machine, out, 200)) == 64


def test_what_is_not_here_is_refused_and_the_rest_served() -> None:
    shelf = Shelf()
    shelf.partial[RECORD.root] = (RECORD, ChunkSet(100, 0b110))
    machine = Serving(ServingSettings(), shelf, Random(1), 0.0)
    machine.link_opened(A, 0.0)
    out = hear(machine, A, GetChunks(1, RECORD.root, (1, 3, 2, 100, 2**62)))
    assert granted(out) == [(A, 1), (A, 2)]
    assert Send(A, NoChunks(1, RECORD.root, (3, 100, 2**62), "not here"), LINK) in out
    assert isinstance(hear(machine, A, GetChunks(2, GAMES.root, (0,)))[0], Send)


def test_a_chunk_named_twice_in_one_request_is_sent_once() -> None:
    machine = serving(RECORD)
    out = hear(machine, A, GetChunks(1, RECORD.root, (5, 5, 5)))
    assert serve(machine, out, 9) == [(A, 5)]
    assert machine._askers[A].granted_bytes == 0


def test_what_is_cancelled_before_its_turn_is_not_sent() -> None:
    machine = serving(RECORD)
    out = hear(machine, A, GetChunks(1, RECORD.root, (0, 1, 2, 3)))
    hear(machine, A, CancelChunks(1, (2, 77)))
    assert serve(machine, out, 9) == [(A, 0), (A, 1), (A, 3)]


def test_pages_out_of_range_are_for_the_store_to_refuse_and_floods_of_them_for_us() -> None:
    machine = serving(RECORD, page_bytes_per_second=6400.0)
    pages = GetPages(1, RECORD.root, (0, 9, 0), (0, 2**60, 0))
    assert hear(machine, A, pages) == [SendPages(A, 1, RECORD.root, ((0, 0), (9, 2**60)))]
    assert hear(machine, A, pages) == [Send(A, Busy(1, 1.0), LINK)]
    assert isinstance(hear(machine, A, pages, 5.0)[0], SendPages)
    uneven = hear(machine, A, GetPages(2, RECORD.root, (0,), ()))
    assert isinstance(uneven[0], Send) and isinstance(uneven[0].message, NoChunks)


def test_a_peer_that_pulls_has_the_manifest_to_give() -> None:
    shelf = Shelf()
    shelf.partial[RECORD.root] = (RECORD, ChunkSet(100))
    machine = Serving(ServingSettings(), shelf, Random(1), 0.0)
    machine.link_opened(A, 0.0)
    nothing_yet = Send(A, Have(RECORD.root, 1, 0, bytes(13)), LINK)
    assert hear(machine, A, Interest(RECORD.root, True)) == [nothing_yet]
    assert isinstance(hear(machine, A, GetPages(1, RECORD.root, (0,), (0,)))[0], SendPages)


def test_nobody_is_told_of_progress_who_did_not_ask() -> None:
    shelf = Shelf()
    shelf.partial[RECORD.root] = (RECORD, ChunkSet(100))
    machine = Serving(ServingSettings(), shelf, Random(1), 0.0)
    for one in (A, B):
        machine.link_opened(one, 0.0)
    hear(machine, A, Interest(RECORD.root, True))
    assert machine.chunk_held(RECORD.root, 4, 0.0) == [Send(A, HaveMore(RECORD.root, (4,)), LINK)]
    assert machine.chunk_held(RECORD.root, 9, 0.01) == machine.chunk_held(RECORD.root, 7, 0.015) == []
    assert machine.next_wakeup() == 0.02, "at once, but no more often than once in 20 ms"
    assert machine.wake(0.02) == [Send(A, HaveMore(RECORD.root, (9, 7)), LINK)]
    assert machine.next_wakeup() == NEVER
    shelf.add(RECORD)
    assert machine.root_completed(RECORD.root, 1.0) == [Send(A, Have(RECORD.root, 2, 0, b""), LINK)]
    hear(machine, A, Interest(RECORD.root, False))
    assert machine.root_completed(RECORD.root, 1.0) == []


def test_a_version_that_goes_is_refused_to_those_who_wait_and_told_to_those_interested() -> None:
    machine = serving(RECORD)
    hear(machine, A, Interest(RECORD.root, True))
    hear(machine, A, GetChunks(1, RECORD.root, tuple(range(10))))
    machine._shelf.remove(RECORD)
    out = machine.root_lost(RECORD.root, 1.0)
    assert Send(A, Have(RECORD.root, 0, 0, b""), LINK) in out
    assert Send(A, NoChunks(1, RECORD.root, (), "no longer here"), LINK) in out
    assert granted(machine.chunk_sent(A, 1, 0, 65536, 1.0)) == []


def test_what_was_given_up_while_it_waited_is_refused_when_its_turn_comes() -> None:
    shelf = Shelf()
    shelf.partial[RECORD.root] = (RECORD, ChunkSet(100, 0b1111))
    machine = Serving(ServingSettings(), shelf, Random(1), 0.0)
    machine.link_opened(A, 0.0)
    hear(machine, A, GetChunks(1, RECORD.root, (0, 1, 2)))
    del shelf.partial[RECORD.root]
    out = machine.chunk_sent(A, 1, 0, 65536, 1.0)
    assert out == [Send(A, NoChunks(1, RECORD.root, (2,), "no longer here"), LINK)]


def test_a_chunk_that_cannot_be_read_is_refused_in_words_that_tell_nothing_of_this_machine() -> None:
    machine = serving(RECORD)
    hear(machine, A, GetChunks(1, RECORD.root, (0, 1, 2)))
    refusal = Send(A, NoChunks(1, RECORD.root, (1,), "it cannot be read here"), LINK)
    assert refusal in machine.chunk_unreadable(A, 1, RECORD.root, 1, 1.0)


def test_a_bitmap_too_large_for_one_message_comes_in_parts() -> None:
    shelf = Shelf()
    huge = ORIGIN.record(manifest_of(1), size=8_000_000 * 4096, chunk_size=4096)
    shelf.partial[huge.root] = (huge, ChunkSet(8_000_000, 1 << 7_999_999))
    machine = Serving(ServingSettings(), shelf, Random(1), 0.0)
    machine.link_opened(A, 0.0)
    out = hear(machine, A, Interest(huge.root, True))
    parts = [effect.message for effect in out if isinstance(effect, Send)]
    assert [(part.offset, len(part.bitmap)) for part in parts if isinstance(part, Have)] == [
        (0, 900_000),
        (7_200_000, 100_000),
    ]


@given(st.lists(st.integers(1, 64), min_size=1, max_size=8), st.floats(1e4, 1e7))
def test_the_send_limit_holds_and_everything_is_sent_in_the_end(counts: list[int], rate: float) -> None:
    machine = serving(RECORD, send_bytes_per_second=rate)
    out: Out = []
    for number, count in enumerate(counts):
        out += hear(machine, (A, B, C)[number % 3], GetChunks(number, RECORD.root, tuple(range(count))))
    sends, now, sent = [e for e in out if isinstance(e, SendChunk)], 0.0, 0
    for _ in range(2000):
        if not sends:
            due = machine.next_wakeup()
            if due == NEVER:
                break
            assert due > now
            now = due
            out = machine.wake(now)
        else:
            chunk = sends.pop()
            sent += chunk.length
            out = machine.chunk_sent(chunk.peer, chunk.request, chunk.index, chunk.length, now)
        sends += [e for e in out if isinstance(e, SendChunk)]
        assert sent <= rate * now + rate * 0.1 + 65536
    assert sent == sum(counts) * 65536
    assert all(asker.granted_bytes == 0 for asker in machine._askers.values())
