"""What is worth seeing of a run? Plain data, so that it crosses processes and can be saved.

Most of it is what the peers told their applications, with the time at which
they did. What left each uplink is sampled by the runner between two stretches
of time, because a sample in the event queue would change the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ringgossip import events

if TYPE_CHECKING:
    from ringgossip.simulation.world import World

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
    """One publication and when each copy of it was complete."""

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
    """One run. `sent` holds, for each sample, the chunk bytes every peer had sent by then."""

    seconds: float
    faults_stop_at: float
    peers: tuple[str, ...]
    uplinks: tuple[float | None, ...]  # bytes a second; None: no limit
    publications: tuple[Published, ...]
    seen: tuple[Seen, ...]
    faults: tuple[FaultBar, ...]
    sample_times: tuple[float, ...]
    sent: tuple[tuple[int, ...], ...]

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


@dataclass(slots=True)
class Samples:
    """What left the uplinks, as the runner saw it between stretches of time."""

    times: list[float] = field(default_factory=list)
    sent: list[tuple[int, ...]] = field(default_factory=list)
    _before: list[int] = field(default_factory=list)
    _last: list[int] = field(default_factory=list)

    def take(self, world: "World") -> None:
        """Read the counters now; a peer that starts anew counts from 0 again."""
        now = [node.core.counters.get("chunk_bytes_sent", 0) if node.core else 0 for node in world.nodes]
        if not self._before:
            self._before, self._last = [0] * len(now), [0] * len(now)
        for index, value in enumerate(now):
            if value < self._last[index]:
                self._before[index] += self._last[index]
            self._last[index] = value
        self.times.append(world.now)
        self.sent.append(tuple(before + value for before, value in zip(self._before, now, strict=True)))


def collect(world: "World", samples: Samples, faults_stop_at: float) -> Timeline:
    """Take out of a finished world what the report shows."""
    copies: dict[tuple[str, int], list[tuple[float, str]]] = {}
    seen: list[Seen] = []
    for node in world.nodes:
        for at, event in node.told:
            what = _MEMBERSHIP.get(type(event))
            if what is not None:
                about: str = getattr(event, "name")  # noqa: B009 - every one of these events has a name
                seen.append(Seen(at, node.name, about, what, _false(world, at, node.name, about, what)))
            elif isinstance(event, events.ArtifactCompleted):
                copies.setdefault((event.artifact, event.sequence), []).append((at, node.name))
    publications = [
        Published(
            one.key.text,
            one.record.sequence,
            one.record.size,
            world.nodes[one.peer].name,
            one.asked_at,
            tuple(sorted(copies.get((one.key.text, one.record.sequence), ()))),
        )
        for one in world.publications.values()
        if one.record is not None
    ]
    return Timeline(
        seconds=world.now,
        faults_stop_at=faults_stop_at,
        peers=tuple(node.name for node in world.nodes),
        uplinks=tuple(spec.up for spec in world.specs),
        publications=tuple(publications),
        seen=tuple(sorted(seen, key=lambda one: (one.at, one.by, one.about))),
        faults=tuple(
            FaultBar(_fault_text(span.fault), span.begin, world.now if span.end is None else span.end)
            for span in world.fault_log
        ),
        sample_times=tuple(samples.times),
        sent=tuple(samples.sent),
    )


def _fault_text(fault: object) -> str:
    """Return a fault as people read it: its kind, and what it was aimed at."""
    text = repr(fault)
    kind, _, rest = text.partition("(")
    words = [word for word in rest.rstrip(")").split(", ") if not word.startswith(("at=", "seconds="))]
    return " ".join([kind, *words])[:120]


def _false(world: "World", at: float, by: str, about: str, what: str) -> bool:
    """Tell whether a suspicion or death was said while no fault was under way."""
    if what not in ("suspected", "lost"):
        return False
    return not any(
        span.begin - 0.001 <= at and (span.end is None or at <= span.end + 20.0) for span in world.fault_log
    )


def rates(timeline: Timeline) -> list[tuple[str, float, float, float | None]]:
    """Return for every peer its mean and its highest sending rate, and what its uplink allows."""
    found = []
    spans = list(zip(timeline.sample_times, timeline.sample_times[1:], strict=False))
    for index, name in enumerate(timeline.peers):
        highest = 0.0
        for number, (start, end) in enumerate(spans):
            if end > start:
                amount = timeline.sent[number + 1][index] - timeline.sent[number][index]
                highest = max(highest, amount / (end - start))
        total = timeline.sent[-1][index] if timeline.sent else 0
        busy = _busy_seconds(timeline, index, spans)
        found.append((name, total / busy if busy else 0.0, highest, timeline.uplinks[index]))
    return found


def _busy_seconds(timeline: Timeline, index: int, spans: Sequence[tuple[float, float]]) -> float:
    return sum(
        end - start
        for number, (start, end) in enumerate(spans)
        if timeline.sent[number + 1][index] > timeline.sent[number][index]
    )
