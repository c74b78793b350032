"""Which records enter the catalog? Those that their origin signed, whoever brings them.

Records arrive by rumor and by comparison, from anybody. What is known is set
aside at once; the rest waits, bounded, until the signer's certificate is here
and a worker has checked the signature, and is then offered to the catalog,
whose decision depends on nothing but the record.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringgossip.content.catalog import Catalog, Outcome
from ringgossip.content.record import Record, unpack_record
from ringgossip.errors import PeerMisbehaved
from ringgossip.events import OriginEquivocated
from ringgossip.identity import PeerId
from ringgossip.protocol.core import Effect, NeedCertificate, Notice, Tell, VerifyRecords

if TYPE_CHECKING:
    from ringgossip.identity.certificate import NodeCertificate

Out = list[Effect | Notice]

_MOST_AWAITING = 4_096  # records whose certificate is awaited: at most 4 MB
_MOST_CHECKING = 20_000  # records in the hands of workers
_MOST_OF_ONE = 10_000  # of these brought by one member: it may bring rubbish as fast as it likes
_BATCH = 200  # signatures checked by one worker at a time


@dataclass(slots=True)
class Offered:
    """What became of an offer: prefixes (8 bytes) of record hashes known already; the first broken rule."""

    effects: Out
    known: list[bytes]
    problem: str | None = None


@dataclass(slots=True)
class Admitted:
    """What became of a batch: `records` are new here, with who brought each and what they replaced."""

    records: list[tuple[Record, PeerId, Record | None]]
    refused: list[tuple[PeerId, str]]
    effects: Out


class Admission:
    """The machine at the catalog's door."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        # By hash and signature: who brings a record with a false one must not keep out the true one.
        self._awaiting: dict[PeerId, dict[bytes, tuple[Record, PeerId]]] = {}  # by signer
        self._checking: dict[int, tuple[tuple[Record, PeerId], ...]] = {}
        self._checked: dict[bytes, None] = {}  # the records in the table above
        self._brought: dict[PeerId, int] = {}  # how many of them each member brought
        self._awaiting_count = 0
        self._batch = 0

    def offer(self, packed: tuple[bytes, ...], sender: PeerId) -> Offered:
        """Take records from a peer; one that breaks a rule is left out, the others are kept."""
        offered = Offered([], [])
        fresh: dict[bytes, tuple[Record, PeerId]] = {}
        room = min(_MOST_CHECKING - len(self._checked), _MOST_OF_ONE - self._brought.get(sender, 0))
        for data in packed:
            try:
                record = unpack_record(data)
            except PeerMisbehaved as error:
                offered.problem = offered.problem or str(error)
                continue
            hash_ = record.hash
            if self._is_known(record, hash_):
                offered.known.append(hash_[:8])
            elif self._catalog.certificate(record.signer) is None:
                self._await(record, hash_ + record.signature, sender)
                offered.effects.append(NeedCertificate(record.signer, sender))
            elif hash_ + record.signature not in self._checked and len(fresh) < room:
                fresh[hash_ + record.signature] = (record, sender)
        offered.effects += self._verify(list(fresh.values()))
        return offered

    def _is_known(self, record: Record, hash_: bytes) -> bool:
        held = self._catalog.get(record.key)
        if held is None:
            return False
        if held.hash == hash_ or held.sequence > record.sequence:
            return True
        proof = self._catalog.proof(record.key)
        return proof is not None and proof.hash == hash_

    def _await(self, record: Record, place: bytes, sender: PeerId) -> None:
        waiting = self._awaiting.setdefault(record.signer, {})
        if place in waiting:
            return
        waiting[place] = (record, sender)
        self._awaiting_count += 1
        if self._awaiting_count > _MOST_AWAITING:
            # The oldest goes: whoever invents signers must not keep out what comes later,
            # and what was true is brought again by the next comparison.
            signer, oldest = next(iter(self._awaiting.items()))
            del oldest[next(iter(oldest))]
            self._awaiting_count -= 1
            if not oldest:
                del self._awaiting[signer]

    def _verify(self, entries: list[tuple[Record, PeerId]]) -> Out:
        out: Out = []
        for start in range(0, len(entries), _BATCH):
            part = tuple(entries[start : start + _BATCH])
            self._batch += 1
            self._checking[self._batch] = part
            jobs = []
            for record, sender in part:
                self._checked[record.hash + record.signature] = None
                self._brought[sender] = self._brought.get(sender, 0) + 1
                certificate = self._catalog.certificate(record.signer)
                assert certificate is not None
                jobs.append((record, certificate.der))
            out.append(VerifyRecords(self._batch, tuple(jobs)))
        return out

    def certificate_arrived(self, certificate: "NodeCertificate") -> Out:
        """Records that waited for this signer can be checked now."""
        waiting = self._awaiting.pop(certificate.peer_id, {})
        self._awaiting_count -= len(waiting)
        return self._verify(list(waiting.values()))

    def records_verified(self, batch: int, reasons: tuple[str | None, ...]) -> Admitted:
        """A worker has checked a batch."""
        admitted = Admitted([], [], [])
        for (record, sender), reason in zip(self._checking.pop(batch, ()), reasons, strict=False):
            self._checked.pop(record.hash + record.signature, None)
            self._brought[sender] -= 1
            if not self._brought[sender]:
                del self._brought[sender]
            if reason is not None:
                admitted.refused.append((sender, reason))
                continue
            before = self._catalog.get(record.key)
            outcome, why = self._admit(record)
            if outcome is Outcome.EQUIVOCATION:
                admitted.effects.append(Tell(OriginEquivocated(record.key.text, record.sequence)))
            if why is not None:
                admitted.refused.append((sender, why))
            elif self._catalog.get(record.key) == record and before != record:
                admitted.records.append((record, sender, before))
        return admitted

    def _admit(self, record: Record) -> tuple[Outcome, str | None]:
        try:
            admission = self._catalog.admit(record)
        except PeerMisbehaved as error:
            return Outcome.REFUSED, str(error)
        reason = admission.reason if admission.outcome is Outcome.REFUSED else None
        return admission.outcome, reason

    def waiting(self) -> int:
        """Return how many records wait for a certificate or a worker."""
        return self._awaiting_count + len(self._checked)
