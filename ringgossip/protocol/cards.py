"""What does a member say of itself? Its card, signed, so that relays cannot change it.

A packed card is a signature (64 bytes, Ed25519) and a body, the msgpack array

    [format, name, peer id, boot, nonce, version, addresses, role, ephemeral,
     provider, storage group, disk used, training, patience, software,
     state, refuses, wants, disk free]

`refuses` are codes of `strategy.eligibility`, one for each kind in the order of
`KINDS`, empty for what it takes; `wants` names kinds. An older card ends before
`state`: it is ready, refuses nothing and wants what its role's row says.

Fields that newer peers add at the end are ignored here, and stay under the
signature. Cards of one member are ordered by boot, nonce and version.

A boot number is believed from a card only, never from hearsay: nobody but the
holder of a key can move its boot, to 2^63 or anywhere else.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgpack

from ringgossip.config.words import KINDS
from ringgossip.content.hashing import hash_tagged
from ringgossip.errors import PeerMisbehaved, UsageError
from ringgossip.identity import PEER_ID_BYTES, Address, PeerId
from ringgossip.identity.certificate import SIGNATURE_BYTES, NodeCertificate
from ringgossip.protocol.core import Notary

MAX_CARD_BYTES = 1200
MAX_PATIENCE = 60.0
MAX_BOOT = 2**63 - 1
MAX_VERSION = 2**32 - 1
KEY_BYTES = 8
NONCE_BYTES = 8

_FORMAT = 1
_FIELDS = 19
_OLD_FIELDS = 15
_MAX_ADDRESSES = 8
_MAX_TEXT = 128
_MAX_WORDS = 16
_DOMAIN = b"ringgossip card 1\0"


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """What a member tells about itself; all of it may change while it runs."""

    addresses: tuple[Address, ...]  # where to reach it, advertised first; may be empty behind NAT
    role: str = "selfplay"
    ephemeral: bool = False
    provider: str | None = None
    storage_group: str | None = None
    disk_used: float | None = None  # share, 0 to 1
    training: bool = False
    patience: float = 0.0  # seconds for which it may stall; nobody declares it dead earlier
    software: str = ""
    state: str = "ready"
    refuses: tuple[tuple[str, str], ...] = ()  # kind and code, what it does not receive
    wants: tuple[str, ...] | None = None  # kinds it pulls by itself; None: what its role's row says
    disk_free: int | None = None  # bytes


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """One packed card and what is in it. `read_card` makes them; trust only after `fault_of`."""

    packed: bytes
    name: str
    peer: PeerId
    boot: int
    nonce: bytes
    version: int
    facts: MemberFacts
    key: bytes  # first half of the peer id
    mark: int  # 64 bits of the hash of the packed card, for the digest of a member list

    @property
    def age(self) -> tuple[int, bytes, int]:
        """What orders the cards of one member; the largest is the newest."""
        return (self.boot, self.nonce, self.version)


def make_card(
    notary: Notary, cluster: str, facts: MemberFacts, boot: int, nonce: bytes, version: int
) -> Card:
    """Sign a card of our own. Raises `UsageError` if it would be too long or is not sayable."""
    ours = notary.certificate
    if not 0 <= boot <= MAX_BOOT or not 0 <= version <= MAX_VERSION or len(nonce) != NONCE_BYTES:
        raise UsageError(f"no card can be made for boot {boot}, version {version}")
    addresses = [[address.host, address.port] for address in facts.addresses]
    disk = None if facts.disk_used is None else float(facts.disk_used)
    codes = dict(facts.refuses)
    body = msgpack.packb(
        [_FORMAT, ours.name, ours.peer_id, boot, nonce, version, addresses, facts.role, facts.ephemeral,
         facts.provider, facts.storage_group, disk, facts.training, float(facts.patience), facts.software,
         facts.state, [codes.get(kind, "") for kind in KINDS], facts.wants, facts.disk_free]
    )  # fmt: skip
    packed = notary.sign(_signed(cluster, body)) + body
    if len(packed) > MAX_CARD_BYTES:
        raise UsageError(
            f"what this node says of itself is {len(packed)} bytes, at most {MAX_CARD_BYTES} are "
            "allowed: use fewer or shorter addresses"
        )
    try:
        return read_card(packed)
    except PeerMisbehaved as error:
        raise UsageError(f"other members would refuse what this node says of itself: {error}") from None


@lru_cache(maxsize=4096)
def read_card(packed: bytes) -> Card:
    """Read a card; nothing is trusted yet. Raises `PeerMisbehaved` with the reason."""
    if not SIGNATURE_BYTES < len(packed) <= MAX_CARD_BYTES:
        raise PeerMisbehaved(f"card of {len(packed)} bytes, at most {MAX_CARD_BYTES} are allowed")
    try:
        fields = msgpack.unpackb(
            memoryview(packed)[SIGNATURE_BYTES:],
            use_list=False, raw=False, max_array_len=64, max_map_len=0, max_ext_len=0,
        )  # fmt: skip
    except (ValueError, msgpack.UnpackException) as error:
        raise PeerMisbehaved(f"card is damaged: {error!s:.80}") from None
    if type(fields) is not tuple or len(fields) < _OLD_FIELDS or fields[0] != _FORMAT:
        raise PeerMisbehaved("card has a form that is not known here")
    older = ("ready", (), None, None)[max(0, len(fields) - _OLD_FIELDS) :]
    (name, peer, boot, nonce, version, addresses, role, ephemeral, provider, group, disk, training,
     patience, software, state, refuses, wants, free) = (fields + older)[1:_FIELDS]  # fmt: skip
    if not (
        _is_text(name) and name
        and type(peer) is bytes and len(peer) == PEER_ID_BYTES
        and type(boot) is int and 0 <= boot <= MAX_BOOT
        and type(nonce) is bytes and len(nonce) == NONCE_BYTES
        and type(version) is int and 0 <= version <= MAX_VERSION
        and type(addresses) is tuple and len(addresses) <= _MAX_ADDRESSES
        and _is_text(role) and _is_text(software)
        and type(ephemeral) is bool and type(training) is bool
        and (provider is None or _is_text(provider))
        and (group is None or _is_text(group))
        and (disk is None or (type(disk) is float and 0 <= disk <= 1))
        and type(patience) is float and 0 <= patience < float("inf")
        and _is_text(state) and _are_words(refuses) and (wants is None or _are_words(wants))
        and (free is None or (type(free) is int and 0 <= free < 2**63))
    ):  # fmt: skip
        raise PeerMisbehaved("card says something that no member can say")
    facts = MemberFacts(
        tuple(_read_address(address) for address in addresses), role, ephemeral, provider, group, disk,
        training, min(patience, MAX_PATIENCE), software, state,
        tuple((kind, code) for kind, code in zip(KINDS, refuses, strict=False) if code),
        None if wants is None else tuple(kind for kind in KINDS if kind in wants), free,
    )  # fmt: skip
    mark = int.from_bytes(hash_tagged("ringgossip 1 member list", packed)[:8], "big")
    return Card(packed, name, PeerId(peer), boot, nonce, version, facts, peer[:KEY_BYTES], mark)


def fault_of(card: Card, certificate: NodeCertificate, notary: Notary, cluster: str) -> str | None:
    """Return why `card` is not what the holder of `certificate` says; None: it is. About 100 us."""
    if certificate.peer_id != card.peer or certificate.name != card.name:
        return f"card of {card.name!r} is not its certificate's"
    signature, body = card.packed[:SIGNATURE_BYTES], card.packed[SIGNATURE_BYTES:]
    if not notary.verify(certificate, signature, _signed(cluster, body)):
        return f"card of {card.name!r} is not signed by it"
    return None


def _signed(cluster: str, body: bytes) -> bytes:
    return _DOMAIN + cluster.encode() + b"\0" + body


def _is_text(value: Any) -> bool:
    return type(value) is str and len(value) <= _MAX_TEXT and value.isprintable()


def _are_words(value: Any) -> bool:
    return type(value) is tuple and len(value) <= _MAX_WORDS and all(_is_text(word) for word in value)


def _read_address(value: Any) -> Address:
    if (
        type(value) is tuple and len(value) == 2
        and type(value[0]) is str and 0 < len(value[0]) <= 255 and value[0].isprintable()
        and type(value[1]) is int and 0 <= value[1] <= 65535
    ):  # fmt: skip
        return Address(value[0], value[1])
    raise PeerMisbehaved("card has an address that is none")
