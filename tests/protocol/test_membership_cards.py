"""What does a member say of itself, and what of it is believed?"""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from member_network import CLUSTER, FreeNotary, Lab, card_of, certificate

from ringgossip.errors import PeerMisbehaved, UsageError
from ringgossip.events import PeerProtocolError
from ringgossip.identity import Address
from ringgossip.protocol.cards import MAX_BOOT, MemberFacts, fault_of, make_card, read_card
from ringgossip.protocol.core import NeedCertificate, Tell
from ringgossip.wire.messages import Gossip

NOTARY = FreeNotary(certificate("carol"))
FACTS = MemberFacts(
    (Address("203.0.113.7", 40123), Address("::1", 7946)),
    "training", True, "vast", "nfs-1", 0.75, True, 15.0, "1.0",
)  # fmt: skip


def test_a_card_says_what_was_put_in() -> None:
    card = make_card(NOTARY, CLUSTER, FACTS, 17, b"n" * 8, 3)
    assert (card.name, card.peer, card.boot, card.version) == ("carol", NOTARY.certificate.peer_id, 17, 3)
    assert read_card(bytes(card.packed)).facts == FACTS
    assert fault_of(card, NOTARY.certificate, NOTARY, CLUSTER) is None


def test_a_card_is_of_one_member_and_one_cluster() -> None:
    card = make_card(NOTARY, CLUSTER, FACTS, 17, b"n" * 8, 3)
    assert "certificate" in (fault_of(card, certificate("dave"), NOTARY, CLUSTER) or "")
    assert "signed" in (fault_of(card, NOTARY.certificate, NOTARY, "other") or "")
    changed = read_card(card.packed.replace(b"training", b"selfplay"))
    assert "signed" in (fault_of(changed, NOTARY.certificate, NOTARY, CLUSTER) or "")


def test_fields_of_newer_peers_are_passed_over_but_signed() -> None:
    card = make_card(NOTARY, CLUSTER, FACTS, 17, b"n" * 8, 3)
    body = msgpack.packb([*msgpack.unpackb(card.packed[64:]), "more"])
    newer = read_card(NOTARY.sign(b"ringgossip card 1\0" + CLUSTER.encode() + b"\0" + body) + body)
    assert newer.facts == FACTS
    assert fault_of(newer, NOTARY.certificate, NOTARY, CLUSTER) is None


def test_nobody_says_more_than_a_card_holds() -> None:
    many = tuple(Address("h" * 250, port) for port in range(5))
    with pytest.raises(UsageError, match="at most 1200"):
        make_card(NOTARY, CLUSTER, MemberFacts(many), 1, b"n" * 8, 1)
    with pytest.raises(UsageError, match="refuse"):
        make_card(NOTARY, CLUSTER, MemberFacts((), disk_used=1.5), 1, b"n" * 8, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [(1, ""), (1, "a\nb"), (2, b"short"), (3, -1), (3, MAX_BOOT + 1), (3, True), (4, b""), (5, 2**32),
     (6, [["h", 70000]]), (6, [["", 1]]), (6, [["h"]]), (6, [["h", 1]] * 9), (7, "r" * 129), (8, 1), (9, 5),
     (11, 1.1), (11, float("nan")), (13, float("inf")), (13, -1.0), (13, 1)],
)  # fmt: skip
def test_what_no_member_can_say_is_refused(field: int, value: object) -> None:
    fields = msgpack.unpackb(make_card(NOTARY, CLUSTER, FACTS, 17, b"n" * 8, 3).packed[64:])
    fields[field] = value
    with pytest.raises(PeerMisbehaved):
        read_card(bytes(64) + msgpack.packb(fields))


@given(st.binary(max_size=1300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        read_card(data)


def test_nobody_is_impatient_for_more_than_a_minute() -> None:
    assert make_card(NOTARY, CLUSTER, MemberFacts((), patience=900.0), 1, b"n" * 8, 1).facts.patience == 60.0


def test_a_forged_card_changes_nothing_and_is_complained_about_once_in_a_while() -> None:
    lab = Lab("bob", "carol")
    carol = card_of("carol", version=2)
    forged = carol.packed[:64] + carol.packed[64:].replace(b"selfplay", b"training")
    message = Gossip(b"", (forged,), ())
    [told] = lab.hear(message, lab.cards["bob"], 1.0)
    assert told == Tell(PeerProtocolError("bob", "card of 'carol' is not signed by it"))
    assert lab.hear(message, lab.cards["bob"], 2.0) == []
    member = lab.machine.member(carol.peer)
    assert member is not None and member.facts.role == "selfplay"


def test_a_card_waits_for_its_certificate() -> None:
    lab = Lab("bob")
    dave = card_of("dave")
    assert lab.hear(Gossip(b"", (dave.packed,), ()), lab.cards["bob"], 1.0) == [
        NeedCertificate(dave.peer, lab.cards["bob"].peer)
    ]
    assert lab.machine.member(dave.peer) is None
    lab.machine.certificate_arrived(certificate("dave"), 1.5)
    assert lab.machine.member(dave.peer) is not None


def test_a_newcomers_certificate_may_come_with_its_card() -> None:
    lab = Lab("bob")
    dave = card_of("dave")
    lab.hear(Gossip(b"", (dave.packed,), (certificate("dave").der,)), lab.cards["bob"], 1.0)
    assert lab.machine.member(dave.peer) is not None


def test_a_certificate_of_another_authority_is_refused() -> None:
    lab = Lab("bob")
    out = lab.hear(Gossip(b"", (card_of("dave").packed,), (b"forged dave 1",)), lab.cards["bob"], 1.0)
    assert any(isinstance(item, Tell) and isinstance(item.event, PeerProtocolError) for item in out)
    assert lab.machine.member(card_of("dave").peer) is None
