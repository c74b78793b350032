"""How does a machine live in the made world? A node drives one `PeerCore`.

It gives the core its inputs, one at a time, performs the effects against the
simulated network, links and disk, and brings the answers back. A pause or a
slow processor only makes inputs wait; nothing is lost but datagrams beyond
what a socket buffers. What touches the disk is in `storing`.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from ringgossip.errors import PeerMisbehaved
from ringgossip.events import Event
from ringgossip.identity import Address, PeerId
from ringgossip.identity.certificate import NodeCertificate, expired
from ringgossip.protocol.core import (
    DATAGRAM,
    AcceptBody,
    CloseLink,
    Dial,
    DiscardBody,
    DrainAnswered,
    Effect,
    LinkId,
    Published,
    PublishRefused,
    Send,
    SendChunk,
    Stop,
    SyncAnswered,
    Tell,
)
from ringgossip.protocol.peer_core import PeerCore
from ringgossip.simulation.bodies import Bodies
from ringgossip.simulation.clock import Clock
from ringgossip.simulation.dialects import CURRENT
from ringgossip.simulation.disk import Disk
from ringgossip.simulation.kernel import ALARM, DISK, OTHER, STREAM, TOLD
from ringgossip.simulation.kernel import DATAGRAM as DATAGRAM_EVENT
from ringgossip.simulation.links import Body, End, Presence
from ringgossip.simulation.notary import FakeNotary
from ringgossip.simulation.shared import Shared
from ringgossip.simulation.storing import STORING
from ringgossip.simulation.wire import BrokenLimit, Packet
from ringgossip.wire.codec import UnknownMessage, decode
from ringgossip.wire.messages import TAGS, Message

_SOCKET_BUFFER = 256  # datagrams that wait while a process is paused: about 200 KiB, Linux' default
_MOST_CAUGHT = 64  # packets that a liar keeps
_SAME_INSTANT = 10_000  # wake-ups without the clock moving before we call it a machine that never rests


class Restless(AssertionError):
    """A machine that wants to be woken at once, for ever."""


class Node:
    """One machine of the made world, and its peer while that runs."""

    __slots__ = (
        "_current", "_datagrams_waiting", "_free_at", "_inbox", "_wakes", "_woken_at", "answers", "bodies",
        "catching", "caught", "clock", "core", "dialect", "disk", "false_chunks", "home", "index", "kernel",
        "keys", "name", "notary", "paused", "presence", "service", "shared", "stopped", "stranger",
        "sync_due", "told",
    )  # fmt: skip

    def __init__(self, index: int, address: Address, notary: FakeNotary, disk: Disk, shared: Shared) -> None:
        self.index = index
        self.home = address
        self.notary = notary
        self.name = notary.certificate.name
        self.disk = disk
        self.shared = shared
        self.kernel = shared.kernel
        self.core: PeerCore | None = None
        self.presence = Presence.REFUSING
        self.paused = False
        self.stopped: str | None = None  # why the peer asked to be stopped
        self.service = 0.0  # seconds that each input takes
        self.stranger = False
        self.keys = [shared.cluster]  # Its gossip keys, the one in use first; a stranger has another.
        self.dialect = CURRENT
        self.false_chunks = 0.0  # The share of chunks that a liar gives with other bytes.
        self.catching = False
        self.caught: list[Packet] = []  # what a liar may say again
        self.clock = Clock(self.kernel)
        self.told: list[tuple[float, Event]] = []
        self.answers: dict[int, Any] = {}
        self.sync_due = False
        self._inbox: deque[tuple[Callable[..., list[Effect]], tuple[Any, ...]]] = deque()
        self._datagrams_waiting = 0
        self._free_at = 0.0
        self._wakes = 0
        self._woken_at = -1.0
        self._current: dict[PeerId, list[End]] = {}
        self.bodies = Bodies(self)

    def __repr__(self) -> str:
        return f"Node({self.name})"  # in traces, which are compared

    @property
    def certificate(self) -> NodeCertificate:
        return self.notary.certificate

    @property
    def running(self) -> bool:
        """Whether a peer runs here, paused or not."""
        return self.core is not None

    # --- life -----------------------------------------------------------------------------

    def boot(self, make_core: Callable[[float], PeerCore]) -> None:
        """Start a peer; `make_core` is given the node's clock."""
        self.kernel.reboot(self.index, self._alarm)
        self.presence = Presence.RUNNING
        self.paused = False
        self.stopped = None
        self._forget_process()
        self.core = make_core(self.clock())
        self.shared.network.listen(self.index, self._datagram)
        self._step(OTHER, 1, self.core.start)

    def halt(self, presence: Presence) -> None:
        """The process is gone: it cannot say a word any more."""
        self.presence = presence
        self.core = None
        self.shared.network.listen(self.index, None)
        self.shared.links.drop_all(self, silently=presence is Presence.SILENT)
        self.kernel.reboot(self.index, None)
        self._forget_process()

    def _forget_process(self) -> None:
        self._inbox.clear()
        self._datagrams_waiting = 0
        self._free_at = 0.0
        self._current.clear()
        self.bodies.forget_all()
        self.sync_due = False

    def pause(self) -> None:
        """Stop the process where it is; what arrives waits."""
        self.paused = True

    def resume(self) -> None:
        """Let it go on, with all that has arrived meanwhile."""
        if self.paused:
            self.paused = False
            self._drain()

    def clock_changed(self) -> None:
        """Ask again when to wake: the same deadline is at another time of the world now."""
        if self.core is not None:
            self.kernel.set_alarm(self.index, self.clock.in_world_time(self.core.next_wakeup()))

    # --- inputs ---------------------------------------------------------------------------

    def give(self, kind: int, detail: int, method: Callable[..., list[Effect]], *arguments: Any) -> None:
        """Give the core an input, now or when it has time for it."""
        if self.core is None:
            return
        if self.paused or self._inbox or self._free_at > self.kernel.now:
            self._inbox.append((method, (kind, detail, *arguments)))
            if not self.paused and len(self._inbox) == 1:
                self.kernel.at(self._free_at, self.index, self.kernel.boot(self.index), self._drain)
            return
        self._step(kind, detail, method, *arguments)

    def _drain(self) -> None:
        while self._inbox and not self.paused and self.core is not None:
            if self._free_at > self.kernel.now:
                self.kernel.at(self._free_at, self.index, self.kernel.boot(self.index), self._drain)
                return
            method, (kind, detail, *arguments) = self._inbox.popleft()
            if kind == DATAGRAM_EVENT:
                self._datagrams_waiting -= 1
            self._step(kind, detail, method, *arguments)

    def _step(self, kind: int, detail: int, method: Callable[..., list[Effect]], *arguments: Any) -> None:
        clock, kernel = self.clock, self.kernel
        effects = method(*arguments, clock() if clock.off else kernel.now)
        if kernel.trace is not None:
            kernel.trace_input(self.index, self.name, method.__name__, arguments, effects)
        self._perform(kind, detail, effects)

    def _perform(self, kind: int, detail: int, effects: list[Effect]) -> None:
        """Let happen what an input asked for, and ask when to wake the peer next."""
        core, kernel = self.core, self.kernel
        assert core is not None
        if self.service:
            self._free_at = kernel.now + self.service
        kernel.note(self.index, kind, detail << 16 | len(effects))
        for effect in effects:
            if type(effect) is Send:
                self._send(effect)
                continue
            PERFORM[type(effect)](self, effect)
            if self.core is not core:
                return
        due = core.next_wakeup()
        if self.clock.off:
            due = self.clock.in_world_time(due)
        if due != kernel.wanted[self.index]:
            kernel.set_alarm(self.index, due)
        checks = self.shared.checks
        if checks is not None and effects:
            checks.after_step(self, effects)

    def _alarm(self) -> None:
        core = self.core
        if core is None:
            return
        now = self.kernel.now
        if self.clock.off:
            self.clock.round_up_to(core.next_wakeup())
        self._wakes = self._wakes + 1 if now == self._woken_at else 0
        self._woken_at = now
        if self._wakes > _SAME_INSTANT:
            raise Restless(f"{self.name} wakes again and again at {now}")
        if self.paused or self._inbox or self._free_at > now or self.kernel.trace is not None:
            self.give(ALARM, 0, core.wake)
        else:
            self._perform(ALARM, 0, core.wake(self.clock() if self.clock.off else now))

    # --- what the network brings -----------------------------------------------------------

    def _datagram(self, packet: Packet, source: Address, damaged: bool) -> None:
        core, kernel = self.core, self.kernel
        assert core is not None
        sender, key, carried, tag = packet
        must_wait = self.paused or self._inbox or self._free_at > kernel.now
        if must_wait:
            if self._datagrams_waiting >= _SOCKET_BUFFER:
                return
            self._datagrams_waiting += 1
        if self.catching:
            self.caught = [*self.caught[1 - _MOST_CAUGHT :], packet]
        if damaged or key not in self.keys:
            reason = "its packet does not open"
            self.give(DATAGRAM_EVENT, 0, core.packet_refused, str(source), reason)
            return
        message = self._open(carried, sender)
        if message is None:
            return
        if must_wait or kernel.trace is not None or self.clock.off:
            self.give(DATAGRAM_EVENT, tag, core.receive, message, sender, source)
            return
        # What nearly every datagram comes to: `_step` without a detour.
        self._perform(DATAGRAM_EVENT, tag, core.receive(message, sender, source, kernel.now))

    def _open(self, carried: Any, sender: PeerId) -> Message | None:
        message = carried
        try:
            # Liars say bytes on either wire.
            if type(carried) is bytes:
                message = decode(carried)
        except PeerMisbehaved as error:
            if not self.shared.lies:
                raise BrokenLimit(str(error)) from error
            assert self.core is not None
            self.give(OTHER, 2, self.core.misbehaved, sender, str(error))
            return None
        kind = type(message)
        return None if kind is UnknownMessage or kind in self.dialect.lacks else message

    def judge(self, certificate: NodeCertificate) -> str | None:
        """Say why this certificate is refused in a handshake; None: it is good."""
        try:
            self.notary.read_certificate(certificate.der)
        except PeerMisbehaved as error:
            return str(error)
        return "its certificate has expired" if expired(certificate, self.clock.wall()) else None

    def link_refused(self, address: Address, reason: str) -> None:
        if self.core is not None:
            self.give(STREAM, 1, self.core.packet_refused, str(address), reason)

    def keys_refused(self, address: Address, name: str) -> None:
        if self.core is not None:
            reason = f"{name!r} accepts none of our gossip keys"
            self.give(STREAM, 8, self.core.keys_refused, str(address), name, reason)

    def on_dial_failed(self, address: Address, expected: PeerId | None, reason: str) -> None:
        if self.core is not None:
            self.give(STREAM, 2, self.core.dial_failed, address, expected, reason)

    def on_link_opened(self, end: End, address: Address, dialled: bool) -> None:
        if self.core is None or end.peer is None:
            return
        self.give(STREAM, 3, self._opened, end, address, dialled)

    def _opened(self, end: End, address: Address, dialled: bool, now: float) -> list[Effect]:
        core, peer = self.core, end.peer
        assert core is not None and peer is not None
        if not end.open:
            return []
        self._current.setdefault(peer.peer_id, []).append(end)
        return core.link_opened(LinkId(end.number), peer.peer_id, peer, address, dialled, now)

    def on_link_message(self, end: End, carried: Any, size: int) -> None:
        if self.core is None or end.peer is None:
            return
        peer = end.peer.peer_id
        message = self._open(carried, peer)
        if message is None:
            return
        kernel, detail = self.kernel, TAGS.get(type(message), 0) << 16
        must_wait = self.paused or self._inbox or self._free_at > kernel.now
        if must_wait or kernel.trace is not None or self.clock.off or end not in self._current.get(peer, ()):
            self.give(STREAM, detail, self._heard, end, peer, message)
            return
        # What nearly every message comes to: `_step` without a detour.
        self._perform(STREAM, detail, self.core.receive(message, peer, LinkId(end.number), kernel.now))

    def _heard(self, end: End, peer: PeerId, message: Message, now: float) -> list[Effect]:
        core = self.core
        assert core is not None
        if not self.uses(peer, end):
            return []  # closed, or broken while this waited
        return core.receive(message, peer, LinkId(end.number), now)

    def on_link_broken(self, end: End, reason: str) -> None:
        if self.core is not None and end.peer is not None:
            self.give(STREAM, 4, self._broken, end, end.peer.peer_id, reason)

    def _broken(self, end: End, peer: PeerId, reason: str, now: float) -> list[Effect]:
        core = self.core
        assert core is not None
        if not self.uses(peer, end):
            return []
        self._let_go(peer, end)
        return core.link_broken(LinkId(end.number), reason, now)

    def uses(self, peer: PeerId, end: End) -> bool:
        """Tell whether this link is open as far as the core knows."""
        return end in self._current.get(peer, ())

    def _let_go(self, peer: PeerId, end: End) -> None:
        ends = self._current[peer]
        ends.remove(end)
        if not ends:
            del self._current[peer]
        self.bodies.forget(peer)

    def link_to(self, peer: PeerId) -> End | None:
        """Return the current link of a peer: the last one opened of those still open."""
        ends = self._current.get(peer)
        return ends[-1] if ends else None

    def on_body_first(self, end: End, body: Body) -> None:
        if self.core is not None and end.peer is not None:
            self.give(STREAM, 5, self.bodies.begins, end, end.peer.peer_id, body)

    def on_body_last(self, end: End, body: Body) -> None:
        if self.core is not None and end.peer is not None:
            self.give(STREAM, 6, self.bodies.ends, end, end.peer.peer_id, body)

    def on_body_sent(self, end: End, body: Body) -> None:
        if self.core is not None and end.peer is not None:
            self.give(STREAM, 7, self.bodies.sent, end.peer.peer_id, body)

    # --- effects on the network ------------------------------------------------------------------

    def _dial(self, effect: Dial) -> None:
        self.shared.links.dial(self, effect.address, effect.peer)

    def _close_link(self, effect: CloseLink) -> None:
        for peer, ends in self._current.items():
            for end in ends:
                if end.number == effect.link:
                    self._let_go(peer, end)
                    self.shared.links.close(end)
                    return

    def _send(self, effect: Send) -> None:
        shared, (to, message, lane) = self.shared, effect
        kind, dialect = type(message), self.dialect
        if kind in dialect.lacks:
            return
        if lane is DATAGRAM:
            assert isinstance(to, Address), "a datagram goes to an address"
            carried, size = shared.wire.datagram(message, dialect)
            packet = (self.notary.certificate.peer_id, self.keys[0], carried, TAGS[kind])
            shared.network.send(self.index, to, packet, size)
            return
        assert not isinstance(to, Address), "a link message goes to a peer"
        end = self.link_to(to)
        if end is not None:
            carried, size = shared.wire.frame(message, dialect)
            shared.links.send(end, carried, size)

    def sealed(self, carried: Any, tag: int, sender: PeerId) -> Packet:
        """Return a packet under our key; only a liar names another sender."""
        return sender, self.keys[0], carried, tag

    def _tell(self, effect: Tell) -> None:
        self.told.append((self.kernel.now, effect.event))
        self.kernel.note(self.index, TOLD, 0, repr(effect.event))

    def _stop(self, effect: Stop) -> None:
        self.stopped = effect.reason
        self.halt(Presence.REFUSING)

    def _publication(self, effect: Published | PublishRefused) -> None:
        self.shared.published(self, effect)

    def _answered(self, effect: SyncAnswered | DrainAnswered) -> None:
        self.answers[effect.ticket] = effect.report

    # --- helpers of `storing` ------------------------------------------------------------------------

    def later(self, seconds: float, method: Callable[..., list[Effect]], *arguments: Any) -> None:
        """Give the core an answer after some time, unless it has crashed by then."""
        kernel = self.kernel
        boot = kernel.boot(self.index)
        kernel.at(kernel.now + seconds, self.index, boot, self.give, DISK, 0, method, *arguments)

    def dirty(self) -> None:
        """Something was written that a sync in common will make last."""
        if not self.sync_due:
            self.sync_due = True
            when = self.kernel.now + self.disk.times.sync_interval
            self.kernel.at(when, self.index, self.kernel.boot(self.index), self._sync)

    def _sync(self) -> None:
        self.sync_due = False
        if self.disk.trouble is None:
            self.disk.sync()


def _nothing(node: Node, effect: DiscardBody) -> None:
    """A body that nobody accepted is read away by itself."""


PERFORM: dict[type, Callable[[Node, Any], None]] = {
    Dial: Node._dial,
    CloseLink: Node._close_link,
    Send: Node._send,
    SendChunk: lambda node, effect: node.bodies.read(effect),
    AcceptBody: lambda node, effect: node.bodies.accept(effect),
    DiscardBody: _nothing,
    Tell: Node._tell,
    Stop: Node._stop,
    Published: Node._publication,
    PublishRefused: Node._publication,
    SyncAnswered: Node._answered,
    DrainAnswered: Node._answered,
    **STORING,
}
