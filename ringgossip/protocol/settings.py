"""What of membership can be tuned? Every knob, with memberlist's LAN default where it has one."""

from dataclasses import dataclass, field

from ringgossip.protocol.joining import SeedSettings
from ringgossip.protocol.probing import ProbeSettings
from ringgossip.protocol.suspicion import SuspicionSettings


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """How news of members spreads."""

    interval: float = 0.2
    fanout: int = 3
    retransmit: int = 4  # times ceil(log10(n + 1))
    forward: bool = True  # tell news on arrival instead of at the next interval
    forward_gap: float = 0.02  # but not more often than this


@dataclass(frozen=True, slots=True)
class ListSettings:
    """When lists of members are compared."""

    # Digests that differ for so long differ for another reason than news under way.
    settle: float = 0.6
    gap: float = 1.0
    follow_up: tuple[float, ...] = (0.4, 1.0)  # after joining, compare with the same member again
    doubt: float = 1.0  # seconds for which a suspect can refute whatever is said; suspicions last 4 at least
    doubt_deaths: bool = True  # "dead" of whom we hold alive accuses; False: it is believed, as the papers do


@dataclass(frozen=True, slots=True)
class RevisitSettings:
    """How the dead are tried again."""

    interval: float = 2.0  # one of the recently dead each so many seconds
    recent: float = 600.0  # after that time,
    late_interval: float = 30.0  # each so many, until the tombstone goes
    tombstone_life: float = 86_400.0


@dataclass(frozen=True, slots=True)
class MembershipSettings:
    """All of it."""

    probe: ProbeSettings = field(default_factory=ProbeSettings)
    suspicion: SuspicionSettings = field(default_factory=SuspicionSettings)
    seeds: SeedSettings = field(default_factory=SeedSettings)
    gossip: GossipSettings = field(default_factory=GossipSettings)
    lists: ListSettings = field(default_factory=ListSettings)
    revisit: RevisitSettings = field(default_factory=RevisitSettings)
    worst_health: int = 8  # 0 switches local health off
    most_members: int = 5000
