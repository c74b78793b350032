"""A tiny world for Membership machines: one heap, virtual time, nothing else.

Datagrams are encoded and decoded by the real codec, lost, doubled and delayed by
one seeded generator. Links are whole and in order; a partition breaks them.
"""

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from ringgossip.errors import PeerMisbehaved
from ringgossip.events import Event
from ringgossip.identity import Address, PeerId
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.protocol.cards import Card, MemberFacts, make_card, read_card
from ringgossip.protocol.core import (
    DATAGRAM,
    CardChanged,
    CertificateHeard,
    Dial,
    LinkId,
    MemberDown,
    MemberReached,
    MemberUp,
    NeedCertificate,
    NeedLink,
    PulseHeard,
    Send,
    Stop,
    Tell,
)
from ringgossip.protocol.evidence import Standing
from ringgossip.protocol.membership import Membership, MembershipSettings
from ringgossip.protocol.voice import PULSE
from ringgossip.wire.codec import decode, encode
from ringgossip.wire.messages import Gossip, Hello, Message

CLUSTER = "ringrift"


def certificate(name: str, generation: int = 1, key: str = "") -> NodeCertificate:
    der = f"certificate {name} {generation} {key}".encode()
    digest = hashlib.sha256(der).digest()
    return NodeCertificate(der, PeerId(digest[:16]), name, CLUSTER, generation, digest, 0, 2**40)


@dataclass(frozen=True)
class FreeNotary:
    """Signatures that cost nothing but are checked."""

    certificate: NodeCertificate

    def sign(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, key=self.certificate.public_key_bytes).digest()

    def verify(self, certificate: NodeCertificate, signature: bytes, data: bytes) -> bool:
        return hashlib.blake2b(data, key=certificate.public_key_bytes).digest() == signature

    def read_certificate(self, der: bytes) -> NodeCertificate:
        word, name, generation, *key = der.decode().split(" ")
        if word != "certificate":
            raise PeerMisbehaved("certificate is not signed by this cluster's authority")
        return certificate(name, int(generation), " ".join(key))


def card_of(
    name: str,
    boot: int = 1000,
    version: int = 1,
    nonce: bytes | None = None,
    generation: int = 1,
    **facts: Any,
) -> Card:
    """A card as the peer of that name would sign it."""
    notary = FreeNotary(certificate(name, generation))
    said = MemberFacts(**{"addresses": (Address(f"{name}.example", 7946),), **facts})
    return make_card(notary, CLUSTER, said, boot, nonce or name.encode().ljust(8, b"."), version)


def pulse_of(card: Card, incarnation: int = 0, digest: int = 0, root: bytes = bytes(8)) -> bytes:
    return PULSE.pack(card.boot, incarnation, card.version, digest, root)


def update_of(
    card: Card, incarnation: int, state: int, accuser: bytes = b"mia.", boot: int | None = None
) -> bytes:
    standing = Standing(card, incarnation, state).pack(accuser)
    return standing if boot is None else standing[:8] + boot.to_bytes(8, "big") + standing[16:]


class Lab:
    """One machine, alone in a room, and members that it knows from their cards."""

    def __init__(
        self, *names: str, settings: MembershipSettings | None = None, boot: int = 1000, **facts: Any
    ) -> None:
        self.address = Address("alice.example", 7946)
        said = MemberFacts(**{"addresses": (self.address,), **facts})
        self.certificates: dict[PeerId, NodeCertificate] = {}
        self.machine = Membership(
            CLUSTER, FreeNotary(certificate("alice")), said, (), boot, b"alice...",
            settings or MembershipSettings(), Random(7), self.certificates.get,
        )  # fmt: skip
        self.cards: dict[str, Card] = {}
        self.machine.start(0.0)
        for name in names:
            self.meet(card_of(name), 0.0)

    @property
    def card(self) -> Card:
        return read_card(self.machine.own_card)

    def meet(self, card: Card, now: float, generation: int = 1) -> list[Any]:
        found = certificate(card.name, generation)
        self.certificates[found.peer_id] = found
        self.cards[card.name] = card
        return self.machine.card_heard(card.packed, card.peer, now)

    def hear(
        self, message: Message, sender: Card, now: float, source: Address | int | None = None
    ) -> list[Any]:
        where: Any = source if source is not None else sender.facts.addresses[0]
        return self.machine.receive(message, sender.peer, where, now)

    def gossip(self, *updates: bytes, now: float, sender: str = "bob") -> list[Any]:
        return self.hear(Gossip(b"".join(updates), (), ()), self.cards[sender], now)

    def state(self, name: str) -> str:
        member = self.machine.member(self.cards[name].peer)
        return member.state if member else "unknown"

    def run(self, until: float) -> list[tuple[float, Any]]:
        """Wake the machine whenever it asks for it; nobody answers."""
        out: list[tuple[float, Any]] = []
        while (due := self.machine.next_wakeup()) <= until:
            out += [(due, effect) for effect in self.machine.wake(due)]
        return out


def address_of(number: int) -> Address:
    return Address(f"10.0.{number // 250}.{number % 250 + 1}", 7946)


@dataclass
class Node:
    number: int
    machine: Membership
    certificate: NodeCertificate
    boot: int
    nonce: bytes
    address: Address
    up: bool = True
    links: dict[int, bool] = field(default_factory=dict)
    certificates: dict[PeerId, NodeCertificate] = field(default_factory=dict)
    events: list[tuple[float, Event]] = field(default_factory=list)
    ups: list[tuple[float, PeerId]] = field(default_factory=list)
    downs: list[tuple[float, PeerId, bool]] = field(default_factory=list)
    pulses: list[tuple[PeerId, bytes]] = field(default_factory=list)
    stopped: str | None = None
    life: int = 0
    datagrams: int = 0
    bytes: int = 0
    alarm: float = float("inf")

    @property
    def peer(self) -> PeerId:
        return self.certificate.peer_id

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for _, event in self.events if isinstance(event, kind)]


class MemberNetwork:
    """Run it with `run(until)`; look at `nodes`; break things with its fields and verbs."""

    def __init__(self, seed: int = 1, settings: MembershipSettings | None = None) -> None:
        self.now = 0.0
        self.rng = Random(seed)
        self.settings = settings or MembershipSettings()
        self.nodes: list[Node] = []
        self.loss = 0.0
        self.duplication = 0.0
        self.delay = (0.0005, 0.002)
        self.walls: Callable[[int, int], bool] = lambda source, target: False
        self.udp_blocked: set[int] = set()
        self.handshakes_end = True
        self.unreachable: set[int] = set()  # cannot be dialled, or sent to unless it sent shortly before
        self.mapping_seconds = 30.0
        self._mapped: dict[tuple[int, int], float] = {}
        self.check: Callable[[Node], None] = lambda node: None
        self.packets: list[tuple[float, int, int, Message]] | None = None
        self.events = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0

    # --- nodes ------------------------------------------------------------------------------

    def add(
        self,
        name: str | None = None,
        seeds: tuple[int, ...] = (0,),
        *,
        generation: int = 1,
        facts: MemberFacts | None = None,
        boot: int = 1000,
        nonce: bytes | None = None,
        clone_of: Node | None = None,
    ) -> Node:
        number = len(self.nodes)
        own = clone_of.certificate if clone_of else certificate(name or f"node-{number}", generation)
        address = address_of(number)
        facts = replace(facts or MemberFacts((), "selfplay"), addresses=(address,))
        nonce = nonce or number.to_bytes(4, "big") + self.rng.getrandbits(32).to_bytes(4, "big")
        seed_addresses = tuple(address_of(seed) for seed in seeds if seed != number)
        node = Node(number, None, own, boot, nonce, address)  # type: ignore[arg-type]
        node.certificates[own.peer_id] = own
        node.machine = self._machine(node, facts, seed_addresses)
        self.nodes.append(node)
        return node

    def _machine(self, node: Node, facts: MemberFacts, seeds: tuple[Address, ...]) -> Membership:
        self._facts, self._seeds = facts, seeds
        node.__dict__["facts"], node.__dict__["seeds"] = facts, seeds
        rng = Random(f"{node.number} {node.boot} {self.rng.getrandbits(32)}")
        return Membership(
            CLUSTER, FreeNotary(node.certificate), facts, seeds, node.boot, node.nonce, self.settings, rng,
            node.certificates.get,
        )  # fmt: skip

    def start(self, node: Node) -> None:
        self._perform(node, node.machine.start(self.now))

    def start_all(self) -> None:
        for node in self.nodes:
            self.start(node)

    def crash(self, node: Node) -> None:
        node.up = False
        node.life += 1
        for other in list(node.links):
            self._break(node.number, other)

    def restart(self, node: Node, *, boot: int | None = None, address: int | None = None) -> None:
        if node.up:
            self.crash(node)
        node.life += 1
        node.boot = node.boot + 1 if boot is None else boot
        node.nonce = self.rng.getrandbits(64).to_bytes(8, "big")
        node.up, node.stopped, node.alarm = True, None, float("inf")
        node.machine = self._machine(node, node.__dict__["facts"], node.__dict__["seeds"])
        self.start(node)

    def leave(self, node: Node) -> None:
        self._perform(node, node.machine.leave(self.now))
        self.at(self.now + 0.05, self._off, node)

    def _off(self, node: Node) -> None:
        node.up = False
        node.life += 1
        for other in list(node.links):
            self._break(node.number, other)

    def link(self, node: Node, other: Node) -> None:
        """Let one dial another."""
        self._dialled(node, node.life, other.address)

    def wall_between(self, *sides: set[int]) -> None:
        """Cut the nodes into sides; links across break."""
        side = {number: at for at, numbers in enumerate(sides) for number in numbers}
        self.walls = lambda source, target: side.get(source) != side.get(target)
        for node in self.nodes:
            for other in list(node.links):
                if self.walls(node.number, other):
                    self._break(node.number, other)

    def heal(self) -> None:
        self.walls = lambda source, target: False

    # --- the loop -----------------------------------------------------------------------------

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, action, arguments))

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(self._heap)
            self.events += 1
            action(*arguments)
        self.now = until

    def run_until(self, condition: Callable[[], bool], limit: float, step: float = 0.02) -> float:
        """Return when the condition came true; fails after `limit` seconds."""
        start = self.now
        while not condition():
            assert self.now - start < limit, f"not true within {limit} s"
            self.run(self.now + step)
        return self.now - start

    def _perform(self, node: Node, effects: list[Any]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message, lane) if lane is DATAGRAM:
                    self._datagram(node, to, encode(message))
                case Send(to, message, _):
                    self._say(node, to, message)
                case Dial(address, _):
                    self.at(self.now + 0.003, self._dialled, node, node.life, address)
                case NeedLink(peer):
                    for address in node.machine.addresses(peer)[:1]:
                        self.at(self.now + 0.003, self._dialled, node, node.life, address)
                case Tell(event):
                    node.events.append((self.now, event))
                case Stop(reason):
                    node.stopped = reason
                    self.at(self.now, self._off, node)
                case MemberUp(peer, _):
                    node.ups.append((self.now, peer))
                case MemberDown(peer, left):
                    node.downs.append((self.now, peer, left))
                case PulseHeard(peer, root):
                    node.pulses.append((peer, root))
                case NeedCertificate(signer, from_peer):
                    self._fetch_certificate(node, signer, from_peer)
                case CardChanged() | MemberReached():
                    pass
                case CertificateHeard(found):
                    node.certificates[found.peer_id] = found
                case _:
                    raise AssertionError(f"unexpected {effect}")
        self.check(node)
        due = node.machine.next_wakeup()
        if due < node.alarm:
            node.alarm = due
            self.at(max(due, self.now), self._wake, node, node.life, due)

    def _wake(self, node: Node, life: int, when: float) -> None:
        if node.life == life and node.alarm == when:
            node.alarm = float("inf")
            self._perform(node, node.machine.wake(self.now))

    def _datagram(self, node: Node, to: Address, packed: bytes) -> None:
        assert len(packed) <= 1300
        node.datagrams += 1
        node.bytes += len(packed) + 49
        for _ in range(1 + (self.rng.random() < self.duplication)):
            if self.rng.random() >= self.loss:
                low, high = self.delay
                delay = low + (high - low) * self.rng.random()
                self.at(self.now + delay, self._arrive, node.number, node.peer, node.address, to, packed)

    def _arrive(self, source: int, sender: PeerId, address: Address, to: Address, packed: bytes) -> None:
        for target in self.nodes:
            if target.address == to and target.up:
                self._mapped[source, target.number] = self.now
                opened = self._mapped.get((target.number, source), -self.mapping_seconds)
                if target.number in self.unreachable and self.now - opened >= self.mapping_seconds:
                    return
                blocked = source in self.udp_blocked or target.number in self.udp_blocked
                if self.walls(source, target.number) or blocked:
                    return
                message = decode(packed)
                assert isinstance(message, Message)
                if self.packets is not None:
                    self.packets.append((self.now, source, target.number, message))
                self._perform(target, target.machine.receive(message, sender, address, self.now))
                return

    # --- links ----------------------------------------------------------------------------------

    def _dialled(self, node: Node, life: int, address: Address) -> None:
        if not node.up or node.life != life:
            return
        for target in self.nodes if self.handshakes_end else []:
            open_ = target.up and not self.walls(node.number, target.number)
            if target.address == address and open_ and target.number not in self.unreachable:
                if target.peer != node.peer and target.number not in node.links:
                    node.links[target.number] = target.links[node.number] = True
                    self._opened(node, target, address)
                    self._opened(target, node, node.address)
                return
        self._perform(node, node.machine.dial_failed(address, None, self.now))

    def _opened(self, node: Node, other: Node, address: Address) -> None:
        node.certificates.setdefault(other.peer, other.certificate)
        self._say(node, other.peer, Hello(1, node.boot, node.nonce, node.machine.own_card))
        self._perform(node, node.machine.certificate_arrived(other.certificate, self.now))
        self._perform(node, node.machine.link_opened(other.peer, address, self.now))

    def _break(self, a: int, b: int) -> None:
        for one, other in ((self.nodes[a], self.nodes[b]), (self.nodes[b], self.nodes[a])):
            if one.links.pop(other.number, None) and one.up:
                self.at(self.now, self._broken, one, one.life, other.peer)

    def _broken(self, node: Node, life: int, peer: PeerId) -> None:
        if node.up and node.life == life:
            self._perform(node, node.machine.link_broken(peer, self.now))

    def _say(self, node: Node, peer: PeerId, message: Message) -> None:
        for other in node.links:
            target = self.nodes[other]
            if target.peer == peer:
                self.at(self.now + 0.001, self._said, node, target, target.life, encode(message))

    def _said(self, node: Node, target: Node, life: int, packed: bytes) -> None:
        if target.up and target.life == life and node.number in target.links:
            message = decode(packed)
            if isinstance(message, Hello):
                effects = target.machine.card_heard(message.card, node.peer, self.now)
            else:
                assert isinstance(message, Message)
                effects = target.machine.receive(message, node.peer, LinkId(node.number), self.now)
            self._perform(target, effects)

    def _fetch_certificate(self, node: Node, signer: PeerId, from_peer: PeerId) -> None:
        for other in self.nodes:
            if other.peer == from_peer and other.up and signer in other.certificates:
                self.at(self.now + 0.01, self._fetched, node, node.life, other.certificates[signer])

    def _fetched(self, node: Node, life: int, found: NodeCertificate) -> None:
        if node.up and node.life == life:
            node.certificates[found.peer_id] = found
            self._perform(node, node.machine.certificate_arrived(found, self.now))

    # --- what holds ---------------------------------------------------------------------------------

    def running(self) -> list[Node]:
        return [node for node in self.nodes if node.up and node.stopped is None]

    def agreed(self) -> bool:
        """All see exactly those who run as alive."""
        running = self.running()
        expected = sorted(node.peer for node in running)
        return all(
            sorted(m.peer for m in node.machine.members() if m.state == "alive") == expected
            for node in running
        )
