"""Is this datagram whole, from a member, and not one we have already heard?

A packet, at most 1400 bytes:

    version 1 | key id 2 | sender 16 | boot nonce 8 | counter 6 | sealed text | tag 16

AES-256-GCM under a subkey of the gossip key for this sender and boot (HKDF), so
a counter is a nonce that never repeats, also when a machine forgets how far it
had counted: its next boot draws a new boot nonce. The cluster's name and the
whole header are authenticated.

Replays: one window of 1024 counters for each sender and boot. Only a packet
whose tag is right makes or moves one, so strangers, who can but repeat what they
recorded, get as many windows as members ever booted. 16,384 are kept, and the
one that heard nothing new for longest goes first; a member that talks keeps its
own. What a recording can still do, is to be heard once more by a peer that was
restarted; therefore every message that travels in datagrams must be harmless
when it comes late.
Source: RFC 5869 (HKDF), RFC 4303 section 3.4.3 (window), RFC 9001 section 9.
"""

from collections import OrderedDict
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ringgossip.errors import PeerMisbehaved
from ringgossip.identity.keyring import KEY_ID_BYTES, KeyRing
from ringgossip.identity.names import PEER_ID_BYTES, PeerId

MAX_PACKET_BYTES = 1400
BOOT_NONCE_BYTES = 8
COUNTER_BYTES = 6
TAG_BYTES = 16

_VERSION = b"\x01"
_SENDER = 1 + KEY_ID_BYTES
_BOOT = _SENDER + PEER_ID_BYTES
_COUNTER = _BOOT + BOOT_NONCE_BYTES
_TEXT = _COUNTER + COUNTER_BYTES
OVERHEAD_BYTES = _TEXT + TAG_BYTES
MAX_PLAINTEXT_BYTES = MAX_PACKET_BYTES - OVERHEAD_BYTES

_NONCE_PAD = bytes(12 - COUNTER_BYTES)
_DOMAIN = b"ringgossip datagram 1\0"

WINDOW = 1024
MAX_WINDOWS = 16_384
# A subkey costs 7 us to derive and 2.4 KB to keep; with more peers than this some are derived again.
MAX_SUBKEYS = 2048

_WINDOW_MASK = (1 << WINDOW) - 1


@dataclass(frozen=True, slots=True)
class Opened:
    """A packet that a member sealed. `boot` is the nonce that the sender drew when it started."""

    sender: PeerId
    boot: bytes
    plaintext: bytes


class Sealer:
    """Seals what one peer says during one boot."""

    def __init__(self, cluster: str, keys: KeyRing, peer_id: PeerId, boot_nonce: bytes) -> None:
        """Take 8 bytes drawn anew at every start: with an old nonce, counters would repeat."""
        if len(peer_id) != PEER_ID_BYTES or len(boot_nonce) != BOOT_NONCE_BYTES:
            raise ValueError("a sealer needs a peer id of 16 bytes and a boot nonce of 8")
        self._keys = keys
        self._who = peer_id + boot_nonce
        self._bound = _bound(cluster)
        self._counter = 0
        self._used = b""
        self._head = b""
        self._subkey: AESGCM | None = None

    def seal(self, plaintext: bytes) -> bytes:
        """Return the packet for at most 1351 bytes of plaintext; raises `ValueError` for more."""
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise ValueError(f"a datagram carries {MAX_PLAINTEXT_BYTES} bytes, not {len(plaintext)}")
        used = self._keys.used
        subkey = self._subkey
        if subkey is None or used != self._used:
            key = self._keys.get(used)
            assert key is not None  # a ring always holds the key in use
            subkey = self._subkey = _subkey(key, self._who)
            self._used = used
            self._head = _VERSION + used + self._who
        self._counter += 1
        counter = self._counter.to_bytes(COUNTER_BYTES, "big")  # OverflowError after 2^48 packets
        header = self._head + counter
        return header + subkey.encrypt(_NONCE_PAD + counter, plaintext, self._bound + header)


class Opener:
    """Opens what members sealed, each packet once."""

    def __init__(self, cluster: str, keys: KeyRing, max_windows: int = MAX_WINDOWS) -> None:
        self._keys = keys
        self._bound = _bound(cluster)
        self._max_windows = max_windows
        self._windows: OrderedDict[bytes, _Window] = OrderedDict()
        self._subkeys: OrderedDict[bytes, tuple[bytes, AESGCM]] = OrderedDict()

    def open(self, packet: bytes) -> Opened:
        """Return who said what, or raise `PeerMisbehaved` with the reason.

        The sender is only as certain as the gossip key is secret: every member
        could seal in another's name. What must be certain is signed.
        """
        if len(packet) > MAX_PACKET_BYTES:
            raise PeerMisbehaved(f"datagram of {len(packet)} bytes, at most {MAX_PACKET_BYTES} are allowed")
        if len(packet) < OVERHEAD_BYTES or packet[:1] != _VERSION:
            raise PeerMisbehaved("datagram is not ringgossip's")
        key = self._keys.get(packet[1:_SENDER])
        if key is None:
            raise PeerMisbehaved("datagram is sealed with an unknown gossip key")
        who = packet[_SENDER:_COUNTER]
        counter = int.from_bytes(packet[_COUNTER:_TEXT], "big")
        window = self._windows.get(who)
        if window is not None and window.heard(counter):
            raise PeerMisbehaved("datagram was heard before, or is far too late")
        head = packet[:_COUNTER]
        cached = self._subkeys.get(head)
        # The same key, not only the same id: a key may be replaced by another of its id.
        subkey = cached[1] if cached is not None and cached[0] is key else _subkey(key, who)
        try:
            nonce = _NONCE_PAD + packet[_COUNTER:_TEXT]
            plaintext = subkey.decrypt(nonce, packet[_TEXT:], self._bound + packet[:_TEXT])
        except InvalidTag:
            raise PeerMisbehaved("datagram is damaged, or sealed for another cluster") from None
        # Nothing is remembered of a packet before this line: strangers must not fill our tables.
        if cached is None or cached[0] is not key:
            self._subkeys[head] = (key, subkey)
            if len(self._subkeys) > MAX_SUBKEYS:
                self._subkeys.popitem(last=False)
        if window is None:
            window = self._windows[who] = _Window()
            if len(self._windows) > self._max_windows:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(who)
        window.note(counter)
        return Opened(PeerId(who[:PEER_ID_BYTES]), who[PEER_ID_BYTES:], plaintext)


class _Window:
    """Which of the last 1024 counters of one sender and boot were heard: bit i is `highest - i`."""

    __slots__ = ("bits", "highest")

    def __init__(self) -> None:
        self.highest = -1
        self.bits = 0

    def heard(self, counter: int) -> bool:
        age = self.highest - counter
        return age >= 0 and (age >= WINDOW or bool(self.bits >> age & 1))

    def note(self, counter: int) -> None:
        age = self.highest - counter
        if age >= 0:
            self.bits |= 1 << age
            return
        # A leap of 2^47 would be a shift of 2^47 bits.
        self.bits = (self.bits << -age | 1) & _WINDOW_MASK if -age < WINDOW else 1
        self.highest = counter


def _bound(cluster: str) -> bytes:
    """Return what is authenticated with every packet although it does not travel."""
    return _DOMAIN + cluster.encode() + b"\0"


def _subkey(key: bytes, who: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=_DOMAIN + who).derive(key))
