"""Records and certificates for the tests of this room, signed with real keys."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ringgossip.content.chunking import chunk_count
from ringgossip.content.hashing import hash_bytes
from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record, make_record
from ringgossip.identity import PeerId

CLUSTER = "ringrift"


@dataclass(frozen=True)
class Author:
    """A node with a key; it looks to the content room like a `NodeCertificate`."""

    name: str
    generation: int = 1
    cluster: str = CLUSTER
    retires: bool = False  # no node at all: an order of the authority

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hash_bytes(self.der))

    @property
    def der(self) -> bytes:
        return f"{self.cluster} {self.name} {self.generation}{' retired' * self.retires}".encode()

    @property
    def peer_id(self) -> PeerId:
        return PeerId(hash_bytes(self.der)[:16])

    @property
    def public_key_bytes(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def verify_signature(self, signature: bytes, data: bytes) -> bool:
        try:
            self._key.public_key().verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def record(self, name: str = "canonical_hex8_2p.pth", **changes: Any) -> Record:
        """A valid record of this author, `changes` aside."""
        size, chunk_size = changes.get("size", 100_000), changes.get("chunk_size", 65536)
        content = changes.pop("content", b"")
        hashes = hash_bytes(content) * chunk_count(size, chunk_size)
        fields: dict[str, Any] = {
            "kind": "models",
            "origin": self.name,
            "name": name,
            "sequence": 1,
            "stamp": 1,
            "store": bytes(8),
            "size": size,
            "chunk_size": chunk_size,
            "root": Manifest(size, chunk_size, hashes).root,
            "metadata": {"board_type": "hex8", "num_players": 2},
            "signer": self.peer_id,
            "cluster": CLUSTER,
            "sign": self.sign,
        }
        return make_record(**{**fields, **changes})


@pytest.fixture(scope="session")
def author() -> Callable[..., Author]:
    """Make an author: `author("node-1")`; a higher `generation` has another key under the same name."""
    return Author


@pytest.fixture
def alice() -> Author:
    return Author("alice")
