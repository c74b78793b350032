"""Who asks us for what? One queue per peer, in the order in which it is served."""

from dataclasses import dataclass, field

from ringgossip.config.words import PRIORITIES
from ringgossip.identity import PeerId
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.strategy.weights import share_of

NORMAL = PRIORITIES.index("normal")
CRITICAL = PRIORITIES.index("critical")

_WORDS = 1000  # more than there are ranks and words


@dataclass(slots=True)
class Wanted:
    """One chunk that was asked for and is not granted yet."""

    request: int
    root: bytes
    index: int
    length: int
    rank: int  # of the kind
    priority: int = NORMAL
    asked_at: float = 0.0
    first: int = 0  # below 0: what a drain brings to safety, the smallest first

    @property
    def order(self) -> int:
        """Where it stands in its asker's queue: kinds go before words."""
        return self.first * _WORDS + self.rank * len(PRIORITIES) + CRITICAL - self.priority

    @property
    def share(self) -> float:
        """The share of the uplink that its priority word buys."""
        return share_of(PRIORITIES[self.priority])


def order_of(wanted: Wanted) -> int:
    """Return the order, for sorted insertion."""
    return wanted.order


@dataclass(slots=True)
class Asker:
    """A linked peer as one who asks."""

    peer: PeerId
    pages: TokenBucket
    bucket: TokenBucket
    queue: list[Wanted] = field(default_factory=list)
    granted: dict[tuple[int, int], int] = field(default_factory=dict)  # (request, index) -> bytes
    granted_bytes: int = 0
    given: float = 0.0  # bytes over shares, since everybody's start: who was given least is next
    overtaken_at: float = 0.0  # when something that others may overtake was granted last
    rate: float = 0.0
    sample_start: float = 0.0
    sample_bytes: int = 0
    interests: dict[bytes, None] = field(default_factory=dict)
