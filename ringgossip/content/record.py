"""What does an origin say of one artifact, and how do we know that it said so?

A record is a body, packed once by its author, and the author's signature over
it. Relays forward both unchanged, so what was signed is what everybody sees.

    body   = msgpack [kind, origin, name, sequence, stamp, store, size, chunk_size,
                      root, metadata, signer, ...]      metadata = bin(msgpack map)
           and, when its origin withdraws the artifact, a twelfth field: true
    packed = msgpack [bin(body), bin(signature)]        at most 1,000 bytes

A withdrawal says again what it ends, so that who does not know the field sees
nothing but a new sequence of a content it has. Fields that a later version
appends are ignored here but stay in the body and under the signature. The
signature (Ed25519) covers a domain tag, the cluster and the body: nothing
signed elsewhere can pass for a record, nor a record of one cluster for one of
another. All limits are checked here, so that admission is a function of the
bytes alone.
Source: design section 4.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from ringgossip.content.chunking import MAX_CHUNKS, MAX_SIZE, chunk_count, chunk_size_problem
from ringgossip.content.hashing import HASH_BYTES, RootHash, hash_bytes, hash_tagged
from ringgossip.content.manifest import root_hash
from ringgossip.content.names import check_artifact_name
from ringgossip.errors import PeerMisbehaved, UsageError
from ringgossip.frozen import frozen
from ringgossip.identity.names import PEER_ID_BYTES, PeerId, check_node_name

if TYPE_CHECKING:
    from ringgossip.identity.certificate import NodeCertificate

Scalar = str | int | float | bool | None

KINDS: Final = ("games", "models", "npz")
MAX_RECORD_BYTES: Final = 1000
MAX_METADATA_BYTES: Final = 512
MAX_SEQUENCE: Final = 2**53 - 1  # What JSON carries exactly.
MAX_STAMP: Final = 2**48
STORE_BYTES: Final = 8
SIGNATURE_BYTES: Final = 64

_DOMAIN: Final = b"ringgossip record 1\0"
_KEY_CONTEXT: Final = "ringgossip artifact key"
_FIELDS: Final = 11


@lru_cache(maxsize=4096)
def _key_hash(kind: str, origin: str, name: str) -> bytes:
    return hash_tagged(_KEY_CONTEXT, f"{kind}/{origin}/{name}".encode())


class ArtifactKey(NamedTuple):
    """What identifies an artifact: its kind, the one node that may publish it, and its name."""

    kind: str
    origin: str
    name: str

    @property
    def text(self) -> str:
        """The key as people write it: `kind/origin/name`."""
        return f"{self.kind}/{self.origin}/{self.name}"

    @property
    def hash(self) -> bytes:
        """The 32-byte key of the artifact in a digest; remembered of those asked for lately."""
        return _key_hash(*self)

    @classmethod
    def parse(cls, text: str) -> "ArtifactKey":
        """Read `kind/origin/name`; raise `UsageError` with what is wrong."""
        parts = text.split("/", 2)
        if len(parts) != 3:
            raise UsageError(f"{text!r} is no artifact: write kind/origin/name")
        problem = _key_problem(*parts)
        if problem is not None:
            raise UsageError(f"{text!r} is no artifact: {problem}")
        return cls(*parts)


@frozen
class Record:
    """What an origin says of one version of an artifact; made by `make_record` or `unpack_record` only."""

    kind: str
    origin: str
    name: str
    sequence: int
    stamp: int
    store: bytes
    size: int
    chunk_size: int
    root: RootHash
    signer: PeerId
    packed_metadata: bytes
    body: bytes
    signature: bytes
    withdrawn: bool = False  # its origin says that there is no such artifact any more
    key: ArtifactKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", ArtifactKey(self.kind, self.origin, self.name))

    @property
    def metadata(self) -> dict[str, Scalar]:
        """What the kind says of the content; decoded at each call, since most records are never asked."""
        decoded: dict[str, Scalar] = msgpack.unpackb(self.packed_metadata)
        return decoded

    @property
    def hash(self) -> bytes:
        """The hash of the body: the value of this record in a digest."""
        return hash_bytes(self.body)

    @property
    def packed(self) -> bytes:
        """What travels."""
        packed: bytes = msgpack.packb((self.body, self.signature))
        return packed


def make_record(
    *,
    kind: str,
    origin: str,
    name: str,
    sequence: int,
    stamp: int,
    store: bytes,
    size: int,
    chunk_size: int,
    root: bytes,
    metadata: Mapping[str, Scalar],
    signer: PeerId,
    cluster: str,
    sign: Callable[[bytes], bytes],
    withdrawn: bool = False,
) -> Record:
    """Pack and sign a record; raise `UsageError` for what no member would admit.

    `sign` returns the Ed25519 signature, 64 bytes, by the key of `signer`.
    """
    for label, value in metadata.items():
        if not isinstance(label, str) or not isinstance(value, str | int | float | bool | None):
            raise UsageError(f"metadata {label!r} must be text, a number, true, false or nothing")
    try:
        packed_metadata: bytes = msgpack.packb(dict(sorted(metadata.items())))
        fields: tuple[Any, ...] = (
            kind, origin, name, sequence, stamp, store, size, chunk_size, root, packed_metadata, signer,
        )  # fmt: skip
        fields = (*fields, True) if withdrawn else fields
        body: bytes = msgpack.packb(fields)
    except (OverflowError, UnicodeEncodeError) as error:
        raise UsageError(f"this cannot be written in a record: {error}") from None
    problem = _problem(fields)
    if problem is not None:
        raise UsageError(f"cannot publish {kind}/{origin}/{name}: {problem}")
    length = len(msgpack.packb((body, bytes(SIGNATURE_BYTES))))
    if length > MAX_RECORD_BYTES:
        raise UsageError(
            f"the name and metadata of {name!r} make a record of {length} bytes: "
            f"shorten them, at most {MAX_RECORD_BYTES} are allowed"
        )
    return _record(fields, body, sign(record_signed_bytes(cluster, body)))


def record_signed_bytes(cluster: str, body: bytes) -> bytes:
    """Return the bytes that a record's signature covers."""
    encoded = cluster.encode()
    return b"".join((_DOMAIN, len(encoded).to_bytes(2), encoded, body))


@lru_cache(maxsize=1024)  # News of a record comes from several peers, the same bytes each time.
def unpack_record(packed: bytes) -> Record:
    """Read what a stranger sent; raise `PeerMisbehaved` with the reason for whatever breaks a rule.

    The signature is not verified here: that needs a certificate.
    """
    if len(packed) > MAX_RECORD_BYTES:
        raise PeerMisbehaved(f"a record of {len(packed)} bytes: at most {MAX_RECORD_BYTES} are allowed")
    outer = _unpack(packed, "record")
    if not isinstance(outer, tuple) or len(outer) < 2:
        raise PeerMisbehaved("a record is no array of body and signature")
    body, signature = outer[:2]
    if len(outer) > 2 or type(body) is not bytes or type(signature) is not bytes:
        raise PeerMisbehaved("a record is no array of body and signature")
    if len(signature) != SIGNATURE_BYTES:
        raise PeerMisbehaved(f"a record's signature has {len(signature)} bytes")
    fields = _unpack(body, "record's body")
    if not isinstance(fields, tuple) or len(fields) < _FIELDS:
        raise PeerMisbehaved(f"a record's body is no array of {_FIELDS} fields")
    problem = _problem(fields)
    if problem is not None:
        raise PeerMisbehaved(f"a record breaks a rule: {problem}")
    return _record(fields, body, signature)


def verify_record(record: Record, cluster: str, certificate: "NodeCertificate") -> str | None:
    """Return why `certificate` does not prove that its node signed `record`, or None when it does.

    Costs about 100 microseconds; call it in a worker thread.
    """
    problem = signer_problem(record, cluster, certificate)
    if problem is not None:
        return problem
    if not certificate.verify_signature(record.signature, record_signed_bytes(cluster, record.body)):
        return f"the signature on {record.key.text} is not {certificate.name}'s"
    return None


def signer_problem(record: Record, cluster: str, certificate: "NodeCertificate") -> str | None:
    """Return why this certificate may not sign this record, or None when it may; looks at no signature."""
    if certificate.peer_id != record.signer:
        return f"{record.key.text} names another certificate"
    if certificate.retires:
        return f"{record.key.text} is signed with an order that retires a name"
    if certificate.cluster != cluster:
        return f"the signer of {record.key.text} belongs to cluster {certificate.cluster!r}"
    if certificate.name != record.origin:
        return f"{certificate.name} signed {record.key.text}, which only {record.origin} may publish"
    return None


def _unpack(data: bytes, what: str) -> Any:
    try:
        return msgpack.unpackb(data, use_list=False, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise PeerMisbehaved(f"a {what} is no msgpack: {type(error).__name__}") from None


def _record(fields: tuple[Any, ...], body: bytes, signature: bytes) -> Record:
    kind, origin, name, sequence, stamp, store, size, chunk_size, root, packed_metadata, signer = fields[
        :_FIELDS
    ]
    return Record(
        # The same few kinds, origins and names come again and again: keep one string of each.
        sys.intern(kind),
        sys.intern(origin),
        sys.intern(name),
        sequence,
        stamp,
        store,
        size,
        chunk_size,
        RootHash(root),
        PeerId(signer),
        packed_metadata,
        body,
        signature,
        # What is no `true` there is a field that we do not know: never a reason to refuse.
        len(fields) > _FIELDS and fields[_FIELDS] is True,
    )


def _problem(fields: tuple[Any, ...]) -> str | None:
    """Return the first rule that the fields of a body break, or None."""
    kind, origin, name, sequence, stamp, store, size, chunk_size, root, packed_metadata, signer = fields[
        :_FIELDS
    ]
    if type(kind) is not str or type(origin) is not str or type(name) is not str:
        return "kind, origin and name must be text"
    problem = _key_problem(kind, origin, name)
    if problem is not None:
        return problem
    for label, value, lowest, highest in (
        ("sequence", sequence, 1, MAX_SEQUENCE),
        ("stamp", stamp, 0, MAX_STAMP),
        ("size", size, 0, MAX_SIZE),
    ):
        # A bool is an int to isinstance.
        if type(value) is not int or not lowest <= value <= highest:
            return f"{label} is no whole number from {lowest} to {highest}"
    if type(chunk_size) is not int:
        return "chunk size is no whole number"
    problem = chunk_size_problem(chunk_size)
    if problem is not None:
        return problem
    if chunk_count(size, chunk_size) > MAX_CHUNKS:
        return f"a size of {size} needs larger chunks than {chunk_size}"
    for label, value, length in (
        ("store", store, STORE_BYTES),
        ("root", root, HASH_BYTES),
        ("signer", signer, PEER_ID_BYTES),
    ):
        if type(value) is not bytes or len(value) != length:
            return f"{label} is not {length} bytes"
    if size == 0 and root != root_hash(0, chunk_size, b""):
        return "the root of an empty file is another one"
    if type(packed_metadata) is not bytes or len(packed_metadata) > MAX_METADATA_BYTES:
        return f"metadata is more than {MAX_METADATA_BYTES} bytes"
    return _metadata_problem(packed_metadata)


def _key_problem(kind: str, origin: str, name: str) -> str | None:
    if kind not in KINDS:
        return f"kind {kind[:20]!r} is none of {', '.join(KINDS)}"
    try:
        check_node_name(origin)
    except UsageError:
        return "its origin is no node name"
    problem = check_artifact_name(name)
    return None if problem is None else f"its name is not allowed: {problem}"


def _metadata_problem(packed: bytes) -> str | None:
    try:
        pairs = msgpack.unpackb(packed, object_pairs_hook=list)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return "metadata is no msgpack"
    # An array looks like a list of pairs too; the first byte tells a map.
    if not isinstance(pairs, list) or not (0x80 <= packed[0] <= 0x8F or packed[0] in (0xDE, 0xDF)):
        return "metadata is no map"
    labels = set()
    for label, value in pairs:
        if type(label) is not str or label in labels:
            return "metadata has a label that is no text or comes twice"
        labels.add(label)
        if type(value) not in (str, int, float, bool, type(None)):
            return f"metadata {label!r} is no plain value"
        if type(value) is float and not math.isfinite(value):
            return f"metadata {label!r} is no finite number"
    return None
