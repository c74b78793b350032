"""How is the store asked, and how does it answer the core? Every effect that touches the disk.

All of it runs in threads; a failure of any kind becomes the input that says so,
and, where there is none, a `StorageTrouble`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import trio

from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record, verify_record
from ringgossip.errors import ArtifactRefused, PeerMisbehaved
from ringgossip.events import StorageTrouble
from ringgossip.identity import PeerId
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.protocol.core import (
    LINK,
    Abandon,
    BeginPartial,
    Drop,
    Effect,
    Evict,
    Finalise,
    FindPages,
    LookAt,
    Persist,
    PersistCertificate,
    PersistSpent,
    Remember,
    Reserve,
    Send,
    SendPages,
    Tell,
    TellPlace,
    VerifyRecords,
)
from ringgossip.protocol.peer_core import PeerCore
from ringgossip.runtime.crews import Crews
from ringgossip.runtime.shared_disk import SharedDisk
from ringgossip.runtime.storage.store import ChunkMissing, Store
from ringgossip.wire.messages import Busy, NoChunks, Page, Placed

_MOST_PAGE_READS = 16  # questions for pages that one peer may have waiting
_MOST_PERSISTED = 256  # records, and certificates, written in one transaction
_VERIFIED_HERE = 2  # so many signatures are no more work than to ask a thread


class DiskBoard(Protocol):
    """Whoever holds the core."""

    @property
    def core(self) -> PeerCore: ...

    def perform(self, effects: list[Effect]) -> None: ...

    def next(self, call: Callable[[], None]) -> None: ...


def explain(error: Exception) -> str:
    """Return an error in one line; one that nobody foresaw says what it is."""
    text = " ".join(str(error).split())
    return text or type(error).__name__


class DiskEffects:
    """Performs the effects of storage and of signatures."""

    def __init__(
        self, board: DiskBoard, store: Store, crews: Crews, cluster: str, shared: SharedDisk
    ) -> None:
        self._board = board
        self._shared = shared
        self._store = store
        self._crews = crews
        self._cluster = cluster
        self._unwritten: list[Record] = []
        self._unkept: list[bytes] = []  # certificates
        self._writing = False
        self._page_reads: dict[PeerId, int] = {}

    # --- records ------------------------------------------------------------------------

    def verify(self, effect: VerifyRecords) -> None:
        """Check signatures, about 150 us each: a few right here, since a thread answers later than that."""
        cluster, records = self._cluster, effect.records

        def check() -> tuple[str | None, ...]:
            return tuple(_fault(record, cluster, der) for record, der in records)

        if len(records) <= _VERIFIED_HERE and not self._crews.signatures.waiting:
            reasons = check()
            core, batch = self._board.core, effect.batch
            self._board.next(lambda: self._told(core.records_verified(batch, reasons, _now())))
            return
        self._crews.signatures.submit(
            check,
            lambda reasons: self._told(self._board.core.records_verified(effect.batch, reasons, _now())),
            # Not verified is not admitted; the next comparison offers them again.
            lambda error: self._told(
                self._board.core.records_verified(effect.batch, (explain(error),) * len(records), _now())
            ),
        )

    def persist(self, effect: Persist) -> None:
        """Write a record; those of others together, in one transaction for as many as wait."""
        record = effect.record
        if record.store != self._store.restored.store:
            self._unwritten.append(record)
            self._write_more()
            return
        self._lane(
            record.root,
            lambda: self._store.persist(record),
            lambda path: self._board.core.record_persisted(record, _now()),
            lambda reason: self._board.core.persist_failed(record, reason, _now()),
        )

    def _write_more(self) -> None:
        if self._writing or not (self._unwritten or self._unkept):
            return
        self._writing = True
        batch, self._unwritten = self._unwritten[:_MOST_PERSISTED], self._unwritten[_MOST_PERSISTED:]
        certificates, self._unkept = self._unkept[:_MOST_PERSISTED], self._unkept[_MOST_PERSISTED:]

        def written(_: None) -> None:
            self._writing = False
            for record in batch:
                self._told(self._board.core.record_persisted(record, _now()))
            self._write_more()

        def failed(error: Exception) -> None:
            self._writing = False
            what = f"{len(batch)} records and {len(certificates)} certificates"
            self._trouble(f"{what} are not on disk: {explain(error)}")
            # The core tries records again; certificates go with what is written next, not at once for ever.
            self._unkept = certificates + self._unkept
            for record in batch:
                self._told(self._board.core.persist_failed(record, explain(error), _now()))
            if self._unwritten:
                self._write_more()

        self._crews.index.submit(lambda: self._store.persist_batch(batch, certificates), written, failed)

    def persist_certificate(self, effect: PersistCertificate) -> None:
        """Keep a certificate; nothing comes back. Many come at once when we join, and share a sync."""
        self._unkept.append(effect.certificate)
        self._write_more()

    def remember(self, effect: Remember) -> None:
        """Keep what a user decided; nothing comes back."""
        self._crews.index.submit(
            lambda: self._store.remember(effect.key, effect.mark, effect.sequence), _nothing, self._failed
        )

    def persist_spent(self, effect: PersistSpent) -> None:
        """Keep what has left of the byte budgets; nothing comes back."""
        self._crews.index.submit(lambda: self._store.persist_spent(effect.spent), _nothing, self._failed)

    # --- serving ------------------------------------------------------------------------------

    def send_pages(self, effect: SendPages) -> None:
        """Read pages of a manifest and send them."""
        peer, request, root = effect.peer, effect.request, effect.root
        reading = self._page_reads.get(peer, 0)
        if reading >= _MOST_PAGE_READS:
            self._told([Send(peer, Busy(request, 1.0), LINK)])
            return
        self._page_reads[peer] = reading + 1

        def answer(effects: list[Effect]) -> None:
            left = self._page_reads[peer] - 1
            if left:
                self._page_reads[peer] = left
            else:
                del self._page_reads[peer]
            self._told(effects)

        def found(pages: list[bytes]) -> None:
            answer(
                [
                    Send(peer, Page(request, root, level, index, page), LINK)
                    for (level, index), page in zip(effect.pages, pages, strict=True)
                ]
            )

        def failed(error: Exception) -> None:
            if not isinstance(error, ChunkMissing):
                self._trouble(explain(error))  # it may name our paths: for our own log
            answer([Send(peer, NoChunks(request, root, (), "no such page here"), LINK)])

        self._crews.readers.submit(lambda: self._store.pages(root, effect.pages), found, failed)

    # --- receiving ------------------------------------------------------------------------------

    def reserve(self, effect: Reserve) -> None:
        """Set space aside."""
        root = effect.record.root
        self._lane(
            root,
            lambda: self._store.reserve(effect.record),
            lambda manifest: self._board.core.reserved(root, manifest, _now()),
            lambda reason: self._board.core.reserve_refused(root, reason, _now()),
        )

    def find_pages(self, effect: FindPages) -> None:
        """Look for manifest pages that are here."""
        root = effect.root
        self._lane(
            root,
            lambda: self._store.find_pages(effect.pages),
            lambda found: self._board.core.pages_found(root, found, _now()),
            # What is not found is fetched.
            lambda reason: self._board.core.pages_found(root, {}, _now()),
        )

    def begin_partial(self, effect: BeginPartial) -> None:
        """Open the partial file, then copy what lies elsewhere in the store."""
        record, manifest = effect.record, effect.manifest

        def opened(sets: tuple[int, int]) -> list[Effect]:
            have, copying = sets
            effects = self._board.core.partial_ready(record.root, have, copying, _now())
            if copying:
                self._copy(record, manifest, copying)
            return effects

        self._lane(
            record.root,
            lambda: self._store.begin_partial(record, manifest),
            opened,
            lambda reason: self._board.core.rejected(record, reason, False, _now()),
        )

    def _copy(self, record: Record, manifest: Manifest, copying: int) -> None:
        root, left = record.root, copying
        post = self._crews.post

        def progressed(copied: int, failed: int) -> None:
            nonlocal left
            left &= ~(copied | failed)
            self._told(self._board.core.chunks_copied(root, copied, failed, _now()))

        def copy() -> None:
            for copied, failed in self._store.copy_local(root):
                post(lambda copied=copied, failed=failed: progressed(copied, failed))  # type: ignore[misc]

        def ended(_: None) -> None:
            # Whatever was not copied has to be fetched.
            if left:
                progressed(0, left)

        def failed(error: Exception) -> None:
            self._trouble(explain(error))
            ended(None)

        self._crews.copiers.submit(copy, ended, failed)

    def abandon(self, effect: Abandon) -> None:
        """Stop receiving."""
        self._lane(
            effect.root,
            lambda: self._store.abandon(effect.root, effect.keep),
            lambda _: [],
            self._tell_trouble,
        )

    def finalise(self, effect: Finalise) -> None:
        """Make a whole version visible."""
        record = effect.record

        def failed(error: Exception) -> None:
            final = isinstance(error, ArtifactRefused)
            self._told(self._board.core.rejected(record, explain(error), final, _now()))

        self._crews.finishers.submit(
            lambda: self._store.finalise(record, effect.keep_predecessor),
            lambda path: self._told(self._board.core.finalised(record, str(path), _now())),
            failed,
        )

    def drop(self, effect: Drop | Evict) -> None:
        """Delete a version that is superseded, or not needed here."""
        self._lane(
            effect.record.root, lambda: self._store.drop(effect.record), lambda _: [], self._tell_trouble
        )

    # --- the disk that others share ------------------------------------------------------------

    def tell_place(self, effect: TellPlace) -> None:
        """Say where on the shared disk our copy lies."""
        path = None if effect.record is None else self._store.path_of(effect.record)
        place = self._shared.place_of(path)
        # What is no text, or too long for a message, others cannot be told.
        sayable = place.isprintable() and len(place.encode(errors="replace")) <= 4096
        self._told([Send(effect.peer, Placed(effect.entry, place if sayable else ""), LINK)])

    def look_at(self, effect: LookAt) -> None:
        """Look whether another member's file can be read here, and is what was signed."""
        record = effect.record

        def answer(path: str | None, reason: str) -> None:
            self._told(self._board.core.looked(record, path, reason, _now()))

        self._crews.shared.submit(
            lambda: self._shared.look(record, effect.place),
            lambda path: answer(str(path), ""),
            lambda error: answer(None, explain(error)),
        )

    # --- common -----------------------------------------------------------------------------------

    def _lane(
        self,
        root: bytes,
        job: Callable[[], Any],
        done: Callable[[Any], list[Effect]],
        failed: Callable[[str], list[Effect]],
    ) -> None:
        self._crews.lane(root).submit(
            job,
            lambda result: self._told(done(result)),
            lambda error: self._told(failed(explain(error))),
        )

    def _told(self, effects: list[Effect]) -> None:
        self._board.perform(effects)

    def _failed(self, error: Exception) -> None:
        self._trouble(explain(error))

    def _trouble(self, reason: str) -> None:
        self._told(self._tell_trouble(reason))

    def _tell_trouble(self, reason: str) -> list[Effect]:
        return [Tell(StorageTrouble(reason))]


@lru_cache(maxsize=256)
def _certificate(der: bytes) -> NodeCertificate:
    return NodeCertificate.parse(der)


def _fault(record: Record, cluster: str, der: bytes) -> str | None:
    """Return why a record is not its author's, or None. The certificate was checked by the core."""
    try:
        return verify_record(record, cluster, _certificate(der))
    except PeerMisbehaved as error:
        return str(error)


def _now() -> float:
    return trio.current_time()


def _nothing(_: object) -> None:
    """Nobody waits for it."""
