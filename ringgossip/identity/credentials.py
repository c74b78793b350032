"""What lets this node into its cluster, and how does it know the others?

Loads what `enroll` wrote, once and completely, and says of everything that is
wrong what to run. A link is TLS 1.3 with certificates on both sides; who the
other one is stands in its certificate, so host names are not looked at.
"""

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ringgossip.errors import CredentialsError, PeerMisbehaved, UsageError
from ringgossip.identity.authority import AUTHORITY_CERTIFICATE, GOSSIP_KEYS, NODE_CERTIFICATE, NODE_KEY
from ringgossip.identity.certificate import AuthorityCertificate, NodeCertificate, expired
from ringgossip.identity.files import read_file
from ringgossip.identity.keyring import KeyRing
from ringgossip.identity.names import PeerId
from ringgossip.identity.pem import private_key_from_pem, single_pem

ALPN = "ringgossip/1"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """One node's proof of membership. `load` it."""

    certificate: NodeCertificate
    authority: AuthorityCertificate
    gossip_keys: KeyRing
    _key: Ed25519PrivateKey = field(repr=False)
    _client: ssl.SSLContext = field(repr=False)
    _server: ssl.SSLContext = field(repr=False)

    @property
    def cluster(self) -> str:
        return self.authority.cluster

    @property
    def name(self) -> str:
        return self.certificate.name

    @property
    def peer_id(self) -> PeerId:
        return self.certificate.peer_id

    @classmethod
    def load(cls, folder: Path, wall: Callable[[], float] = time.time) -> "Credentials":
        """Read a folder that `enroll` wrote.

        Raises `CredentialsError` with one line that says what to run.
        """
        again = f"write new credentials with `ringgossip enroll DIR --node NAME -o {folder}`"
        try:
            if not folder.is_dir():
                raise CredentialsError(f"no credentials in {folder}: {again}")
        except PermissionError:
            raise CredentialsError(
                f"{folder} may not be looked into by this user: run the peer as its owner, or change its mode"
            ) from None
        authority = _certificate(AuthorityCertificate.parse, folder / AUTHORITY_CERTIFICATE, again)
        certificate = _certificate(NodeCertificate.parse, folder / NODE_CERTIFICATE, again)
        again = f"run `ringgossip enroll DIR --node {certificate.name} -o {folder}`"
        reason = authority.verify(certificate)
        if reason is None and certificate.retires:
            reason = "it is an order that retires a name, no node's certificate"
        if reason is not None:
            raise CredentialsError(f"{folder / NODE_CERTIFICATE}: {reason}: {again}")
        if expired(certificate, wall()):
            early = wall() < certificate.not_before
            state = "is not valid yet (is this machine's clock right?)" if early else "has expired"
            raise CredentialsError(f"{folder / NODE_CERTIFICATE} {state}: {again}")
        key_path = folder / NODE_KEY
        key = private_key_from_pem(read_file(key_path, secret=True, remedy=again), key_path, again)
        if key.public_key().public_bytes_raw() != certificate.public_key_bytes:
            raise CredentialsError(f"{key_path} does not belong to the certificate beside it: {again}")
        try:
            text = read_file(folder / GOSSIP_KEYS, secret=True, remedy=again).decode("ascii")
            gossip_keys = KeyRing.parse(text)
        except (UsageError, UnicodeDecodeError):
            raise CredentialsError(f"{folder / GOSSIP_KEYS} is damaged: {again}") from None
        try:
            # Both now and not at the first link: a file may be gone by then.
            client, server = (_context(folder, authority, side) for side in (False, True))
        except (ssl.SSLError, OSError) as error:
            raise CredentialsError(f"{folder}: TLS refuses these credentials ({error}): {again}") from error
        return cls(certificate, authority, gossip_keys, key, client, server)

    def sign(self, data: bytes) -> bytes:
        """Return this node's signature, 64 bytes. About 30 us."""
        return self._key.sign(data)

    def ssl_context(self, server: bool) -> ssl.SSLContext:
        """Return the context for links that we accept (`server`) or dial; one for all links."""
        return self._server if server else self._client

    def peer_certificate(
        self, tls: ssl.SSLSocket | ssl.SSLObject, wall_now: float | None = None
    ) -> NodeCertificate:
        """Return who is at the other end of an established link.

        Does not rely on TLS having checked: authority, cluster, name, time and
        protocol are looked at again. Raises `PeerMisbehaved` with the reason.
        """
        der = tls.getpeercert(binary_form=True)
        if not der:
            raise PeerMisbehaved("showed no certificate")
        if tls.selected_alpn_protocol() != ALPN:
            raise PeerMisbehaved(f"does not speak {ALPN}")
        certificate = NodeCertificate.parse(der)
        reason = self.authority.verify(certificate)
        if reason is not None:
            raise PeerMisbehaved(reason)
        if certificate.retires:
            raise PeerMisbehaved("showed an order of the authority, which is no node's certificate")
        if expired(certificate, time.time() if wall_now is None else wall_now):
            raise PeerMisbehaved(f"certificate of {certificate.name!r} has expired, or begins in the future")
        return certificate


def why_refused(error: Exception) -> str:
    """Return in plain words why a TLS handshake failed, for one line in a log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        foreign = f"its certificate is not of this cluster ({error.verify_message})"
        return _VERIFY_CODES.get(error.verify_code, foreign)
    if isinstance(error, ssl.SSLEOFError | ConnectionError | socket.timeout):
        return "it ended the connection during the handshake"
    reason = getattr(error, "reason", None) or str(error)
    return _TLS_REASONS.get(reason, f"TLS handshake failed ({reason})")


_VERIFY_CODES = {
    9: "its certificate is not valid yet (is a clock wrong?)",
    10: "its certificate has expired",
}

_TLS_REASONS = {
    "HTTP_REQUEST": "it spoke plain HTTP, not TLS",
    "WRONG_VERSION_NUMBER": "it spoke plain text, not TLS",
    "UNSUPPORTED_PROTOCOL": "it offered an older TLS than 1.3",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate and saw none",
    "TLSV1_ALERT_UNKNOWN_CA": "it belongs to another cluster: it does not know our authority",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired (is a clock wrong?)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate (is a clock wrong?)",
    "TLSV1_ALERT_DECRYPT_ERROR": "it belongs to another cluster of the same name",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it cannot speak TLS 1.3",
    "NO_APPLICATION_PROTOCOL": f"it does not speak {ALPN}",
}


def _certificate(parse: Callable[[bytes], _T], path: Path, remedy: str) -> _T:
    content = read_file(path, secret=False, remedy=remedy)
    try:
        return parse(single_pem(content))
    except (PeerMisbehaved, ValueError) as error:
        raise CredentialsError(f"{path} is damaged: {remedy}") from error


def _context(folder: Path, authority: AuthorityCertificate, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # identity is the key in the certificate, never an address
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET
    if server:
        context.num_tickets = 0  # links live long: a ticket would only outlive the certificate's check
    context.load_verify_locations(cadata=authority.der)
    # A key with a password must fail here, not ask on a terminal that nobody reads.
    context.load_cert_chain(folder / NODE_CERTIFICATE, folder / NODE_KEY, password=lambda: b"")
    context.set_alpn_protocols([ALPN])
    return context
