"""The second connection of a fast link: sealed, proven, and no way in for strangers."""

import contextlib
import os
import socket
import threading
from typing import Any

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESOCB3
from recording import Node, open_node

from ringgossip.errors import PeerMisbehaved
from ringgossip.protocol.core import LINK, Send, SendChunk
from ringgossip.runtime import link as link_module
from ringgossip.runtime import links as links_module
from ringgossip.runtime.lane import MAGIC
from ringgossip.runtime.outbox import Outbox
from ringgossip.runtime.sealed import CIPHERS, TAG_BYTES, BodyOpener, BodySealer, Cipher, quickest_cipher
from ringgossip.wire.messages import GetChunks

KEY = bytes(range(32))
MEGABYTE = 1 << 20


def sealed(sealer: BodySealer, data: bytes) -> tuple[bytes, bytearray]:
    counter = sealer.reserve()
    body = bytearray(data + bytes(TAG_BYTES))
    sealer.seal(counter, memoryview(body))
    return sealer.head(counter, 1, 2, len(data)), body


@pytest.mark.parametrize("cipher", CIPHERS.values())
@pytest.mark.parametrize("length", [1, 65536, 2**20 + 7, 16 * 2**20])
def test_a_body_is_opened_in_place_as_it_was(length: int, cipher: Cipher) -> None:
    data = os.urandom(length)
    opener = BodyOpener(KEY, cipher)
    head, body = sealed(BodySealer(KEY, cipher), data)
    assert length < 16 or data[:16] not in body
    told = opener.read_head(head)
    assert (told.request, told.index, told.length) == (1, 2, length)
    assert opener.open(told, memoryview(body))
    assert body[:length] == data


@pytest.mark.parametrize("cipher", CIPHERS.values())
def test_one_changed_bit_and_swapped_bodies_are_seen(cipher: Cipher) -> None:
    sealer, opener = BodySealer(KEY, cipher), BodyOpener(KEY, cipher)
    first, body = sealed(sealer, bytes(1000))
    _, other = sealed(sealer, bytes(1000))
    told = opener.read_head(first)
    assert not opener.open(told, memoryview(other))
    body[500] ^= 1
    assert not opener.open(told, memoryview(body))


def test_a_head_is_heard_once_and_only_with_the_right_key() -> None:
    sealer, opener = BodySealer(KEY, AESGCM), BodyOpener(KEY, AESGCM)
    first, _ = sealed(sealer, b"one")
    opener.read_head(first)
    with pytest.raises(PeerMisbehaved, match="heard before"):
        opener.read_head(first)
    with pytest.raises(PeerMisbehaved, match="damaged"):
        BodyOpener(bytes(32), AESGCM).read_head(first)


async def link_with_lane(monkeypatch, alice: Node, bob: Node) -> None:
    monkeypatch.setattr(link_module, "LEAST_RATE", 1.0)
    monkeypatch.setattr("ringgossip.runtime.rates._SAMPLE", 1e-6)
    await alice.link(bob)
    number = 0
    with trio.fail_after(10):
        while not (alice.links.all()[0]._lane and bob.links.all()[0]._lane):
            number += 1
            alice.perform([alice.give(bob, 1, number, bytes(65536))])
            await bob.core.until("chunk_stored", number)
            await trio.sleep(0.01)


@pytest.mark.trio
async def test_a_fast_link_gets_a_lane_and_bodies_go_both_ways(nodes, monkeypatch) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await link_with_lane(monkeypatch, alice, bob)
        before = len(bob.core.told("chunk_stored"))
        bodies = {1000 + number: os.urandom(700_000) for number in range(8)}
        alice.perform([alice.give(bob, 2, index, body) for index, body in bodies.items()])
        bob.perform([bob.give(alice, 3, index, body) for index, body in bodies.items()])
        await bob.core.until("chunk_stored", before + 8)
        await alice.core.until("chunk_stored", 8)
        await alice.core.until("chunk_sent", before + 8)
        assert {index: bob.chunks.written[index] for index in bodies} == bodies
        assert alice.chunks.written == bodies
        assert alice.sending.used == bob.receiving.used == 0


@pytest.mark.trio
async def test_a_slow_link_gets_no_lane(nodes, monkeypatch) -> None:
    monkeypatch.setattr(link_module, "LEAST_RATE", 1e15)
    monkeypatch.setattr("ringgossip.runtime.rates._SAMPLE", 1e-6)
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        alice.perform([alice.give(bob, 1, number, bytes(65536)) for number in range(3)])
        await bob.core.until("chunk_stored", 3)
        await trio.testing.wait_all_tasks_blocked(0.01)
        [link] = alice.links.all()
        assert link.sending.rate > 0 and not link._lane_wanted


class Way:
    """A lane that only writes down what it is to send."""

    def __init__(self) -> None:
        self.posted = []

    def post(self, chunk) -> None:
        self.posted.append(chunk)


@pytest.mark.trio
async def test_bodies_before_a_lane_go_over_the_link_and_later_ones_over_the_lane(nodes) -> None:
    async with open_node(nodes.alice) as alice:
        ready, way = trio.Event(), Way()
        outbox = Outbox(alice.chunks, alice.workers, alice.sending, ready.set)
        alice.chunks.chunks = {0: b"plain", 1: b"sealed"}
        outbox.add(SendChunk(alice.peer_id, 1, bytes(32), 0, 5))
        outbox.lane = way
        for index in (1, 2):
            outbox.add(SendChunk(alice.peer_id, 1, bytes(32), index, 6))
        with trio.fail_after(5):
            await ready.wait()
        plain = outbox.take()
        assert (plain.index, outbox.take()) == (0, None)
        there, absent = (outbox.read(chunk, lambda: False) for chunk in way.posted)
        assert (there.index, there.problem, bytes(there.data)) == (1, None, b"sealed")
        assert (absent.index, absent.problem) == (2, "chunk 2 is not here")
        outbox.give_back(there)
        outbox.give_back(absent)
        outbox.finished(plain)
        outbox.close()
        assert alice.sending.used == 0 and not outbox


@pytest.mark.trio
async def test_what_was_asked_for_is_proven_and_written_by_the_thread_of_its_lane(nodes, monkeypatch) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await link_with_lane(monkeypatch, alice, bob)
        writers = []
        write = bob.chunks.verify_and_write
        stored = len(bob.core.told("chunk_stored"))

        def noted(*chunk: Any) -> bool:
            writers.append(threading.current_thread().name)
            return write(*chunk)

        monkeypatch.setattr(bob.chunks, "verify_and_write", noted)
        for index in (4000, 4001, 4002, 4003):
            chunk = alice.give(bob, 8, index, os.urandom(100_000))
            bob.chunks.hashes[index] = bob.core.wanted[8, index]
            bob.perform([Send(alice.peer_id, GetChunks(8, chunk.root, (index,)), LINK)])
            if index == 4001:
                alice.chunks.chunks[index] = os.urandom(100_000)  # its disk lies
            if index == 4002:
                del bob.core.wanted[8, index]  # others brought it meanwhile
            alice.perform([chunk])
        await bob.core.until("chunk_stored", stored + 2)  # in order: the others are settled by then
        bob.chunks.full = True
        alice.perform([alice.give(bob, 8, 4004, bytes(100_000))])
        assert await bob.core.until("chunk_unstored") == [(8, 4004, "the disk is full")]
        assert writers == ["ringgossip-lane-receive"] * 5
        assert bob.core.told("chunk_bad") == [(8, 4001)]
        assert bob.core.told("discarded") == [(8, 4002)]
        assert {4000, 4002, 4003} <= bob.chunks.written.keys() and 4001 not in bob.chunks.written
        assert [place for _, place, _ in bob.core.told("chunk_stored") if place >= 4000] == [4000, 4003]
        assert bob.receiving.used == alice.sending.used == 0


@pytest.mark.trio
@pytest.mark.parametrize("cipher", CIPHERS)
async def test_a_lane_has_the_cipher_that_is_quickest_where_it_was_dialled(
    nodes, monkeypatch, cipher: bytes
) -> None:
    monkeypatch.setattr(links_module, "quickest_cipher", lambda: cipher)
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await link_with_lane(monkeypatch, alice, bob)
        alice.perform([alice.give(bob, 9, 5000, b"a body")])
        await bob.core.until("chunk_stored", len(bob.core.told("chunk_stored")) + 1)
        lanes = [node.links.all()[0]._lane for node in (alice, bob)]
        assert {type(lane.sealer._aead) for lane in lanes} == {CIPHERS[cipher]}


def test_of_the_ciphers_the_quicker_is_chosen(monkeypatch) -> None:
    for slow, quick in ((AESGCM, b"o"), (AESOCB3, b"g")):
        monkeypatch.setattr(
            "ringgossip.runtime.sealed._seconds", lambda aead, _, slow=slow: float(isinstance(aead, slow))
        )
        quickest_cipher.cache_clear()
        assert quickest_cipher() == quick
    quickest_cipher.cache_clear()


@pytest.mark.trio
async def test_unreadable_dropped_and_unwanted_bodies_do_not_stop_a_lane(nodes, monkeypatch) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await link_with_lane(monkeypatch, alice, bob)
        unwanted, unreadable = (alice.give(bob, 5, index, bytes(300_000)) for index in (2000, 2001))
        del alice.chunks.chunks[2001]
        del bob.core.wanted[5, 2000]
        alice.perform([unwanted, unreadable, alice.give(bob, 6, 2002, b"last")])
        await alice.core.until("chunk_unreadable")
        with trio.fail_after(5):
            # It is written in a thread; its buffer is given back here, a moment later.
            while 2002 not in bob.chunks.written or bob.receiving.used or alice.sending.used:
                await trio.sleep(0.002)
        assert bob.core.told("discarded") == [(5, 2000)]
        assert alice.sending.used == bob.receiving.used == 0


@pytest.mark.trio
async def test_a_broken_lane_ends_its_link(nodes, monkeypatch) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await link_with_lane(monkeypatch, alice, bob)
        alice.links.all()[0]._lane._socket.shutdown(socket.SHUT_RDWR)
        await bob.core.until("link_broken")
        await alice.core.until("link_broken")


@pytest.mark.trio
@pytest.mark.parametrize("right", [True, False])
async def test_what_a_lane_wrote_as_its_link_ended_is_told_all_the_same(nodes, monkeypatch, right) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await link_with_lane(monkeypatch, alice, bob)
        write = bob.chunks.verify_and_write
        [link] = bob.links.all()

        def last(*chunk: Any) -> bool:
            good = write(*chunk)
            link.end_reason = "it ended while its lane wrote"
            return good and right

        monkeypatch.setattr(bob.chunks, "verify_and_write", last)
        chunk = alice.give(bob, 8, 5000, os.urandom(100_000))
        bob.chunks.hashes[5000] = bob.core.wanted[8, 5000]
        bob.perform([Send(alice.peer_id, GetChunks(8, chunk.root, (5000,)), LINK)])
        before = len(bob.core.told("chunk_stored"))
        alice.perform([chunk])
        if right:
            await bob.core.until("chunk_stored", before + 1)
            assert bob.core.told("chunk_stored")[-1][:2] == (8, 5000)
        else:  # of a wrong chunk nobody says that it is here
            while link.end_reason is None:
                await trio.sleep(0.01)
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert len(bob.core.told("chunk_stored")) == before
        assert not bob.core.told("discarded") and bob.receiving.used == 0


@pytest.mark.trio
async def test_a_lane_that_nobody_told_of_is_refused(nodes, monkeypatch) -> None:
    monkeypatch.setattr("ringgossip.runtime.links.HANDSHAKE_TIMEOUT", 0.2)
    async with open_node(nodes.alice) as alice:
        stream = await trio.open_tcp_stream("127.0.0.1", alice.address.port)
        await stream.send_all(MAGIC + b"g" + bytes(16))
        assert await alice.core.until("packet_refused") == [("it asked for a lane that nobody told of",)]
        await stream.aclose()


@pytest.mark.trio
async def test_a_body_that_was_damaged_on_its_way_ends_the_link_and_makes_nobody_a_liar(
    nodes, monkeypatch
) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await link_with_lane(monkeypatch, alice, bob)
        seal = BodySealer.seal

        def seal_and_flip(sealer: BodySealer, counter: int, buffer: memoryview) -> None:
            seal(sealer, counter, buffer)
            buffer[500] ^= 1

        monkeypatch.setattr(BodySealer, "seal", seal_and_flip)
        alice.perform([alice.give(bob, 7, 3000, bytes(300_000))])
        [(_, reason)] = await bob.core.until("link_broken")
        assert reason == "a chunk was damaged on its way"
        assert not bob.core.told("chunk_bad")
        assert 3000 not in bob.chunks.written
        assert bob.receiving.used == 0


@pytest.mark.trio
async def test_where_no_more_threads_may_be_started_bodies_stay_on_the_link(nodes, monkeypatch) -> None:
    start = threading.Thread.start

    def refuse_lanes(thread: threading.Thread) -> None:
        if "lane-receive" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_lanes)
    monkeypatch.setattr(link_module, "LEAST_RATE", 1.0)
    monkeypatch.setattr("ringgossip.runtime.rates._SAMPLE", 1e-6)
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        alice.perform([alice.give(bob, 1, 0, bytes(65536))])
        await alice.core.until("lane_failed")
        await alice.core.until("link_broken")
        await alice.link(bob)


@pytest.mark.trio
async def test_a_body_that_trickles_does_not_hold_a_buffer_for_ever(nodes, monkeypatch) -> None:
    # The buffers are few, and all lanes share them: one member could keep everybody from receiving.
    monkeypatch.setattr(links_module, "_WATCH_INTERVAL", 0.05)
    monkeypatch.setattr(link_module, "PATIENCE", 1.5)
    monkeypatch.setattr("ringgossip.runtime.lane._LOOK_SECONDS", 1)
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await link_with_lane(monkeypatch, alice, bob)
        lane = alice.links.all()[0]._lane
        lane._socket.sendall(lane.sealer.head(lane.sealer.reserve(), 9, 9, MEGABYTE))
        with trio.fail_after(10):
            while not bob.core.told("link_broken"):
                with contextlib.suppress(OSError):
                    lane._socket.sendall(b".")
                await trio.sleep(0.05)
        assert bob.core.told("link_broken") == [(1, "its lane for bodies does not move")]
        with trio.fail_after(5):
            while bob.receiving.used:
                await trio.sleep(0.01)
