"""What is a request, and how is it read? Its rows, what it means, which events tell its end."""

from dataclasses import dataclass, field

from ringgossip.config.words import KINDS, PRIORITIES
from ringgossip.content.record import Record
from ringgossip.events import DataSyncCompleted, DataSyncFailed, OrphanGamesRegistered
from ringgossip.identity import PeerId
from ringgossip.protocol.answers import FAILED, PRESENT, REFUSED, SyncReport, SyncRequest
from ringgossip.protocol.core import NEVER, Effect, Notice, Tell
from ringgossip.protocol.pacing import TokenBucket

Out = list[Effect | Notice]

ORPHANS = "orphan_games_recovery"


@dataclass(slots=True, eq=False)
class Row:
    """One artifact at one target; `outcome` is empty while it is under way."""

    record: Record
    target: PeerId
    outcome: str = ""
    detail: str = ""
    trouble: str = ""  # what hindered it so far
    accepted: bool = False  # the target said that it pulls, and remembers it itself


@dataclass(slots=True, eq=False)
class Request:
    """A `sync` under way."""

    ticket: int
    asked: SyncRequest
    began: float
    deadline: float
    limit: TokenBucket | None  # of what is pulled here
    rows: list[Row] = field(default_factory=list)
    open: int = 0
    errors: list[str] = field(default_factory=list)
    listing: dict[int, str] = field(default_factory=dict)  # number of a question to the source -> kind
    list_until: float = -NEVER
    awaited: dict[bytes, int] = field(default_factory=dict)  # key hash -> sequence: records on their way

    @property
    def priority(self) -> int:
        """Its priority as a place in `PRIORITIES`."""
        return PRIORITIES.index(self.asked.priority)


def events_of(node: str, asked: SyncRequest, report: SyncReport) -> Out:
    """Return the events that a report means."""
    moved = report.moved
    size = sum(row.size for row in moved)
    source = asked.source_node or node
    common = (asked.sync_type, asked.data_type, report.nodes, node, source, config_key_of(asked))
    if not report.success:
        bad = next((row for row in report.rows if not row.good), None)
        error = report.errors[0] if report.errors or bad is None else f"{bad.artifact}: {bad.text}"
        target = "" if bad is None else bad.target
        return [Tell(DataSyncFailed(*common, target, report.duration, len(moved), size, error))]
    target = report.nodes[0] if len(report.nodes) == 1 else ""
    out: Out = [Tell(DataSyncCompleted(*common, target, report.duration, len(moved), size))]
    if asked.reason == ORPHANS:
        # What was here already is as safe as what came now.
        safe = len({row.artifact for row in report.rows if row.good})
        out.append(Tell(OrphanGamesRegistered(source, config_key_of(asked), safe, size)))
    return out


def outcome_of(code: str) -> tuple[str, str]:
    """Return what a target's answer means for its row; nothing while it is pulling."""
    if not code:
        return "", ""
    if code == "present":
        return PRESENT, ""
    if code.startswith("failed:"):
        return FAILED, code.removeprefix("failed:").strip()
    return REFUSED, code


def kinds_of(asked: SyncRequest) -> tuple[str, ...]:
    """Return the kinds that are meant."""
    return KINDS if asked.data_type == "all" else (asked.data_type,)


def matches(record: Record, asked: SyncRequest) -> bool:
    """Tell whether a record passes the filters."""
    if asked.board_type is None and asked.num_players is None:
        return True
    metadata = record.metadata
    return (asked.board_type is None or metadata.get("board_type") == asked.board_type) and (
        asked.num_players is None or metadata.get("num_players") == asked.num_players
    )


def config_key_of(asked: SyncRequest) -> str:
    """Return `hex8_2p` when the filters name one."""
    if asked.board_type is None or asked.num_players is None:
        return ""
    return f"{asked.board_type}_{asked.num_players}p"
