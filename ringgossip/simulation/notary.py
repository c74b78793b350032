"""What does cryptography cost here? Nothing, and it is still checked.

A fake certificate has the fields of a real one and a mark of its authority; a
fake signature is a short keyed hash. Nobody in the made world can make one
without the key, so a forgery is refused as it would be by Ed25519, at a
hundredth of the price.
"""

import hashlib
from functools import lru_cache

from ringgossip.content.record import Record, record_signed_bytes, signer_problem
from ringgossip.errors import PeerMisbehaved
from ringgossip.identity.certificate import RETIRED, NodeCertificate, fingerprint_prefix

_MARK = b"simulated certificate\0"
_YEAR = 365 * 86400


def _keyed(key: bytes, data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, key=key, digest_size=size).digest()


class Authority:
    """Vouches for the peers of one cluster; holds every key, as only a made world may."""

    __slots__ = ("_certificates", "_key", "_secrets", "cluster")

    def __init__(self, cluster: str, seed: int = 0) -> None:
        self.cluster = cluster
        self._key = hashlib.blake2b(f"authority {cluster} {seed}".encode(), digest_size=32).digest()
        self._secrets: dict[bytes, bytes] = {}
        self._certificates: dict[bytes, NodeCertificate] = {}

    def enroll(self, name: str, generation: int = 1, not_after: int | None = None) -> "FakeNotary":
        """Give a node its certificate and key; a later generation of a name replaces an earlier one."""
        secret = _keyed(self._key, f"{name}\0{generation}".encode(), 32)
        public = _keyed(secret, b"public", 32)
        self._secrets[public] = secret
        ends = () if not_after is None else (str(not_after),)
        fields = "\0".join((name, self.cluster, str(generation), *ends)).encode()
        body = _MARK + public + fields
        certificate = self.read(body + _keyed(self._key, body, 64))
        return FakeNotary(self, certificate, secret)

    def retire(self, name: str, generation: int = 1) -> NodeCertificate:
        """Sign the order that ends a name up to this generation."""
        fields = "\0".join((name, self.cluster, str(generation), RETIRED)).encode()
        body = _MARK + bytes(32) + fields
        return self.read(body + _keyed(self._key, body, 64))

    def read(self, der: bytes) -> NodeCertificate:
        """Return the certificate in `der`, or raise `PeerMisbehaved` if this authority has not signed it."""
        known = self._certificates.get(der)
        if known is not None:
            return known
        body, mark = der[:-64], der[-64:]
        if not body.startswith(_MARK) or _keyed(self._key, body, 64) != mark:
            raise PeerMisbehaved("its certificate is not signed by this cluster's authority")
        public = body[len(_MARK) : len(_MARK) + 32]
        name, cluster, generation, *more = body[len(_MARK) + 32 :].decode().split("\0")
        retires = more == [RETIRED]
        not_after = int(more[0]) if more and not retires else 100 * _YEAR
        certificate = NodeCertificate(
            der, fingerprint_prefix(der), name, cluster, int(generation), public, 0, not_after, retires
        )
        self._certificates[der] = certificate
        return certificate

    def verify(self, certificate: NodeCertificate, signature: bytes, data: bytes) -> bool:
        """Tell whether the holder of `certificate` signed `data`."""
        secret = self._secrets.get(certificate.public_key_bytes)
        return secret is not None and _signature(secret, data) == signature


@lru_cache(maxsize=8192)
def _signature(secret: bytes, data: bytes) -> bytes:
    return _keyed(secret, data, 64)


class FakeNotary:
    """The `Notary` of one simulated peer."""

    __slots__ = ("_authority", "_secret", "certificate")

    def __init__(self, authority: Authority, certificate: NodeCertificate, secret: bytes) -> None:
        self._authority = authority
        self.certificate = certificate
        self._secret = secret

    def sign(self, data: bytes) -> bytes:
        """Sign with this node's key."""
        return _signature(self._secret, data)

    def read_certificate(self, der: bytes) -> NodeCertificate:
        """Return a certificate of our cluster, or raise `PeerMisbehaved`."""
        return self._authority.read(der)

    def verify(self, certificate: NodeCertificate, signature: bytes, data: bytes) -> bool:
        """Tell whether the holder of `certificate` signed `data`."""
        return self._authority.verify(certificate, signature, data)

    def verify_record(self, record: Record, der: bytes) -> str | None:
        """Return why this certificate does not prove that its node signed the record; None when it does."""
        try:
            certificate = self._authority.read(der)
        except PeerMisbehaved as error:
            return str(error)
        problem = signer_problem(record, self._authority.cluster, certificate)
        if problem is not None:
            return problem
        signed = record_signed_bytes(self._authority.cluster, record.body)
        if not self.verify(certificate, record.signature, signed):
            return f"the signature on {record.key.text} is not {certificate.name}'s"
        return None
