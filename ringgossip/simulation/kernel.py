"""What happens next, and what does chance say? Virtual time, one queue of events, seeded generators.

Rules of this room: an event is a plain tuple in one heap; nobody looks at a
real clock; nobody iterates over a set; only `random()` and `getrandbits()` are
drawn, because Python keeps those two alike between its versions.

Every purpose draws from a generator of its own, derived from the master seed
by a hash of its labels: taking one fault out of a plan does not roll the rest
again, so a failing plan can be cut down.
"""

import hashlib
import struct
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any

NEVER = float("inf")

ANY_BOOT = -1  # An event that outlives the process it is for: a packet, a disk that wakes up.
NOBODY = 0xFFFFFFFF  # The owner of events that belong to no peer.

# Kinds of events, for the run's hash and its trace.
ALARM, DATAGRAM, STREAM, DISK, FAULT, VERB, TOLD, OTHER = range(8)
KIND_NAMES = ("alarm", "datagram", "stream", "disk", "fault", "verb", "told", "other")

_ENTRY = "dIBq"
_ENTRIES = 512  # are packed and hashed at once
_PACK_ALL = struct.Struct("<" + _ENTRIES * _ENTRY).pack

Action = Callable[..., object]
TraceLine = tuple[float, int, int, int, str]


def derive(seed: int, *labels: object) -> int:
    """Return 128 bits that depend on the seed and on every label, in order."""
    text = "\x1f".join([str(seed), *(str(label) for label in labels)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


class Kernel:
    """Virtual time and the queue of everything that will happen in it."""

    __slots__ = (
        "_alarms", "_boots", "_hash", "_heap", "_order", "_pending", "_shuffle", "events", "log", "now",
        "seed", "trace", "wanted",
    )  # fmt: skip

    def __init__(self, seed: int, *, shuffle: bool = False, trace: list[TraceLine] | None = None) -> None:
        """Start at time 0; with `shuffle`, events of one instant happen in an order drawn from the seed."""
        self.seed = seed
        self.now = 0.0
        self.events = 0
        self.trace = trace
        self._heap: list[tuple[float, int, int, int, Action, tuple[Any, ...]]] = []
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
        heappush(self._heap, (when if when > self.now else self.now, order, owner, boot, action, arguments))

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
        heap, boots = self._heap, self._boots
        while heap and heap[0][0] <= until:
            when, _, owner, boot, action, arguments = heappop(heap)
            if boot != ANY_BOOT and boots[owner] != boot:
                continue
            self.now = when
            self.events += 1
            action(*arguments)
        if until > self.now and until != NEVER:
            self.now = until

    def next_time(self) -> float:
        """Return when the next event is due; `NEVER` if nothing is."""
        return self._heap[0][0] if self._heap else NEVER

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
