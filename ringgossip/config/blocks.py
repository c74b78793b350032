"""What stands in the blocks of node.yaml? One frozen dataclass each.

A field's metadata says its unit and its meaning. Seconds and bytes are the
silent units. Maps are tuples of pairs, so that their order is the file's and
settings can be compared and hashed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ringgossip.errors import UsageError

Rates = tuple[tuple[str, float], ...]


def about(meaning: str, unit: str = "") -> dict[str, str]:
    """Return a field's metadata."""
    return {"meaning": meaning, "unit": unit}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareFolder:
    """A folder whose finished files are published."""

    kind: str = field(metadata=about("games, models or npz"))
    folder: Path = field(metadata=about("where the files appear"))
    match: str = field(default="*", metadata=about("glob that a file's path below the folder must match"))
    settle_seconds: float = field(
        # A guess: longer than the pauses of a writer on a slow disk, shorter than a person's patience.
        default=5.0,
        metadata=about("a file not renamed into place must stay still this long", "seconds"),
    )
    metadata: Mapping[str, str | int | float | bool] = field(
        default_factory=dict,
        hash=False,
        metadata=about("published with every file: board_type, num_players, quality, ..."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Limits of this node in total, and of what it exchanges with each other node. None: no limit."""

    send_bytes_per_second: float | None = field(default=None, metadata=about("total sent", "bytes/second"))
    receive_bytes_per_second: float | None = field(
        default=None, metadata=about("total received", "bytes/second")
    )
    hosts: Rates = field(default=(), metadata=about("with one node, each direction", "bytes/second"))
    globs: Rates = field(
        default=(), metadata=about("with nodes whose name matches; the first match counts", "bytes/second")
    )
    providers: Rates = field(
        default=(), metadata=about("with nodes of a provider, each direction", "bytes/second")
    )
    peer_bytes_per_second: float | None = field(
        default=None, metadata=about("with any other node, each direction", "bytes/second")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bytes that may leave this node, for nodes that pay for them. None: no budget."""

    send_bytes_per_day: int | None = field(default=None, metadata=about("sent in one UTC day", "bytes"))
    send_bytes_per_month: int | None = field(default=None, metadata=about("sent in one UTC month", "bytes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the process may hold at most."""

    in_flight_bytes: int = field(
        default=64 * 1024 * 1024, metadata=about("chunks asked for or held in memory", "bytes")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRules:
    """When this node stops receiving because its disk fills. Raises `UsageError` for a rule without a gap.

    Percent alone once blocked a cluster for five days with 228 GB free, so a
    full share stops only together with little free space. Source: field notes,
    section 1 (disk) and incident 7.
    """

    stop_percent: float = field(
        default=70.0, metadata=about("used above this, and little free: receive no games or npz", "%")
    )
    resume_percent: float = field(default=60.0, metadata=about("used at most this: receive again", "%"))
    min_free_bytes: int = field(
        # A guess: the largest database met so far has 89 GB.
        default=100 * 10**9,
        metadata=about("what `little free` means", "bytes"),
    )
    floor_percent: float = field(
        default=0.0, metadata=about("less than this free: receive no games or npz, however much is free", "%")
    )
    floor_bytes: int = field(
        default=2 * 2**30, metadata=about("less than this free: receive nothing at all", "bytes")
    )

    def __post_init__(self) -> None:
        if not 0 < self.resume_percent <= self.stop_percent <= 100:
            raise UsageError(
                f"resume_percent {self.resume_percent:g} must be above 0 and at most stop_percent "
                f"{self.stop_percent:g}, and that at most 100"
            )
        if not 0 <= self.floor_percent < 100 or self.min_free_bytes < 0 or self.floor_bytes < 0:
            raise UsageError("a floor is 0 or more, and floor_percent below 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How much of one kind stays in the store; the user's own files never count. None: no limit."""

    kind: str = field(metadata=about("games, models or npz"))
    newest: int | None = field(default=None, metadata=about("artifacts kept, the newest", "artifacts"))
    seconds: float | None = field(default=None, metadata=about("age at which a copy may go", "seconds"))
    bytes: int | None = field(default=None, metadata=about("size of all copies together", "bytes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrub:
    """How the copies that lie on our disk are read again, since disks forget without telling."""

    bytes_per_second: int = field(
        # A guess: a day for 700 GB, and less than a hundredth of a core.
        default=8 * 1024 * 1024,
        metadata=about("read at most, less while chunks move; 0: never", "bytes/second"),
    )
    rest_seconds: float = field(
        default=6 * 3600.0, metadata=about("pause when all copies were read", "seconds")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Termination:
    """How a provider tells that the machine goes away: the first of them that appears starts the drain."""

    file: Path | None = field(default=None, metadata=about("a file that appears"))
    url: str | None = field(default=None, metadata=about("an http URL that answers 200"))
    every_seconds: float = field(default=5.0, metadata=about("how often to look", "seconds"))
