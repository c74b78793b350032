"""How far do we trust our own judgement? Lifeguard's local health.

A member that misses answers may itself be the one in trouble: its score rises,
its probes become slower and its patience longer, until probes succeed again.
Source: Lifeguard (Dadgar et al. 2018), section IV-A (local health aware probe).
"""


class LocalHealth:
    """A score from 0 (well) to `worst`; times are multiplied by `score + 1`."""

    __slots__ = ("_worst", "score")

    def __init__(self, worst: int = 8) -> None:
        """A `worst` of 0 switches local health off."""
        self._worst = worst
        self.score = 0

    def note(self, change: int) -> None:
        """Add to the score: +1 a failed probe, a missing nack, a refutation; -1 a probe that succeeded."""
        if self.score or change > 0:  # a peer that is well has nothing to win
            self.score = min(self._worst, max(0, self.score + change))

    def scale(self, seconds: float) -> float:
        """Return a length of time as it counts for a peer of this health."""
        return seconds * (self.score + 1)
