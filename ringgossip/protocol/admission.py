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

_MOST_WAITING = 20_000  # records whose certificate or verification is awaited
_BATCH = 200  # signatures checked by one worker at a time


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
        self._awaiting: dict[PeerId, dict[bytes, tuple[Record, PeerId]]] = {}  # signer -> record hash -> ...
        self._checking: dict[int, tuple[tuple[Record, PeerId], ...]] = {}
        self._pending: dict[bytes, None] = {}  # hashes of all records in the two tables above
        self._batch = 0

    def offer(self, packed: tuple[bytes, ...], sender: PeerId) -> tuple[Out, list[bytes]]:
        """Take records from a peer; return effects and the 8-byte prefixes of those known already.

        Raises `PeerMisbehaved` for a record that breaks a rule; those before it are kept.
        """
        out: Out = []
        known: list[bytes] = []
        fresh: list[tuple[Record, PeerId]] = []
        try:
            for data in packed:
                record = unpack_record(data)
                hash_ = record.hash
                held = self._catalog.get(record.key)
                if held is not None and (held.hash == hash_ or held.sequence > record.sequence):
                    known.append(hash_[:8])
                elif hash_ in self._pending:
                    continue
                elif len(self._pending) >= _MOST_WAITING:
                    break  # anti-entropy brings it again
                elif self._catalog.certificate(record.signer) is None:
                    waiting = self._awaiting.setdefault(record.signer, {})
                    waiting[hash_] = (record, sender)
                    self._pending[hash_] = None
                    out.append(NeedCertificate(record.signer, sender))
                else:
                    self._pending[hash_] = None
                    fresh.append((record, sender))
        finally:
            out += self._verify(fresh)
        return out, known

    def _verify(self, entries: list[tuple[Record, PeerId]]) -> Out:
        out: Out = []
        for start in range(0, len(entries), _BATCH):
            part = tuple(entries[start : start + _BATCH])
            self._batch += 1
            self._checking[self._batch] = part
            jobs = []
            for record, _ in part:
                certificate = self._catalog.certificate(record.signer)
                assert certificate is not None
                jobs.append((record, certificate.der))
            out.append(VerifyRecords(self._batch, tuple(jobs)))
        return out

    def certificate_arrived(self, certificate: "NodeCertificate") -> Out:
        """Records that waited for this signer can be checked now."""
        waiting = self._awaiting.pop(certificate.peer_id, {})
        return self._verify(list(waiting.values()))

    def records_verified(self, batch: int, reasons: tuple[str | None, ...]) -> Admitted:
        """A worker has checked a batch."""
        admitted = Admitted([], [], [])
        for (record, sender), reason in zip(self._checking.pop(batch, ()), reasons, strict=False):
            self._pending.pop(record.hash, None)
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
        return len(self._pending)
