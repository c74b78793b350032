"""How long may a suspect defend itself? The fewer peers confirm, the longer.

Source: Lifeguard (Dadgar et al. 2018), section IV-B (local health aware
suspicion); SWIM (Das et al. 2002), section 4.2.
"""

from dataclasses import dataclass
from math import log, log10


@dataclass(frozen=True, slots=True)
class SuspicionSettings:
    """`alpha` and `beta` are Lifeguard's; `confirmations` is its k."""

    alpha: float = 4.0
    beta: float = 6.0
    confirmations: int = 3
    # Whoever is suspected hears that before all other news, and again before its time is over.
    buddy: bool = True  # Lifeguard section IV-C, "buddy system"

    def span(self, members: int, interval: float, patience: float) -> tuple[float, float]:
        """Return the shortest and the longest time for one of `members` that asks for `patience` seconds."""
        shortest = self.alpha * max(1.0, log10(max(1, members))) * interval
        # One interval more, in which whoever was away so long hears of it and answers.
        least = patience + interval if patience > 0 else 0.0
        return max(shortest, least), max(self.beta * shortest, least)


class Suspicion:
    """One member that did not answer, and who says so."""

    __slots__ = ("_accusers", "_longest", "_needed", "_shortest", "started")

    def __init__(self, accuser: bytes, started: float, shortest: float, longest: float, needed: int) -> None:
        """`needed` is how many further accusers make the shortest time enough; 0: nobody else can confirm."""
        self._accusers = [accuser]
        self.started = started
        self._shortest = shortest
        self._longest = longest
        self._needed = needed

    def confirm(self, accuser: bytes) -> bool:
        """Count one more accuser; return whether it was news: another one, and still needed."""
        if accuser in self._accusers or len(self._accusers) > self._needed:
            return False
        self._accusers.append(accuser)
        return True

    @property
    def deadline(self) -> float:
        """When this suspicion is believed."""
        return self.started + self.allowed(len(self._accusers) - 1)

    def allowed(self, confirmations: int) -> float:
        """Return how many seconds a suspect has in all.

        Falls from `longest` to `shortest` as independent peers confirm, with the
        logarithm of their number.

        Source: Lifeguard (Dadgar et al. 2018), section IV-B.
        """
        if self._needed < 1:
            return self._shortest
        share = log(confirmations + 1) / log(self._needed + 1)
        return max(self._shortest, self._longest - (self._longest - self._shortest) * share)

    def postpone(self, seconds: float) -> None:
        """Give the suspect more time, because we ourselves were not there to hear it."""
        self.started += seconds
