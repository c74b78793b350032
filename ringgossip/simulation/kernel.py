"""What happens next, and what does chance say? Virtual time, one queue of events, seeded generators.

Rules of this room: an event is a plain tuple in one queue; nobody looks at a
real clock; nobody iterates over a set; only `random()` and `getrandbits()` are
drawn, because Python keeps those two alike between its versions.

Every purpose draws from a generator of its own, derived from the master seed
by a hash of its labels: taking one fault out of a plan does not roll the rest
again, so a failing plan can be cut down.
"""

import gc
import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any

NEVER = float("inf")

ANY_BOOT = -1  # An event that outlives the process it is for: a packet, a disk that wakes up.
NOBODY = 0xFFFFFFFF  # The owner of events that belong to no peer.

# Kinds of events, for the run's hash and its trace.
ALARM, DATAGRAM, STREAM, DISK, FAULT, VERB, TOLD, OTHER = range(8)
KIND_NAMES = ("alarm", "datagram", "stream", "disk", "fault", "verb", "told", "other")

# A calendar queue (Brown 1988, "Calendar queues: a fast O(1) priority queue"): events are put in order when
# their day comes, since a heap of thousands costs a miss of the cache a step.
_DAYS_A_SECOND = 64  # a power of two, by which a time is divided exactly

_ENTRY = "dIBq"
_ENTRIES = 512  # are packed and hashed at once
_PACK_ALL = struct.Struct("<" + _ENTRIES * _ENTRY).pack

_SELDOM = (50_000, 20, 20)  # collections of garbage: a world lives until its end, and has few cycles

Action = Callable[..., object]
TraceLine = tuple[float, int, int, int, str]
Queued = tuple[float, int, int, int, Action, tuple[Any, ...]]  # when, order, owner, boot, what to call


def derive(seed: int, *labels: object) -> int:
    """Return 128 bits that depend on the seed and on every label, in order."""
    text = "\x1f".join([str(seed), *(str(label) for label in labels)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


@contextmanager
def garbage_seldom_collected() -> Iterator[None]:
    """Meanwhile, look for cycles of garbage more seldom than Python's default."""
    usual = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


class Kernel:
    """Virtual time and the queue of everything that will happen in it."""

    __slots__ = (
        "_alarms", "_boots", "_days", "_far", "_hash", "_horizon", "_near", "_order", "_pending", "_shuffle",
        "events", "log", "now", "seed", "trace", "wanted",
    )  # fmt: skip

    def __init__(self, seed: int, *, shuffle: bool = False, trace: list[TraceLine] | None = None) -> None:
        """Start at time 0; with `shuffle`, events of one instant happen in an order drawn from the seed."""
        self.seed = seed
        self.now = 0.0
        self.events = 0
        self.trace = trace
        self._near: list[Queued] = []  # a heap of what happens before the horizon
        self._horizon = 0.0
        self._far: dict[int, list[Queued]] = {}  # the rest, by the day on which it happens, in no order
        self._days: list[int] = []  # a heap of those days
        self._order = 0
        self._shuffle = Random(derive(seed, "shuffle")) if shuffle else None
        self._hash = hashlib.blake2b(digest_size=16)
        self.log: list[float] = []  # what `note` was told and is not hashed yet, four to an entry
        self._boots: list[int] = []
        self._alarms: list[Action | None] = []
        self.wanted: list[float] = []  # when each owner is to be woken, as `set_alarm` said last
        self._pending: list[float] = []  # when it will be asked whether it still wants that

    def generator(self, *labels: object) -> Random:
        """Return the generator of one purpose: the same labels start the same sequence."""
        return Random(derive(self.seed, *labels))

    # --- who events belong to ---------------------------------------------------

    def add_owner(self) -> int:
        """Make room for one more peer and return its number."""
        self._boots.append(0)
        self._alarms.append(None)
        self.wanted.append(NEVER)
        self._pending.append(NEVER)
        return len(self._boots) - 1

    def reboot(self, owner: int, alarm: Action | None) -> int:
        """Begin a new boot of `owner` (None: it is down): what was queued for the old one never happens."""
        self._boots[owner] += 1
        self._alarms[owner] = alarm
        self.wanted[owner] = self._pending[owner] = NEVER
        return self._boots[owner]

    def boot(self, owner: int) -> int:
        """Return the number of this owner's current boot."""
        return self._boots[owner]

    # --- what will happen ---------------------------------------------------------

    def at(self, when: float, owner: int, boot: int, action: Action, *arguments: Any) -> None:
        """Call `action(*arguments)` at `when` if `owner` is then still in `boot` (or `ANY_BOOT`)."""
        self.queue(when, owner, boot, action, arguments)

    def queue(self, when: float, owner: int, boot: int, action: Action, arguments: tuple[Any, ...]) -> None:
        """The same, for arguments that are a tuple already."""
        self._order += 1
        order = self._order
        if self._shuffle is not None:
            order |= self._shuffle.getrandbits(32) << 48
        if when < self.now:
            when = self.now
        if when < self._horizon:
            heappush(self._near, (when, order, owner, boot, action, arguments))
            return
        at = when * _DAYS_A_SECOND
        if at == NEVER:
            return  # it never comes
        day = int(at)
        events = self._far.get(day)
        if events is None:
            self._far[day] = [(when, order, owner, boot, action, arguments)]
            heappush(self._days, day)
        else:
            events.append((when, order, owner, boot, action, arguments))

    def _next_day(self) -> bool:
        """Put the events of the next day in order; return whether there is one."""
        if not self._days:
            return False
        day = heappop(self._days)
        self._near = self._far.pop(day)
        heapify(self._near)
        self._horizon = (day + 1) / _DAYS_A_SECOND
        return True

    def after(self, delay: float, action: Action, *arguments: Any) -> None:
        """Call an action that belongs to no peer after `delay` seconds."""
        self.at(self.now + delay, NOBODY, ANY_BOOT, action, *arguments)

    def set_alarm(self, owner: int, when: float) -> None:
        """Wake `owner` at `when`; a later call replaces an earlier one."""
        self.wanted[owner] = when
        if when < self._pending[owner]:
            self._pending[owner] = when
            self.queue(when, owner, self._boots[owner], self._ring, (owner, when))

    def _ring(self, owner: int, when: float) -> None:
        pending = self._pending
        if pending[owner] != when:
            return  # An earlier alarm was set since and has done this one's work.
        wanted = self.wanted[owner]
        if wanted > when and wanted > self.now:
            # It was put off since, as every probe that is answered puts it off.
            pending[owner] = wanted
            if wanted != NEVER:
                self.queue(wanted, owner, self._boots[owner], self._ring, (owner, wanted))
            return
        pending[owner] = self.wanted[owner] = NEVER
        alarm = self._alarms[owner]
        if alarm is not None:
            alarm()

    # --- making it happen -----------------------------------------------------------

    def run(self, until: float) -> None:
        """Let everything happen that is due up to and including `until`."""
        boots = self._boots
        while self.next_time() <= until and self._near:
            near = self._near
            while near and near[0][0] <= until:
                when, _, owner, boot, action, arguments = heappop(near)
                if boot != ANY_BOOT and boots[owner] != boot:
                    continue
                self.now = when
                self.events += 1
                action(*arguments)
        if until > self.now and until != NEVER:
            self.now = until

    def next_time(self) -> float:
        """Return when the next event is due; `NEVER` if nothing is."""
        return self._near[0][0] if self._near or self._next_day() else NEVER

    # --- remembering it ---------------------------------------------------------------

    def note(self, owner: int, kind: int, detail: int = 0, text: str = "") -> None:
        """Add what happened now to the run's hash, and to its trace if one is kept."""
        log = self.log
        log += (self.now, owner, kind, detail)
        if text or len(log) >= 4 * _ENTRIES:
            self._hash_log()
            self._hash.update(text.encode())
        if self.trace is not None:
            self.trace.append((self.now, owner, kind, detail, text))

    def _hash_log(self) -> None:
        log = self.log
        pack = _PACK_ALL if len(log) == 4 * _ENTRIES else struct.Struct("<" + len(log) // 4 * _ENTRY).pack
        self._hash.update(pack(*log))
        log.clear()

    def trace_input(
        self, owner: int, name: str, method: str, arguments: Sequence[Any], effects: Sequence[Any]
    ) -> None:
        """Add to the trace what a peer was given, and what it asked for."""
        if self.trace is not None:
            said = ", ".join(f"{argument!r:.160}" for argument in arguments)
            done = ", ".join(f"{effect!r:.200}" for effect in effects)
            self.trace.append((self.now, owner, OTHER, 0, f"{name} {method}({said}) -> [{done}]"))

    @property
    def run_hash(self) -> str:
        """A hash over everything that happened so far: equal runs have equal ones."""
        self._hash_log()
        return self._hash.hexdigest()
