"""What do the rules know of a peer? One frozen row: from its signed card, or from our own settings.

What a peer decided about itself (which kinds it refuses, and why) travels in
its card and is believed; so all peers that hold the same cards decide alike.
"""

from collections.abc import Mapping
from dataclasses import field

from ringgossip.frozen import frozen
from ringgossip.identity import PeerId


@frozen
class DiskUse:
    """A disk in bytes. `free` is what an ordinary user may still write, as `df` shows it."""

    used: int
    free: int

    @property
    def share(self) -> float:
        """The part that is used, 0 to 1."""
        return self.used / (self.used + self.free) if self.used + self.free else 1.0


@frozen
class Candidate:
    """A peer as giver, holder or receiver."""

    name: str
    peer: PeerId
    role: str = "selfplay"
    state: str = "ready"
    ephemeral: bool = False
    training: bool = False  # a training run is under way there
    priority: bool = False  # somebody wrote its name under `priority_nodes`
    provider: str = ""
    storage_group: str | None = None
    disk: DiskUse | None = None
    disk_stopped: bool = False  # hysteresis: what `eligibility.disk_stops` said last
    receive: tuple[str, ...] | None = None  # kinds it may be given; None: as the rules say
    want: tuple[str, ...] | None = None  # kinds it pulls; None: as its role's row says
    excluded: tuple[str, ...] = ()  # kinds that somebody forbade it
    # kind -> code, all that its card refuses; None: no card told, so the rules judge the rest of this row.
    refuses: Mapping[str, str] | None = field(default=None, hash=False)

    @property
    def place(self) -> tuple[str, str | PeerId]:
        """Where its copies lie: two candidates with one place share a disk."""
        return ("peer", self.peer) if self.storage_group is None else ("group", self.storage_group)

    @property
    def trains(self) -> bool:
        """Counted as a training node."""
        return "training" in self.role or self.priority
