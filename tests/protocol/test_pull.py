"""Is every chunk of a pull in exactly one place, whatever happens?"""

from random import Random

from artifacts import Origin, manifest_of, peer
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.protocol.pull import ALL, Phase, Pull
from ringgossip.strategy.order import bits_of, full_set

COUNT = 20
RECORD = Origin().record(manifest_of(COUNT))


def a_pull(have: int = 0, copying: int = 0) -> Pull:
    pull = Pull(RECORD, 1, started_at=0.0, phase=Phase.PREPARING)
    pull.begin(have, copying, 0.0)
    return pull


def places(pull: Pull) -> list[set[int]]:
    return [
        set(bits_of(pull.have.as_int())),
        set(bits_of(pull.copying)),
        set(bits_of(pull.needed)),
        set(pull.asked),
    ]


@given(st.integers(0, full_set(COUNT)), st.integers(0, full_set(COUNT + 4)), st.integers())
def test_every_chunk_is_here_copied_needed_or_asked_and_never_in_two_places(
    have: int, copying: int, seed: int
) -> None:
    pull, rng = a_pull(have, copying), Random(seed)
    asks: list[list[int]] = []
    for _ in range(60):
        match rng.randrange(6):
            case 0 | 1:
                wanted = list(bits_of(pull.needed))[:3]
                pull.take(wanted)
                asks.append(wanted)
            case 2:  # the second ask
                twice = [index for index in pull.asked if pull.asked[index] == 1][:1]
                pull.take(twice)
                asks.append(twice)
            case 3 if asks:
                pull.give_back(asks.pop(rng.randrange(len(asks))))
            case 4:  # stored: asked for, late, or never asked for at all
                pull.stored(rng.randrange(COUNT + 2), 1, 0.0)
            case 5:
                pull.copied(rng.getrandbits(COUNT), rng.getrandbits(COUNT + 3), 0.0)
        found = places(pull)
        assert set().union(*found) == set(range(COUNT))
        assert sum(map(len, found)) == COUNT
        assert pull.complete == (len(pull.have) == COUNT)


@given(st.integers())
def test_availability_counts_exactly_the_partial_holders(seed: int) -> None:
    pull, rng = a_pull(), Random(seed)
    for _ in range(40):
        who = peer(rng.randrange(4))
        indices = tuple(rng.randrange(COUNT + 3) for _ in range(3))
        match rng.randrange(6):
            case 0:
                pull.set_holder(who, ALL if rng.random() < 0.3 else rng.getrandbits(COUNT))
            case 1:
                pull.add_to_holder(who, indices)
            case 2:
                pull.remove_from_holder(who, indices)
            case 3:
                pull.remove_from_holder(who, ())
            case 4:
                pull.hear_some(who, rng.getrandbits(COUNT))
            case 5:
                pull.drop_holder(who)
        partial = [chunks for chunks in pull.holders.values() if chunks != ALL]
        assert all(0 <= chunks <= full_set(COUNT) for chunks in partial)
        counts = [sum(chunks >> index & 1 for chunks in partial) for index in range(COUNT)]
        rarest = [index for index in range(COUNT) if counts[index] == min(counts)]
        assert list(bits_of(pull.availability.rarest(full_set(COUNT)))) == rarest


def test_a_late_answer_to_a_question_given_up_is_taken_once() -> None:
    pull = a_pull()
    pull.take([3])
    pull.give_back([3])
    assert pull.stored(3, 65536, 1.0)
    assert not pull.stored(3, 65536, 1.0)
    assert 3 not in bits_of(pull.needed)


def test_what_is_stored_before_the_partial_file_is_open_again_counts_for_nothing() -> None:
    pull = Pull(RECORD, 1, started_at=0.0)
    assert not pull.stored(3, 65536, 1.0)
    assert len(pull.have) == 0


def test_before_the_manifest_is_proven_a_claimed_size_takes_no_memory() -> None:
    huge = Origin().record(manifest_of(1), size=(2**32 - 1) * 4096, chunk_size=4096)
    pull = Pull(huge, 1, started_at=0.0, phase=Phase.MANIFEST)
    pull.add_to_holder(peer(1), (2**32 - 2,))
    pull.set_holder(peer(2), ALL)
    pull.remove_from_holder(peer(2), (7,))
    assert pull.holders == {peer(1): 0, peer(2): ALL}
    assert pull.bytes_done() == 0


def test_the_last_chunk_may_be_shorter() -> None:
    pull = Pull(Origin().record(manifest_of(3, size=2 * 65536 + 10)), 1, started_at=0.0)
    pull.begin(0b101, 0, 0.0)
    assert [pull.length(index) for index in range(3)] == [65536, 65536, 10]
    assert pull.bytes_done() == 65536 + 10


def test_those_who_pull_the_same_root_divide_it_among_them() -> None:
    pullers = [peer(number) for number in (1, 2, 3)]
    shares = []
    for me in pullers:
        pull = a_pull()
        pull.set_holder(peer(9), ALL)
        for other in pullers:
            if other != me:
                pull.set_holder(other, 0)
        shares.append(set(bits_of(pull.share_of(me))))
    assert set().union(*shares) == set(range(COUNT))
    assert sum(map(len, shares)) == COUNT


def test_who_pulls_alone_takes_all() -> None:
    pull = a_pull()
    pull.set_holder(peer(9), ALL)
    assert pull.share_of(peer(1)) & full_set(COUNT) == full_set(COUNT)
