"""What do machines say to each other? Notices, which the switchboard keeps; the world never sees them."""

from typing import TYPE_CHECKING, get_args

from ringgossip.content.record import Record
from ringgossip.frozen import frozen
from ringgossip.identity import PeerId

if TYPE_CHECKING:
    from ringgossip.identity.certificate import NodeCertificate

# Ways to a peer that work or fail each by itself.
BY_DIALLING = "dial"  # opening a link
BY_ASKING = "link"  # what we ask on it: chunks and pages
BY_LANE = "lane"  # the second connection for bodies beside it


@frozen
class NeedLink:
    """A machine has something to say to `peer` on a link; `link_opened` answers, or nothing does."""

    peer: PeerId


@frozen
class MemberUp:
    """A member became reachable: joined, came back, or restarted (`boot` tells)."""

    peer: PeerId
    boot: int


@frozen
class MemberDown:
    """A member left (`left`) or was declared dead. Its data may still be fetched if a link works."""

    peer: PeerId
    left: bool


@frozen
class MemberReached:
    """A member that only others reached, or that was suspected, answers again."""

    peer: PeerId


@frozen
class RouteFailed:
    """Using a route to a peer came to nothing."""

    peer: PeerId
    route: str
    reason: str


@frozen
class RouteWorked:
    """A route that had failed works."""

    peer: PeerId
    route: str


@frozen
class CardChanged:
    """A member, perhaps ourselves, says something else about itself than before."""

    peer: PeerId


@frozen
class WantChanged:
    """The rules decided anew about a version; `code` says why it is no longer wanted."""

    record: Record
    wanted: bool
    code: str = ""


@frozen
class Remind:
    """A version of ours has too few copies: link these peers and tell them of it again."""

    record: Record
    to: tuple[PeerId, ...]


@frozen
class PulseHeard:
    """A probe or its answer carried the root of the sender's catalog (8 bytes)."""

    peer: PeerId
    root: bytes


@frozen
class NeedCertificate:
    """A card or record was signed by somebody whose certificate we lack; `from_peer` relayed it."""

    signer: PeerId
    from_peer: PeerId


@frozen
class CertificateHeard:
    """Gossip brought a certificate, and it is our authority's: to be kept like one that was asked for."""

    certificate: "NodeCertificate"


Notice = (
    NeedLink
    | MemberUp
    | MemberDown
    | MemberReached
    | RouteFailed
    | RouteWorked
    | CardChanged
    | WantChanged
    | Remind
    | PulseHeard
    | NeedCertificate
    | CertificateHeard
)

# For those who look at every item that machines return: a look at its type is cheapest.
NOTICES: frozenset[type] = frozenset(get_args(Notice))
