"""What does a node's configuration say of who gets what? The settings of `rules`."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ringgossip.config.blocks import Bandwidth, Budget, DiskRules, Keep

if TYPE_CHECKING:
    from ringgossip.config.settings import PeerConfig


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """What a node's configuration says of who gets what; seconds and bytes."""

    state: str = "ready"
    receive: tuple[str, ...] | None = None
    want: tuple[str, ...] | None = None
    exclude: tuple[tuple[str, tuple[str, ...]], ...] = ()
    priority_nodes: tuple[str, ...] = ()
    strategy: str = "auto"
    copies: int = 3
    copies_per_kind: tuple[tuple[str, int], ...] = ()
    min_games: int = 10
    interval: float = 60.0
    ephemeral_interval: float = 30.0
    disk: DiskRules = field(default_factory=DiskRules)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    budget: Budget = field(default_factory=Budget)
    keep: tuple[Keep, ...] = ()
    first_look: float = 3.0  # how long a new peer waits for members before it chooses holders
    settle: float = 1.0  # how long members must have stood still
    grace: float = 30.0  # how long the copies of a lost member count
    batch: int = 200  # records looked at in one wake
    pause: float = 0.02  # between two of these

    def copies_of(self, kind: str) -> int:
        """Return how many copies of this kind are wanted, the origin's own not counted."""
        return dict(self.copies_per_kind).get(kind, self.copies)

    def excluded(self, name: str) -> tuple[str, ...]:
        """Return the kinds that a node must not be given."""
        return tuple(kind for node, kinds in self.exclude if node == name for kind in kinds)


def rules_of(config: "PeerConfig") -> RuleSettings:
    """Return what the configuration says of who gets what."""
    return RuleSettings(
        state=config.state,
        receive=config.receive,
        want=config.want,
        exclude=config.exclude,
        priority_nodes=config.priority_nodes,
        strategy=config.strategy,
        copies=config.copies,
        copies_per_kind=config.copies_per_kind,
        min_games=config.min_games_to_sync,
        interval=config.interval_seconds,
        ephemeral_interval=config.ephemeral_interval_seconds,
        disk=config.disk,
        bandwidth=config.bandwidth,
        budget=config.budget,
        keep=config.keep,
    )
