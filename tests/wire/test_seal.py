"""Datagrams: whole, from a member, once. Everything else is refused and leaves nothing behind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringgossip.errors import PeerMisbehaved
from ringgossip.identity.keyring import KeyRing, key_id
from ringgossip.identity.names import PeerId
from ringgossip.wire.messages import MAX_DATAGRAM_PLAINTEXT
from ringgossip.wire.seal import (
    MAX_PACKET_BYTES,
    MAX_PLAINTEXT_BYTES,
    MAX_SUBKEYS,
    OVERHEAD_BYTES,
    WINDOW,
    Opened,
    Opener,
    Sealer,
)

ALICE, BOB = PeerId(b"alice".ljust(16)), PeerId(b"bob".ljust(16))
BOOT = b"8 random"
OLD, NEW = bytes(32), bytes([1] * 32)


def sealer(who: PeerId = ALICE, boot: bytes = BOOT, cluster: str = "ringrift", key: bytes = OLD) -> Sealer:
    return Sealer(cluster, KeyRing([key]), who, boot)


def opener(max_windows: int = 100) -> Opener:
    return Opener("ringrift", KeyRing([OLD]), max_windows)


def refused(door: Opener, packet: bytes) -> str:
    with pytest.raises(PeerMisbehaved) as caught:
        door.open(packet)
    return str(caught.value)


def test_a_packet_says_who_sealed_it_and_when_that_peer_booted() -> None:
    assert opener().open(sealer().seal(b"hello")) == Opened(ALICE, BOOT, b"hello")


def test_the_longest_message_fits_and_not_a_byte_more() -> None:
    assert MAX_DATAGRAM_PLAINTEXT <= MAX_PLAINTEXT_BYTES
    packet = sealer().seal(bytes(MAX_PLAINTEXT_BYTES))
    assert len(packet) == MAX_PACKET_BYTES
    assert opener().open(packet).plaintext == bytes(MAX_PLAINTEXT_BYTES)
    with pytest.raises(ValueError, match="1351 bytes, not 1352"):
        sealer().seal(bytes(MAX_PLAINTEXT_BYTES + 1))


def test_nothing_of_the_text_shows_and_no_two_packets_are_alike() -> None:
    alice = sealer()
    first, second = alice.seal(b"a secret name"), alice.seal(b"a secret name")
    assert b"secret" not in first
    assert first[33:] != second[33:]


def test_a_packet_is_heard_once() -> None:
    door, packet = opener(), sealer().seal(b"hello")
    door.open(packet)
    assert "heard before" in refused(door, packet)


def test_packets_out_of_order_are_heard_within_the_window() -> None:
    door, alice = opener(), sealer()
    packets = [alice.seal(b"%d" % n) for n in range(WINDOW + 1)]
    door.open(packets[-1])
    assert "too late" in refused(door, packets[0])
    for packet in reversed(packets[1:-1]):
        door.open(packet)
    assert all("heard before" in refused(door, packet) for packet in packets)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3 * WINDOW), min_size=1, max_size=60))
def test_the_window_agrees_with_a_memory_of_everything(order: list[int]) -> None:
    door, alice = opener(), sealer()
    packets = [alice.seal(b"") for _ in range(max(order) + 1)]
    heard: set[int] = set()
    for number in order:
        expected = number not in heard and number > max(heard, default=-1) - WINDOW
        try:
            door.open(packets[number])
            assert expected
            heard.add(number)
        except PeerMisbehaved:
            assert not expected


def test_a_restarted_peer_counts_anew_under_its_new_boot() -> None:
    door = opener()
    packet = sealer().seal(b"before")
    door.open(packet)
    assert door.open(sealer(boot=b"new boot").seal(b"after")).boot == b"new boot"
    assert "heard before" in refused(door, packet)


def test_a_wrong_gossip_key_is_told_apart_from_damage() -> None:
    assert "unknown gossip key" in refused(opener(), sealer(key=NEW).seal(b"hello"))


def test_another_cluster_with_the_same_key_is_refused() -> None:
    assert "another cluster" in refused(opener(), sealer(cluster="elsewhere").seal(b"hello"))


@pytest.mark.parametrize("length", [0, 1, OVERHEAD_BYTES - 1, OVERHEAD_BYTES])
def test_a_short_packet_is_not_ours(length: int) -> None:
    assert "not ringgossip's" in refused(opener(), bytes(length))


def test_a_long_packet_is_refused_unread() -> None:
    assert "1401 bytes" in refused(opener(), sealer().seal(b"").ljust(1401))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_of_a_packet_can_be_changed(place: int, change: int) -> None:
    packet = bytearray(sealer().seal(b"the message"))
    packet[place % len(packet)] ^= change
    door = opener()
    refused(door, bytes(packet))
    assert not door._windows and not door._subkeys, "a stranger left something in our tables"


@given(st.binary(max_size=1500))
def test_random_bytes_are_refused(data: bytes) -> None:
    refused(opener(), data)


def test_a_forged_counter_far_ahead_does_not_deafen_us() -> None:
    door, alice = opener(), sealer()
    packet = bytearray(alice.seal(b"hello"))
    packet[27:33] = b"\xff" * 6
    refused(door, bytes(packet))
    door.open(alice.seal(b"hello again"))


def test_a_member_may_leap_far_ahead_without_costing_memory() -> None:
    door, alice = opener(), sealer()
    door.open(alice.seal(b""))
    alice._counter = 2**47
    door.open(alice.seal(b""))
    assert door._windows[ALICE + BOOT].bits == 1


def test_a_gossip_key_is_changed_without_losing_a_packet() -> None:
    ours, theirs = KeyRing([OLD]), KeyRing([OLD])
    alice, door = Sealer("ringrift", ours, ALICE, BOOT), Opener("ringrift", theirs)
    door.open(alice.seal(b"1"))
    ours.add(NEW)
    theirs.add(NEW)
    ours.use(key_id(NEW))
    packet = alice.seal(b"2")
    assert packet[1:3] == key_id(NEW)
    door.open(packet)
    late = sealer(boot=b"an older").seal(b"still the old key")
    theirs.use(key_id(NEW))
    theirs.remove(key_id(OLD))
    assert "unknown gossip key" in refused(door, late)
    assert "heard before" in refused(door, packet)


def test_a_key_that_replaces_one_of_the_same_id_is_another_key() -> None:
    number = next(n for n in range(1, 10**6) if key_id(n.to_bytes(32, "big")) == key_id(OLD))
    twin = number.to_bytes(32, "big")
    ring = KeyRing([NEW, OLD])
    door = Opener("ringrift", ring)
    alice = sealer()
    door.open(alice.seal(b"under the old key"))
    ring.remove(key_id(OLD))
    ring.add(twin)
    assert "damaged" in refused(door, alice.seal(b"under the old key still"))
    assert door.open(sealer(BOB, key=twin).seal(b"under its twin")).sender == BOB


def test_subkeys_are_bounded_and_derived_again() -> None:
    door, alice = opener(max_windows=5000), sealer()
    door.open(alice.seal(b""))
    for number in range(MAX_SUBKEYS):
        door.open(sealer(BOB, boot=b"%8d" % number).seal(b""))
    assert len(door._subkeys) == MAX_SUBKEYS
    assert door.open(alice.seal(b"still heard")).plaintext == b"still heard"


def test_tables_are_bounded_and_whoever_talks_is_not_forgotten() -> None:
    door, alice = opener(max_windows=10), sealer()
    packets = []
    for number in range(50):
        packets.append(alice.seal(b""))
        door.open(packets[-1])
        door.open(sealer(BOB, boot=b"boot%4d" % number).seal(b""))
    assert len(door._windows) == 10
    assert all("heard before" in refused(door, packet) for packet in packets)


def test_a_nonce_of_the_wrong_size_is_our_own_error() -> None:
    with pytest.raises(ValueError, match="boot nonce"):
        Sealer("ringrift", KeyRing([OLD]), ALICE, b"short")
