"""Certificates: what is accepted, what is refused, and that bytes from strangers only ever do that."""

import datetime as dt
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.errors import PeerMisbehaved
from ringgossip.identity.authority import create_cluster, enroll
from ringgossip.identity.certificate import (
    AuthorityCertificate,
    NodeCertificate,
    expired,
    fingerprint_prefix,
)
from ringgossip.identity.pem import single_pem


def certificate_in(folder: Path) -> NodeCertificate:
    return NodeCertificate.parse(single_pem((folder / "node.crt").read_bytes()))


def home_made(
    key: Ed25519PrivateKey,
    issuer: x509.Name,
    cluster: str = "ringrift",
    name: str = "mallory",
    generation: str = "1",
) -> bytes:
    """Return the certificate of `mallory`, signed by `key` in the name of `issuer`."""
    subject = [(NameOID.ORGANIZATION_NAME, cluster), (NameOID.COMMON_NAME, name)]
    subject.append((NameOID.SERIAL_NUMBER, generation))
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid, value) for oid, value in subject]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(dt.datetime(2020, 1, 1))
        .not_valid_after(dt.datetime(2090, 1, 1))
        .sign(key, None)
        .public_bytes(Encoding.DER)
    )


def test_a_certificate_says_name_cluster_generation_and_key_in_under_300_bytes(cluster) -> None:
    alice = certificate_in(cluster.alice)
    assert (alice.name, alice.cluster, alice.generation) == ("alice", "ringrift", 1)
    assert len(alice.public_key_bytes) == 32
    assert alice.peer_id == fingerprint_prefix(alice.der)
    assert len(alice.der) < 300
    assert cluster.authority.verify(alice) is None


def test_a_certificate_starts_seven_days_ago_and_lasts_two_years(cluster) -> None:
    alice = certificate_in(cluster.alice)
    now = time.time()
    assert abs(alice.not_before - (now - 7 * 86400)) < 3600
    assert abs(alice.not_after - (now + 730 * 86400)) < 3600
    assert not expired(alice, now)
    assert expired(alice, alice.not_after + 1)
    assert expired(alice, alice.not_before - 1)


def test_expiry_does_not_undo_a_signature(cluster, tmp_path: Path) -> None:
    old = certificate_in(enroll(cluster.folder, "elder", tmp_path / "elder", validity=-3600))
    assert expired(old, time.time())
    assert cluster.authority.verify(old) is None


def test_a_certificate_of_another_cluster_is_refused_by_name(cluster, tmp_path: Path) -> None:
    create_cluster(tmp_path / "other", "elsewhere")
    stranger = certificate_in(enroll(tmp_path / "other", "alice"))
    assert cluster.authority.verify(stranger) == "certificate is of cluster 'elsewhere', not 'ringrift'"


def test_an_authority_of_the_same_name_is_still_another_authority(cluster, tmp_path: Path) -> None:
    create_cluster(tmp_path / "other", "ringrift")
    stranger = certificate_in(enroll(tmp_path / "other", "alice"))
    assert "not signed by this cluster's authority" in str(cluster.authority.verify(stranger))


def test_a_member_cannot_sign_another_member(cluster) -> None:
    mallory = Ed25519PrivateKey.generate()
    issuer = x509.load_der_x509_certificate(cluster.authority.der).subject
    forged = NodeCertificate.parse(home_made(mallory, issuer))
    assert "not signed" in str(cluster.authority.verify(forged))


def test_the_authority_is_no_node_and_a_node_is_no_authority(cluster) -> None:
    with pytest.raises(PeerMisbehaved, match="0 names"):
        NodeCertificate.parse(cluster.authority.der)
    with pytest.raises(PeerMisbehaved, match="not an authority"):
        AuthorityCertificate.parse(certificate_in(cluster.alice).der)


@pytest.mark.parametrize("generation", ["0", "01", "-1", "4294967296", "1e3", "one"])
def test_a_generation_has_one_spelling_and_a_limit(generation: str, cluster) -> None:
    key = Ed25519PrivateKey.generate()
    issuer = x509.load_der_x509_certificate(cluster.authority.der).subject
    with pytest.raises(PeerMisbehaved, match="generation"):
        NodeCertificate.parse(home_made(key, issuer, generation=generation))


@pytest.mark.parametrize("name", ["../up", "a b", ".", "a/b", "a..b"])
def test_a_signed_name_that_is_no_node_name_is_refused(name: str) -> None:
    key = Ed25519PrivateKey.generate()
    issuer = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ringrift")])
    own = key.public_key().public_bytes_raw()
    authority = AuthorityCertificate(b"", "ringrift", own, issuer.public_bytes())
    attribute = x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)
    der = (
        x509.CertificateBuilder()
        .subject_name(
            x509.Name(
                [
                    attribute,
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ringrift"),
                    x509.NameAttribute(NameOID.SERIAL_NUMBER, "1"),
                ]
            )
        )
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(dt.datetime(2020, 1, 1))
        .not_valid_after(dt.datetime(2090, 1, 1))
        .sign(key, None)
        .public_bytes(Encoding.DER)
    )
    assert "names no node" in str(authority.verify(NodeCertificate.parse(der)))


def test_a_certificate_with_another_kind_of_key_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ringrift"),
            x509.NameAttribute(NameOID.COMMON_NAME, "alice"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, "1"),
        ]
    )
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(dt.datetime(2020, 1, 1))
    builder = builder.not_valid_after(dt.datetime(2090, 1, 1))
    der = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(PeerMisbehaved):
        NodeCertificate.parse(der)


def test_length_is_checked_before_anything_is_read() -> None:
    with pytest.raises(PeerMisbehaved, match="1025 bytes"):
        NodeCertificate.parse(bytes(1025))


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        NodeCertificate.parse(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_of_a_certificate_can_be_changed(cluster, place: int, change: int) -> None:
    der = bytearray(certificate_in(cluster.alice).der)
    der[place % len(der)] ^= change
    try:
        parsed = NodeCertificate.parse(bytes(der))
    except PeerMisbehaved:
        return
    assert cluster.authority.verify(parsed) is not None


def test_what_no_signature_covers_has_one_spelling(cluster) -> None:
    der = certificate_in(cluster.alice).der
    algorithm = bytes.fromhex("300506032b6570")
    body, signature = der[3 : der.rindex(algorithm)], der[der.rindex(algorithm) + len(algorithm) :]
    assert der[:2] == b"\x30\x81"
    content = body + bytes.fromhex("300706032b65700500") + signature
    with pytest.raises(PeerMisbehaved):
        NodeCertificate.parse(b"\x30\x81" + bytes([len(content)]) + content)
    with pytest.raises(PeerMisbehaved):
        NodeCertificate.parse(b"\x30\x82\x00" + der[2:])


def test_nothing_can_be_added_to_a_certificate(cluster) -> None:
    der = certificate_in(cluster.alice).der
    with pytest.raises(PeerMisbehaved):
        NodeCertificate.parse(der + b"\0")
