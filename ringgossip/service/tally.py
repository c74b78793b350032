"""What happened here so far? Counted from the peer's own events, so that nobody has to ask its machines.

One tally per peer listens for as long as the peer lives. Health and metrics
are functions of it; reading it costs nothing and waits for nothing.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from ringgossip.events import (
    ArtifactAnnounced,
    ArtifactCompleted,
    ArtifactRejected,
    ArtifactWithdrawn,
    BadChunk,
    CertificateExpires,
    CopyConfirmed,
    Event,
    GossipKeysRefused,
    SnapshotDeferred,
    StorageTrouble,
    StrangerRefused,
    TransferStalled,
    TransferStarted,
)
from ringgossip.protocol.transfer import NO_HOLDER
from ringgossip.strategy.bandwidth import SPENT

_T = TypeVar("_T")

RECEIVED = "receive"
SENT = "send"
# Names come from outside; the certificate of a cluster of 1000 is the most that a metric should show.
_MOST_LABELS = 4096
_MOST_TRANSFERS = 10_000
_RECENT = 50  # What health looks at: what went wrong long ago heals.
_DEFERRED = 60.0  # A snapshot that was put off and not heard of for so long was taken.
# Bounds of the buckets of sync_duration_seconds.
BUCKETS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


@dataclass(frozen=True, slots=True)
class Told:
    """Something that went wrong, and when on our clock."""

    text: str
    at: float


@dataclass(slots=True)
class Durations:
    """A histogram: how many lasted at most each bound of `BUCKETS`, and the sum of all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        place = next((index for index, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        self.counts[place] += 1
        self.total += seconds


Labels = tuple[str, str, str]  # data type, peer, direction


class Tally:
    """Counts what `hear` is told; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started = clock()
        self.operations: Counter[Labels] = Counter()
        self.bytes: Counter[Labels] = Counter()
        self.failures: Counter[Labels] = Counter()
        self.durations: dict[str, Durations] = {}
        self.events: Counter[str] = Counter()
        self.outcomes: dict[str, bool] = {}  # of the artifacts pulled last; True: completed
        self.proofs: deque[bool] = deque(maxlen=_RECENT)  # of whole artifacts; False: a bad chunk or file
        self.last_completed: float | None = None
        self.stalled: dict[str, Told] = {}
        self.storage: Told | None = None
        self.strangers: dict[str, Told] = {}  # by address, the latest last: why whoever is there was refused
        self.keys: Told | None = None  # who accepts none of our gossip keys, the last of them
        self.certificate: tuple[str, int] | None = None  # what to do about ours, and when it ends
        self._deferred: dict[str, tuple[Told, float]] = {}  # path -> why, since when
        self.bad_chunks: Counter[str] = Counter()
        self._began: dict[str, float] = {}
        self._sizes: dict[str, int] = {}

    def hear(self, event: Event) -> None:
        """Count one event."""
        now = self._clock()
        self.events[type(event).__name__] += 1
        match event:
            case ArtifactAnnounced():
                _keep(self._sizes, event.artifact, event.size)
            case TransferStarted():
                _keep(self._began, event.artifact, now)
            case ArtifactWithdrawn():
                self._began.pop(event.artifact, None)
                self.stalled.pop(event.artifact, None)
                self.outcomes.pop(event.artifact, None)
            case ArtifactCompleted():
                self._completed(event, now)
            case ArtifactRejected():
                self.proofs.append(False)
                self._failed(event.artifact)
                self._began.pop(event.artifact, None)
                self.stalled.pop(event.artifact, None)
            case TransferStalled():
                self._failed(event.artifact, counts=not _is_patience(event.reason))
                _keep(self.stalled, event.artifact, Told(event.reason, now))
            case CopyConfirmed():
                self._count(self.operations, (_kind(event.artifact), event.holder, SENT), 1)
                size = self._sizes.get(event.artifact, 0)
                self._count(self.bytes, (_kind(event.artifact), event.holder, SENT), size)
            case BadChunk():
                self.proofs.append(False)
                self._count(self.failures, (_kind(event.artifact), event.name, RECEIVED), 1)
                if len(self.bad_chunks) < _MOST_LABELS:
                    self.bad_chunks[event.name] += 1
            case StorageTrouble():
                self.storage = Told(event.reason, now)
            case StrangerRefused():
                _keep(self.strangers, event.address, Told(event.reason, now))
            case GossipKeysRefused():
                self.keys = Told(event.name, now)
            case CertificateExpires():
                self.certificate = (event.reason, event.not_after)
            case SnapshotDeferred():
                self._put_off(event, now)

    def flows(self, artifacts: Iterable[str]) -> None:
        """Chunks of these come in: nothing that went wrong with them before counts."""
        for artifact in artifacts:
            self.stalled.pop(artifact, None)
            if self.outcomes.get(artifact) is False:
                del self.outcomes[artifact]

    def _put_off(self, event: SnapshotDeferred, now: float) -> None:
        before = self._deferred.get(event.path)
        if before is None and len(self._deferred) >= _MOST_LABELS:
            return
        again = before is not None and now - before[0].at <= _DEFERRED
        since = before[1] if before is not None and again else now
        self._deferred[event.path] = (Told(event.reason, now), since)

    def deferral(self) -> tuple[str, float] | None:
        """Return the snapshot that is put off longest, and since when; None when all are taken."""
        now = self._clock()
        still = [(since, told.text) for told, since in self._deferred.values() if now - told.at <= _DEFERRED]
        return None if not still else (min(still)[1], min(still)[0])

    def _completed(self, event: ArtifactCompleted, now: float) -> None:
        kind, origin = _kind(event.artifact), _origin(event.artifact)
        _keep(self.outcomes, event.artifact, True, _RECENT)
        self.proofs.append(True)
        self.last_completed = now
        # A disk that takes whole artifacts again is well again.
        self.storage = None
        self.stalled.pop(event.artifact, None)
        self._count(self.operations, (kind, origin, RECEIVED), 1)
        self._count(self.bytes, (kind, origin, RECEIVED), event.size)
        began = self._began.pop(event.artifact, None)
        if began is not None:
            self.durations.setdefault(kind, Durations()).add(now - began)

    def _failed(self, artifact: str, counts: bool = True) -> None:
        if counts:
            # Who tries one artifact again and again has failed with one.
            _keep(self.outcomes, artifact, False, _RECENT)
        self._count(self.failures, (_kind(artifact), _origin(artifact), RECEIVED), 1)

    def _count(self, counter: Counter[Labels], labels: Labels, amount: int) -> None:
        if labels in counter or len(counter) < _MOST_LABELS:
            counter[labels] += amount


def _keep(table: dict[str, _T], key: str, value: _T, most: int = _MOST_TRANSFERS) -> None:
    """Note the latest of many: what was noted longest ago makes room."""
    table.pop(key, None)
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]


def _is_patience(reason: str) -> bool:
    """Tell whether nobody failed: no holder is there, or all who spoke keep to their byte budget."""
    return reason == NO_HOLDER or all(f": {SPENT} " in said for said in reason.split("; "))


def _kind(artifact: str) -> str:
    return artifact.split("/", 1)[0]


def _origin(artifact: str) -> str:
    return artifact.split("/", 2)[1]
