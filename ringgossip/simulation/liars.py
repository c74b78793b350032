"""What may a member do that lies? Wrong chunks, old words, oversized digests, forged records, slander.

A liar has a good certificate and the gossip key, so everybody talks to it. It
cannot sign in another's name. The peer on its machine goes on honestly beside
the lies; all others must agree, hold only what is true, and pay little.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

import msgpack

from ringgossip.content.record import Record
from ringgossip.identity import PeerId
from ringgossip.protocol.evidence import DEAD, SUSPECT
from ringgossip.simulation.faults import End, Fault, lay
from ringgossip.simulation.faults_life import below
from ringgossip.wire.codec import encode
from ringgossip.wire.messages import (
    TAGS,
    CatalogRoot,
    DigestStep,
    Gossip,
    HaveMore,
    Holding,
    Message,
    News,
    Records,
    RecordsWanted,
)

if TYPE_CHECKING:
    from ringgossip.simulation.node import Node
    from ringgossip.simulation.world import World

LIES = ("chunks", "replay", "digests", "records", "slander")


@dataclass(frozen=True, slots=True)
class Liar(Fault):
    """A member lies, in the ways named, about `rate` times a second; empty: in all ways."""

    peer: int
    ways: tuple[str, ...] = ()
    rate: float = 5.0
    seconds: float | None = 30.0

    def begin(self, world: "World") -> End:
        node = world.nodes[self.peer]
        generator = world.kernel.generator("liar", self.peer, self.at)
        ways = self.ways or LIES
        speaking = [SPEAKING[way] for way in ways if way in SPEAKING]
        node.shared.lies = True
        # It may also say that it holds what it does not: its word is no proof for a receipt of others.
        world.checks.liars[node.name] = None
        over = False

        def put(said: list[tuple[str, ...]]) -> None:
            node.catching = any("replay" in each for each in said)
            node.false_chunks = 0.5 if any("chunks" in each for each in said) else 0.0

        def lie() -> None:
            if over:
                return
            if node.running and speaking:
                speaking[below(generator, len(speaking))](world, node, generator)
            world.kernel.after((0.5 + generator.random()) / self.rate, lie)

        def end() -> None:
            nonlocal over
            over = True
            honest()

        honest = lay(world, "lies", self.peer, ways, put)
        lie()
        return end


# --- ways of lying -----------------------------------------------------------------


def _victim(world: "World", node: "Node", generator: Random) -> "Node":
    others = [other for other in world.nodes if other is not node and not other.stranger]
    return others[below(generator, len(others))]


def _on_link(node: "Node", victim: "Node", message: Message | bytes) -> None:
    """Say something on the link to `victim`, if there is one; bytes are said as they are."""
    end = node.link_to(victim.certificate.peer_id)
    if end is not None:
        packed = message if isinstance(message, bytes) else encode(message)
        node.shared.links.send(end, packed, len(packed))


def _by_datagram(
    world: "World", node: "Node", victim: "Node", name: PeerId, message: Message | bytes, tag: int
) -> None:
    """Say something in a datagram, in anybody's name: whoever has the gossip key can."""
    packed = message if isinstance(message, bytes) else encode(message)
    address = world.network.addresses[victim.index]
    world.network.send(node.index, address, node.sealed(packed, tag, name), len(packed) + 100)


def _replay(world: "World", node: "Node", generator: Random) -> None:
    """Say old words of others again."""
    caught = node.caught
    if caught:
        sender, _, carried, tag = caught[below(generator, len(caught))]
        victim = _victim(world, node, generator)
        # Production refuses the packet itself by its number; sealed anew, only its words are old.
        packet = node.sealed(carried, tag, sender)
        world.network.send(node.index, world.network.addresses[victim.index], packet, 400)


def _digests(world: "World", node: "Node", generator: Random) -> None:
    """Walk nonsense: full digests of random hashes, then one that is larger than the wire allows."""
    victim = _victim(world, node, generator)
    noise = generator.getrandbits(8 * 4096).to_bytes(4096, "big")
    step = DigestStep(
        walk=generator.getrandbits(32), set="records", step=below(generator, 8),
        opener=generator.random() < 0.5, more=generator.random() < 0.5, stage=below(generator, 4),
        salt=below(generator, 256), bits=below(generator, 65), width=1 + below(generator, 8),
        nodes=noise * 4, counts=noise, body=noise * 4,
    )  # fmt: skip
    choice = below(generator, 4)
    if choice == 0:
        _on_link(node, victim, replace(step, nodes=noise * 64))
    elif choice == 1:
        _on_link(node, victim, CatalogRoot(noise[:8]))
    elif choice == 2:
        _on_link(node, victim, RecordsWanted("records", noise[: 32 * 100]))
    else:
        _on_link(node, victim, step)


def _records(world: "World", node: "Node", generator: Random) -> None:
    """Forge: another's record with a higher sequence or other content, and holdings nobody has."""
    core = node.core
    assert core is not None
    known = [record for record in core.catalog.records() if record.origin != node.name]
    if not known:
        return
    true = known[below(generator, len(known))]
    victim = _victim(world, node, generator)
    forged = _forged(true, generator)
    if generator.random() < 0.5:
        _on_link(node, victim, Records((forged,)))
    else:
        _by_datagram(world, node, victim, true.signer, News((forged,)), TAGS[News])
    noise = generator.getrandbits(256).to_bytes(32, "big")
    _on_link(node, victim, Holding(noise + (1).to_bytes(8, "big") + noise, b""))
    _on_link(node, victim, HaveMore(true.root, (below(generator, 2**20),)))


def _forged(record: Record, generator: Random) -> bytes:
    fields = list(msgpack.unpackb(record.body, use_list=False))
    fields[3] = record.sequence + 1 + below(generator, 1000)
    packed: bytes = msgpack.packb((msgpack.packb(tuple(fields)), record.signature))
    return packed


def _slander(world: "World", node: "Node", generator: Random) -> None:
    """Say that somebody who lives is suspect or dead."""
    core = node.core
    assert core is not None
    victim, other = _victim(world, node, generator), _victim(world, node, generator)
    member = core.membership.member(victim.certificate.peer_id)
    if member is None:
        return
    state = SUSPECT if generator.random() < 0.5 else DEAD
    update = (
        member.peer[:8] + member.boot.to_bytes(8, "big") + member.incarnation.to_bytes(4, "big")
        + bytes((state,)) + node.certificate.peer_id[:4]
    )  # fmt: skip
    _by_datagram(world, node, other, node.certificate.peer_id, Gossip(update, (), ()), TAGS[Gossip])


Way = Callable[["World", "Node", Random], None]
SPEAKING: dict[str, Way] = {"replay": _replay, "digests": _digests, "records": _records, "slander": _slander}


@dataclass(frozen=True, slots=True)
class Knocking(Fault):
    """Packets from outside: without the gossip key, or cut short and garbled, about `rate` a second."""

    peer: int  # who is knocked at
    rate: float = 20.0
    seconds: float | None = 10.0

    def begin(self, world: "World") -> End:
        generator = world.kernel.generator("knocking", self.peer, self.at)
        target = world.nodes[self.peer]
        over = False

        def knock() -> None:
            if over:
                return
            source = _victim(world, target, generator)
            packet = (source.certificate.peer_id, "another", b"\xc1", 0)
            world.network.send(source.index, world.network.addresses[self.peer], packet, 300)
            world.kernel.after((0.5 + generator.random()) / self.rate, knock)

        def end() -> None:
            nonlocal over
            over = True

        knock()
        return end
