"""How much does a peer count? The reference's five factors as weights: twice the weight, twice the chance.

Two questions, two functions. `drain_urgency`: how urgently must what this peer
has be brought to safety? `holder_worth`: how good a place is it for a copy? A
machine that may vanish raises the first and lowers the second. Both return
their parts, so that `explain` can name the factor that decided.

Source: reference, "Priority Scoring"; field notes, section 1 (scores, age
factor, quality factor, priority words).
"""

from math import fsum

from ringgossip.config.words import PRIORITIES
from ringgossip.frozen import frozen
from ringgossip.strategy.candidates import Candidate

AGE_CAP = 10.0
QUALITY_WEIGHT = 10.0
UNKNOWN_QUALITY = 0.5
HEADROOM = 20.0
TRAINING = 50.0
EPHEMERAL = 30.0  # drain urgency
PRIORITY_NODE = 20.0

# As a receiver; from the owners' code.
HOLDER_BASE = 50.0
HOLDER_EPHEMERAL = -15.0

# A weight of 0 would be never: nobody eligible starves.
LEAST = 1.0

# Which kind goes first, the smallest number: checkpoints are small and everybody waits for them.
KIND_RANK = {"models": 0, "npz": 1, "games": 1}

# Words of a request as shares of a thin uplink.
SHARES = {"background": 0.25, "low": 0.5, "normal": 1.0, "high": 1.5, "critical": 2.0}


@frozen
class Weight:
    """A weight and what it is made of."""

    parts: tuple[tuple[str, float], ...]

    @property
    def value(self) -> float:
        """The weight: at least `LEAST`."""
        # Exact, because `sum` of floats is another on Python 3.12 than before it, and runs must replay.
        return max(LEAST, fsum(points for _, points in self.parts))

    def __str__(self) -> str:
        named = " ".join(f"{name} {points:+g}" for name, points in self.parts if points)
        return f"{self.value:g} ({named or 'nothing counts'})"


def age_factor(seconds: float | None, cap: float = AGE_CAP) -> float:
    """Return the points for the time since the last sync: an hour is worth the cap; None, never, too."""
    return cap if seconds is None else min(cap, cap * max(0.0, seconds) / 3600)


def quality_factor(quality: float | None, weight: float = QUALITY_WEIGHT) -> int:
    """Return the points for the quality of the data, 0 to 1."""
    return int(weight * (UNKNOWN_QUALITY if quality is None else min(1.0, max(0.0, quality))))


def headroom_factor(peer: Candidate) -> float:
    """Return the points for free space, in quarters: finer steps would move copies at every write.

    An unknown disk counts as half full.
    """
    free = 0.5 if peer.disk is None else 1 - peer.disk.share
    return HEADROOM * int(free * 4 + 0.5) / 4


def _training_factor(peer: Candidate) -> float:
    # A run under way needs fresh data now, whatever the node's role is.
    return TRAINING * (peer.trains + peer.training)


def drain_urgency(
    peer: Candidate, *, since_sync: float | None = None, quality: float | None = None
) -> Weight:
    """Return how urgently what `peer` has must be copied elsewhere; `since_sync` in seconds, None: never."""
    return Weight(
        (
            ("training", _training_factor(peer)),
            ("ephemeral", EPHEMERAL * peer.ephemeral),
            ("disk headroom", headroom_factor(peer)),
            ("last sync", age_factor(since_sync)),
            ("quality", quality_factor(quality)),
            ("priority node", PRIORITY_NODE * peer.priority),
        )
    )


def holder_worth(peer: Candidate) -> Weight:
    """Return how good a place `peer` is for a copy. Only what its card says counts: all peers agree on it."""
    return Weight(
        (
            ("base", HOLDER_BASE),
            ("ephemeral", HOLDER_EPHEMERAL * peer.ephemeral),
            ("disk headroom", headroom_factor(peer)),
        )
    )


def push_weight(peer: Candidate, *, since_sync: float | None = None, quality: float | None = None) -> Weight:
    """Return how much `peer` counts when we choose whom to tell first of something new."""
    return Weight(
        (
            *holder_worth(peer).parts,
            ("training", _training_factor(peer)),
            ("priority node", PRIORITY_NODE * peer.priority),
            ("last sync", age_factor(since_sync)),
            ("quality", quality_factor(quality)),
        )
    )


def rank_of(kind: str, priority: str) -> int:
    """Return the order of kinds, and within a kind of priority words: smaller goes first."""
    return KIND_RANK.get(kind, 1) * 8 + len(PRIORITIES) - 1 - PRIORITIES.index(priority)


def share_of(priority: str) -> float:
    """Return the share that a priority word buys; two requests divide an uplink as their shares."""
    return SHARES[priority]


def endangerment(copies: int, quality: float | None, age: float) -> tuple[int, float, float]:
    """Return a sort key: what is lost first when this peer vanishes, and hurts most, comes first.

    `copies` at other peers, then `quality`, then `age` in seconds (the oldest first).
    """
    return (copies, -(UNKNOWN_QUALITY if quality is None else quality), -age)
