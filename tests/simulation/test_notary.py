"""Fake cryptography: free, and still impossible to get past."""

import pytest

from ringgossip.errors import PeerMisbehaved
from ringgossip.simulation.notary import Authority

AUTHORITY = Authority("ringrift")
ALICE, BOB = AUTHORITY.enroll("alice"), AUTHORITY.enroll("bob")


def test_a_signature_proves_its_signer_and_its_data() -> None:
    signature = ALICE.sign(b"data")
    assert len(signature) == 64
    assert BOB.verify(ALICE.certificate, signature, b"data")
    assert not BOB.verify(ALICE.certificate, signature, b"other")
    assert not BOB.verify(BOB.certificate, signature, b"data")
    assert not BOB.verify(ALICE.certificate, bytes(64), b"data")


def test_a_certificate_is_read_only_if_our_authority_signed_it() -> None:
    assert BOB.read_certificate(ALICE.certificate.der) == ALICE.certificate
    stranger = Authority("ringrift", seed=1).enroll("alice")
    with pytest.raises(PeerMisbehaved):
        BOB.read_certificate(stranger.certificate.der)
    with pytest.raises(PeerMisbehaved):
        BOB.read_certificate(ALICE.certificate.der[:-1] + b"x")
    assert not BOB.verify(stranger.certificate, stranger.sign(b"data"), b"data")


def test_a_name_given_out_again_has_another_key_and_a_higher_generation() -> None:
    again = AUTHORITY.enroll("alice", generation=2)
    assert again.certificate.generation == 2
    assert again.certificate.peer_id != ALICE.certificate.peer_id
    assert not BOB.verify(ALICE.certificate, again.sign(b"data"), b"data")
