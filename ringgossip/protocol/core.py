"""What does a machine look like, and what may it ask of the world?

A machine gets inputs (messages, results, verbs) together with `now` and
returns a list of effects. It never waits, never raises for what a peer said,
and draws randomness only from the generator it was given, so that the same
inputs give the same effects, byte for byte, in production and in simulation.

The world performs effects in order and awaits none of them. What is slow comes
back as an input of `PeerCore`:

    Dial(address, peer)          link_opened(link, peer, certificate, address, dialled, now)
                                 | dial_failed(address, peer, reason, now)
    (a link ends)                link_broken(link, reason, now)
    Send(to, message, lane)      at the other side: receive(message, sender, source, now)
    SendPages(...)               (the world answers with Page messages itself)
    SendChunk(...)               chunk_sent(peer, request, index, length, now)
                                 | chunk_unreadable(peer, request, root, index, now)
    (first piece of a body)      body_arrives(peer, request, index, length, now) -> AcceptBody or DiscardBody
    AcceptBody(...)              chunk_stored(peer, request, root, index, length, now)
                                 | chunk_bad(peer, request, root, index, reason, now): its sender is to blame
                                 | chunk_unstored(peer, request, root, index, reason, now): our disk is
    VerifyRecords(batch, ...)    records_verified(batch, reasons, now): None for a good one
    Persist(record)              record_persisted(record, now): on disk | persist_failed(record, reason, now)
    Reserve(record)              reserved(root, manifest or None, now) | reserve_refused(root, reason, now)
    FindPages(root, pages)       pages_found(root, found, now): {page hash: bytes}
    BeginPartial(record, m)      partial_ready(root, have, copying, now), then while `copying` is not empty:
                                 chunks_copied(root, copied, failed, now)
    Finalise(record, ...)        finalised(record, path, now) | rejected(record, reason, final, now):
                                 `final` when the content is to blame, not the disk
    (a held copy is damaged)     copy_lost(record, reason, now)
    LookAt(record, place, peer)  looked(record, path or None, reason, now)
    TellPlace(peer, entry, ...)  (the world answers with a Placed message itself)

    (a publication)              Published(ticket, record, unchanged) | PublishRefused(ticket, reason)
    (a sync, a drain)            SyncAnswered(ticket, report) | DrainAnswered(ticket, report)

The current link of a peer is the last one opened that is not closed or broken:
the world makes a link current before it calls `link_opened`, and falls back to
the older one if the core closes the new. Sets of chunk indices are Python
integers used as bit sets: bit i is chunk i. Effects about a peer use its current
link; without one they are dropped, since `link_broken` has told the machines or
is about to.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, NewType, Protocol

from ringgossip.content.manifest import Manifest
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.events import Event
from ringgossip.frozen import frozen
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.answers import DrainReport, SyncReport
from ringgossip.protocol.notices import CardChanged as CardChanged
from ringgossip.protocol.notices import CertificateHeard as CertificateHeard
from ringgossip.protocol.notices import MemberDown as MemberDown
from ringgossip.protocol.notices import MemberReached as MemberReached
from ringgossip.protocol.notices import MemberUp as MemberUp
from ringgossip.protocol.notices import NeedCertificate as NeedCertificate
from ringgossip.protocol.notices import NeedLink as NeedLink
from ringgossip.protocol.notices import Notice as Notice
from ringgossip.protocol.notices import PulseHeard as PulseHeard
from ringgossip.protocol.notices import Remind as Remind
from ringgossip.protocol.notices import RouteFailed as RouteFailed
from ringgossip.protocol.notices import RouteWorked as RouteWorked
from ringgossip.protocol.notices import WantChanged as WantChanged
from ringgossip.strategy.bandwidth import Spent
from ringgossip.strategy.candidates import DiskUse
from ringgossip.wire.messages import Message

if TYPE_CHECKING:
    from ringgossip.identity.certificate import NodeCertificate

LinkId = NewType("LinkId", int)  # given by the world, never used twice in one boot

NEVER = float("inf")


class Lane(Enum):
    """How a message travels, named by what is promised."""

    DATAGRAM = "datagram"  # may be lost, doubled, late
    LINK = "link"  # whole and in order until the link breaks


DATAGRAM = Lane.DATAGRAM
LINK = Lane.LINK


# --- talking --------------------------------------------------------------------


@frozen
class Dial:
    """Open a link to `address`; `peer` is whom we expect there, None for a seed."""

    address: Address
    peer: PeerId | None


@frozen
class CloseLink:
    """End a link; no `link_broken` follows."""

    link: LinkId
    reason: str


class Send(NamedTuple):
    """DATAGRAM goes to an address, LINK to the peer at the other end.

    A tuple, because no effect is made as often.
    """

    to: PeerId | Address
    message: Message
    lane: Lane


@frozen
class SendPages:
    """Read manifest pages `(level, index)` of `root` and send each as a `Page`, or one `NoChunks`."""

    peer: PeerId
    request: int
    root: bytes
    pages: tuple[tuple[int, int], ...]


@frozen
class SendChunk:
    """Read one chunk (a user's file is hashed before it is sent) and send its body in pieces."""

    peer: PeerId
    request: int
    root: bytes
    index: int
    length: int


@frozen
class AcceptBody:
    """Receive the announced body, check it against `hash`, write it to its place in the partial file."""

    peer: PeerId
    request: int
    root: bytes
    index: int
    length: int
    hash: bytes


@frozen
class DiscardBody:
    """Read the announced body and throw it away."""

    peer: PeerId
    request: int
    index: int
    length: int


# --- keeping ----------------------------------------------------------------------


@frozen
class VerifyRecords:
    """Check signatures in worker threads; every record comes with the DER certificate that signed it."""

    batch: int
    records: tuple[tuple[Record, bytes], ...]


@frozen
class Persist:
    """Write a record to the index. For our own records the answer means: synced to disk."""

    record: Record


@frozen
class PersistCertificate:
    """Keep a certificate (DER) that the authority signed. Nothing comes back."""

    certificate: bytes


@frozen
class Reserve:
    """Set space aside for a whole new file. A manifest that is already on disk comes back with the answer."""

    record: Record


@frozen
class FindPages:
    """Look for manifest pages that some older version already gave us: `(level, index, hash)` each."""

    root: bytes
    pages: tuple[tuple[int, int, bytes], ...]


@frozen
class BeginPartial:
    """Open or resume the partial file; start copying chunks that lie elsewhere in our store."""

    record: Record
    manifest: Manifest


@frozen
class Abandon:
    """Give the reservation back and close the partial file; keep what is verified if `keep`."""

    root: bytes
    keep: bool


@frozen
class Finalise:
    """Sync, check the kind's structure, rename into place, sync the folder.

    With `keep_predecessor` the version that was visible stays as `name@sequence`, pinned.
    """

    record: Record
    keep_predecessor: bool


@frozen
class Drop:
    """Delete a superseded version that nobody pulls any more (never the user's file, never a pinned one)."""

    record: Record


@frozen
class Evict:
    """Delete a copy that nobody counts on any more: others pledged to keep theirs (never the user's file)."""

    record: Record


@frozen
class TellPlace:
    """Say to `peer`, who shares our disk, where on it our copy lies; `record` None: nowhere."""

    peer: PeerId
    entry: bytes
    record: Record | None


@frozen
class LookAt:
    """Look whether `place` on the disk that we share, which `peer` named, has the whole of `record`."""

    record: Record
    place: str
    peer: PeerId


@frozen
class Published:
    """The publication that came with `ticket` is this record: durable and told, or known already."""

    ticket: int
    record: Record
    unchanged: bool


@frozen
class PublishRefused:
    """The publication that came with `ticket` was not made; `again`: our disk is to blame, it may be yet."""

    ticket: int
    reason: str
    again: bool = False


@frozen
class Remember:
    """Write down what a user decided about an artifact (see `marks`); sequence 0 forgets it."""

    key: ArtifactKey
    mark: str
    sequence: int


# --- telling ------------------------------------------------------------------------


@frozen
class PersistSpent:
    """Write down how much of the byte budgets has left. Nothing comes back."""

    spent: Spent


@frozen
class SyncAnswered:
    """The `sync` that came with `ticket` is over."""

    ticket: int
    report: SyncReport


@frozen
class DrainAnswered:
    """The `drain` that came with `ticket` is over."""

    ticket: int
    report: DrainReport


@frozen
class Tell:
    """Give an event to the application."""

    event: Event


@frozen
class Stop:
    """This peer must not go on; the world stops it with this one line."""

    reason: str


Effect = (
    Dial
    | CloseLink
    | Send
    | SendPages
    | SendChunk
    | AcceptBody
    | DiscardBody
    | VerifyRecords
    | Persist
    | PersistCertificate
    | Reserve
    | FindPages
    | BeginPartial
    | Abandon
    | Finalise
    | Drop
    | Evict
    | TellPlace
    | LookAt
    | Published
    | PublishRefused
    | Remember
    | PersistSpent
    | SyncAnswered
    | DrainAnswered
    | Tell
    | Stop
)


class Notary(Protocol):
    """Everything a machine may ask of cryptography: real keys in production, free ones in simulation."""

    @property
    def certificate(self) -> "NodeCertificate":
        """Our own certificate."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Sign with our node key."""
        ...

    def read_certificate(self, der: bytes) -> "NodeCertificate":
        """Return a certificate that our authority signed for our cluster, or raise `PeerMisbehaved`."""
        ...

    def verify(self, certificate: "NodeCertificate", signature: bytes, data: bytes) -> bool:
        """Tell whether the holder of `certificate` signed `data` (about 100 us: records go to workers)."""
        ...


class Machine(Protocol):
    """The shape all machines share; their other inputs are named verb_object(..., now)."""

    def receive(
        self, message: Message, sender: PeerId, source: Address | LinkId, now: float
    ) -> list[Effect | Notice]:
        """Handle a message; `source` is the datagram's address, or the link it came on."""
        ...

    def wake(self, now: float) -> list[Effect | Notice]:
        """Do what is due. Waking early finds nothing due."""
        ...

    def next_wakeup(self) -> float:
        """Return when to be woken, on the clock of `now`; `NEVER` if there is nothing to wait for."""
        ...


class Draw(Protocol):
    """The part of `random.Random` that machines use: stable across Python versions."""

    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """Return an integer of `k` random bits."""
        ...


@frozen
class Draft:
    """Content that is ready to be published: hashed, checked, its manifest in the index."""

    ticket: int
    kind: str
    name: str
    size: int
    chunk_size: int
    root: bytes
    metadata: Mapping[str, str | int | float | bool | None]
    withdrawn: bool = False  # no content at all: the artifact is to end
    revive: bool = True  # what was withdrawn is published again although nothing of it has changed


@frozen
class Restored:
    """What a store remembers when its peer starts.

    `holdings` are the versions of which this store has a verified, visible copy
    (the user's own file counts); `certificates` are DER.
    """

    store: bytes
    fresh: bool
    records: tuple[Record, ...]
    certificates: tuple[bytes, ...]
    holdings: tuple[Record, ...]
    paths: Mapping[tuple[str, str, str, int], str]
    marks: tuple[tuple[ArtifactKey, str, int], ...] = ()
    spent: Spent = Spent()  # what has left of the byte budgets
    disk: DiskUse | None = None  # as it is when the peer starts; None: it cannot be told
