"""Who is served next, and with which chunk?"""

from collections import Counter
from random import Random

from artifacts import peer

from ringgossip.identity import PeerId
from ringgossip.protocol.askers import Asker, Wanted
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.protocol.turns import Turns

ROOT = b"r" * 32
CHUNK = 65536
A, B, C = peer(1), peer(2), peer(3)


def asker(who: PeerId, *indices: int) -> Asker:
    free = TokenBucket(None, 0.0)
    return Asker(who, free, free, queue=[Wanted(1, ROOT, index, CHUNK, 1) for index in indices])


def turns(seed: int = 1, weights: dict[PeerId, float] | None = None) -> Turns:
    return Turns(lambda who: (weights or {}).get(who, 1.0), Random(seed))


def serve(machine: Turns, askers: list[Asker], count: int) -> list[tuple[PeerId, int]]:
    done = []
    for _ in range(count):
        one, wanted = machine.take([(each, 0) for each in askers if each.queue])
        machine.given(one, wanted, 64, 0.0)
        done.append((one.peer, wanted.index))
    return done


def test_of_those_who_were_given_as_little_whoever_wants_what_left_least_often_is_first() -> None:
    machine = turns()
    a, b, c = asker(A, 0, 1, 2), asker(B, 0, 1, 2), asker(C, 0, 1, 2)
    chunks = [index for _, index in serve(machine, [a, b, c], 9)]
    assert [sorted(chunks[start : start + 3]) for start in (0, 3, 6)] == [[0, 1, 2]] * 3


def test_two_that_send_to_the_same_peers_do_not_go_through_them_in_the_same_order() -> None:
    runs = [serve(turns(seed), [asker(A, 0), asker(B, 0), asker(C, 0)], 1) for seed in range(300)]
    first = Counter(run[0][0] for run in runs)
    assert all(70 <= first[who] <= 130 for who in (A, B, C))


def test_a_rare_chunk_puts_nobody_more_than_a_chunk_ahead() -> None:
    machine = turns()
    a, b = asker(A, *range(32)), asker(B, *[0] * 32)
    for _ in range(40):
        serve(machine, [a, b], 1)
        assert abs(a.given - b.given) <= CHUNK


def test_twice_the_weight_is_twice_the_chunks_although_rare_ones_go_first() -> None:
    machine = turns(weights={A: 2.0})
    a, b = asker(A, *[0] * 60), asker(B, *range(60))
    given = Counter(who for who, _ in serve(machine, [a, b], 60))
    assert 39 <= given[A] <= 41


def test_only_chunks_of_the_same_content_are_compared() -> None:
    machine = turns()
    a = asker(A, 3, 3)
    a.queue.append(Wanted(2, b"s" * 32, 900, CHUNK, 1))  # a larger content: no such place in the first
    assert serve(machine, [a], 2) == [(A, 3), (A, 3)]
