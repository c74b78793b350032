"""Is what we hold safe elsewhere, and whom do we ask to hold it if not?

What is published is offered at once (`rules` says to whom); what still has too
few copies is offered again each cycle of its plan, the most endangered first,
to those who should have it, and for write-through plans to whoever may. A drain
does nothing else until the time is over: few offers at a time, so that a thin
uplink carries the most endangered first.

Those who should have it may be out of reach: of two peers that both cannot
accept a connection neither can link the other. What nobody pulls from us and
has no copy after half a cycle, or too few after two, is offered to whoever is
linked and may; those who should have it get it there.

For what another node published we answer only when that node is gone and no
holder with a smaller id is there: somebody always does, and nobody twice.

Source: reference, "Sync Strategies" (write-through, ephemeral); field notes,
incidents 13 and 15.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.events import CopiesComplete, CopiesMissing, DrainCompleted
from ringgossip.identity import PeerId
from ringgossip.protocol.answers import DrainReport, Short
from ringgossip.protocol.core import NEVER, DrainAnswered, Draw, Effect, Notice, Tell
from ringgossip.strategy.plans import Plan
from ringgossip.strategy.weights import endangerment

Out = list[Effect | Notice]

_LOOKED_AT = 200  # records in one wake
_PAUSE = 0.02
_FIRST_LOOK = 5.0  # a new peer does not know yet who holds what
_ALARM_AFTER = 2.0  # cycles that copies may be missing before anybody is told
_IN_ONE_CYCLE = 200  # offers
# Cycles after which others than the chosen holders are asked. A guess: longer than a restart,
# shorter than the wait until somebody looks at the alarm.
_OUT_OF_REACH_ALONE = 0.5
_OUT_OF_REACH = 2.0
# Under way at one time in a drain.
_DRAIN_ITEMS = 256
_DRAIN_BYTES = 2 * 2**20
_DRAIN_PATIENCE = 2.0  # seconds after which an offer that brought nothing goes to somebody else


class Scene(Protocol):
    """What must be known of everything else."""

    def held(self) -> Iterator[Record]:
        """Return the visible versions here."""
        ...

    def answers_for(self, record: Record) -> bool:
        """Tell whether we are the one who looks after this version's copies."""
        ...

    def copies(self, record: Record) -> int:
        """Return at how many other places this or a later version is."""
        ...

    def attainable(self, record: Record) -> int:
        """Return at how many other places there could be copies now."""
        ...

    def wanted(self, record: Record) -> int:
        """Return how many copies at other places are wanted."""
        ...

    def plan(self, kind: str) -> Plan: ...

    def is_pulled(self, record: Record) -> bool:
        """Tell whether anybody pulls it from us just now."""
        ...

    def give_first(self, roots: list[bytes], now: float) -> Out:
        """Give what is asked for as critical of these contents before all else, in this order."""
        ...

    def offer(
        self, record: Record, count: int, tried: dict[PeerId, None], insist: bool, linked: bool = False
    ) -> Out:
        """Offer it to up to `count` peers that lack it and were not `tried`, which they are then.

        `insist`: also to those that would not be chosen by the rules, and before everything else.
        `linked`: only to those that can pull it at once.
        """
        ...


@dataclass(slots=True, eq=False)
class _Item:
    """A version with too few copies."""

    record: Record
    since: float
    copies: int
    quality: float | None
    tried: dict[PeerId, None] = field(default_factory=dict)
    declined: dict[PeerId, None] = field(default_factory=dict)  # of those that were tried
    offered_at: float = -NEVER

    def begin_round(self) -> None:
        """Everybody may be asked again, and may decline again."""
        self.tried.clear()
        self.declined.clear()


@dataclass(slots=True)
class _Drain:
    ticket: int
    began: float
    deadline: float
    copied: int = 0
    window: dict[ArtifactKey, _Item] = field(default_factory=dict)
    bare_left: bool = False  # something without any copy has not found room in the window
    look_at: float = NEVER


class Offering:
    """The machine that looks after copies."""

    def __init__(self, scene: Scene, rng: Draw, now: float) -> None:
        self._scene = scene
        self._rng = rng
        self._items: dict[ArtifactKey, _Item] = {}
        self._alarmed: dict[str, None] = {}  # kinds
        self._drain: _Drain | None = None
        self._scan: Iterator[Record] | None = None
        self._scan_at = now + _FIRST_LOOK

    # --- what changes --------------------------------------------------------------------------

    def published(self, record: Record, now: float) -> Out:
        """A version of ours is visible; whoever `rules` chose was told. Write-through begins at once."""
        item = self._look(record, now)
        if item is None:
            return []
        missing = self._scene.plan(record.kind).copies - item.copies
        out = self._scene.offer(record, missing, item.tried, insist=True) if missing > 0 else []
        return out + self._drain_on(now)

    def copied(self, key: ArtifactKey, now: float) -> Out:
        """Somebody confirmed a copy."""
        item = self._items.get(key)
        if item is None:
            return []
        self._look(item.record, now)
        return self._quiet(item.record.kind) + self._drain_on(now)

    def refused(self, key: ArtifactKey, peer: PeerId, now: float) -> Out:
        """Somebody will not hold it: ask the next one now, if it is urgent.

        Only whoever was asked is heard, once; and when all have refused, the next round has its time.
        """
        item = self._items.get(key)
        if item is None or peer not in item.tried or peer in item.declined:
            return []
        item.declined[peer] = None
        if self._drain is None:
            item.offered_at = -NEVER
        elif key in self._drain.window:
            return self._scene.offer(item.record, 1, item.tried, insist=True)
        return []

    def gone(self, key: ArtifactKey) -> None:
        """We no longer hold it, or it is no longer listed."""
        self._items.pop(key, None)

    def _look(self, record: Record, now: float) -> _Item | None:
        """Count the copies of one version; return it if they are too few."""
        scene, key = self._scene, record.key
        item = self._items.get(key)
        if not scene.answers_for(record):
            self._items.pop(key, None)
            return None
        copies = scene.copies(record)
        if item is not None:
            item.copies = copies
        if copies >= scene.wanted(record):
            self._items.pop(key, None)
            return None
        if item is None or item.record != record:
            quality = record.metadata.get("quality")
            known = quality if isinstance(quality, int | float) and not isinstance(quality, bool) else None
            # A newer version of what was never safe has been unsafe for as long.
            item = self._items[key] = _Item(record, now if item is None else item.since, copies, known)
        return item

    # --- the cycle --------------------------------------------------------------------------------

    def wake(self, now: float) -> Out:
        """Look at some more of what we hold; offer what is missing copies; go on draining."""
        out: Out = []
        if now >= self._scan_at:
            out += self._cycle(now)
        return out + self._drain_on(now)

    def _cycle(self, now: float) -> Out:
        if self._scan is None:
            self._scan = self._scene.held()
        for _ in range(_LOOKED_AT):
            record = next(self._scan, None)
            if record is None:
                # Never in step with those who started when we did (incident 12).
                self._scan, self._scan_at = None, now + self._interval() * (0.9 + 0.1 * self._rng.random())
                again = [] if self._drain is not None else self._offer_again(now)
                return again + self._alarm(now)
            self._look(record, now)
        self._scan_at = now + _PAUSE
        return []

    def _interval(self) -> float:
        """Return the shortest cycle of our plans; who spreads nothing looks now and then."""
        least = min(self._scene.plan(kind).interval for kind in ("games", "models", "npz"))
        return least if least < NEVER else 60.0

    def _offer_again(self, now: float) -> Out:
        out: Out = []
        offered = 0
        for item in self._in_order(now):
            plan = self._scene.plan(item.record.kind)
            if offered >= _IN_ONE_CYCLE or not plan.fanout or now < item.offered_at + 0.9 * plan.interval:
                continue
            offered += 1
            item.begin_round()
            item.offered_at = now
            urgent = plan.copies - item.copies
            if self._out_of_reach(item, plan, now):
                missing = self._scene.wanted(item.record) - item.copies
                out += self._scene.offer(item.record, missing, item.tried, insist=True, linked=True)
            elif urgent > 0:
                out += self._scene.offer(item.record, urgent, item.tried, insist=True)
            else:
                out += self._scene.offer(item.record, plan.fanout, item.tried, insist=False)
        return out

    def _out_of_reach(self, item: _Item, plan: Plan, now: float) -> bool:
        """Tell whether those who should hold it seem to be unable to get it."""
        patience = plan.interval * (_OUT_OF_REACH if item.copies else _OUT_OF_REACH_ALONE)
        return now >= item.since + patience and not self._scene.is_pulled(item.record)

    def _in_order(self, now: float, items: Iterable[_Item] | None = None) -> list[_Item]:
        """Return what is missing copies (or `items` of that), the most endangered first."""

        def danger(item: _Item) -> tuple[int, float, float]:
            return endangerment(item.copies, item.quality, now - item.since)

        return sorted(self._items.values() if items is None else items, key=danger)

    # --- the alarm -------------------------------------------------------------------------------------

    def _alarm(self, now: float) -> Out:
        out: Out = []
        patience = _ALARM_AFTER * self._interval()
        for kind in ("games", "models", "npz"):
            ages = [now - item.since for item in self._items.values() if item.record.kind == kind]
            if ages and max(ages) >= patience and kind not in self._alarmed:
                self._alarmed[kind] = None
                out.append(Tell(CopiesMissing(kind, len(ages), max(ages))))
            elif not ages:
                out += self._quiet(kind)
        return out

    def _quiet(self, kind: str) -> Out:
        if kind not in self._alarmed or any(item.record.kind == kind for item in self._items.values()):
            return []
        del self._alarmed[kind]
        return [Tell(CopiesComplete(kind))]

    def below(self, now: float) -> list[Short]:
        """Return what is missing copies, the most endangered first."""
        return [
            Short(
                item.record.key.text,
                item.record.sequence,
                item.copies,
                self._scene.wanted(item.record),
                item.quality,
                now - item.since,
            )
            for item in self._in_order(now)
        ]

    # --- the drain ---------------------------------------------------------------------------------------

    def drain(self, ticket: int, seconds: float, now: float) -> Out:
        """Bring what we hold to safety; `DrainAnswered` comes when all is, or after so many seconds."""
        out: Out = []
        if self._drain is not None:
            out += self._end_drain(now)
        for record in self._scene.held():
            self._look(record, now)
        for item in self._items.values():
            item.begin_round()
            item.offered_at = -NEVER
        self._drain = _Drain(ticket, now, now + seconds)
        return out + self._drain_on(now)

    @property
    def draining(self) -> bool:
        """Whether a drain is under way."""
        return self._drain is not None

    def _drain_on(self, now: float) -> Out:
        drain = self._drain
        if drain is None:
            return []
        for key in list(drain.window):
            item = self._items.get(key)
            if item is None or item.copies >= self._scene.attainable(item.record):
                del drain.window[key]
                drain.copied += 1
        if now >= drain.deadline:
            return self._end_drain(now)
        # Sorting costs; what is under way is worth little less than what would come next.
        bare = sum(not item.copies for item in drain.window.values()) if drain.bare_left else _DRAIN_ITEMS
        if min(len(drain.window), bare) < _DRAIN_ITEMS // 2:
            self._refill(drain)
            if not drain.window:
                return self._end_drain(now)
        drain.look_at = NEVER
        window = self._in_order(drain.began, drain.window.values())
        out = self._scene.give_first([item.record.root for item in window], now)
        for item in window:
            if now >= item.offered_at + _DRAIN_PATIENCE:
                out += self._press(item)
                item.offered_at = now
            drain.look_at = min(drain.look_at, item.offered_at + _DRAIN_PATIENCE)
        return out

    def _refill(self, drain: _Drain) -> None:
        # What has one copy spreads from there: it keeps nothing waiting that has none, and gives way.
        drain.window = {key: item for key, item in drain.window.items() if not item.copies}
        size = sum(item.record.size for item in drain.window.values())
        drain.bare_left = False
        for item in self._in_order(drain.began):
            if item.record.key in drain.window or item.copies >= self._scene.attainable(item.record):
                continue
            if len(drain.window) >= _DRAIN_ITEMS or size >= _DRAIN_BYTES:
                drain.bare_left = not item.copies
                return
            drain.window[item.record.key] = item
            size += 0 if item.copies else item.record.size

    def _press(self, item: _Item) -> Out:
        """Ask one more peer to hold it; when all were asked, begin again: somebody may have room by now."""
        said = self._scene.offer(item.record, 1, item.tried, insist=True)
        if not said and item.tried:
            item.begin_round()
            said = self._scene.offer(item.record, 1, item.tried, insist=True)
        return said

    def _end_drain(self, now: float) -> Out:
        drain = self._drain
        assert drain is not None
        self._drain = None
        over = self._scene.give_first([], now)
        below = tuple(self.below(now))
        report = DrainReport(drain.copied, below, now - drain.began)
        names = tuple(short.artifact for short in below)
        return [*over, DrainAnswered(drain.ticket, report), Tell(DrainCompleted(drain.copied, names))]

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        if self._drain is None:
            return self._scan_at
        return min(self._scan_at, self._drain.deadline, self._drain.look_at)
