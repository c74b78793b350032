"""Links: who is let in, what goes first, what a misbehaving side costs."""

import errno
import os
import shutil
import socket
import time

import pytest
import trio
import trio.testing
from recording import Node, open_node

from ringgossip.content.hashing import hash_bytes
from ringgossip.identity import Address
from ringgossip.identity.credentials import Credentials
from ringgossip.protocol.core import LINK, CloseLink, Dial, LinkId, Send, SendChunk
from ringgossip.runtime import link as link_module
from ringgossip.runtime.tls import TlsStream
from ringgossip.wire.codec import encode
from ringgossip.wire.frames import pack_frame
from ringgossip.wire.messages import CatalogRoot, ChunkPiece, Hello

pytestmark = pytest.mark.trio

MEGABYTE = 1 << 20


async def test_two_peers_are_linked_and_know_each_others_names(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        assert alice.core.told("link_opened") == [(1, bob.peer_id, "bob", True)]
        assert bob.core.told("link_opened") == [(1, alice.peer_id, "alice", False)]
        [heard] = await alice.core.until("receive")
        assert isinstance(heard[0], Hello)


async def test_both_sides_may_ask_whoever_dialled(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        bob.perform([Send(alice.peer_id, CatalogRoot(b"from bob"), LINK)])
        alice.perform([Send(bob.peer_id, CatalogRoot(b"from ali"), LINK)])
        assert (await alice.core.until("receive", 2))[1][0] == CatalogRoot(b"from bob")
        assert (await bob.core.until("receive", 2))[1][0] == CatalogRoot(b"from ali")


async def test_what_the_kernel_does_not_take_at_once_follows_in_order(nodes, monkeypatch) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        await bob.core.until("receive")
        await trio.testing.wait_all_tasks_blocked(0.01)
        link = alice.links.all()[0]
        said = [CatalogRoot(bytes([number] * 8)) for number in range(3)]
        alice.perform([Send(bob.peer_id, said[0], LINK)])
        assert not link.has_control  # sent right here: no task had to wake up for it
        monkeypatch.setattr(TlsStream, "send_some", lambda stream, data: stream.socket.send(data[:3]))
        alice.perform([Send(bob.peer_id, message, LINK) for message in said[1:]])
        assert link.has_control
        heard = await bob.core.until("receive", 4)
        assert [message for message, *_ in heard[1:]] == said


async def test_a_flood_of_short_messages_leaves_everybody_else_their_turn(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        # As the real core does, this one takes a while for each; all of them come in one go.
        bob.core.on_input = lambda told: time.sleep(0.0005) or []
        alice.links.all()[0].send(pack_frame(encode(CatalogRoot(bytes(8)))) * 2000)
        await bob.core.until("receive", 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            before = len(bob.core.told("receive"))
            await trio.lowlevel.checkpoint()
            await bob.core.until("receive", 2000, seconds=20)
            nursery.cancel_scope.cancel()
        assert before < 1000 and turns > 20


class Starved:
    """A listening socket of a process that has no descriptors left for a while."""

    def __init__(self, sock: socket.socket, refusals: int) -> None:
        self.sock, self.refusals = sock, refusals

    def fileno(self) -> int:
        return self.sock.fileno()

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self.refusals -= 1
        if self.refusals >= 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.sock.accept()


async def test_who_has_no_descriptors_left_says_so_once_and_accepts_as_soon_as_it_has(nodes) -> None:
    async with open_node(nodes.bob) as bob, trio.open_nursery() as nursery:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        nursery.start_soon(bob.links.listen, Starved(listening, 3))
        async with open_node(nodes.alice) as alice:
            alice.perform([Dial(Address(*listening.getsockname()), bob.peer_id)])
            await bob.core.until("link_opened")
        [trouble] = bob.events
        assert "no link can be accepted: too many open files; raise ulimit -n" in trouble.reason
        assert bob.counters["links_not_accepted"] == 3
        nursery.cancel_scope.cancel()
        listening.close()


async def test_a_node_of_another_cluster_is_refused_by_both_sides(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.mallory) as mallory:
        mallory.perform([Dial(alice.address, None)])
        await mallory.core.until("dial_failed")
        await alice.core.until("packet_refused")
        assert not alice.core.told("link_opened")
        assert not mallory.core.told("link_opened")


async def test_a_good_certificate_with_another_gossip_key_is_refused_and_both_sides_say_so(
    nodes, tmp_path
) -> None:
    keyless = shutil.copytree(nodes.bob, tmp_path / "bob")
    shutil.copy(nodes.mallory / "gossip.keys", keyless)
    async with open_node(nodes.alice) as alice, open_node(keyless) as bob:
        bob.perform([Dial(alice.address, None)])
        [(name, here)] = await bob.core.until("keys_refused")
        [(there,)] = await alice.core.until("packet_refused")
        await bob.core.until("dial_failed")
        assert name == "alice"
        assert "'alice' accepts none of our gossip keys: copy gossip.keys" in here
        assert "'bob' has a certificate of this cluster, but none of our gossip keys: copy" in there
        assert not alice.core.told("link_opened")
        assert not bob.core.told("link_opened")


async def test_every_step_of_a_change_of_gossip_keys_lets_members_link(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        rings = [node.credentials.gossip_keys for node in (alice, bob)]
        old, new = rings[0].used, rings[0].add(b"n" * 32)

        def steps():
            yield rings[0].remove, new
            for step, key in (("add", b"n" * 32), ("use", new), ("remove", old)):
                for ring in rings:
                    yield getattr(ring, step), key

        for number, (step, key) in enumerate(steps(), 1):
            step(key)
            bob.perform([Dial(alice.address, alice.peer_id)])
            await alice.core.until("link_opened", number)
        assert not alice.core.told("packet_refused") + bob.core.told("dial_failed")


async def test_whoever_says_nothing_after_tls_is_given_up_and_reaches_no_core(nodes, monkeypatch) -> None:
    monkeypatch.setattr("ringgossip.runtime.greeting.HANDSHAKE_TIMEOUT", 0.2)
    async with open_node(nodes.alice) as alice:
        context = Credentials.load(nodes.bob).ssl_context(server=False)
        stream = await trio.open_tcp_stream("127.0.0.1", alice.address.port)
        tls = trio.SSLStream(stream, context)
        await tls.do_handshake()
        [(reason,)] = await alice.core.until("packet_refused")
        assert reason == "it said nothing after the TLS handshake"
        assert not alice.core.told("link_opened")
        await trio.aclose_forcefully(tls)


async def test_whoever_skips_the_proof_of_its_key_is_refused(nodes) -> None:
    async with open_node(nodes.alice) as alice:
        context = Credentials.load(nodes.bob).ssl_context(server=False)
        # Another message, no message at all, one too long, one that nobody knows.
        for words in (encode(CatalogRoot(b"8 octets")), b"\xc1", bytes(2000), b"\x91\x7f"):
            before = len(alice.core.told("packet_refused"))
            stream = await trio.open_tcp_stream("127.0.0.1", alice.address.port)
            tls = trio.SSLStream(stream, context)
            await tls.do_handshake()
            await tls.send_all(pack_frame(words))
            await alice.core.until("packet_refused", before + 1)
            await trio.aclose_forcefully(tls)
        assert not alice.core.told("link_opened")
        assert not alice.core.told("receive")


async def test_plain_text_is_refused_with_one_clear_reason(nodes) -> None:
    async with open_node(nodes.alice) as alice:
        stream = await trio.open_tcp_stream("127.0.0.1", alice.address.port)
        await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert await alice.core.until("packet_refused") == [("it spoke plain HTTP, not TLS",)]
        await stream.aclose()


async def test_a_dial_to_nobody_fails_with_a_reason(nodes) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        nobody = Address("127.0.0.1", sock.getsockname()[1])
        async with open_node(nodes.alice) as alice:
            alice.perform([Dial(nobody, None)])
            assert await alice.core.until("dial_failed") == [(nobody, "nobody listens there")]


async def test_a_dial_to_an_unknown_name_fails_with_a_reason(nodes) -> None:
    async with open_node(nodes.alice) as alice:
        alice.perform([Dial(Address("no such host.invalid", 1), None)])
        [(_, reason)] = await alice.core.until("dial_failed")
        assert reason


async def test_another_peer_than_expected_is_told_as_a_failed_dial(nodes) -> None:
    async with (
        open_node(nodes.alice) as alice,
        open_node(nodes.bob) as bob,
        open_node(nodes.carol) as carol,
    ):
        alice.perform([Dial(bob.address, carol.peer_id)])
        assert await alice.core.until("dial_failed") == [(bob.address, "bob answered there")]
        assert (await alice.core.until("link_opened"))[0][2] == "bob"


async def test_silent_strangers_are_cut_off_and_members_still_get_in(nodes, monkeypatch) -> None:
    monkeypatch.setattr("ringgossip.runtime.gate.FORGIVEN", 50.0)
    monkeypatch.setattr("ringgossip.runtime.greeting.HANDSHAKE_TIMEOUT", 0.2)
    monkeypatch.setattr("ringgossip.runtime.links.HANDSHAKE_TIMEOUT", 0.2)
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        strangers = [await trio.open_tcp_stream("127.0.0.1", alice.address.port) for _ in range(60)]
        with trio.fail_after(5):
            while (
                len(alice.core.told("packet_refused")) + alice.counters.get("connections_turned_away", 0) < 60
            ):
                await trio.sleep(0.01)
        assert alice.counters["connections_turned_away"] > 0
        # Who is turned away hears it at once, also the last of them.
        with trio.fail_after(5):
            while await strangers[-1].receive_some():
                pass
        await bob.link(alice)
        for stranger in strangers:
            await stranger.aclose()


async def test_a_chunk_travels_whole_and_is_told_on_both_sides(nodes) -> None:
    body = os.urandom(3 * MEGABYTE + 17)
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        alice.perform([alice.give(bob, 7, 3, body)])
        assert await bob.core.until("chunk_stored") == [(7, 3, len(body))]
        assert await alice.core.until("chunk_sent") == [(7, 3, len(body))]
        assert bob.chunks.written == {3: body}
        assert bob.receiving.used == alice.sending.used == 0


async def test_chunks_leave_in_the_order_in_which_they_were_granted(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        alice.perform([alice.give(bob, 1, index, os.urandom(65536)) for index in range(20)])
        assert [index for _, index, _ in await alice.core.until("chunk_sent", 20)] == list(range(20))
        await bob.core.until("chunk_stored", 20)
        assert bob.chunks.written == alice.chunks.chunks


async def test_control_messages_overtake_bodies(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        order = []

        def note(told):
            if told[0] in ("chunk_stored", "receive"):
                order.append(told[0])
            return []

        bob.core.on_input = note
        alice.perform([alice.give(bob, 1, index, bytes(4 * MEGABYTE)) for index in range(6)])
        alice.perform([Send(bob.peer_id, CatalogRoot(b"8 octets"), LINK)])
        await bob.core.until("chunk_stored", 6)
        assert order.index("receive") <= 1


async def test_bytes_with_another_hash_are_told_and_not_stored(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        grant = alice.give(bob, 1, 0, b"what was promised")
        alice.chunks.chunks[0] = b"what never was so"
        alice.perform([grant])
        assert await bob.core.until("chunk_bad") == [(1, 0)]
        assert bob.chunks.written == {}


async def test_a_full_disk_is_told_as_ours(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        bob.chunks.full = True
        alice.perform([alice.give(bob, 1, 0, b"body")])
        assert await bob.core.until("chunk_unstored") == [(1, 0, "the disk is full")]
        assert bob.receiving.used == 0


async def test_a_chunk_that_cannot_be_read_is_told_and_the_next_goes_out(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        alice.perform([SendChunk(bob.peer_id, 1, b"r" * 32, 5, 10), alice.give(bob, 1, 6, b"body")])
        assert await alice.core.until("chunk_unreadable") == [(1, 5)]
        await bob.core.until("chunk_stored")


async def test_a_body_that_was_not_asked_for_is_read_away(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        grant = alice.give(bob, 1, 0, os.urandom(200_000))
        bob.core.wanted.clear()
        alice.perform([grant, alice.give(bob, 2, 1, b"wanted")])
        assert await bob.core.until("chunk_stored") == [(2, 1, 6)]
        assert bob.core.told("discarded") == [(1, 0)]


async def test_a_closed_link_says_its_last_words_and_is_not_told_to_its_closer(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        alice.perform([Send(bob.peer_id, CatalogRoot(b"farewell"), LINK), CloseLink(LinkId(1), "done")])
        assert await bob.core.until("link_broken") == [(1, "the other side closed it")]
        assert bob.core.told("receive")[-1][0] == CatalogRoot(b"farewell")
        assert not alice.core.told("link_broken")
        assert alice.links.current(bob.peer_id) is None


async def test_closing_the_newer_link_falls_back_to_the_older(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        bob.perform([Dial(alice.address, alice.peer_id)])
        await alice.core.until("link_opened", 2)
        alice.perform([CloseLink(LinkId(2), "one is enough")])
        await bob.core.until("link_broken")
        alice.perform([Send(bob.peer_id, CatalogRoot(b"still on"), LINK)])
        with trio.fail_after(5):
            while (CatalogRoot(b"still on"), alice.peer_id, 1) not in bob.core.told("receive"):
                await trio.sleep(0.002)


async def raw_words(alice: Node, bob: Node, words: bytes) -> str:
    """Have alice say raw bytes on a link; return why bob ended it."""
    await alice.link(bob)
    [link] = alice.links.all()
    link.send(words)
    [(_, reason)] = await bob.core.until("link_broken")
    return reason


async def test_a_frame_that_is_no_message_ends_the_link(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        reason = await raw_words(alice, bob, pack_frame(b"\xff\xff\xff"))
        assert bob.core.told("misbehaved") == [(alice.peer_id, reason)]


async def test_a_piece_out_of_place_ends_the_link_and_frees_the_buffer(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        bob.core.wanted[1, 0] = hash_bytes(b"")
        first = pack_frame(encode(ChunkPiece(1, 0, 100_000, 0, 10))) + bytes(10)
        wrong = pack_frame(encode(ChunkPiece(1, 0, 100_000, 50, 10))) + bytes(10)
        reason = await raw_words(alice, bob, first + wrong)
        assert reason == "sent a piece that does not follow the one before"
        assert bob.receiving.used == 0


async def test_a_peer_that_stops_within_a_chunk_is_cut_off(nodes, monkeypatch) -> None:
    monkeypatch.setattr(link_module, "PATIENCE", 0.1)
    monkeypatch.setattr("ringgossip.runtime.links._WATCH_INTERVAL", 0.05)
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        bob.core.wanted[1, 0] = hash_bytes(b"")
        first = pack_frame(encode(ChunkPiece(1, 0, 100_000, 0, 10))) + bytes(10)
        assert await raw_words(alice, bob, first) == "it stopped in the middle of a chunk"
        assert bob.receiving.used == 0


async def test_a_peer_that_reads_nothing_is_cut_off(nodes, monkeypatch) -> None:
    monkeypatch.setattr(link_module, "PATIENCE", 0.3)
    monkeypatch.setattr("ringgossip.runtime.links._WATCH_INTERVAL", 0.05)
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        await alice.link(bob)
        # Bob's buffers are all lent out, so he stops reading the body that arrives.
        hoard = await bob.receiving.take(8 << 20)
        alice.perform([alice.give(bob, 1, index, bytes(4 * MEGABYTE)) for index in range(8)])
        assert await alice.core.until("link_broken") == [(1, "it does not read what we send")]
        bob.receiving.give(hoard)
