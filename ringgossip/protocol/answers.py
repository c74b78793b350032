"""What can be asked of a peer in so many words, and what does it answer? `sync` and `drain`.

Source: field notes, section 1 (sync request, sync response); incident 15.
"""

from dataclasses import dataclass

MOVED = "moved"
PRESENT = "already_present"
REFUSED = "refused"
NO_HOLDER = "no_holder"
TIMED_OUT = "timed_out"
FAILED = "failed"

# Those after which everything is where it should be.
GOOD = (MOVED, PRESENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """Bring artifacts to nodes. Filters that are None filter nothing.

    `targets` None or ("all",): every node that may receive the kind, ourselves included.
    `source_node`: bring here what that node holds; `targets` are then ourselves.
    `bandwidth_limit`, in bytes a second, holds for what each target pulls.
    """

    data_type: str = "all"
    targets: tuple[str, ...] | None = None
    board_type: str | None = None
    num_players: int | None = None
    priority: str = "normal"
    timeout: float = 300.0
    bandwidth_limit: float | None = None
    exclude_nodes: tuple[str, ...] = ()
    prefer_ephemeral: bool = False  # what ephemeral nodes published, and ephemeral targets, first
    # Ask every target, also one that our books know as a holder: it looks again.
    require_confirmation: bool = False
    source_node: str | None = None
    reason: str = ""
    sync_type: str = "manual"

    @property
    def everywhere(self) -> bool:
        """Whether all eligible nodes are meant, not named ones."""
        return self.targets is None or "all" in self.targets


@dataclass(frozen=True, slots=True)
class SyncRow:
    """What became of one artifact at one target. `detail` is the rule or the reason; `size` in bytes."""

    artifact: str
    sequence: int
    target: str
    outcome: str
    detail: str
    size: int

    @property
    def text(self) -> str:
        """The outcome as the reference writes it: `moved`, `refused: disk`, `failed: why`."""
        return f"{self.outcome}: {self.detail}" if self.outcome in (REFUSED, FAILED) else self.outcome

    @property
    def good(self) -> bool:
        """Whether the target has it."""
        return self.outcome in GOOD


@dataclass(frozen=True, slots=True)
class SyncReport:
    """All rows, and what kept the whole request from being carried out (`errors`)."""

    rows: tuple[SyncRow, ...]
    errors: tuple[str, ...]
    duration: float

    @property
    def success(self) -> bool:
        """Whether everything is where it should be; nothing moved is success only if nothing was missing."""
        return not self.errors and all(row.good for row in self.rows)

    @property
    def moved(self) -> tuple[SyncRow, ...]:
        """The rows that moved."""
        return tuple(row for row in self.rows if row.outcome == MOVED)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The targets that have all that they should."""
        bad = {row.target: None for row in self.rows if not row.good}
        return tuple(dict.fromkeys(row.target for row in self.rows if row.target not in bad))


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """How far a request is: rows that came to an end, and all of them; bytes of what moves."""

    done: int
    total: int
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class Short:
    """One of our artifacts with fewer copies at other peers than wanted; `age` in seconds."""

    artifact: str
    sequence: int
    copies: int
    wanted: int
    quality: float | None
    age: float


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What a drain achieved: artifacts that got their copies meanwhile, and those that did not."""

    copied: int
    below: tuple[Short, ...]
    duration: float
