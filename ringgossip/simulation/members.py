"""What if peers knew only each other? Peers of the membership machine alone, for large made worlds.

    world = MembersWorld(1000, seed=7)
    world.start()
    world.run(60)

A `MembersCore` takes what a node gives a `PeerCore`, and has of the machines of
production those two that membership cannot do without: itself and dialing. There
is no catalog, so pulses carry no root, and certificates are read from the authority
that enrolled everybody, where a whole peer keeps those it was sent.
"""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from ringgossip.events import PeerProtocolError
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.cards import MemberFacts
from ringgossip.protocol.core import (
    LINK,
    Draw,
    Effect,
    LinkId,
    MemberDown,
    MemberUp,
    NeedLink,
    Notary,
    Notice,
    Send,
    Tell,
)
from ringgossip.protocol.dialing import Dialing
from ringgossip.protocol.membership import Member, Membership
from ringgossip.protocol.notices import NOTICES
from ringgossip.protocol.peer_core import CoreSettings
from ringgossip.simulation.acquaint import acquaint
from ringgossip.simulation.node import Node
from ringgossip.simulation.world import PeerSpec, World
from ringgossip.wire.messages import PROTOCOL_VERSION, Ack, DialMe, Hello, Message, Ping

if TYPE_CHECKING:
    from ringgossip.identity.certificate import NodeCertificate

Out = list[Effect | Notice]


class MembersCore:
    """One peer that only knows who is there."""

    __slots__ = (
        "_hello", "counters", "dialing", "membership",
    )  # fmt: skip

    def __init__(
        self,
        *,
        cluster: str,
        notary: Notary,
        facts: MemberFacts,
        seeds: tuple[Address, ...],
        settings: CoreSettings,
        boot: int,
        nonce: bytes,
        rng: Draw,
        certificates: "Callable[[PeerId], NodeCertificate | None]",
    ) -> None:
        self.counters: dict[str, int] = {}
        self._hello = (boot, nonce)
        self.membership = Membership(
            cluster, notary, facts, seeds, boot, nonce, settings.membership, rng, certificates
        )
        self.dialing = Dialing(settings.dialing, self.membership.me, rng, self.membership.addresses)

    # --- the inputs of a world: see `protocol.peer_core` --------------------------------------

    def start(self, now: float) -> Out:
        return self._settle(self.membership.start(now), now)

    def leave(self, now: float) -> Out:
        return self._settle(self.membership.leave(now), now)

    def wake(self, now: float) -> Out:
        out = self.membership.wake(now)
        if self.dialing.next_wakeup() <= now:
            out = out + self.dialing.wake(now)
        return self._settle(out, now)

    def next_wakeup(self) -> float:
        due, dialing = self.membership.next_wakeup(), self.dialing.next_wakeup()
        return dialing if dialing < due else due

    def change_facts(self, facts: MemberFacts, now: float) -> Out:
        return self._settle(self.membership.change_facts(facts, now), now)

    def link_opened(
        self,
        link: LinkId,
        peer: PeerId,
        certificate: "NodeCertificate",
        address: Address,
        dialled: bool,
        now: float,
    ) -> Out:
        replaced = self.dialing.linked(peer)
        out, in_use = self.dialing.link_opened(link, peer, dialled, now)
        if not in_use:
            self.membership.seed_answered(address, peer)
            return self._settle(out, now)
        if replaced:
            out += self.membership.link_broken(peer, now)
        out.append(Send(peer, Hello(PROTOCOL_VERSION, *self._hello, self.membership.own_card), LINK))
        return self._settle(out + self.membership.link_opened(peer, address, now), now)

    def link_broken(self, link: LinkId, reason: str, now: float) -> Out:
        peer = self.dialing.link_broken(link, now)
        return [] if peer is None else self._settle(self.membership.link_broken(peer, now), now)

    def dial_failed(self, address: Address, peer: PeerId | None, reason: str, now: float) -> Out:
        out = self.dialing.dial_failed(address, peer, reason, now)
        return self._settle(out + self.membership.dial_failed(address, peer, now), now)

    def packet_refused(self, address: str, reason: str, now: float) -> Out:
        self.counters["strangers_refused"] = self.counters.get("strangers_refused", 0) + 1
        return []

    def misbehaved(self, sender: PeerId, reason: str, now: float) -> Out:
        return [Tell(PeerProtocolError(sender.hex()[:12], reason))]

    def receive(self, message: Message, sender: PeerId, source: Address | LinkId, now: float) -> Out:
        kind = type(message)
        if kind is Ping or kind is Ack:
            out = self.membership.receive(message, sender, source, now)
        elif kind is Hello:
            self.dialing.greeted(sender)
            out = self.membership.card_heard(message.card, sender, now)  # type: ignore[attr-defined]
        elif kind is DialMe:
            out = self.dialing.need(sender, now)
        else:
            out = self.membership.receive(message, sender, source, now)
        return self._settle(out, now)

    def _settle(self, out: Out, now: float) -> Out:
        for item in out:
            if type(item) in NOTICES:
                break
        else:
            return out
        effects: Out = []
        queue = deque(out)
        while queue:
            item = queue.popleft()
            match item:
                case NeedLink():
                    queue.extend(self.dialing.need(item.peer, now))
                case MemberUp():
                    self.dialing.member_up(item.peer, now)
                case MemberDown():
                    self.dialing.forget(item.peer)
                case _ if type(item) not in NOTICES:
                    effects.append(item)
        return effects

    # --- questions ------------------------------------------------------------------------------

    def members(self) -> tuple[Member, ...]:
        """Return everybody we know of, ourselves included."""
        return self.membership.members()


class MembersWorld(World):
    """A world of such peers; takes what `World` takes."""

    def __init__(self, peers: int | Sequence[PeerSpec], **more: Any) -> None:
        super().__init__(peers, check=False, **more)
        self._certificates = {node.certificate.peer_id: node.certificate for node in self.nodes}

    def _core(self, node: Node, spec: PeerSpec, boot: int, generator: Random, now: float) -> Any:
        return MembersCore(
            cluster=self.authority.cluster,
            notary=node.notary,
            facts=self.facts_of(node.index),
            seeds=self._seeds,
            settings=self.settings,
            boot=boot,
            nonce=generator.getrandbits(64).to_bytes(8, "big"),
            rng=generator,
            certificates=self._certificates.get,
        )

    def acquaint(self) -> None:
        """Let everybody who runs know everybody else, as if they had met long ago."""
        acquaint(self.nodes)
