"""Which files that lie on a disk we share may be shown as if they were here?

In a storage group one live member pulls. Who holds a copy says, on its link,
where on the shared disk it lies; our world looks whether that can be read here
and is what the record says, chunk for chunk (promise S1), and only then it is
shown. No byte moves over the network, and nothing shown is a copy of ours: it
is in no receipt, no pledge and no book of holdings.

What was shown is looked at again each cycle: its file may have gone, with its
member's rules or by somebody's hand.

Source: design section 4 ("Wanting"); issue 4, storage groups.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.events import ArtifactShown
from ringgossip.identity import PeerId
from ringgossip.protocol.core import LINK, NEVER, Draw, Effect, LookAt, Notice, Send, Tell
from ringgossip.protocol.receipts import entry_of
from ringgossip.wire.messages import PlaceWanted

Out = list[Effect | Notice]

_CYCLE = 30.0
_FIRST = 2.0
_AT_ONCE = 16  # files asked for or looked at
_PATIENCE = 10.0  # seconds that a member has to answer
_LOOKED_AT = 200  # records in one wake
_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Shown:
    """A version that can be read at `path`, where the member `via` put it."""

    record: Record
    path: str
    via: PeerId


class Scene(Protocol):
    """What must be known of everything else."""

    def name_of(self, peer: PeerId) -> str: ...

    def shares(self) -> bool:
        """Tell whether we share a disk with anybody."""
        ...

    def mate_with(self, record: Record) -> PeerId | None:
        """Return a linked member on our disk that holds this very version."""
        ...

    def showable(self) -> Iterator[Record]:
        """Yield what we would show if we could: listed, not ours, another member's to pull."""
        ...

    def may_show(self, record: Record) -> bool:
        """Tell whether this version is still listed, and not here as a copy of ours."""
        ...

    def shown(self, record: Record, now: float) -> Out:
        """A version can be read here now."""
        ...

    def unreadable(self, record: Record, mate: PeerId, reason: str, now: float) -> Out:
        """A member has it on our disk, and we cannot read it there."""
        ...


@dataclass(slots=True)
class _Question:
    record: Record
    mate: PeerId
    place: str  # as its member named it; empty while we wait for that
    until: float


class Showing:
    """The machine of one peer; it does nothing where no disk is shared."""

    def __init__(self, scene: Scene, rng: Draw, now: float) -> None:
        self._scene = scene
        self._rng = rng
        self._shown: dict[ArtifactKey, tuple[Shown, str]] = {}  # with the place as its member named it
        self._queue: dict[ArtifactKey, Record] = {}
        self._open: dict[ArtifactKey, _Question] = {}
        self._unreadable: dict[ArtifactKey, int] = {}  # the sequence that could not be read
        self._scan: Iterator[Record] | None = None
        self._scan_at = now + _FIRST

    # --- what is shown ------------------------------------------------------------------

    def shown(self, key: ArtifactKey) -> Shown | None:
        """Return the version of an artifact that can be read where another member put it."""
        found = self._shown.get(key)
        return None if found is None else found[0]

    def shows(self, record: Record) -> bool:
        """Tell whether this or a later version is shown."""
        found = self.shown(record.key)
        return found is not None and found.record.sequence >= record.sequence

    def is_unreadable(self, record: Record) -> bool:
        """Tell whether a member has this version on our disk and we cannot read it there."""
        return self._unreadable.get(record.key) == record.sequence

    # --- what changes ----------------------------------------------------------------------

    def consider(self, record: Record, now: float) -> Out:
        """Somebody may have this on our disk."""
        busy = self._open.get(record.key)
        if self.shows(record) or (busy is not None and busy.record == record):
            return []
        self._queue[record.key] = record
        return self._ask(now)

    def hurry(self, now: float) -> None:
        """A member came, or its card changed: look through everything soon."""
        self._scan, self._scan_at = None, min(self._scan_at, now + _FIRST)

    def forget(self, key: ArtifactKey) -> None:
        """It is here as a copy of ours, or is listed no more."""
        for table in (self._shown, self._queue, self._open, self._unreadable):
            table.pop(key, None)

    def _ask(self, now: float) -> Out:
        out: Out = []
        while self._queue and len(self._open) < _AT_ONCE:
            key = next(iter(self._queue))
            record = self._queue.pop(key)
            mate = self._scene.mate_with(record)
            if mate is not None and self._scene.may_show(record):
                self._open[key] = _Question(record, mate, "", now + _PATIENCE)
                out.append(Send(mate, PlaceWanted(entry_of(record)), LINK))
        return out

    def placed(self, mate: PeerId, entry: bytes, place: str, now: float) -> Out:
        """A member says where on the disk its copy lies; empty: on another disk."""
        found = next((q for q in self._open.values() if entry_of(q.record) == entry), None)
        if found is None or found.mate != mate or found.place:
            return []
        if not place:
            return self._ended(found, "its file lies on another disk", now)
        # A disk answers when it answers.
        found.place, found.until = place, NEVER
        return [LookAt(found.record, place, mate)]

    def looked(self, record: Record, path: str | None, reason: str, now: float) -> Out:
        """The world has looked: it is readable at `path` and whole, or is not, for a reason."""
        key = record.key
        question = self._open.get(key)
        if question is None or question.record != record:
            return []
        if path is None:
            return self._ended(question, reason, now)
        del self._open[key]
        out = self._ask(now)
        if not self._scene.may_show(record):
            self._shown.pop(key, None)
            return out
        before = self.shown(key)
        self._shown[key] = (Shown(record, path, question.mate), question.place)
        self._unreadable.pop(key, None)
        if before is not None and (before.record, before.path) == (record, path):
            return out
        via = self._scene.name_of(question.mate)
        told = Tell(ArtifactShown(key.text, record.sequence, record.size, path, via))
        return [told, *self._scene.shown(record, now), *out]

    def _ended(self, question: _Question, reason: str, now: float) -> Out:
        record = question.record
        del self._open[record.key]
        shown = self.shown(record.key)
        if shown is not None and shown.record == record:
            del self._shown[record.key]
        out = self._ask(now)
        if not self._scene.may_show(record):
            return out
        self._unreadable[record.key] = record.sequence
        return out + self._scene.unreadable(record, question.mate, reason, now)

    # --- time ----------------------------------------------------------------------------------

    def wake(self, now: float) -> Out:
        """Look again at what is shown, and for more; give up on who does not answer."""
        for key, question in list(self._open.items()):
            if now >= question.until:
                del self._open[key]
        out = self._ask(now)
        if now < self._scan_at:
            return out
        if self._scan is None:
            if not self._scene.shares():
                for key in list(self._shown):
                    self.forget(key)
                self._scan_at = self._next_cycle(now)
                return out
            out += self._look_again()
            self._scan = self._scene.showable()
        for _ in range(_LOOKED_AT):
            record = next(self._scan, None)
            if record is None:
                self._scan, self._scan_at = None, self._next_cycle(now)
                return out
            out += self.consider(record, now)
        self._scan_at = now + _PAUSE
        return out

    def _next_cycle(self, now: float) -> float:
        """All who share the disk would look at it at the same moment."""
        return now + _CYCLE * (0.9 + 0.1 * self._rng.random())

    def _look_again(self) -> Out:
        out: Out = []
        for key, (shown, place) in list(self._shown.items()):
            if key in self._open:
                continue
            if not self._scene.may_show(shown.record):
                self.forget(key)
                continue
            self._open[key] = _Question(shown.record, shown.via, place, NEVER)
            out.append(LookAt(shown.record, place, shown.via))
        return out

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        if not self._shown and not self._scene.shares():
            return NEVER
        if not self._open:
            return self._scan_at
        return min(self._scan_at, *(question.until for question in self._open.values()))
