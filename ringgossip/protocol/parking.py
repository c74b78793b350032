"""What does our own disk refuse for now, and when is it tried again? A back-off for each artifact.

How often it was refused is on disk (the mark `tries`): after a restart the
back-off goes on where it was, instead of everything being tried at once again.
"""

from collections.abc import Mapping

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.protocol.core import NEVER, Draw, Effect, Notice, Remember
from ringgossip.protocol.marks import TRIES

Out = list[Effect | Notice]


class Parking:
    """Versions that wait, each until its time."""

    def __init__(self, first: float, longest: float, rng: Draw, tries: Mapping[ArtifactKey, int]) -> None:
        self._first = first
        self._longest = longest
        self._rng = rng
        self._waiting: dict[ArtifactKey, tuple[float, Record]] = {}
        self._tries: dict[ArtifactKey, int] = {}
        self._before = dict(tries)  # what was refused before this peer started

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: ArtifactKey) -> bool:
        return key in self._waiting

    def get(self, key: ArtifactKey) -> Record | None:
        """Return the version that waits."""
        found = self._waiting.get(key)
        return None if found is None else found[1]

    def tries(self, key: ArtifactKey) -> int:
        """Return how often an artifact was refused."""
        return self._tries.get(key, 0)

    def _pause(self, tries: int) -> float:
        return float(min(self._longest, self._first * 2 ** min(tries - 1, 16)))

    def park(self, record: Record, now: float) -> Out:
        """It was refused: later each time."""
        key = record.key
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        self._waiting[key] = (now + self._pause(tries) * (0.75 + 0.5 * self._rng.random()), record)
        return [Remember(key, TRIES, tries)]

    def park_again(self, record: Record, now: float) -> bool:
        """Return whether it was refused before the restart, and waits on: jitter, since all begins now."""
        tries = self._before.pop(record.key, 0)
        if tries:
            self._tries[record.key] = tries
            self._waiting[record.key] = (now + self._pause(tries) * (0.5 + 0.5 * self._rng.random()), record)
        return tries > 0

    def leave(self, key: ArtifactKey) -> None:
        """It need not wait, or is not wanted any more; how often it was refused still counts."""
        self._waiting.pop(key, None)
        before = self._before.pop(key, 0)
        if before:
            self._tries[key] = before

    def over(self, key: ArtifactKey) -> Out:
        """It is here, or never will be."""
        self._waiting.pop(key, None)
        return [Remember(key, TRIES, 0)] if self._tries.pop(key, 0) + self._before.pop(key, 0) else []

    def take(self, due: float = NEVER, fitting: int | None = None) -> list[Record]:
        """Return, and let go of, what is due by then and not larger than `fitting` bytes."""
        found = [
            record
            for when, record in self._waiting.values()
            if when <= due and (fitting is None or record.size <= fitting)
        ]
        for record in found:
            del self._waiting[record.key]
        return found

    def next_wakeup(self) -> float:
        """Return when the next one is due."""
        return min(when for when, _ in self._waiting.values()) if self._waiting else NEVER
