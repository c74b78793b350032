"""Is this peer well? Judged from counters in memory, so that the answer never waits for anything.

Degraded, and still healthy, when failures exceed half of the successes, when more
than a tenth of the chunks were wrong, or when nothing was completed for three
intervals while something was missing. Source: field notes, section 1 (health).
"""

from dataclasses import dataclass

from ringgossip.events import (
    ArtifactCompleted,
    ArtifactRejected,
    BadChunk,
    Event,
    StorageTrouble,
    TransferStalled,
)

_INTERVALS = 3
_MOST_BAD = 0.1
# One stall at the start, when nobody is linked yet, says nothing.
_LEAST_FAILURES = 3


@dataclass(slots=True)
class Condition:
    """What has gone well and what has not; seconds on trio's clock."""

    interval: float
    completed: int = 0
    failures: int = 0
    bad_chunks: int = 0
    last_completed: float | None = None
    missing_since: float | None = None
    last_trouble: str | None = None

    def note(self, event: Event, now: float) -> None:
        """Count an event."""
        match event:
            case ArtifactCompleted():
                self.completed += 1
                self.last_completed = now
            case ArtifactRejected() | TransferStalled():
                self.failures += 1
            case BadChunk():
                self.bad_chunks += 1
            case StorageTrouble():
                self.last_trouble = event.reason

    def missing(self, count: int, now: float) -> None:
        """Say how many wanted artifacts are not here."""
        if not count:
            self.missing_since = None
        elif self.missing_since is None:
            self.missing_since = now

    def problems(self, good_chunks: int, now: float) -> list[str]:
        """Return why this peer is degraded; nothing if it is well."""
        found = []
        if self.failures >= _LEAST_FAILURES and self.failures > self.completed / 2:
            found.append(f"{self.failures} transfers failed or stalled, {self.completed} were completed")
        if self.bad_chunks > _MOST_BAD * (good_chunks + self.bad_chunks):
            found.append(f"{self.bad_chunks} chunks were wrong, {good_chunks} were good")
        if self.missing_since is not None:
            waited = now - max(self.missing_since, self.last_completed or self.missing_since)
            if waited > _INTERVALS * self.interval:
                found.append(f"nothing was completed for {waited:.0f} s although something is missing")
        return found
