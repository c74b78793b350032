"""How does a cluster come to be, and how does a node become a member of it?

`create_cluster` writes the authority's folder: its key (it never leaves), its
certificate, the gossip keys and a ledger of every name that was given out.
`enroll` writes one node's credentials. A name that is given out again gets
the next generation; its fresh certificate then wins over the old one wherever
both are met. The ledger is written first, so a crash can skip a generation,
never repeat one; it is signed, so a damaged one is noticed. `retire` signs the
order that ends a name.
"""

import datetime as dt
import difflib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ringgossip.errors import CredentialsError, PeerMisbehaved
from ringgossip.identity.certificate import MAX_GENERATION, RETIRED, AuthorityCertificate, NodeCertificate
from ringgossip.identity.files import PRIVATE, PUBLIC, read_file, sync_folder, write_whole
from ringgossip.identity.keyring import KeyRing
from ringgossip.identity.names import check_cluster_name, check_node_name
from ringgossip.identity.pem import pem_of, private_key_from_pem, private_pem, single_pem

AUTHORITY_KEY = "authority.key"
AUTHORITY_CERTIFICATE = "authority.crt"
GOSSIP_KEYS = "gossip.keys"
LEDGER = "ledger.json"
NODE_KEY = "node.key"
NODE_CERTIFICATE = "node.crt"

DAY = 86400.0
# Clocks differ, and a node whose clock is late must not refuse its new neighbour.
EARLIER = 7 * DAY
NODE_VALIDITY = 2 * 365 * DAY
AUTHORITY_VALIDITY = 20 * 365 * DAY

_LEDGER_DOMAIN = b"ringgossip ledger 1\0"


def create_cluster(folder: Path, cluster: str) -> AuthorityCertificate:
    """Make a new cluster's authority in `folder` (0700, created with its parents).

    Raises `UsageError` for a bad name and `CredentialsError` if the folder holds
    anything: the key in it may be the only one of a living cluster.
    """
    check_cluster_name(cluster)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise CredentialsError(f"{folder} is not empty: give `ringgossip init` a new folder")
        folder.chmod(0o700)
        key = Ed25519PrivateKey.generate()
        der = _authority_der(key, cluster)
        write_whole(folder / GOSSIP_KEYS, KeyRing.generate().text().encode(), PRIVATE)
        write_whole(folder / AUTHORITY_CERTIFICATE, pem_of(der), PUBLIC)
        _write_ledger(folder, key, {})
        write_whole(folder / AUTHORITY_KEY, private_pem(key), PRIVATE)
        sync_folder(folder.parent)
    except OSError as error:
        raise CredentialsError(f"cannot make a cluster in {folder}: {error.strerror}") from error
    return AuthorityCertificate.parse(der)


def enroll(
    folder: Path,
    node: str,
    output: Path | None = None,
    *,
    not_before: float | None = None,
    validity: float = NODE_VALIDITY,
) -> Path:
    """Write the credentials of `node` and return their folder, `<folder>/nodes/<node>` unless given.

    `not_before` is in Unix seconds (7 days ago unless given), `validity` in
    seconds from now. Enrolling a name again replaces its own credentials with
    the next generation; a folder that holds anything else is left as it is.
    Raises `UsageError` for a bad name, `CredentialsError` for the rest.
    """
    check_node_name(node)
    target = folder / "nodes" / node if output is None else output
    now = time.time()
    try:
        with _authority(folder) as authority:
            _refuse_foreign(target, folder, authority.certificate, node)
            target.mkdir(parents=True, exist_ok=True, mode=0o700)
            generation = authority.next_generation(node)
            key = Ed25519PrivateKey.generate()
            der = authority.sign_node(
                key, node, generation, now - EARLIER if not_before is None else not_before, now + validity
            )
            # The certificate first: it tells a later run whose folder this is.
            write_whole(target / NODE_CERTIFICATE, pem_of(der), PUBLIC)
            write_whole(target / AUTHORITY_CERTIFICATE, pem_of(authority.certificate.der), PUBLIC)
            write_whole(target / GOSSIP_KEYS, authority.gossip_keys, PRIVATE)
            write_whole(target / NODE_KEY, private_pem(key), PRIVATE)
    except OSError as error:
        raise CredentialsError(f"cannot enroll {node} into {target}: {error.strerror}") from error
    return target


def retire(folder: Path, node: str) -> tuple[bytes, int]:
    """Sign the order that retires a name as far as it was given out; return it in DER, and its generation.

    Enrolled again, the name begins anew: the order does not reach that generation.
    Raises `UsageError` for a bad name, `CredentialsError` for one that was never enrolled.
    """
    check_node_name(node)
    try:
        with _authority(folder) as authority:
            generation = authority.generations.get(node)
            if generation is None:
                close = difflib.get_close_matches(node, authority.generations, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise CredentialsError(f"{node} was never enrolled with {folder}{hint}")
            start = time.time() - EARLIER
            order = authority.sign_retirement(node, generation, start, start + AUTHORITY_VALIDITY)
            return order, generation
    except OSError as error:
        raise CredentialsError(f"cannot retire {node} with {folder}: {error.strerror}") from error


@dataclass(slots=True)
class _Authority:
    folder: Path
    key: Ed25519PrivateKey
    certificate: AuthorityCertificate
    gossip_keys: bytes
    generations: dict[str, int]

    def next_generation(self, node: str) -> int:
        """Note in the ledger, on disk, that `node` is given out once more."""
        alike = next((name for name in self.generations if name.lower() == node.lower()), node)
        if alike != node:
            # Origins are folder names, and some disks do not tell them apart.
            raise CredentialsError(f"{node} differs from enrolled node {alike} only in case: choose another")
        generation = self.generations.get(node, 0) + 1
        if generation > MAX_GENERATION:
            raise CredentialsError(f"{node} was enrolled too often: choose another name")
        self.generations[node] = generation
        _write_ledger(self.folder, self.key, self.generations)
        return generation

    def sign_node(
        self, key: Ed25519PrivateKey, node: str, generation: int, start: float, end: float
    ) -> bytes:
        """Return the certificate, in DER, that makes the owner of `key` a member."""
        if end <= start:
            raise CredentialsError("a certificate must end after it starts")
        return self._signed(self._subject(node, generation), key, start, end)

    def sign_retirement(self, node: str, generation: int, start: float, end: float) -> bytes:
        """Return the order, in DER; its key is our own, so that nobody else can use it as a certificate."""
        unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, RETIRED)
        return self._signed([*self._subject(node, generation), unit], self.key, start, end)

    def _subject(self, node: str, generation: int) -> list[x509.NameAttribute[str]]:
        return [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.certificate.cluster),
            x509.NameAttribute(NameOID.COMMON_NAME, node),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, str(generation)),
        ]

    def _signed(
        self, subject: list[x509.NameAttribute[str]], key: Ed25519PrivateKey, start: float, end: float
    ) -> bytes:
        issuer = _authority_name(self.certificate.cluster)
        builder = _builder(x509.Name(subject), issuer, key, start, end)
        return builder.sign(self.key, None).public_bytes(Encoding.DER)


@contextmanager
def _authority(folder: Path) -> Iterator[_Authority]:
    """Open the authority's folder for one change; a second program waits for its turn."""
    remedy = f"{folder} must be a folder made by `ringgossip init`"
    damaged = "is damaged: restore it from a backup"
    if not (folder / AUTHORITY_KEY).is_file():
        raise CredentialsError(f"{folder / AUTHORITY_KEY} is missing: {remedy}")
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        key = private_key_from_pem(
            read_file(folder / AUTHORITY_KEY, secret=True, remedy=remedy), folder / AUTHORITY_KEY, remedy
        )
        pem = read_file(folder / AUTHORITY_CERTIFICATE, secret=False, remedy=remedy)
        try:
            certificate = AuthorityCertificate.parse(single_pem(pem))
        except (PeerMisbehaved, ValueError) as error:
            raise CredentialsError(f"{folder / AUTHORITY_CERTIFICATE} {damaged}") from error
        if certificate.public_key_bytes != key.public_key().public_bytes_raw():
            raise CredentialsError(f"{folder / AUTHORITY_KEY} does not fit its certificate: {remedy}")
        gossip_keys = read_file(folder / GOSSIP_KEYS, secret=True, remedy=remedy)
        yield _Authority(folder, key, certificate, gossip_keys, _read_ledger(folder, key))
    finally:
        os.close(lock)


def _refuse_foreign(target: Path, folder: Path, authority: AuthorityCertificate, node: str) -> None:
    """Raise unless `target` is absent, empty, or holds this very node's credentials."""
    if not target.exists():
        return
    if not target.is_dir():
        raise CredentialsError(f"{target} is no folder: give -o another place")
    if target.resolve() == folder.resolve():
        raise CredentialsError(f"{target} holds the authority's key: give -o another folder")
    ours = (NODE_CERTIFICATE, NODE_KEY, AUTHORITY_KEY, AUTHORITY_CERTIFICATE, GOSSIP_KEYS)
    if not any((target / name).exists() for name in ours):
        return
    elsewhere = "give -o another folder"
    try:
        held = NodeCertificate.parse(single_pem((target / NODE_CERTIFICATE).read_bytes()))
    except (FileNotFoundError, PeerMisbehaved, ValueError):
        raise CredentialsError(f"{target} holds credentials that cannot be read: {elsewhere}") from None
    if authority.verify(held) is not None:
        raise CredentialsError(f"{target} holds credentials of another cluster, {held.cluster}: {elsewhere}")
    if held.name != node:
        raise CredentialsError(f"{target} holds the credentials of node {held.name}: {elsewhere}")


def _authority_name(cluster: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster)])


def _authority_der(key: Ed25519PrivateKey, cluster: str) -> bytes:
    now = time.time()
    name = _authority_name(cluster)
    builder = _builder(name, name, key, now - EARLIER, now + AUTHORITY_VALIDITY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(key, None).public_bytes(Encoding.DER)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Ed25519PrivateKey, start: float, end: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(secrets.randbits(63) | 1)
        .not_valid_before(dt.datetime.fromtimestamp(int(start), dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(int(end), dt.UTC))
    )


def _write_ledger(folder: Path, key: Ed25519PrivateKey, generations: dict[str, int]) -> None:
    signature = key.sign(_LEDGER_DOMAIN + _canonical(generations))
    text = json.dumps({"generations": generations, "signature": signature.hex()}, indent=1, sort_keys=True)
    write_whole(folder / LEDGER, text.encode() + b"\n", PRIVATE)


def _read_ledger(folder: Path, key: Ed25519PrivateKey) -> dict[str, int]:
    remedy = "restore it from a backup, or an old name could come back with an old generation"
    content = read_file(folder / LEDGER, secret=False, remedy=remedy)
    try:
        ledger = json.loads(content)
        generations = dict(ledger["generations"])
        key.public_key().verify(bytes.fromhex(ledger["signature"]), _LEDGER_DOMAIN + _canonical(generations))
    except (ValueError, KeyError, TypeError, InvalidSignature):
        raise CredentialsError(f"{folder / LEDGER} is damaged: {remedy}") from None
    return generations


def _canonical(generations: dict[str, int]) -> bytes:
    return json.dumps(generations, sort_keys=True, separators=(",", ":")).encode()
