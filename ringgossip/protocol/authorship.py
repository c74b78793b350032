"""Publish our own artifacts: which sequence, which stamp, and when it is safe.

A sequence is on disk before anybody hears of it, so a crash cannot give one
number to two contents. A fresh store may have lost history: it first completes
one exchange (or finds itself alone for ten seconds), then starts above every
own record it has seen; should an older, higher one turn up later, what this
store published is published again above it.

A withdrawal is numbered and signed like a publication, and a publication after
it is one more. What the authority retired publishes nothing any more.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ringgossip.content.catalog import Catalog
from ringgossip.content.record import MAX_SEQUENCE, ArtifactKey, Record, make_record
from ringgossip.errors import UsageError
from ringgossip.protocol.core import NEVER, Draft, Effect, Notary, Notice, Persist, Published, PublishRefused
from ringgossip.protocol.shelf import Shelf

Out = list[Effect | Notice]

ALONE = 10.0  # seconds without any other member after which a fresh store may publish
UNHEARD = 60.0  # the same while members are there but no exchange comes to an end
REPUBLICATION = 0  # the ticket of what we publish again by ourselves


@dataclass(slots=True)
class _Line:
    """Publications of one artifact, one at a time."""

    writing: tuple[int, Record] | None = None
    waiting: deque[Draft] = field(default_factory=deque)


class Authorship:
    """The machine that numbers and signs what we publish."""

    def __init__(
        self,
        cluster: str,
        notary: Notary,
        store: bytes,
        fresh: bool,
        catalog: Catalog,
        shelf: Shelf,
        alone: Callable[[], bool],
        now: float,
    ) -> None:
        self._cluster = cluster
        self._notary = notary
        self._store = store
        self._catalog = catalog
        self._shelf = shelf
        self._alone = alone
        self._ready = not fresh
        self._started = now
        self._alone_since = now
        self._held_back: deque[Draft] = deque()
        self._lines: dict[ArtifactKey, _Line] = {}

    @property
    def ready(self) -> bool:
        """Tell whether publications go out; a fresh store waits for one exchange."""
        return self._ready

    def publish(self, draft: Draft, now: float) -> Out:
        """Number, sign and write down a publication."""
        if not self._ready:
            if len(self._held_back) >= 100_000:
                reason = "too many publications wait for the first exchange"
                return [PublishRefused(draft.ticket, reason, again=True)]
            self._held_back.append(draft)
            return self.wake(now)
        key = ArtifactKey(draft.kind, self._notary.certificate.name, draft.name)
        line = self._lines.setdefault(key, _Line())
        line.waiting.append(draft)
        return self._write_next(key, line)

    def _write_next(self, key: ArtifactKey, line: _Line) -> Out:
        out: Out = []
        while line.waiting and line.writing is None:
            draft = line.waiting.popleft()
            known = self._catalog.get(key)
            if known is not None and self._same(known, draft):
                out.append(Published(draft.ticket, known, unchanged=True))
                continue
            if self._notary.certificate.generation <= self._catalog.retired(key.origin):
                reason = f"the authority has retired {key.origin}: enroll this node again"
                out.append(PublishRefused(draft.ticket, reason))
                continue
            if draft.withdrawn and known is not None:
                # It says again what it ends, whatever came between the question and now.
                draft = replace(
                    draft, size=known.size, chunk_size=known.chunk_size, root=known.root,
                    metadata=known.metadata,
                )  # fmt: skip
            if not self._catalog.room_for(key):
                reason = f"{key.origin} has as many artifacts as one origin may have"
                out.append(PublishRefused(draft.ticket, reason))
                continue
            sequence = self._catalog.sequence_after(key)
            if sequence > MAX_SEQUENCE:  # somebody had our key, and meant it
                reason = f"{key.text} has had its last number: publish it under another name"
                out.append(PublishRefused(draft.ticket, reason))
                continue
            try:
                record = make_record(
                    kind=draft.kind,
                    origin=key.origin,
                    name=draft.name,
                    sequence=sequence,
                    stamp=self._catalog.stamp_after(draft.kind, draft.name),
                    store=self._store,
                    size=draft.size,
                    chunk_size=draft.chunk_size,
                    root=draft.root,
                    metadata=draft.metadata,
                    signer=self._notary.certificate.peer_id,
                    cluster=self._cluster,
                    sign=self._notary.sign,
                    withdrawn=draft.withdrawn,
                )
            except UsageError as error:
                out.append(PublishRefused(draft.ticket, str(error)))
                continue
            line.writing = (draft.ticket, record)
            out.append(Persist(record))
        if not line.waiting and line.writing is None:
            self._lines.pop(key, None)
        return out

    def _same(self, known: Record, draft: Draft) -> bool:
        if draft.withdrawn:
            return known.withdrawn
        equal = known.root == draft.root and known.metadata == dict(draft.metadata)
        if known.withdrawn:
            return equal and not draft.revive
        return equal and known.store == self._store and self._shelf.holds(known)

    def record_persisted(self, record: Record) -> int | None:
        """It is on disk; return the ticket. `next_after` goes on once it is in the catalog."""
        line = self._lines.get(record.key)
        if line is None or line.writing is None or line.writing[1] != record:
            return None
        ticket = line.writing[0]
        line.writing = None
        return ticket

    def again(self, ticket: int, record: Record) -> Out:
        """While it was written down a version of another store (our lost disk) came in: go above that."""
        draft = _draft_of(ticket, record)
        line = self._lines.setdefault(record.key, _Line())
        line.waiting.appendleft(draft)
        return self._write_next(record.key, line)

    def next_after(self, key: ArtifactKey) -> Out:
        """Write the next publication of this artifact, if one waits."""
        line = self._lines.get(key)
        return [] if line is None else self._write_next(key, line)

    def persist_failed(self, record: Record, reason: str) -> Out:
        """Our disk did not take the record: nobody will hear of it."""
        ticket = self.record_persisted(record)
        if ticket is None:
            return []
        return [PublishRefused(ticket, reason, again=True), *self.next_after(record.key)]

    def met(self, record: Record, ours: Record | None, now: float) -> Out:
        """The catalog took a record of our own name that another store (our lost disk) made.

        `ours` is what this store had published of that artifact: it goes out again, above.
        """
        if ours is None or ours.store != self._store or record.store == self._store:
            return []
        return self.publish(_draft_of(REPUBLICATION, ours), now)

    def exchange_completed(self, now: float) -> Out:
        """A comparison with another peer came to its end: we have seen our own history."""
        return self._release(now)

    def _release(self, now: float) -> Out:
        self._ready = True
        out: Out = []
        while self._held_back:
            out += self.publish(self._held_back.popleft(), now)
        return out

    def wake(self, now: float) -> Out:
        """A fresh store that is alone need not wait for ever."""
        if self._ready:
            return []
        if not self._alone():
            self._alone_since = now
        if now >= self._alone_since + ALONE or now >= self._started + UNHEARD:
            return self._release(now)
        return []

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        if self._ready:
            return NEVER
        return min(self._alone_since + ALONE, self._started + UNHEARD)


def _draft_of(ticket: int, record: Record) -> Draft:
    """Return what says once more what this record says."""
    return Draft(
        ticket, record.kind, record.name, record.size, record.chunk_size, record.root, record.metadata,
        record.withdrawn,
    )  # fmt: skip
