"""What is worth seeing of a run? Plain data, so that it crosses processes and can be saved.

Most of it is what the peers told their applications, with the time at which
they did. What left each uplink is sampled by the runner between two stretches
of time, because a sample in the event queue would change the run.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ringgossip import events
from ringgossip.simulation.plans import as_data

if TYPE_CHECKING:
    from ringgossip.simulation.faults import Fault
    from ringgossip.simulation.world import World

BUSY = 10_000.0  # bytes a second

_MEMBERSHIP = {
    events.PeerJoined: "joined",
    events.PeerSuspected: "suspected",
    events.PeerRecovered: "recovered",
    events.PeerRestarted: "restarted",
    events.PeerLost: "lost",
    events.PeerLeft: "left",
}


@dataclass(frozen=True, slots=True)
class Published:
    """One publication, and when each peer first had a copy of it or of a later version."""

    artifact: str
    sequence: int
    size: int
    by: str
    at: float
    copies: tuple[tuple[float, str], ...]  # (time, peer), in order of time


@dataclass(frozen=True, slots=True)
class Seen:
    """One peer's word about another: `what` is joined, suspected, recovered, restarted, lost or left."""

    at: float
    by: str
    about: str
    what: str
    false: bool  # said of one that ran and could be reached


@dataclass(frozen=True, slots=True)
class FaultBar:
    """One fault of the plan, as text, and when it was."""

    text: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """One run. For each sample `sent` and `got` are every peer's chunk bytes until then, `left` all bytes."""

    seconds: float
    faults_stop_at: float
    peers: tuple[str, ...]
    uplinks: tuple[float | None, ...]  # bytes a second; None: no limit
    downlinks: tuple[float | None, ...]
    publications: tuple[Published, ...]
    seen: tuple[Seen, ...]
    faults: tuple[FaultBar, ...]
    sample_times: tuple[float, ...]
    sent: tuple[tuple[int, ...], ...]
    got: tuple[tuple[int, ...], ...]
    left: tuple[tuple[float, ...], ...]

    def copy_seconds(self) -> list[float]:
        """Return how long each copy took, from publication to completion, shortest first."""
        return sorted(at - one.at for one in self.publications for at, _ in one.copies)


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run as the report shows it: the object that `simulate --json` prints, and its timeline."""

    result: Mapping[str, Any]
    timeline: Timeline
    command: str
    about: str = ""
    flows: Mapping[tuple[int, int], int] = field(default_factory=dict)  # chunk bytes from one peer to another
    alone: str = ""  # what runs only this one of several seeds


class _Counted:
    """One counter of every peer, over their restarts: a peer that starts anew counts from 0 again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._before: list[int] = []
        self._last: list[int] = []

    def read(self, world: "World") -> tuple[int, ...]:
        now = [node.core.counters.get(self._name, 0) if node.core else 0 for node in world.nodes]
        if not self._before:
            self._before, self._last = [0] * len(now), [0] * len(now)
        for index, value in enumerate(now):
            if value < self._last[index]:
                self._before[index] += self._last[index]
            self._last[index] = value
        return tuple(before + value for before, value in zip(self._before, now, strict=True))


class Samples:
    """What left and what came, as the runner saw it between stretches of time."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.sent: list[tuple[int, ...]] = []
        self.got: list[tuple[int, ...]] = []
        self.left: list[tuple[float, ...]] = []
        self._sent = _Counted("chunk_bytes_sent")
        self._got = _Counted("chunk_bytes_received")

    def take(self, world: "World") -> None:
        """Read the counters now."""
        self.times.append(world.now)
        self.left.append(tuple(world.carrier.sent(index) for index in range(len(world.nodes))))
        self.sent.append(self._sent.read(world))
        self.got.append(self._got.read(world))


def collect(
    world: "World",
    samples: Samples,
    faults_stop_at: float,
    false_alarms: Collection[tuple[float, int, str]] = (),  # when, observer, member
) -> Timeline:
    """Take out of a finished world what the report shows."""
    copies: dict[str, list[tuple[float, str, int]]] = {}
    seen: list[Seen] = []
    for node in world.nodes:
        for at, event in node.told:
            what = _MEMBERSHIP.get(type(event))
            if what is not None:
                about: str = getattr(event, "name")  # noqa: B009 - every one of these events has a name
                false = what in ("suspected", "lost") and (at, node.index, about) in false_alarms
                seen.append(Seen(at, node.name, about, what, false))
            elif isinstance(event, events.ArtifactCompleted):
                copies.setdefault(event.artifact, []).append((at, node.name, event.sequence))
    publications = [
        Published(
            one.key.text,
            one.record.sequence,
            one.record.size,
            world.nodes[one.peer].name,
            one.asked_at,
            _first_copies(copies.get(one.key.text, ()), one.record.sequence, world.nodes[one.peer].name),
        )
        for one in world.publications.values()
        if one.record is not None
    ]
    return Timeline(
        seconds=world.now,
        faults_stop_at=faults_stop_at,
        peers=tuple(node.name for node in world.nodes),
        uplinks=tuple(spec.up for spec in world.specs),
        downlinks=tuple(spec.down for spec in world.specs),
        publications=tuple(publications),
        seen=tuple(sorted(seen, key=lambda one: (one.at, one.by, one.about))),
        faults=tuple(
            FaultBar(_fault_text(span.fault), span.begin, world.now if span.end is None else span.end)
            for span in world.fault_log
        ),
        sample_times=tuple(samples.times),
        sent=tuple(samples.sent),
        got=tuple(samples.got),
        left=tuple(samples.left),
    )


def _first_copies(
    copies: Sequence[tuple[float, str, int]], sequence: int, origin: str
) -> tuple[tuple[float, str], ...]:
    """Return when each peer had this version or a later one: who has what came next lacks nothing."""
    first: dict[str, float] = {}
    for at, name, has in sorted(copies):
        if has >= sequence and name != origin:
            first.setdefault(name, at)
    return tuple((at, name) for name, at in first.items())


def _fault_text(fault: "Fault") -> str:
    """Return a fault as a story says it, without its times: its kind, and what it was aimed at."""
    [(word, said)] = as_data(fault).items()
    keys = [f"{key} {value}" for key, value in said.items() if key not in ("at", "seconds")]
    return f"{word}: {', '.join(keys)}"[:120] if keys else word


@dataclass(frozen=True, slots=True)
class Use:
    """What a line carried: bytes in all, a second while it was busy, at most; and what it allows."""

    peer: str
    total: float
    mean: float
    highest: float
    limit: float | None
    course: tuple[float, ...]  # bytes a second in equal stretches of the run


def uses(timeline: Timeline, down: bool = False, steps: int = 96) -> list[Use]:
    """Return how every uplink was used, or every downlink: there only chunks count."""
    if down:
        return [_use(timeline, timeline.got, timeline.downlinks, index, steps) for index in _all(timeline)]
    return [_use(timeline, timeline.left, timeline.uplinks, index, steps) for index in _all(timeline)]


def _all(timeline: Timeline) -> range:
    return range(len(timeline.peers))


def _use(
    timeline: Timeline,
    moved_until: Sequence[Sequence[float]],
    limits: Sequence[float | None],
    index: int,
    steps: int,
) -> Use:
    times, width = timeline.sample_times, timeline.seconds / steps
    course = [0.0] * steps
    highest = busy = moved = 0.0
    for number in range(1, len(times)):
        begin, end = times[number - 1], times[number]
        amount = moved_until[number][index] - moved_until[number - 1][index]
        if end <= begin or amount <= 0:
            continue
        rate = amount / (end - begin)
        highest = max(highest, rate)
        # Probes alone are no use of a line.
        if rate > BUSY:
            busy, moved = busy + end - begin, moved + amount
        first, last = int(begin / width), min(steps - 1, int(end / width))
        for step in range(first, last + 1):
            shared = min(end, (step + 1) * width) - max(begin, step * width)
            course[step] += rate * max(0.0, shared) / width
    total = moved_until[-1][index] if moved_until else 0.0
    mean = moved / busy if busy else 0.0
    return Use(timeline.peers[index], total, mean, highest, limits[index], tuple(course))
