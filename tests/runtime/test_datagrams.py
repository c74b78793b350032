"""Datagrams: who is heard, what is refused, and that nothing makes the lane fail."""

import socket

import pytest
import trio
from recording import open_node

from ringgossip.identity import Address
from ringgossip.protocol.core import DATAGRAM, Send
from ringgossip.wire.messages import DialMe, News

pytestmark = pytest.mark.trio


async def test_a_message_arrives_with_who_sent_it_and_from_where(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        alice.perform([Send(bob.address, DialMe(), DATAGRAM)])
        assert await bob.core.until("receive") == [(DialMe(), alice.peer_id, alice.address)]
        assert alice.counters["datagram_bytes_sent"] == bob.counters["datagram_bytes_received"] > 0


async def test_a_name_is_resolved_once_and_the_message_is_not_lost(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        asked = []
        alice.resolver._ask = lambda host: asked.append(host) or "127.0.0.1"
        named = Address("bob.example", bob.address.port)
        alice.perform([Send(named, DialMe(), DATAGRAM)] * 3)
        assert len(await bob.core.until("receive", 3)) == 3
        assert asked == ["bob.example"]


async def test_a_packet_of_another_cluster_is_refused_and_not_heard(nodes) -> None:
    async with open_node(nodes.mallory) as mallory, open_node(nodes.bob) as bob:
        mallory.perform([Send(bob.address, DialMe(), DATAGRAM)])
        assert await bob.core.until("packet_refused") == [("datagram is sealed with an unknown gossip key",)]
        assert not bob.core.told("receive")


async def test_a_packet_that_is_heard_twice_is_refused_the_second_time(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        packet = alice.datagrams._sealer.seal(b"\x91\x02")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(2):
                stranger.sendto(packet, ("127.0.0.1", bob.address.port))
        await bob.core.until("packet_refused")
        assert [message for message, _, _ in bob.core.told("receive")] == [DialMe()]


async def test_a_member_that_speaks_nonsense_is_told_as_such(nodes) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        packet = alice.datagrams._sealer.seal(b"nonsense")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(packet, ("127.0.0.1", bob.address.port))
        [(sender, _)] = await bob.core.until("misbehaved")
        assert sender == alice.peer_id


async def test_what_a_socket_would_look_up_itself_is_asked_in_a_thread(nodes) -> None:
    # A member's card may name any printable host: a lookup in trio's thread would stop the peer for seconds.
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        asked = []
        alice.resolver._ask = lambda host: asked.append(host) or "127.0.0.1"
        hosts = ["127.0.0.1%slow.example", "fe80::1%slow.example", "127.0.0.1%" + "\u00fc" * 70]
        alice.perform([Send(Address(host, bob.address.port), DialMe(), DATAGRAM) for host in hosts])
        assert len(await bob.core.until("receive", 3)) == 3
        assert sorted(asked) == sorted(hosts)


NO_HOST = "127.0.0.1%" + "\u00fc" * 70


@pytest.mark.parametrize(
    "unreachable",
    [
        Address("::1", 9),
        Address("127.0.0.1", 0),
        Address("127.0.0.1", 9),
        Address("a..b", 9),
        Address(NO_HOST, 9),
    ],
)
async def test_what_cannot_be_sent_is_lost_and_nothing_else(nodes, unreachable: Address) -> None:
    async with open_node(nodes.alice) as alice, open_node(nodes.bob) as bob:
        alice.perform([Send(unreachable, DialMe(), DATAGRAM)])
        alice.perform([Send(bob.address, DialMe(), DATAGRAM)] * 2)
        await bob.core.until("receive", 2)


async def test_a_message_too_long_for_a_packet_is_counted_and_not_sent(nodes) -> None:
    async with open_node(nodes.alice) as alice:
        alice.perform([Send(alice.address, News((bytes(900), bytes(900))), DATAGRAM)])
        assert alice.counters == {"datagrams_too_long": 1}


async def test_a_flood_does_not_keep_other_tasks_from_their_turn(nodes) -> None:
    async with open_node(nodes.bob) as bob:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger, trio.fail_after(5):
            for _ in range(2000):
                stranger.sendto(b"noise", ("127.0.0.1", bob.address.port))
            await bob.core.until("packet_refused", 200)
