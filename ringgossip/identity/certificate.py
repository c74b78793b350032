"""Who vouches for whom? One node's certificate, and the authority that signed it.

X.509 with Ed25519 keys, and nothing that is not needed (about 270 bytes),
because certificates are replicated to every member: subject `O` is the
cluster, `CN` the node, `serialNumber` the generation, which `enroll` raises
when a name is given out again. A node's certificate has no extensions, so
it serves both ends of TLS and cannot sign others.

An order that retires a name has the same form, `OU` "retired" and the
authority's own key: the records of that name that certificates of this or an
earlier generation signed are listed no more. Nobody can open a link with it.
Source: RFC 5280; RFC 8410 (Ed25519 in X.509).

Everything here is a pure function of bytes. In particular `verify` asks no
clock: members whose clocks differ must admit the same records.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID, ObjectIdentifier

from ringgossip.errors import PeerMisbehaved, UsageError
from ringgossip.identity.names import PEER_ID_BYTES, PeerId, check_cluster_name, check_node_name

MAX_CERTIFICATE_BYTES = 1024
MAX_GENERATION = 2**32 - 1
SIGNATURE_BYTES = 64
RETIRED = "retired"
_REMEMBERED = 128  # certificates, about 2 KB each: one comes on a link, with a card and with records

# AlgorithmIdentifier for Ed25519, and a BIT STRING of 64 bytes with no unused bits.
_AFTER_BODY = bytes.fromhex("300506032b6570") + bytes.fromhex("034100")


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """What an authority says of one node. `parse` it; trust it only after `verify`."""

    der: bytes
    peer_id: PeerId
    name: str
    cluster: str
    generation: int
    public_key_bytes: bytes
    not_before: int
    not_after: int
    retires: bool = False  # no node's certificate: an order by which its name ends

    @classmethod
    def parse(cls, der: bytes) -> "NodeCertificate":
        """Read a certificate of at most 1024 bytes; nothing is trusted yet.

        Times are Unix seconds. Raises `PeerMisbehaved` with the reason: the
        bytes may be anybody's.
        """
        parts = _parts(der)
        name = parts.only(NameOID.COMMON_NAME, "name")
        generation = parts.only(NameOID.SERIAL_NUMBER, "generation")
        # One spelling for one number, because a fingerprint covers the spelling.
        if not (generation.isascii() and generation.isdecimal() and len(generation) <= 10):
            raise PeerMisbehaved(f"certificate has no generation: {generation!r:.40}")
        number = int(generation)
        if str(number) != generation or not 1 <= number <= MAX_GENERATION:
            raise PeerMisbehaved(f"certificate has no generation: {generation!r:.40}")
        return cls(
            der=der,
            peer_id=fingerprint_prefix(der),
            name=name,
            cluster=parts.only(NameOID.ORGANIZATION_NAME, "cluster"),
            generation=number,
            public_key_bytes=parts.public_key,
            not_before=parts.not_before,
            not_after=parts.not_after,
            retires=parts.unit == RETIRED,
        )

    def verify_signature(self, signature: bytes, data: bytes) -> bool:
        """Say whether this node's key signed exactly `data`. About 150 us."""
        return _signed_by(self.public_key_bytes, signature, data)


@dataclass(frozen=True, slots=True)
class AuthorityCertificate:
    """The one certificate that all members of a cluster trust."""

    der: bytes
    cluster: str
    public_key_bytes: bytes
    subject_der: bytes

    @classmethod
    def parse(cls, der: bytes) -> "AuthorityCertificate":
        """Read an authority's certificate; raises `PeerMisbehaved` if it is none."""
        parts = _parts(der)
        if not parts.may_sign:
            raise PeerMisbehaved("certificate is not an authority's")
        return cls(
            der=der,
            cluster=parts.only(NameOID.ORGANIZATION_NAME, "cluster"),
            public_key_bytes=parts.public_key,
            subject_der=parts.subject_der,
        )

    def verify(self, certificate: NodeCertificate) -> str | None:
        """Return why `certificate` is not a member's of this cluster; None: it is.

        Time is left out: expiry binds links and membership (`expired`), but a
        record stays valid when its author's certificate ends. About 150 us.
        """
        parts = _parts(certificate.der)
        if certificate.cluster != self.cluster:
            return f"certificate is of cluster {certificate.cluster!r}, not {self.cluster!r}"
        try:
            check_cluster_name(certificate.cluster)
            check_node_name(certificate.name)
        except UsageError as error:
            return f"certificate names no node: {error}"
        ours = parts.issuer_der == self.subject_der
        if not ours or not _issued(self.public_key_bytes, parts.signature, parts.signed):
            return f"certificate of {certificate.name!r} is not signed by this cluster's authority"
        return None


def expired(certificate: NodeCertificate, wall_now: float) -> bool:
    """Say whether `wall_now`, in Unix seconds, lies outside the certificate's time, at either end."""
    return not certificate.not_before <= wall_now <= certificate.not_after


def fingerprint_prefix(der: bytes) -> PeerId:
    """Return the first half of the SHA-256 of a certificate: the peer's identity."""
    return PeerId(hashlib.sha256(der).digest()[:PEER_ID_BYTES])


@dataclass(frozen=True, slots=True)
class _Parts:
    subject: list[tuple[ObjectIdentifier, str | bytes]]
    subject_der: bytes
    issuer_der: bytes
    public_key: bytes
    not_before: int
    not_after: int
    may_sign: bool
    signed: bytes
    signature: bytes

    @property
    def unit(self) -> str | bytes | None:
        units = [value for oid, value in self.subject if oid == NameOID.ORGANIZATIONAL_UNIT_NAME]
        return units[0] if len(units) == 1 else None

    def only(self, attribute: ObjectIdentifier, what: str) -> str:
        values = [value for oid, value in self.subject if oid == attribute]
        if len(values) != 1 or not isinstance(values[0], str):
            raise PeerMisbehaved(f"certificate has {len(values)} {what}s instead of one")
        return values[0]


@lru_cache(_REMEMBERED)
def _parts(der: bytes) -> _Parts:
    """Take a certificate apart, here and completely: the parser is lazy, and raises late."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise PeerMisbehaved(f"certificate of {len(der)} bytes, at most {MAX_CERTIFICATE_BYTES} are allowed")
    try:
        parsed = x509.load_der_x509_certificate(der)
        # Whoever relays a certificate must not be able to make a second one of it
        # (another fingerprint, hence another peer) by changing what no signature covers.
        # Today's parser refuses that too, but does not promise to.
        content = parsed.tbs_certificate_bytes + _AFTER_BODY + parsed.signature
        if len(parsed.signature) != SIGNATURE_BYTES or not der.endswith(content):
            raise ValueError("it is not in the one form that the authority writes")
        key = parsed.public_key()
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("its key is not Ed25519")
        constraints = [e.value for e in parsed.extensions if isinstance(e.value, x509.BasicConstraints)]
        return _Parts(
            subject=[(attribute.oid, attribute.value) for attribute in parsed.subject],
            subject_der=parsed.subject.public_bytes(),
            issuer_der=parsed.issuer.public_bytes(),
            public_key=key.public_bytes_raw(),
            not_before=int(parsed.not_valid_before_utc.timestamp()),
            not_after=int(parsed.not_valid_after_utc.timestamp()),
            may_sign=any(constraint.ca for constraint in constraints),
            signed=parsed.tbs_certificate_bytes,
            signature=parsed.signature,
        )
    except Exception as error:  # whatever a third-party parser makes of foreign bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PeerMisbehaved(f"certificate is damaged: {reason:.100}") from error


@lru_cache(_REMEMBERED)
def _issued(authority: bytes, signature: bytes, body: bytes) -> bool:
    return _signed_by(authority, signature, body)


def _signed_by(public_key: bytes, signature: bytes, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
