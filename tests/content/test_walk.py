"""Do two sides of a walk find exactly what differs, at the promised price?"""

import random
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringgossip.content.digest import Digest
from ringgossip.content.walk import (
    ENTRIES,
    HASHES,
    IDS,
    MAX_PAYLOAD_BYTES,
    MAX_WALK_BYTES,
    WANTS,
    Entry,
    Payload,
    Walk,
    answer,
)
from ringgossip.errors import PeerMisbehaved


class Talk:
    """Two digests and one walk between them, through msgpack; counts what crosses the wire."""

    def __init__(self, here: Digest, there: Digest, salt: int = 7) -> None:
        self.theirs_here: list[Entry] = []
        self.theirs_there: list[Entry] = []
        self.ours_here: list[Entry] = []
        self.ours_there: list[Entry] = []
        self.bytes = 0
        self.messages = 0
        walk = Walk(here)
        to_there = walk.open(salt)
        while to_there:
            to_here = []
            for payload in self._carry(to_there):
                step = answer(there, payload)
                to_here += step.replies
                self.theirs_there += step.theirs
                self.ours_there += step.ours
            to_there = []
            for payload in self._carry(to_here):
                step = walk.receive(payload)
                to_there += step.replies
                self.theirs_here += step.theirs
                self.ours_here += step.ours

    def _carry(self, payloads: list[Payload]) -> list[Payload]:
        self.messages += bool(payloads)
        packed = [msgpack.packb(payload) for payload in payloads]
        self.bytes += sum(map(len, packed))
        assert all(len(one) <= MAX_PAYLOAD_BYTES + 64 for one in packed)
        return [Payload(*msgpack.unpackb(one)) for one in packed]


def make_digest(entries: dict[bytes, bytes]) -> Digest:
    digest = Digest()
    for key, value in entries.items():
        digest.insert(key, value)
    return digest


def random_entries(count: int, rng: random.Random) -> dict[bytes, bytes]:
    return {rng.randbytes(32): rng.randbytes(32) for _ in range(count)}


def assert_exact(talk: Talk, here: dict[bytes, bytes], there: dict[bytes, bytes]) -> None:
    only_here = sorted(here.items() - there.items())
    only_there = sorted(there.items() - here.items())
    assert sorted(talk.theirs_here) == only_there
    assert sorted(talk.theirs_there) == only_here
    assert sorted(talk.ours_here) == only_here
    assert sorted(talk.ours_there) == only_there


SIZES = st.sampled_from([0, 1, 8, 16, 17, 33, 200, 1500])


@given(SIZES, SIZES, SIZES, st.integers(0, 40), st.integers(0, 255), st.integers(0, 2**30))
@settings(max_examples=60, deadline=None)
def test_a_walk_finds_exactly_the_differences(
    common: int, only_here: int, only_there: int, changed: int, salt: int, seed: int
) -> None:
    rng = random.Random(seed)
    shared = random_entries(common, rng)
    here = shared | random_entries(only_here, rng)
    there = shared | random_entries(only_there, rng)
    for key in list(shared)[:changed]:
        there[key] = rng.randbytes(32)
    assert_exact(Talk(make_digest(here), make_digest(there), salt), here, there)


def test_keys_that_share_a_long_prefix_are_told_apart() -> None:
    rng = random.Random(3)
    here = {bytes(9) + number.to_bytes(2) + rng.randbytes(21): rng.randbytes(32) for number in range(60)}
    there = {key: rng.randbytes(32) if key[10] == 5 else value for key, value in here.items()}
    assert_exact(Talk(make_digest(here), make_digest(there)), here, there)


@pytest.mark.parametrize("differences", [1, 10, 100, 1000])
def test_a_walk_stays_within_four_times_the_bound_and_six_round_trips(differences: int) -> None:
    rng = random.Random(differences)
    shared = random_entries(30_000, rng)
    here, there = dict(shared), dict(shared)
    for number, key in enumerate(list(shared)[:differences]):
        if number % 3 == 0:
            del here[key]
        elif number % 3 == 1:
            del there[key]
        else:
            here[key] = bytes(32)
    talk = Talk(make_digest(here), make_digest(there))
    assert_exact(talk, here, there)
    assert talk.bytes <= 4 * differences * 64 + 4096
    assert talk.messages <= 12


def test_a_newcomer_catches_up_in_bounded_walks() -> None:
    rng = random.Random(5)
    everything = random_entries(40_000, rng)
    there, here = make_digest(everything), Digest()
    walks = 0
    while here.root != there.root:
        talk = Talk(here, there, rng.getrandbits(8))
        assert 0 < len(talk.theirs_here) < 20_000
        assert sorted(talk.theirs_here) == sorted(talk.ours_there)
        for key, value in talk.theirs_here:
            here.insert(key, value)
        walks += 1
    assert walks == 3


def test_sets_with_nothing_in_common_are_walked_in_bounded_steps() -> None:
    rng = random.Random(6)
    here, there = make_digest(random_entries(40_000, rng)), make_digest(random_entries(40_000, rng))
    walks = 0
    while here.root != there.root:
        talk = Talk(here, there, rng.getrandbits(8))
        assert talk.bytes < 2 * MAX_WALK_BYTES
        for key, value in talk.theirs_here:
            here.insert(key, value)
        for key, value in talk.theirs_there:
            there.insert(key, value)
        walks += 1
    assert walks <= 5


def test_an_answer_is_bounded_whatever_is_asked() -> None:
    digest = make_digest(random_entries(20_000, random.Random(7)))
    nothing_here = Payload(IDS, 0, 0, 0, b"", b"\x00", b"")
    step = answer(digest, nothing_here, max_replies=2)
    assert [payload.stage for payload in step.replies] == [ENTRIES, ENTRIES]
    assert len(step.ours) == 2 * MAX_PAYLOAD_BYTES // 64
    no_node_like_yours = Payload(HASHES, 0, 0, 8, b"", b"", b"\x01" * 1024)
    assert len(answer(digest, no_node_like_yours, max_replies=1).replies) == 1


def test_an_entry_is_searched_only_where_few_are() -> None:
    rng = random.Random(12)
    entries = random_entries(400, rng)
    one = make_digest(dict([next(iter(entries.items()))]))
    (ids,) = Walk(one).open(0)
    assert len(answer(one, ids._replace(stage=WANTS)).ours) == 1
    assert answer(make_digest(entries), ids._replace(stage=WANTS)).ours == []


def test_wishes_for_the_entries_of_many_nodes_cost_no_more_than_one_payload_can_be_about() -> None:
    here = make_digest(random_entries(40_000, random.Random(4)))
    looked: list[int] = []

    class Counted(Digest):
        def entries_at(self, bits: int, prefix: int) -> Iterator[bytes]:
            looked.append(here.count_at(bits, prefix))
            return here.entries_at(bits, prefix)

    counted = Counted()
    counted._top = here._top
    nodes = bytes(range(256))
    for ids in (0, 1):
        answer(counted, Payload(2, 7, 8, 0, nodes, bytes((ids,)) * 256, bytes(4 * ids * 256)))
    assert 0 < sum(looked) <= 16_384


def test_a_walk_descends_into_a_bounded_number_of_nodes_and_bytes() -> None:
    rng = random.Random(13)
    here, there = make_digest(random_entries(3000, rng)), make_digest(random_entries(3000, rng))
    (first,) = Walk(here).open(0)
    replies = answer(there, first).replies
    assert {HASHES, IDS} & {reply.stage for reply in Walk(here).receive(replies[0]).replies}
    assert {reply.stage for reply in Walk(here, max_nodes=0).receive(replies[0]).replies} <= {ENTRIES}
    assert Walk(here, max_bytes=100).receive(replies[0]).replies == []


def test_where_the_peer_has_nothing_whole_entries_are_sent_at_once() -> None:
    entries = random_entries(50, random.Random(14))
    nothing = Payload(HASHES, 0, 0, 2, b"", b"", bytes(16))
    (reply,) = answer(make_digest(entries), nothing).replies
    assert (reply.stage, reply.body) == (ENTRIES, b"".join(key + entries[key] for key in sorted(entries)))


def test_entries_that_we_have_meanwhile_are_no_news() -> None:
    digest = make_digest({bytes(32): bytes(32)})
    news = Payload(ENTRIES, 0, 0, 0, b"", b"", bytes(64) + b"\x01" * 64)
    assert answer(digest, news).theirs == [(b"\x01" * 32, b"\x01" * 32)]


def test_the_set_may_change_between_two_messages() -> None:
    rng = random.Random(8)
    entries = random_entries(3000, rng)
    here, there = make_digest(entries), make_digest(entries)
    news = random_entries(50, rng)
    for key, value in news.items():
        there.insert(key, value)
    walk = Walk(here)
    to_there, found = walk.open(1), set()
    while to_there:
        key, value = rng.randbytes(32), rng.randbytes(32)
        there.insert(key, value)
        there.remove(rng.choice(list(entries)))
        replies = [reply for payload in to_there for reply in answer(there, payload).replies]
        here.insert(rng.randbytes(32), bytes(32))
        steps = [walk.receive(payload) for payload in replies]
        to_there = [reply for step in steps for reply in step.replies]
        found |= {entry for step in steps for entry in step.theirs}
    assert found >= set(news.items())


def test_a_short_hash_that_agrees_falsely_is_seen_by_the_next_walk() -> None:
    key = bytes(32)
    here, there = Digest(), Digest()
    here.insert(key, bytes(16) + b"same" + bytes(12))
    there.insert(key, bytes(16) + b"same" + b"not the same")
    assert here.root != there.root
    assert not Talk(here, there, salt=0).theirs_here
    assert Talk(here, there, salt=5).theirs_here


GOOD = Payload(IDS, 0, 4, 0, b"\x10\x20", b"\x01\x00", b"abcd")


@pytest.mark.parametrize(
    "payload",
    [
        (),
        [],
        None,
        GOOD[:6],
        GOOD._replace(stage=4),
        GOOD._replace(stage=True),
        GOOD._replace(salt=256),
        GOOD._replace(salt=-1),
        GOOD._replace(bits=66),
        GOOD._replace(bits=5),
        GOOD._replace(bits=0),
        GOOD._replace(width=2),
        GOOD._replace(nodes=b""),
        GOOD._replace(nodes=b"\x20\x10"),
        GOOD._replace(nodes=b"\x10\x10"),
        GOOD._replace(nodes=b"\x11\x20"),
        Payload(IDS, 0, 4, 0, "ab", b"\x01\x00", b"abcd"),  # type: ignore[arg-type]
        GOOD._replace(counts=b"\x01"),
        GOOD._replace(counts=b"\x02\x00"),
        GOOD._replace(body=b"abc"),
        GOOD._replace(body=bytes(MAX_PAYLOAD_BYTES)),
        Payload(HASHES, 0, 4, 3, b"\x10", b"", bytes(32)),
        Payload(HASHES, 0, 4, 2, b"\x10", b"", bytes(12)),
        Payload(HASHES, 0, 4, 2, b"\x10", b"\x01", bytes(16)),
        Payload(HASHES, 0, 64, 2, bytes(8), b"", bytes(16)),
        Payload(HASHES, 0, 10, 2, b"\x10", b"", bytes(16)),
        Payload(ENTRIES, 0, 0, 0, b"", b"", bytes(65)),
        Payload(ENTRIES, 0, 0, 0, b"", b"", bytes(MAX_PAYLOAD_BYTES + 64)),
        Payload(ENTRIES, 0, 4, 0, b"\x10", b"", bytes(64)),
    ],
)
def test_a_payload_that_breaks_a_rule_is_misbehaviour(payload: Any) -> None:
    digest = make_digest(random_entries(100, random.Random(9)))
    answer(digest, GOOD)
    for receive in (Walk(digest).receive, lambda received: answer(digest, received)):
        with pytest.raises(PeerMisbehaved):
            receive(payload)


@given(
    st.sampled_from([HASHES, IDS, WANTS, ENTRIES]),
    st.integers(0, 255),
    st.integers(0, 64),
    st.sampled_from([0, 2, 4, 8]),
    st.integers(0, 20),
    st.data(),
)
@settings(deadline=None)
def test_garbage_of_the_right_form_never_breaks_anything(
    stage: int, salt: int, bits: int, width: int, count: int, data: st.DataObject
) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**30)))
    length = (bits + 7) // 8
    nodes = b"".join(
        sorted({(rng.getrandbits(bits) << (length * 8 - bits)).to_bytes(length) for _ in range(count)})
    )
    number = len(nodes) // length if bits else 1
    counts = b"" if stage in (HASHES, ENTRIES) else rng.randbytes(number)
    body_length = {HASHES: (number << width) * 4, ENTRIES: 64 * count}.get(stage, 4 * sum(counts))
    payload = Payload(
        stage, salt, bits, width, nodes, counts, rng.randbytes(min(body_length, MAX_PAYLOAD_BYTES))
    )
    digest = make_digest(random_entries(300, random.Random(10)))
    try:
        step = answer(digest, payload)
    except PeerMisbehaved:
        return
    for reply in step.replies:
        answer(digest, reply)
