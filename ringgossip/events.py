"""What may a peer tell its application? One frozen dataclass each.

`peer.listen()` yields them in the order in which they happened. Times are not
in them: whoever listens has a clock. Artifacts are named as on the command
line, `kind/origin/name`.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events."""

    def as_dict(self) -> dict[str, Any]:
        """Return the event as plain data: its class name under `event`, then its fields."""
        return {"event": type(self).__name__, **asdict(self)}


# --- who is there -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PeerJoined(Event):
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class PeerSuspected(Event):
    name: str


@dataclass(frozen=True, slots=True)
class PeerRecovered(Event):
    """A suspected or lost member proved to be alive."""

    name: str


@dataclass(frozen=True, slots=True)
class PeerRestarted(Event):
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class PeerLost(Event):
    """Declared dead: it did not refute in time."""

    name: str


@dataclass(frozen=True, slots=True)
class PeerLeft(Event):
    """It said goodbye; this is no death."""

    name: str


@dataclass(frozen=True, slots=True)
class NameTakenOver(Event):
    """A certificate of a higher generation now owns this name."""

    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class ClonedIdentity(Event):
    """Another machine runs with our key; this peer stops."""

    address: str


@dataclass(frozen=True, slots=True)
class DatagramsBlocked(Event):
    """UDP does not get through to a member; everything runs over links."""

    name: str


# --- strangers and wrongdoers -----------------------------------------------


@dataclass(frozen=True, slots=True)
class StrangerRefused(Event):
    """A connection or packet was not from a member of this cluster."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerProtocolError(Event):
    """A member sent something that breaks the protocol."""

    name: str
    reason: str


# --- what exists -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArtifactAnnounced(Event):
    """A record entered our catalog for the first time."""

    artifact: str
    sequence: int
    size: int


@dataclass(frozen=True, slots=True)
class ArtifactCompleted(Event):
    """A verified copy is visible at `path`."""

    artifact: str
    sequence: int
    size: int
    path: str


@dataclass(frozen=True, slots=True)
class ArtifactRejected(Event):
    """All chunks were proven, but the file is not what its kind demands, or cannot be stored."""

    artifact: str
    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class ArtifactShrank(Event):
    """A version does not follow from its predecessor, which was kept under `kept_as`."""

    artifact: str
    sequence: int
    kept_as: str
    reason: str


@dataclass(frozen=True, slots=True)
class ArtifactConflict(Event):
    """Two origins published the same name with the same stamp; `winner` is what `wait_for` returns."""

    kind: str
    name: str
    winner: str
    loser: str


@dataclass(frozen=True, slots=True)
class OriginEquivocated(Event):
    """An origin signed two different records with one sequence."""

    artifact: str
    sequence: int


@dataclass(frozen=True, slots=True)
class PublicationWithdrawn(Event):
    """A published user file changed under us; that version is no longer served from here."""

    artifact: str
    sequence: int
    reason: str


# --- moving -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TransferStarted(Event):
    artifact: str
    sequence: int
    size: int
    missing: int


@dataclass(frozen=True, slots=True)
class TransferStalled(Event):
    """Nobody reachable serves what is missing; retried when somebody does."""

    artifact: str
    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class BadChunk(Event):
    """A peer sent bytes that do not have the hash they should."""

    name: str
    artifact: str
    index: int


@dataclass(frozen=True, slots=True)
class CopyConfirmed(Event):
    """Another peer told us that it holds a verified, synced copy."""

    artifact: str
    sequence: int
    holder: str


# --- our own machine ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StorageTrouble(Event):
    """A full disk, an I/O error, a damaged file. The peer goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class SnapshotDeferred(Event):
    """A snapshot would have blocked the user's writer too long; it is tried again."""

    path: str
    reason: str


# --- listening itself ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventsMissed(Event):
    """A listener was too slow: so many events before the next one were thrown away."""

    count: int
