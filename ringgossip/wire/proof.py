"""Do the two ends of a link share a gossip key? Both prove it, before anything else is said.

A certificate says that the authority once let a node in; the gossip key says
that it still belongs here: a cluster changes its key to leave a node outside.

    dialler                                  acceptor
    KeysOffered(nonce, ids)            ──▶
                                       ◀──   KeyProven(nonce, id, proof)  or  KeysUnknown()
    KeyProven(nonce, id, proof)        ──▶

The acceptor takes the key it seals with if the dialler has that too, else the
first they share, so that every step of a change of keys leaves links alone. A
proof is an HMAC under a subkey, over who proves it to whom (the certificates
that TLS has verified), in which role, and both nonces: it cannot be used on
another link, by another member, or turned round.
Source: ISO/IEC 9798-4, mutual authentication in three passes; RFC 5869 (HKDF).
"""

import hashlib
import hmac
from typing import Annotated

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ringgossip.errors import PeerMisbehaved
from ringgossip.frozen import frozen
from ringgossip.identity.keyring import KEY_ID_BYTES, MAX_KEYS, KeyRing
from ringgossip.wire.fields import Bytes, Message

NONCE_BYTES = 32
PROOF_BYTES = 32

_DOMAIN = b"ringgossip link key 1\0"

Nonce = Annotated[bytes, Bytes(NONCE_BYTES, NONCE_BYTES)]


@frozen
class KeysOffered(Message):
    """The dialler's first words: a fresh nonce, and the ids of all its gossip keys, joined."""

    nonce: Nonce
    keys: Annotated[bytes, Bytes(KEY_ID_BYTES * MAX_KEYS, KEY_ID_BYTES, KEY_ID_BYTES)]


@frozen
class KeyProven(Message):
    """The sender has the key of this id; first from the acceptor, then from the dialler."""

    nonce: Nonce
    key: Annotated[bytes, Bytes(KEY_ID_BYTES, KEY_ID_BYTES)]
    proof: Annotated[bytes, Bytes(PROOF_BYTES, PROOF_BYTES)]


@frozen
class KeysUnknown(Message):
    """We share no gossip key, or what you proved was another: this link ends."""


class NoSharedKey(Exception):
    """The other side is a member by its certificate, but not by its gossip key."""


class KeyTalk:
    """One end's part of the talk. `ours` and `theirs` are the certificates in DER, `nonce` is fresh."""

    def __init__(self, cluster: str, keys: KeyRing, ours: bytes, theirs: bytes, nonce: bytes) -> None:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
        self._cluster = cluster
        self._keys = keys
        self._ours = hashlib.sha256(ours).digest()
        self._theirs = hashlib.sha256(theirs).digest()
        self._nonce = nonce
        self._expected = b""  # the acceptor: what must come

    # --- the side that dialled ------------------------------------------------------------

    def offer(self) -> KeysOffered:
        """Return the first words."""
        return KeysOffered(self._nonce, b"".join(self._keys.ids()))

    def answer(self, message: Message) -> KeyProven:
        """Check the acceptor's proof and return ours; raises `NoSharedKey` or `PeerMisbehaved`."""
        if isinstance(message, KeysUnknown):
            raise NoSharedKey
        if not isinstance(message, KeyProven):
            raise PeerMisbehaved(f"began with {type(message).__name__} instead of a proof of its gossip key")
        key = self._keys.get(message.key)
        nonces = self._nonce + message.nonce
        if key is None or not hmac.compare_digest(
            message.proof, self._proof(key, b"acceptor", self._theirs + self._ours, nonces)
        ):
            raise NoSharedKey
        proof = self._proof(key, b"dialler", self._ours + self._theirs, nonces)
        return KeyProven(self._nonce, message.key, proof)

    # --- the side that was dialled ---------------------------------------------------------

    def prove(self, message: Message) -> KeyProven:
        """Answer an offer; raises `NoSharedKey` (say `KeysUnknown` then) or `PeerMisbehaved`."""
        if not isinstance(message, KeysOffered):
            raise PeerMisbehaved(f"began with {type(message).__name__} instead of its gossip keys")
        offered = [message.keys[at : at + KEY_ID_BYTES] for at in range(0, len(message.keys), KEY_ID_BYTES)]
        name = self._keys.used if self._keys.used in offered else next(iter(self._shared(offered)), None)
        key = None if name is None else self._keys.get(name)
        if name is None or key is None:
            raise NoSharedKey
        nonces = message.nonce + self._nonce
        self._expected = self._proof(key, b"dialler", self._theirs + self._ours, nonces)
        return KeyProven(self._nonce, name, self._proof(key, b"acceptor", self._ours + self._theirs, nonces))

    def _shared(self, offered: list[bytes]) -> list[bytes]:
        return [name for name in self._keys.ids() if name in offered]

    def check(self, message: Message) -> None:
        """Check the dialler's proof; raises `NoSharedKey` or `PeerMisbehaved`."""
        if isinstance(message, KeysUnknown):
            raise NoSharedKey
        if not isinstance(message, KeyProven):
            raise PeerMisbehaved(f"said {type(message).__name__} instead of proving its gossip key")
        if not self._expected or not hmac.compare_digest(message.proof, self._expected):
            raise NoSharedKey

    def _proof(self, key: bytes, role: bytes, who: bytes, nonces: bytes) -> bytes:
        info = _DOMAIN + self._cluster.encode() + b"\0"
        subkey = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)
        return hmac.digest(subkey, role + b"\0" + who + nonces, "sha256")
