"""What do `sync` and `drain` answer to programs? The reference's fields, with one row for each item.

Source: field notes, section 1 (sync response).
"""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from ringgossip.protocol.answers import DrainReport, SyncReport, SyncRequest

_MOST_ERRORS = 100


@dataclass(frozen=True, slots=True)
class SyncResult:
    """`details["items"]` has a row for each (artifact, target), `details["message"]` a sentence."""

    success: bool
    backend_used: str
    nodes_synced: tuple[str, ...]
    bytes_transferred: int
    duration_seconds: float
    errors: tuple[str, ...]
    details: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "nodes_synced": list(self.nodes_synced), "errors": list(self.errors)}


@dataclass(frozen=True, slots=True)
class DrainResult:
    """`below` are artifacts with fewer copies elsewhere than wanted, the most endangered first."""

    complete: bool
    copied: int
    below: tuple[dict[str, Any], ...]
    duration_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "below": list(self.below)}


def sync_result(report: SyncReport, asked: SyncRequest) -> SyncResult:
    """Return what is handed out of a report."""
    bad = [row for row in report.rows if not row.good]
    errors = [*report.errors, *(f"{row.artifact} at {row.target}: {row.text}" for row in bad)]
    if len(errors) > _MOST_ERRORS:
        errors = [*errors[:_MOST_ERRORS], f"and {len(errors) - _MOST_ERRORS} more"]
    counts = Counter(row.outcome for row in report.rows)
    return SyncResult(
        report.success,
        "ringgossip",
        report.nodes,
        sum(row.size for row in report.moved),
        report.duration,
        tuple(errors),
        {
            "message": _sentence(report, asked, counts),
            "counts": dict(counts),
            "items": [
                {
                    "artifact": row.artifact,
                    "sequence": row.sequence,
                    "target": row.target,
                    "outcome": row.text,
                    "bytes": row.size,
                }
                for row in report.rows
            ],
        },
    )


def _sentence(report: SyncReport, asked: SyncRequest, counts: "Counter[str]") -> str:
    if report.errors:
        return report.errors[0]
    if not report.rows:
        return f"nothing to move: no artifact of {asked.data_type} is published that this asks for"
    if set(counts) == {"already_present"}:
        return "nothing to move: everything was already there"
    return ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in sorted(counts.items()))


def drain_result(report: DrainReport) -> DrainResult:
    """Return what is handed out of a report."""
    below = tuple(asdict(short) for short in report.below)
    return DrainResult(not below, report.copied, below, report.duration)
