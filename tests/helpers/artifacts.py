"""Records with manifests, signed at no cost, for the tests of machines that move them."""

from dataclasses import dataclass, field
from typing import Any

from ringgossip.content.hashing import hash_bytes
from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record, make_record
from ringgossip.identity import PeerId
from ringgossip.simulation.notary import Authority, FakeNotary

CLUSTER = "ringrift"
CHUNK = 65536


def manifest_of(count: int, seed: str = "content", size: int | None = None, chunk: int = CHUNK) -> Manifest:
    """A manifest of `count` chunks, which differ from those of any other seed."""
    hashes = b"".join(hash_bytes(f"{seed} {index}".encode()) for index in range(count))
    return Manifest(count * chunk if size is None else size, chunk, hashes)


def peer(number: int) -> PeerId:
    """Some peer that needs no certificate."""
    return PeerId(bytes([number]) * 16)


@dataclass
class Origin:
    """A node that publishes."""

    name: str = "alice"
    authority: Authority = field(default_factory=lambda: Authority(CLUSTER))
    store: bytes = b"store--1"

    def __post_init__(self) -> None:
        self.notary: FakeNotary = self.authority.enroll(self.name)

    @property
    def peer_id(self) -> PeerId:
        return self.notary.certificate.peer_id

    def record(
        self, manifest: Manifest, name: str = "games.db", kind: str = "games", **changes: Any
    ) -> Record:
        """Sign a record of this content, `changes` aside."""
        fields: dict[str, Any] = {
            "kind": kind,
            "origin": self.name,
            "name": name,
            "sequence": 1,
            "stamp": 1,
            "store": self.store,
            "size": manifest.size,
            "chunk_size": manifest.chunk_size,
            "root": manifest.root,
            "metadata": {},
            "signer": self.peer_id,
            "cluster": CLUSTER,
            "sign": self.notary.sign,
        }
        return make_record(**{**fields, **changes})
