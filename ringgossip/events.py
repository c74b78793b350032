"""What may a peer tell its application? One frozen dataclass each.

`peer.listen()` yields them in order. Times are not in them; artifacts are named `kind/origin/name`.
"""

from dataclasses import asdict
from typing import Any

from ringgossip.frozen import Untouched, frozen


@frozen
class Event(Untouched):
    """The root of all events."""

    def as_dict(self) -> dict[str, Any]:
        """Return the event as plain data: its class name under `event`, then its fields."""
        return {"event": type(self).__name__, **asdict(self)}


# --- who is there -----------------------------------------------------------


@frozen
class PeerJoined(Event):
    name: str
    address: str


@frozen
class PeerSuspected(Event):
    name: str


@frozen
class PeerRecovered(Event):
    """A suspected or lost member proved to be alive."""

    name: str


@frozen
class PeerRestarted(Event):
    name: str
    address: str


@frozen
class PeerLost(Event):
    """Declared dead: it did not refute in time."""

    name: str


@frozen
class PeerLeft(Event):
    """It said goodbye; this is no death."""

    name: str


@frozen
class NameTakenOver(Event):
    """A certificate of a higher generation now owns this name."""

    name: str
    generation: int


@frozen
class ClonedIdentity(Event):
    """Another machine runs with our key; this peer stops."""

    address: str


@frozen
class DatagramsBlocked(Event):
    """UDP does not get through to a member; everything runs over links."""

    name: str


# --- strangers and wrongdoers -----------------------------------------------


@frozen
class StrangerRefused(Event):
    """A connection or packet was not from a member of this cluster."""

    address: str
    reason: str


@frozen
class GossipKeysRefused(Event):
    """A member that we dialled accepts none of our gossip keys."""

    name: str
    address: str
    reason: str


@frozen
class PeerProtocolError(Event):
    """A member sent something that breaks the protocol."""

    name: str
    reason: str


# --- what exists -------------------------------------------------------------


@frozen
class ArtifactAnnounced(Event):
    """A record entered our catalog for the first time."""

    artifact: str
    sequence: int
    size: int


@frozen
class ArtifactCompleted(Event):
    """A verified copy is visible at `path`."""

    artifact: str
    sequence: int
    size: int
    path: str


@frozen
class ArtifactShown(Event):
    artifact: str
    sequence: int
    size: int
    path: str
    via: str  # who put it there, on a disk that we share; that is no copy of ours


@frozen
class ArtifactRejected(Event):
    """All chunks were proven, but the file is not what its kind demands, or cannot be stored."""

    artifact: str
    sequence: int
    reason: str


@frozen
class ArtifactShrank(Event):
    """A version does not follow from its predecessor, which was kept under `kept_as`."""

    artifact: str
    sequence: int
    kept_as: str
    reason: str


@frozen
class ArtifactWithdrawn(Event):
    """Its origin ended the artifact: not listed, not wanted; files that are here stay."""

    artifact: str
    sequence: int


@frozen
class NodeRetired(Event):
    """The authority ended a name, up to this generation: what that node published is listed no more."""

    name: str
    generation: int


@frozen
class ArtifactConflict(Event):
    """Two origins published the same name with the same stamp; `winner` is what `wait_for` returns."""

    kind: str
    name: str
    winner: str
    loser: str


@frozen
class OriginEquivocated(Event):
    """An origin signed two different records with one sequence."""

    artifact: str
    sequence: int


@frozen
class PublicationWithdrawn(Event):
    """A published user file changed under us; that version is no longer served from here."""

    artifact: str
    sequence: int
    reason: str


# --- moving -------------------------------------------------------------------


@frozen
class TransferStarted(Event):
    artifact: str
    sequence: int
    size: int
    missing: int


@frozen
class TransferStalled(Event):
    """Nobody reachable serves what is missing; retried when somebody does."""

    artifact: str
    sequence: int
    reason: str


@frozen
class BadChunk(Event):
    """A peer sent bytes that do not have the hash they should."""

    name: str
    artifact: str
    index: int


@frozen
class CopyConfirmed(Event):
    """Another peer told us that it holds a verified, synced copy."""

    artifact: str
    sequence: int
    holder: str


# --- our own machine ----------------------------------------------------------


@frozen
class StorageTrouble(Event):
    """A full disk, an I/O error, a damaged file. The peer goes on."""

    reason: str


@frozen
class CertificateExpires(Event):
    """Our certificate expires, or has expired, at `not_after` (Unix seconds): nobody links with us then."""

    not_after: int
    reason: str


@frozen
class SnapshotDeferred(Event):
    """A snapshot would have blocked the user's writer too long; it is tried again."""

    path: str
    reason: str


# --- the rules: who gets what, and what hinders it ---------------------------------


@frozen
class DataSync(Event):
    """A synchronisation that somebody asked for, or a plan made.

    The fields are the union of all that programs of the reference read;
    `targets` are node names, `duration` is in seconds.
    """

    sync_type: str = ""  # hybrid, ephemeral, broadcast, manual, priority, catch_up, drain
    data_type: str = ""  # games, models, npz or all
    targets: tuple[str, ...] = ()
    host: str = ""  # the node on which this happened
    node_id: str = ""  # the node it is about: the source of a pull, else `host`
    config_key: str = ""
    target_node: str = ""
    duration: float = 0.0
    file_count: int = 0
    bytes_transferred: int = 0
    error: str = ""


@frozen
class DataSyncStarted(DataSync):
    """`DATA_SYNC_STARTED`"""


@frozen
class DataSyncCompleted(DataSync):
    """`DATA_SYNC_COMPLETED`: everything that was asked for is where it should be."""


@frozen
class DataSyncFailed(DataSync):
    """`DATA_SYNC_FAILED`: `error` says why, `target_node` where."""


@frozen
class OrphanGamesRegistered(Event):
    """`ORPHAN_GAMES_REGISTERED`: so many files of games of `node_id` are here, pulled now or before."""

    node_id: str
    config_key: str = ""
    file_count: int = 0
    bytes_transferred: int = 0


@frozen
class ReceivingChanged(Event):
    """This node stopped (`code` and `reason` of a rule) or resumed (both empty) receiving a kind."""

    kind: str
    code: str = ""
    reason: str = ""


@frozen
class PushRefused(Event):
    """A peer will not receive what we would give it."""

    name: str
    kind: str
    code: str
    reason: str


@frozen
class CopiesMissing(Event):
    """So many of our artifacts have fewer copies than wanted; the oldest for so many seconds."""

    kind: str
    artifacts: int
    oldest: float


@frozen
class CopiesComplete(Event):
    """Every artifact of this kind has its copies again."""

    kind: str


@frozen
class ArtifactEvicted(Event):
    """A copy left this store by its rules; enough other nodes hold it, who pledged to keep it."""

    artifact: str
    sequence: int
    reason: str
    holders: tuple[str, ...]


@frozen
class BudgetSpent(Event):
    """What may leave this node in a `day` or `month` has left; until then only critical data is served."""

    period: str
    bytes: int


@frozen
class BreakerOpened(Event):
    """A route to a peer failed again and again; it is tried again after so many seconds."""

    name: str
    route: str
    seconds: float
    reason: str


@frozen
class BreakerClosed(Event):
    """A route that had failed works."""

    name: str
    route: str


@frozen
class TerminationNoticed(Event):
    """The provider says that this machine goes away; the drain begins."""

    source: str


@frozen
class DrainCompleted(Event):
    """The outbox is empty, or time was over: `below` are artifacts with fewer copies than wanted."""

    copied: int
    below: tuple[str, ...]


# --- what programs tell us: `peer.notify(NAME, ...)` ------------------------------------


@frozen
class Signal(Event):
    """Something that happened at `node_id` and changes what we do."""

    node_id: str
    config_key: str = ""


@frozen
class TrainingStarted(Signal):
    """`TRAINING_STARTED`: that node weighs more until `TrainingCompleted`."""


@frozen
class TrainingCompleted(Signal):
    """`TRAINING_COMPLETED`"""


@frozen
class NodeRecovered(Signal):
    """`NODE_RECOVERED`: what it missed is offered to it at once."""


@frozen
class OrphanGamesDetected(Signal):
    """`ORPHAN_GAMES_DETECTED`: its games are pulled at critical priority."""


SIGNALS: dict[str, type[Signal]] = {
    "TRAINING_STARTED": TrainingStarted,
    "TRAINING_COMPLETED": TrainingCompleted,
    "NODE_RECOVERED": NodeRecovered,
    "ORPHAN_GAMES_DETECTED": OrphanGamesDetected,
}

# --- listening itself ------------------------------------------------------------


@frozen
class EventsMissed(Event):
    """A listener was too slow: so many events before the next one were thrown away."""

    count: int
