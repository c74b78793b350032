"""Which gossip keys do we know, and which one do we seal with?

A cluster changes its gossip key in three steps, each done everywhere before
the next: `add` the new key, `use` it, `remove` the old one. As a file: one
key a line in hexadecimal, the one in use first.
Source: the keyring of memberlist and Serf.
"""

import hashlib
import secrets
from collections.abc import Iterable

from ringgossip.errors import UsageError

KEY_BYTES = 32
KEY_ID_BYTES = 2
MAX_KEYS = 8


def key_id(key: bytes) -> bytes:
    """Return the 2 bytes by which packets name `key`; they tell nothing of it."""
    return hashlib.sha256(b"ringgossip key id\0" + key).digest()[:KEY_ID_BYTES]


class KeyRing:
    """At most 8 keys of 32 bytes, of which one is in use. Sealers and openers see changes at once."""

    __slots__ = ("_keys", "_used")

    def __init__(self, keys: Iterable[bytes]) -> None:
        """Take one or more keys; the first one is in use. Raises `UsageError`."""
        self._keys: dict[bytes, bytes] = {}
        self._used = b""
        for key in keys:
            self.add(key)
        if not self._keys:
            raise UsageError("a key ring needs at least one gossip key")

    @classmethod
    def generate(cls) -> "KeyRing":
        """Return a ring with one new random key."""
        return cls([secrets.token_bytes(KEY_BYTES)])

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        """Read the form that `text` writes; raises `UsageError` without showing a key."""
        try:
            return cls(bytes.fromhex(line) for line in text.split())
        except ValueError as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError("a line of the gossip keys is not hexadecimal") from None

    def text(self) -> str:
        """Return the ring as lines, the key in use first."""
        ordered = sorted(self._keys, key=lambda name: name != self._used)
        return "".join(self._keys[name].hex() + "\n" for name in ordered)

    @property
    def used(self) -> bytes:
        """The id of the key that new packets are sealed with."""
        return self._used

    def get(self, name: bytes) -> bytes | None:
        """Return the key with this id, or None."""
        return self._keys.get(name)

    def ids(self) -> list[bytes]:
        """Return the ids of all keys that open packets."""
        return list(self._keys)

    def add(self, key: bytes) -> bytes:
        """Open packets sealed with `key` too; returns its id. Adding a key twice changes nothing."""
        if len(key) != KEY_BYTES:
            raise UsageError(f"a gossip key has {KEY_BYTES} bytes, not {len(key)}")
        name = key_id(key)
        if self._keys.get(name, key) != key:
            raise UsageError(f"this gossip key shares its id {name.hex()} with another: make a new one")
        if name not in self._keys and len(self._keys) >= MAX_KEYS:
            raise UsageError(f"a key ring holds at most {MAX_KEYS} gossip keys: remove one first")
        self._keys[name] = key
        self._used = self._used or name
        return name

    def use(self, name: bytes) -> None:
        """Seal with the key of this id from now on."""
        if name not in self._keys:
            raise UsageError(f"no gossip key has the id {name.hex()}: add it first")
        self._used = name

    def remove(self, name: bytes) -> None:
        """Open nothing sealed with this key any more. The key in use cannot be removed."""
        if name == self._used:
            raise UsageError(f"gossip key {name.hex()} is in use: use another one first")
        self._keys.pop(name, None)
