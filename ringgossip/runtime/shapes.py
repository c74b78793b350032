"""What does a peer hand out? Frozen copies with the fields that scripts rely on (design, section 9)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ringgossip.content.kinds.metadata import config_key_of
from ringgossip.content.record import Scalar
from ringgossip.protocol.answers import Short
from ringgossip.protocol.breakers import BreakerView
from ringgossip.protocol.views import ArtifactView
from ringgossip.strategy.plans import Plan

if TYPE_CHECKING:
    from ringgossip.runtime.link import Link


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact as this peer knows it; `root` in hex, `path` only while a copy is visible here."""

    kind: str
    origin: str
    name: str
    sequence: int
    size: int
    root: str
    metadata: Mapping[str, Scalar]
    path: str | None
    complete: bool
    holders: tuple[str, ...]
    unlisted: str = ""  # withdrawn or retired: then only those see it who ask for all
    via: str = ""  # the member that put it where we read it, on a disk that we share; no copy of ours

    @property
    def text(self) -> str:
        """The artifact as people write it, `kind/origin/name`."""
        return f"{self.kind}/{self.origin}/{self.name}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "kind": self.kind,
            "origin": self.origin,
            "name": self.name,
            "sequence": self.sequence,
            "size": self.size,
            "root": self.root,
            "metadata": dict(self.metadata),
            "path": self.path,
            "complete": self.complete,
            "holders": list(self.holders),
            "unlisted": self.unlisted,
            "via": self.via,
        }

    def matches(self, filters: Mapping[str, object]) -> bool:
        """Tell whether fields or metadata have these values; None filters nothing."""
        return all(value is None or self._value(key) == value for key, value in filters.items())

    def _value(self, key: str) -> object:
        if key == "config_key":
            return config_key_of(self.metadata)
        if key in ("origin", "name", "sequence", "complete"):
            return getattr(self, key)
        return self.metadata.get(key)


def artifact_of(view: ArtifactView, path: str | None) -> Artifact:
    """Return what is handed out of a view of the core."""
    record = view.record
    return Artifact(
        record.kind,
        record.origin,
        record.name,
        record.sequence,
        record.size,
        record.root.hex(),
        record.metadata,
        view.path or path,
        view.complete,
        view.holders,
        view.unlisted,
        view.via,
    )


@dataclass(frozen=True, slots=True)
class Receipt:
    """Who has a published version: `holders` have confirmed a verified, synced copy, `missing` have not.

    `copies` counts the holders, this peer not among them; `wanted` is what was asked for.
    """

    artifact: Artifact
    copies: int
    wanted: int
    holders: tuple[str, ...]
    missing: tuple[str, ...]
    unchanged: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def fulfilled(self) -> bool:
        """Whether there are as many copies as were asked for."""
        return self.copies >= self.wanted

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, as `ringgossip publish --json` prints it."""
        return {
            "artifact": self.artifact.as_dict(),
            "receipt": {
                "copies": self.copies,
                "wanted": self.wanted,
                "holders": list(self.holders),
                "missing": list(self.missing),
                "unchanged": self.unchanged,
                "warnings": list(self.warnings),
            },
        }


@dataclass(frozen=True, slots=True)
class BreakerShape:
    """How a route to a peer is: closed (with failures), open or half_open; `seconds` until the next trial."""

    peer: str
    route: str
    state: str
    failures: int
    seconds: float
    reason: str


def breaker_shape(named: tuple[str, BreakerView]) -> BreakerShape:
    """Return what is handed out of a breaker."""
    name, view = named
    return BreakerShape(name, view.route, view.state, view.failures, round(view.seconds, 1), view.reason)


def link_shape(link: "Link") -> dict[str, Any]:
    """Return one link; rates in bytes a second."""
    return {
        "peer": link.certificate.name,
        "address": str(link.address),
        "dialled": link.dialled,
        "send_bytes_per_second": link.sending.rate,
        "receive_bytes_per_second": link.receiving.rate,
    }


def plan_shape(plan: Plan) -> dict[str, Any]:
    """Return how one kind is spread: each so many seconds, to how many peers, how many copies are urgent."""
    if not plan.fanout:
        return {"plan": plan.name}
    return {
        "plan": plan.name,
        "interval_seconds": plan.interval,
        "told_at_once": "all" if plan.everyone else plan.fanout,
        "copies_at_once": plan.copies,
    }


def copies_shape(below: Sequence[Short]) -> dict[str, Any]:
    """Return how many artifacts have too few copies, the age of the oldest, and the most endangered ones."""
    return {
        "below_copies": len(below),
        "oldest_below_copies_seconds": max((short.age for short in below), default=0.0),
        "most_endangered": [asdict(short) for short in below[:10]],
    }


@dataclass(frozen=True, slots=True)
class Health:
    """Whether this peer does its work; degraded is still healthy. `timestamp` in Unix seconds."""

    healthy: bool
    status: str
    message: str
    timestamp: float
    details: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "healthy": self.healthy,
            "status": self.status,
            "message": self.message,
            "timestamp": self.timestamp,
            "details": dict(self.details),
        }
