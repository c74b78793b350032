"""What do users of a made world ask of its peers, and what comes of it? `sync` and signals, as tasks.

- sync: {peers: 2, data_type: games, targets: [4], priority: high, at: 10}
- sync: {peers: 0, source: 5, at: 20}                  bring here what that one has
- signal: {peers: 0, word: TRAINING_STARTED, node: 3, at: 5}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from ringgossip.config.signals import signal
from ringgossip.config.words import PRIORITIES
from ringgossip.events import SIGNALS, TrainingCompleted, TrainingStarted
from ringgossip.protocol.answers import SyncReport, SyncRequest
from ringgossip.protocol.core import Reserve
from ringgossip.simulation import scenario_words as check
from ringgossip.simulation.kernel import VERB

if TYPE_CHECKING:
    from ringgossip.simulation.node import Node
    from ringgossip.simulation.scenario import Story, Who
    from ringgossip.simulation.world import World

_URGENT = PRIORITIES[PRIORITIES.index("high") :]
_FIRST_TICKET = 10_000_000  # other numbers are given to publications


@dataclass(frozen=True, slots=True)
class Sync:
    """These peers call `sync`, as their users do."""

    peers: "Who"
    data_type: str = "all"
    targets: "Who" = "all"
    source: "Who | None" = None
    priority: str = "normal"
    timeout: float = 300.0
    reason: str = ""
    at: float = 10.0


@dataclass(frozen=True, slots=True)
class Told:
    """A program tells these peers what happened at `node`."""

    peers: "Who"
    word: str = "TRAINING_STARTED"
    node: "Who" = 0
    at: float = 10.0


ASKED: dict[str, tuple[type, Mapping[str, check.Check]]] = {
    "sync": (Sync, {
        "peers": check.who, "data_type": check.kind_or_all, "targets": check.who, "source": check.who,
        "priority": check.one_of(PRIORITIES), "timeout": check.number(0.1, 86400), "reason": check.text,
        "at": check.number(0, 86400),
    }),
    "signal": (Told, {
        "peers": check.who, "word": check.one_of(SIGNALS), "node": check.who, "at": check.number(0, 86400),
    }),
}  # fmt: skip


def named_by(task: object) -> tuple[str, ...]:
    """Return the keys of a task of ours behind which peers are named, beside `peers`."""
    return ("targets", "source") if isinstance(task, Sync) else ("node",) if isinstance(task, Told) else ()


@dataclass(slots=True)
class Asked:
    """What was asked in a world, and what was seen of it."""

    # Peer, ticket, request, and when.
    syncs: list[tuple[int, int, SyncRequest, float]] = field(default_factory=list)
    most_pulls: int = 0

    def watch(self, world: "World") -> None:
        """Count pulls under way whenever one begins."""
        world.checks.watch(Reserve, self._begins)

    def _begins(self, node: "Node", effect: Reserve) -> None:
        if node.core is not None:
            moving = sum(not pull.stall_told for pull in node.core.transfer.pulls())
            self.most_pulls = max(self.most_pulls, moving)


def ask(story: "Story", world: "World", task: Sync | Told) -> None:
    """Let a task happen at its time."""
    names = story.names
    for index in story.peers_of(task.peers):
        if isinstance(task, Told):
            for about in story.peers_of(task.node):
                world.kernel.after(task.at, _tell, world, index, task.word, names[about])
            continue
        asked = SyncRequest(
            data_type=task.data_type,
            targets=None if task.targets == "all" else tuple(names[i] for i in story.peers_of(task.targets)),
            priority=task.priority,
            timeout=task.timeout,
            source_node=None if task.source is None else names[story.peers_of(task.source)[0]],
            reason=task.reason,
        )
        world.kernel.after(task.at, _sync, world, index, asked)


def _sync(world: "World", index: int, asked: SyncRequest) -> None:
    node = world.nodes[index]
    if node.core is not None:
        ticket = _FIRST_TICKET + len(world.asked.syncs)
        world.asked.syncs.append((index, ticket, asked, world.now))
        node.give(VERB, ticket, node.core.sync, ticket, asked)


def _tell(world: "World", index: int, word: str, about: str) -> None:
    node = world.nodes[index]
    if node.core is not None:
        node.give(VERB, 0, node.core.signal, signal(word, {"node_id": about}))


def measured(world: "World", times: Mapping[int, list[tuple[int, float]]]) -> dict[str, float]:
    """Return what is measured of all this; `times` are `measures.copy_times`."""
    found: dict[str, float] = {"pulls_at_a_time": world.asked.most_pulls}
    found["errands_left"] = sum(len(node.core.errands) for node in world.nodes if node.core is not None)
    reports = [
        (asked, world.nodes[index].answers.get(ticket)) for index, ticket, asked, _ in world.asked.syncs
    ]
    if reports:
        found["asked_missing"] = len(_missing(world))
        # Whoever was killed while it was asked has no answer, and nobody waits for it.
        answered = [(asked, report) for asked, report in reports if isinstance(report, SyncReport)]
        found["syncs_failed"] = sum(not report.success for _, report in answered)
        urgent = [report.duration for asked, report in answered if asked.priority in _URGENT]
        if urgent:
            found["sync_seconds_urgent"] = max(urgent)
    for name, ratio in (
        ("training_ratio", _training_ratio(world, times)),
        ("drain_ratio", _drain_ratio(world, times)),
    ):
        if ratio is not None:
            found[name] = ratio
    return found


def _missing(world: "World") -> list[tuple[str, str]]:
    """Return what a sync asked for by name, and its target, which runs, does not hold."""
    by_name = {node.name: node for node in world.nodes}
    found = []
    for index, _, asked, at in world.asked.syncs:
        targets = (world.nodes[index].name,) if asked.source_node else asked.targets or ()
        for publication in world.publications.values():
            record = publication.record
            if record is None or (publication.answered_at or at) > at:
                continue
            if asked.data_type not in ("all", record.kind) or asked.source_node not in (None, record.origin):
                continue
            for name in targets:
                node = by_name[name]
                held = any(
                    key == record.key and number >= record.sequence for key, number in node.disk.holdings
                )
                if node.running and not held:
                    found.append((record.key.text, name))
    return found


def _training_ratio(world: "World", times: Mapping[int, list[tuple[int, float]]]) -> float | None:
    """Return the time to a copy at peers that train, over that of the others, of the same publications."""
    trains: dict[int, list[tuple[float, bool]]] = {}
    for node in world.nodes:
        for at, event in node.told:
            if isinstance(event, TrainingStarted | TrainingCompleted) and event.node_id == node.name:
                trains.setdefault(node.index, []).append((at, isinstance(event, TrainingStarted)))
    here: list[float] = []
    there: list[float] = []
    for ticket, copies in times.items():
        published = world.publications[ticket].asked_at
        for peer, seconds in copies:
            so_far = [training for at, training in trains.get(peer, ()) if at <= published]
            (here if so_far and so_far[-1] else there).append(seconds)
    return _ratio(here, there)


def _drain_ratio(world: "World", times: Mapping[int, list[tuple[int, float]]]) -> float | None:
    """Return the time to a copy of what ephemeral nodes published, over that of what the others did."""
    spot = {spec.name for spec in world.specs if spec.ephemeral}
    here: list[float] = []
    there: list[float] = []
    for ticket, copies in times.items():
        record = world.publications[ticket].record
        if record is not None:
            (here if record.origin in spot else there).extend(seconds for _, seconds in copies)
    return _ratio(here, there)


def _ratio(here: list[float], there: list[float]) -> float | None:
    return median(here) / median(there) if here and there and median(there) > 0 else None
