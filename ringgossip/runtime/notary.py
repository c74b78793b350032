"""Real keys for the core: sign as ourselves, judge what others signed."""

from ringgossip.errors import PeerMisbehaved
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.identity.credentials import Credentials


class CredentialsNotary:
    """The `Notary` of a peer that was enrolled."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    @property
    def certificate(self) -> NodeCertificate:
        """Our own certificate."""
        return self._credentials.certificate

    def sign(self, data: bytes) -> bytes:
        """Sign with our node key; about 30 us."""
        return self._credentials.sign(data)

    def read_certificate(self, der: bytes) -> NodeCertificate:
        """Return a certificate of our cluster's authority, or raise `PeerMisbehaved`; about 200 us."""
        certificate = NodeCertificate.parse(der)
        reason = self._credentials.authority.verify(certificate)
        if reason is not None:
            raise PeerMisbehaved(reason)
        return certificate

    def verify(self, certificate: NodeCertificate, signature: bytes, data: bytes) -> bool:
        """Tell whether the holder of `certificate` signed `data`."""
        return certificate.verify_signature(signature, data)
