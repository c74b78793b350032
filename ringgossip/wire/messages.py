"""What can be said? Every message, its tag and its limits, in one table.

A message is a frozen dataclass; on the wire it is the msgpack array
`[tag, field, ...]`. Fields are plain: int, float, bool, str, bytes, tuples of
these, and `None` where a field is optional. Limits stand in the annotations
and are checked by `codec` before memory is taken. Lists of hashes travel as flat
bytes; records, cards and certificates as the bytes that their author packed.

A new message gets a new tag; a new field goes to the end with a default. Tags
are never used again for something else. Peers skip and count tags they do not
know, and ignore fields beyond those they know.
"""

from typing import Annotated

from ringgossip.frozen import frozen
from ringgossip.wire.favours import Offer as Offer
from ringgossip.wire.favours import OfferAnswered as OfferAnswered
from ringgossip.wire.favours import Placed as Placed
from ringgossip.wire.favours import PlaceWanted as PlaceWanted
from ringgossip.wire.favours import Pledged as Pledged
from ringgossip.wire.favours import PledgeWanted as PledgeWanted
from ringgossip.wire.favours import SignalTold as SignalTold
from ringgossip.wire.favours import SyncDone as SyncDone
from ringgossip.wire.favours import SyncWanted as SyncWanted
from ringgossip.wire.fields import Bytes as Bytes
from ringgossip.wire.fields import Card as Card
from ringgossip.wire.fields import Certificate as Certificate
from ringgossip.wire.fields import Count as Count
from ringgossip.wire.fields import Hash as Hash
from ringgossip.wire.fields import Indices as Indices
from ringgossip.wire.fields import Items as Items
from ringgossip.wire.fields import Message as Message
from ringgossip.wire.fields import Packed as Packed
from ringgossip.wire.fields import Peer as Peer
from ringgossip.wire.fields import Request as Request
from ringgossip.wire.fields import Short as Short
from ringgossip.wire.fields import Text as Text
from ringgossip.wire.fields import Whole as Whole
from ringgossip.wire.proof import KeyProven as KeyProven
from ringgossip.wire.proof import KeysOffered as KeysOffered
from ringgossip.wire.proof import KeysUnknown as KeysUnknown
from ringgossip.wire.relay import Relayed as Relayed

PROTOCOL_VERSION = 1

MAX_DATAGRAM_PLAINTEXT = 1300  # 1400 with seal and header: below every path MTU met in practice


# --- links: first words -----------------------------------------------------------


@frozen
class Hello(Message):
    """The first message in each direction of a link."""

    version: Annotated[int, Whole(2**16)]
    boot: Count
    nonce: Short
    card: Card


@frozen
class DialMe(Message):
    """The sender wants a link and cannot open one: please dial it (datagram)."""


@frozen
class CatalogRoot(Message):
    """The root of the sender's catalog, when a link opens and after a comparison."""

    root: Short


# --- membership -------------------------------------------------------------------------
#
# A key is the first half of a peer id. A pulse (32 bytes, big endian) is what a
# member says of itself all the time: boot 8, incarnation 4, version of its card 4,
# digest of its member list 8, root of its catalog 8 (zeros: not known yet).
# An update (25 bytes) is a statement about a member: key 8, boot 8, incarnation 4,
# state 1 (alive, suspect, dead, left), and 4 bytes more: in news the first half of
# the accuser's key, in a list of members the version of the card.

MemberKey = Annotated[bytes, Bytes(8, 8)]
Pulse = Annotated[bytes, Bytes(32, 32)]
Updates = Annotated[bytes, Bytes(25 * 52, multiple=25)]


@frozen
class Ping(Message):
    """Are you, `target`, there? Either lane."""

    number: Request
    target: MemberKey
    pulse: Pulse
    updates: Updates


@frozen
class Ack(Message):
    """The answer to the ping of that number, where it came from."""

    number: Request
    pulse: Pulse
    updates: Updates


@frozen
class PingRequest(Message):
    """Please ping `target` for me."""

    number: Request
    target: MemberKey


@frozen
class Vouch(Message):
    """The target of that ping request answered, with this pulse."""

    number: Request
    pulse: Pulse


@frozen
class Nack(Message):
    """The target of that ping request has not answered; but I am here."""

    number: Request


@frozen
class Gossip(Message):
    """News of members: updates, changed cards, and certificates of newcomers."""

    updates: Updates
    cards: Annotated[tuple[Card, ...], Items(64)]
    certificates: Annotated[tuple[Certificate, ...], Items(64)]


@frozen
class MembersPage(Message):
    """All members whose keys lie from `low` to `high`, as the sender sees them.

    Answered with `Cards` for what we know better, and `CardsWanted` for what we lack.
    """

    low: MemberKey
    high: MemberKey
    states: Annotated[bytes, Bytes(25 * 5000, multiple=25)]


@frozen
class CardsWanted(Message):
    """Keys, joined: of the first the card is enough, of strangers the certificate is needed too."""

    known: Annotated[bytes, Bytes(8 * 5000, multiple=8)]
    strangers: Annotated[bytes, Bytes(8 * 5000, multiple=8)]


@frozen
class Cards(Message):
    """Cards and certificates that the other side lacks, and states that it holds older."""

    cards: Annotated[tuple[Card, ...], Items(100)]
    certificates: Annotated[tuple[Certificate, ...], Items(100)]
    states: Annotated[bytes, Bytes(25 * 5000, multiple=25)]


@frozen
class BodyLane(Message):
    """For the runtime's links: the dialler opens a second connection for bodies; its name, a key each way."""

    token: Annotated[bytes, Bytes(16, 16)]
    dialler_key: Annotated[bytes, Bytes(32, 32)]
    acceptor_key: Annotated[bytes, Bytes(32, 32)]


# --- rumors -------------------------------------------------------------------------


@frozen
class News(Message):
    """Records that are new to the teller; either lane."""

    records: Annotated[tuple[Packed, ...], Items(64)]


@frozen
class NewsKnown(Message):
    """Feedback: these record hashes (first 8 bytes each) were no news to us."""

    hashes: Annotated[bytes, Bytes(64 * 8, multiple=8)]


# --- anti-entropy (links only) ----------------------------------------------------


@frozen
class DigestStep(Message):
    """One payload of a walk over the digests of one set; the last seven fields are content.walk's.

    Every step of the opener is answered by one or more of the other side with the
    same `walk` and `step`, all but the last with `more`.
    """

    walk: Request
    set: Annotated[str, Text(32)]
    step: Request
    opener: bool
    more: bool
    stage: Annotated[int, Whole(3)]
    salt: Annotated[int, Whole(255)]
    bits: Annotated[int, Whole(64)]
    width: Annotated[int, Whole(8)]
    nodes: Annotated[bytes, Bytes(32 * 1024)]
    counts: Annotated[bytes, Bytes(32 * 1024)]
    body: Annotated[bytes, Bytes(32 * 1024)]


@frozen
class RecordsWanted(Message):
    """Key hashes, joined, of records that we lack or hold older."""

    set: Annotated[str, Text(32)]
    keys: Annotated[bytes, Bytes(32 * 1000, multiple=32)]


@frozen
class Records(Message):
    """Records somebody asked for, or that the walk showed the other side to lack."""

    records: Annotated[tuple[Packed, ...], Items(500)]


@frozen
class CertificatesWanted(Message):
    """Peer ids, joined, whose certificates we need to judge records or cards."""

    peers: Annotated[bytes, Bytes(16 * 200, multiple=16)]


@frozen
class Certificates(Message):
    """Certificates, each proven by the authority's signature in it."""

    certificates: Annotated[tuple[Certificate, ...], Items(200)]


# --- who holds what (links only) -----------------------------------------------------


@frozen
class Holding(Message):
    """Versions of which the sender now has, or no longer has, a verified and synced copy.

    Each entry is a key hash (32), the sequence (8, big endian) and the root (32).
    With `xor`, what the sender holds after it, as in `HoldingsDigest`.
    """

    added: Annotated[bytes, Bytes(72 * 4000, multiple=72)]
    dropped: Annotated[bytes, Bytes(72 * 4000, multiple=72)]
    count: Count = 0
    xor: Annotated[bytes, Bytes(16)] = b""


@frozen
class HoldingsDigest(Message):
    """How many versions the sender holds, and the exclusive or of the hashes of their entries."""

    count: Count
    xor: Annotated[bytes, Bytes(16, 16)]


@frozen
class HoldingsWanted(Message):
    """Tell me all your holdings; our books differ."""


@frozen
class HoldingsList(Message):
    """All holdings of the sender, in parts; `first` empties the book, `last` closes it."""

    first: bool
    last: bool
    entries: Annotated[bytes, Bytes(72 * 4000, multiple=72)]


# --- transfer (links only) -----------------------------------------------------------


@frozen
class Interest(Message):
    """The sender pulls this root (or no longer does): answer with `Have` and tell progress."""

    root: Hash
    wanted: bool


@frozen
class Have(Message):
    """What the sender has of a root: 0 nothing, 1 the chunks in `bitmap`, 2 all.

    `offset` is the chunk index of the bitmap's first bit (a multiple of 8), least significant bit first.
    """

    root: Hash
    state: Annotated[int, Whole(2)]
    offset: Count
    bitmap: Annotated[bytes, Bytes(900_000)]


@frozen
class HaveMore(Message):
    """Chunks the sender verified since its last word about this root."""

    root: Hash
    indices: Indices


@frozen
class GetPages(Message):
    """Manifest pages wanted: levels and indices side by side."""

    request: Request
    root: Hash
    levels: Annotated[tuple[Annotated[int, Whole(16)], ...], Items(64)]
    indices: Annotated[tuple[Count, ...], Items(64)]


@frozen
class Page(Message):
    """One manifest page."""

    request: Request
    root: Hash
    level: Annotated[int, Whole(16)]
    index: Count
    data: Annotated[bytes, Bytes(32 * 1024)]


@frozen
class GetChunks(Message):
    """Chunks wanted; each comes as a body of its own, in this order if nothing hinders.

    `priority` is the place of a word among `config.words.PRIORITIES`.
    """

    request: Request
    root: Hash
    indices: Annotated[tuple[Count, ...], Items(64)]
    priority: Annotated[int, Whole(4)] = 2


@frozen
class ChunkPiece(Message):
    """Header of a piece of a chunk's body: `length` raw bytes follow on the stream.

    Made and read by the runtime's links alone; machines see `body_arrives`.
    """

    request: Request
    index: Count
    total: Annotated[int, Whole(2**24)]
    offset: Annotated[int, Whole(2**24)]
    length: Annotated[int, Whole(2**24, 1)]


@frozen
class CancelChunks(Message):
    """Chunks of a request that are no longer needed, if not yet begun."""

    request: Request
    indices: Annotated[tuple[Count, ...], Items(64)]


@frozen
class Busy(Message):
    """Ask again after so many seconds: all serving slots are taken, or for another `reason`."""

    request: Request
    retry_after: float
    reason: Annotated[str, Text(200)] = ""


@frozen
class NoChunks(Message):
    """What was asked for under `request` is not to be had here; `indices` empty means all of it."""

    request: Request
    root: Hash
    indices: Annotated[tuple[Count, ...], Items(64)]
    reason: Annotated[str, Text(200)]


# Tag -> message. Membership owns 10 to 19.
MESSAGES: dict[int, type[Message]] = {
    1: Hello,
    2: DialMe,
    3: CatalogRoot,
    4: BodyLane,
    5: KeysOffered,
    6: KeyProven,
    7: KeysUnknown,
    10: Ping,
    11: Ack,
    12: PingRequest,
    13: Vouch,
    14: Nack,
    15: Gossip,
    16: MembersPage,
    17: CardsWanted,
    18: Cards,
    20: News,
    21: NewsKnown,
    30: DigestStep,
    31: RecordsWanted,
    32: Records,
    33: CertificatesWanted,
    34: Certificates,
    40: Holding,
    41: HoldingsDigest,
    42: HoldingsWanted,
    43: HoldingsList,
    44: Relayed,
    50: Interest,
    51: Have,
    52: HaveMore,
    53: GetPages,
    54: Page,
    55: GetChunks,
    56: ChunkPiece,
    57: CancelChunks,
    58: Busy,
    59: NoChunks,
    60: Offer,
    61: OfferAnswered,
    62: SignalTold,
    63: PledgeWanted,
    64: Pledged,
    65: SyncWanted,
    66: SyncDone,
    67: PlaceWanted,
    68: Placed,
}

TAGS: dict[type[Message], int] = {message: tag for tag, message in MESSAGES.items()}
