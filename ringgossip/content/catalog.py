"""What exists? Every record of the cluster, newest per artifact, and every certificate.

**Admission depends on nothing but records and certificates**, never on the order
in which they come: what a catalog holds is a function of the set of all that
was ever offered to it. Otherwise two catalogs could differ for ever.

1. A record needs the certificate it names, of this cluster and of the node that
   is its origin. Until that certificate comes, the record waits at the door
   (`protocol/admission.py`) and is refused here.
2. Of one artifact the highest sequence is kept. Of two records with one
   sequence, the one with the smaller body hash; the next smallest is kept beside
   it as proof that the origin signed both, until a higher sequence comes.
3. Of one origin at most 200,000 artifacts are kept: those with the smallest key
   hashes among all that were ever offered. "The first 200,000" would depend on
   the order; the smallest of a union are the smallest of the smallest, so two
   catalogs that exchange what they keep end up equal. An honest origin asks
   `room_for` before it publishes and never gets there.

Not everything that exists is listed: an artifact whose newest record is a
withdrawal is not, nor what was signed under a name that the authority retired
(with a certificate of that generation or an earlier one). Its records stay, so
that catalogs agree; `unlisted` is a function of the record, its certificate
and the authority's orders, which are replicated among the certificates.

The caller has verified the signature of a record, and that a certificate is
signed by the cluster's authority, before either is offered here.
Each kind, and the certificates, have a digest; `root` stands for all of them.
Source: design section 4.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from ringgossip.content.digest import ROOT_WIRE_BYTES, Digest
from ringgossip.content.hashing import hash_bytes, hash_tagged
from ringgossip.content.record import KINDS, MAX_STAMP, ArtifactKey, Record, signer_problem
from ringgossip.errors import PeerMisbehaved
from ringgossip.identity.names import PeerId

if TYPE_CHECKING:
    from ringgossip.identity.certificate import NodeCertificate

CERTIFICATES: Final = "certificates"
# Certificates first: records are judged by them.
SETS: Final = (CERTIFICATES, *KINDS)

_CERTIFICATE_CONTEXT: Final = "ringgossip certificate key"
_ROOT_CONTEXT: Final = "ringgossip catalog root"
# A heap gives the smallest; of the key hashes we need the largest.
_INVERT: Final = bytes(255 - byte for byte in range(256))


class Outcome(Enum):
    """What became of a record that was offered."""

    NEW = auto()  # the first of its artifact
    NEWER = auto()  # replaced one with a lower sequence
    KNOWN = auto()  # held already, or its proof is
    OLDER = auto()  # one with a higher sequence is held
    EQUIVOCATION = auto()  # the origin signed another with this sequence: see rule 2
    REFUSED = auto()  # for the reason given


@dataclass(frozen=True, slots=True)
class Admission:
    """The outcome; the reason of a refusal; the record that was held before; one that rule 3 put out."""

    outcome: Outcome
    reason: str | None = None
    previous: Record | None = None
    displaced: Record | None = None


@dataclass(frozen=True, slots=True)
class CatalogLimits:
    """How much a catalog takes."""

    # Rule 3. It must be the same at every member, so it is no setting of a node.
    records_per_origin: int = 200_000


class Catalog:
    """All records and certificates of a cluster, as one member knows them."""

    def __init__(self, cluster: str, limits: CatalogLimits | None = None) -> None:
        self.cluster = cluster
        self._limits = limits if limits is not None else CatalogLimits()
        self._digests = {set_: Digest() for set_ in SETS}
        self._records: dict[str, dict[bytes, Record]] = {kind: {} for kind in KINDS}
        # One record in most cases; a tuple of them where several origins use the name.
        self._root: bytes | None = None  # of the digests as they are; None: they changed since
        self._names: dict[str, dict[str, Record | tuple[Record, ...]]] = {kind: {} for kind in KINDS}
        self._proofs: dict[bytes, Record] = {}
        self._certificates: dict[PeerId, NodeCertificate] = {}
        self._certificate_keys: dict[bytes, PeerId] = {}
        self._retired: dict[str, int] = {}  # name -> the last generation that an order of the authority ends
        self._counts: dict[str, int] = {}
        # Of origins at their limit only: inverted key hash and kind of every record.
        self._full: dict[str, list[tuple[bytes, str]]] = {}

    # --- what is compared ------------------------------------------------------------------

    @property
    def root(self) -> bytes:
        """Return 8 bytes that are equal for equal catalogs: what rides on probes."""
        if self._root is None:
            roots = [digest.whole_root for digest in self._digests.values()]
            self._root = hash_tagged(_ROOT_CONTEXT, *roots)[:ROOT_WIRE_BYTES]
        return self._root

    def _changing(self, set_: str) -> Digest:
        self._root = None
        return self._digests[set_]

    def digest(self, set_: str) -> Digest:
        """Return the digest of one of `SETS`; only the catalog changes it."""
        return self._digests[set_]

    def by_hash(self, kind: str, key_hash: bytes) -> Record | None:
        """Return the record that a digest lists under this key."""
        return self._records[kind].get(key_hash)

    def certificate_by_hash(self, key_hash: bytes) -> "NodeCertificate | None":
        """Return the certificate that the digest lists under this key."""
        peer_id = self._certificate_keys.get(key_hash)
        return None if peer_id is None else self._certificates[peer_id]

    # --- what is known -----------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(map(len, self._records.values()))

    def get(self, key: ArtifactKey) -> Record | None:
        """Return the newest record of an artifact."""
        return self._records[key.kind].get(key.hash) if key.kind in self._records else None

    def proof(self, key: ArtifactKey) -> Record | None:
        """Return another record that the origin signed with the sequence of the one we hold, if any."""
        return self._proofs.get(key.hash)

    def records(self, kind: str | None = None) -> Iterator[Record]:
        """Yield all records, or those of one kind, in order of arrival; nothing may be admitted meanwhile."""
        for one in KINDS if kind is None else (kind,):
            yield from self._records[one].values()

    def retired(self, name: str) -> int:
        """Return the generation up to which the authority has retired a name; 0: it has not."""
        return self._retired.get(name, 0)

    def unlisted(self, record: Record) -> str:
        """Return why this newest record of an artifact is not listed, a word; empty: it is."""
        if record.withdrawn:
            return "withdrawn"
        if record.origin not in self._retired:
            return ""
        signer = self._certificates.get(record.signer)
        return "retired" if signer and signer.generation <= self._retired[record.origin] else ""

    def listed(self, kind: str | None = None) -> Iterator[Record]:
        """Yield what is listed, as `records` does."""
        return (record for record in self.records(kind) if not self.unlisted(record))

    def named(self, kind: str, name: str) -> tuple[Record, ...]:
        """Return the records of all origins that use this name, the latest first."""
        held = self._names[kind].get(name, ())
        records = (held,) if isinstance(held, Record) else held
        return tuple(sorted(records, key=lambda record: (-record.stamp, record.origin)))

    def latest(self, kind: str, name: str) -> Record | None:
        """Return what is listed of this name with the highest stamp; of equal ones the smaller origin's."""
        return next((record for record in self.named(kind, name) if not self.unlisted(record)), None)

    def conflict(self, kind: str, name: str) -> tuple[Record, Record] | None:
        """Return the latest record and another origin's with the same stamp, if there is one.

        Then neither author knew of the other. Games never conflict: every node
        has a `games.db` of its own.
        """
        records = [record for record in self.named(kind, name) if not self.unlisted(record)]
        if kind == "games" or len(records) < 2 or records[0].stamp != records[1].stamp:
            return None
        return records[0], records[1]

    def stamp_after(self, kind: str, name: str) -> int:
        """Return the stamp of the next publication of this name: above all seen, but at most 2**48."""
        named = self.named(kind, name)
        return min(named[0].stamp + 1, MAX_STAMP) if named else 1

    def sequence_after(self, key: ArtifactKey) -> int:
        """Return the sequence of our next publication: above every one seen, whichever store made it."""
        held = self.get(key)
        return 1 if held is None else held.sequence + 1

    def room_for(self, key: ArtifactKey) -> bool:
        """Say whether its origin may publish this artifact without another of its own being put out."""
        return self._counts.get(key.origin, 0) < self._limits.records_per_origin or self.get(key) is not None

    # --- certificates --------------------------------------------------------------------------

    def certificate(self, peer_id: PeerId) -> "NodeCertificate | None":
        return self._certificates.get(peer_id)

    def certificates(self) -> "Iterator[NodeCertificate]":
        """Yield all certificates in order of arrival; none may be added meanwhile."""
        yield from self._certificates.values()

    def add_certificate(self, certificate: "NodeCertificate") -> None:
        """Take a verified certificate. Raises `PeerMisbehaved` for one of another cluster."""
        if certificate.cluster != self.cluster:
            raise PeerMisbehaved(f"a certificate of cluster {certificate.cluster!r} in {self.cluster!r}")
        peer_id = certificate.peer_id
        if peer_id in self._certificates:
            return
        key_hash = hash_tagged(_CERTIFICATE_CONTEXT, peer_id)
        self._certificates[peer_id] = certificate
        self._certificate_keys[key_hash] = peer_id
        self._changing(CERTIFICATES).insert(key_hash, hash_bytes(certificate.der))
        if certificate.retires:
            ends = max(certificate.generation, self._retired.get(certificate.name, 0))
            self._retired[certificate.name] = ends

    def share_certificates(self, other: "Catalog") -> None:
        """Know the very certificates that another catalog knows: for worlds that begin in the middle."""
        self._certificates = dict(other._certificates)
        self._certificate_keys = dict(other._certificate_keys)
        self._root = None
        self._digests[CERTIFICATES] = other._digests[CERTIFICATES].copy()
        self._retired = dict(other._retired)

    # --- admission -------------------------------------------------------------------------------

    def admit(self, record: Record) -> Admission:
        """Offer a record whose signature is valid. Never raises for what is in a record."""
        certificate = self._certificates.get(record.signer)
        if certificate is None:
            return Admission(Outcome.REFUSED, "the certificate of its signer is not known here")
        problem = signer_problem(record, self.cluster, certificate)
        if problem is not None:
            return Admission(Outcome.REFUSED, problem)
        key_hash = record.key.hash
        held = self._records[record.kind].get(key_hash)
        if held is None:
            return self._add(key_hash, record)
        if record.sequence > held.sequence:
            self._proofs.pop(key_hash, None)
            self._replace(key_hash, held, record)
            return Admission(Outcome.NEWER, previous=held)
        if record.sequence < held.sequence:
            return Admission(Outcome.OLDER, previous=held)
        return self._compare(key_hash, held, record)

    def _compare(self, key_hash: bytes, held: Record, record: Record) -> Admission:
        """Apply rule 2 to two records with one sequence: keep the two smallest of all."""
        new_hash, held_hash = record.hash, held.hash
        proof = self._proofs.get(key_hash)
        if new_hash == held_hash or (proof is not None and proof.hash <= new_hash):
            return Admission(Outcome.KNOWN, previous=held)
        if new_hash < held_hash:
            self._proofs[key_hash] = held
            self._replace(key_hash, held, record)
        else:
            self._proofs[key_hash] = record
        return Admission(Outcome.EQUIVOCATION, previous=held)

    def _add(self, key_hash: bytes, record: Record) -> Admission:
        origin, kind = record.origin, record.kind
        displaced = None
        count = self._counts.get(origin, 0)
        if count >= self._limits.records_per_origin:
            largest = self._largest_keys(origin)
            last_key, last_kind = largest[0][0].translate(_INVERT), largest[0][1]
            if key_hash > last_key:
                return Admission(
                    Outcome.REFUSED, f"{origin} has more than {self._limits.records_per_origin} artifacts"
                )
            displaced = self._records[last_kind][last_key]
            self._remove(last_key, displaced)
            heapq.heapreplace(largest, (key_hash.translate(_INVERT), kind))
        else:
            self._counts[origin] = count + 1
        self._records[kind][key_hash] = record
        self._changing(kind).insert(key_hash, record.hash)
        held = self._names[kind].get(record.name)
        if held is None:
            self._names[kind][record.name] = record
        else:
            self._names[kind][record.name] = (*(held if isinstance(held, tuple) else (held,)), record)
        return Admission(Outcome.NEW, displaced=displaced)

    def _replace(self, key_hash: bytes, held: Record, record: Record) -> None:
        kind, name = record.kind, record.name
        self._records[kind][key_hash] = record
        self._changing(kind).insert(key_hash, record.hash)
        named = self._names[kind][name]
        self._names[kind][name] = (
            tuple(record if one is held else one for one in named) if isinstance(named, tuple) else record
        )

    def _remove(self, key_hash: bytes, record: Record) -> None:
        kind, name = record.kind, record.name
        del self._records[kind][key_hash]
        self._changing(kind).remove(key_hash)
        self._proofs.pop(key_hash, None)
        named = self._names[kind][name]
        others = tuple(one for one in named if one is not record) if isinstance(named, tuple) else ()
        if not others:
            del self._names[kind][name]
        else:
            self._names[kind][name] = others if len(others) > 1 else others[0]

    def _largest_keys(self, origin: str) -> list[tuple[bytes, str]]:
        """Return a heap of the origin's key hashes, the largest first; made when its limit is reached."""
        heap = self._full.get(origin)
        if heap is None:
            heap = self._full[origin] = [
                (key_hash.translate(_INVERT), kind)
                for kind, records in self._records.items()
                for key_hash, record in records.items()
                if record.origin == origin
            ]
            heapq.heapify(heap)
        return heap
