"""Find out, with one partner at a time, where our catalogs differ.

Roots of the whole catalog ride on every probe. When a partner's differs from
ours for longer than rumors need, a link to it is used to walk both Merkle trees
from the root down, set by set; certificates first, since records are judged by
them. Both sides end up knowing which entries the other has that they lack, and
ask for those. Peers that agree say nothing more than the root on the probe.

Source: Demers et al. 1987, sections 1.3 and 1.5; Merkle walk as Dynamo, 4.7.
"""

from dataclasses import dataclass, field

from ringgossip.content.catalog import SETS, Catalog
from ringgossip.content.walk import HASHES, Payload, Step, Walk, answer
from ringgossip.errors import PeerMisbehaved
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.allowance import Allowance
from ringgossip.protocol.core import LINK, NEVER, Draw, Effect, LinkId, NeedLink, Notice, Send
from ringgossip.wire.messages import (
    CatalogRoot,
    Certificates,
    CertificatesWanted,
    DigestStep,
    Message,
    Records,
    RecordsWanted,
)

Out = list[Effect | Notice]


@dataclass(frozen=True, slots=True)
class AntiEntropySettings:
    """Seconds."""

    settle: float = 0.6  # a difference that rumors have not settled by then is walked
    interval: float = 15.0  # a partner is compared with this often even if no probe told its root
    walk_timeout: float = 10.0  # without an answer
    longest_walk: float = 60.0
    again: float = 1.0  # the pause after a walk with a partner that still differs
    batch: int = 500  # records in one message
    # What one member may have us look up, in hashes, entries and records: about a third of one core's time
    # for whoever asks without end. A difference of 100,000 records takes some 300,000.
    units_each_second: float = 30_000.0
    units_at_once: float = 500_000.0


@dataclass(slots=True)
class _Walking:
    partner: PeerId
    number: int
    sets: list[str]
    ends: float  # whatever is said until then: one partner must not keep us from the others
    current: str = ""
    walk: Walk | None = None
    open_steps: dict[int, None] = field(default_factory=dict)
    next_step: int = 0
    deadline: float = NEVER


class AntiEntropy:
    """The machine that compares catalogs; records it learns of are asked for and come back as `Records`."""

    def __init__(self, settings: AntiEntropySettings, catalog: Catalog, rng: Draw, now: float) -> None:
        self._settings = settings
        self._catalog = catalog
        self._rng = rng
        self._linked: dict[PeerId, None] = {}
        self._differs: dict[PeerId, tuple[float, bytes]] = {}  # since when, and the partner's root
        self._agreed: dict[PeerId, float] = {}
        self._walking: _Walking | None = None
        self._wanted: PeerId | None = None
        self._wanted_until = -NEVER
        self._pause_until = now
        self._next_round = now + settings.interval * rng.random()
        self._number = rng.getrandbits(31)
        self._credit_at = NEVER
        self._allowance = Allowance(settings.units_each_second, settings.units_at_once)
        self.walks = 0
        self.exchanges = 0  # comparisons that came to their end, agreement at sight included

    # --- who differs -----------------------------------------------------------------------

    def agrees(self, peer: PeerId, root: bytes, now: float) -> bool:
        """Note that a member whose root was ours has the same still. Moves no deadline."""
        if root != self._catalog.root or peer in self._differs:
            return False
        self._agreed[peer] = now
        self.exchanges += 1
        return True

    def heard_root(self, peer: PeerId, root: bytes, now: float) -> Out:
        """A probe, an answer or a word on a link carried the root of a peer's catalog."""
        if root == self._catalog.root:
            self._differs.pop(peer, None)
            self.agrees(peer, root, now)
            return []
        since = self._differs.get(peer)
        # A root that changes shows news on the way; wait until it stands still.
        if since is None or since[1] != root:
            self._differs[peer] = (since[0] if since is not None else now, root)
        return self.wake(now)

    def link_opened(self, peer: PeerId, now: float) -> Out:
        """Say where we stand."""
        self._linked[peer] = None
        return [Send(peer, CatalogRoot(self._catalog.root), LINK), *self.wake(now)]

    def link_broken(self, peer: PeerId, now: float) -> Out:
        """A walk over this link is over."""
        self._linked.pop(peer, None)
        if self._walking is not None and self._walking.partner == peer:
            self._walking = None
        return []

    def member_down(self, peer: PeerId) -> None:
        """It is not worth comparing with."""
        self._differs.pop(peer, None)
        self._agreed.pop(peer, None)

    def wake(self, now: float) -> Out:
        """Start a walk with whoever has differed long enough; give up one that does not answer."""
        out: Out = []
        if now >= self._credit_at:
            self._credit_at = NEVER
            self.exchanges += 1
        if self._walking is not None:
            if now < self._walking.deadline:
                return out
            self._differs.pop(self._walking.partner, None)
            self._walking = None
        if now >= self._next_round:
            self._next_round = now + self._settings.interval * (0.75 + 0.5 * self._rng.random())
            out += self._ask_roots(now)
        if now < self._pause_until:
            return out
        due = [peer for peer, (since, _) in self._differs.items() if now >= since + self._settings.settle]
        linked = [peer for peer in due if peer in self._linked]
        if linked:
            return out + self._start(linked[self._rng.getrandbits(16) * len(linked) >> 16], now)
        if due and now >= self._wanted_until:
            peer = due[self._rng.getrandbits(16) * len(due) >> 16]
            self._wanted_until = now + 2.0
            out.append(NeedLink(peer))
        return out

    def hurry(self, now: float) -> Out:
        """Tell all neighbours now where we stand: whoever differs compares with us."""
        self._pause_until = now
        return [Send(peer, CatalogRoot(self._catalog.root), LINK) for peer in self._linked]

    def _ask_roots(self, now: float) -> Out:
        """Where probes do not reach (UDP blocked, many members), tell one neighbour where we stand."""
        quiet = [
            peer
            for peer in self._linked
            if now - self._agreed.get(peer, -NEVER) > self._settings.interval and peer not in self._differs
        ]
        if not quiet:
            return []
        peer = quiet[self._rng.getrandbits(16) * len(quiet) >> 16]
        return [Send(peer, CatalogRoot(self._catalog.root), LINK)]

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        walking = self._walking
        due = self._next_round if walking is None else walking.deadline
        if self._credit_at < due:
            due = self._credit_at
        if walking is not None:
            return due
        for peer, (since, _) in self._differs.items():
            ready = max(since + self._settings.settle, self._pause_until)
            if peer in self._linked:
                # They stand in the order in which they began to differ: nobody after it is ready sooner.
                return min(due, ready)
            due = min(due, max(ready, self._wanted_until))
        return due

    # --- walking -------------------------------------------------------------------------------

    def _start(self, peer: PeerId, now: float) -> Out:
        self.walks += 1
        self._number = self._number % (2**32 - 2) + 1
        self._walking = _Walking(peer, self._number, list(SETS), now + self._settings.longest_walk)
        return self._next_set(self._walking, now)

    def _next_set(self, walking: _Walking, now: float) -> Out:
        if not walking.sets:
            return self._finish(walking, now)
        walking.current = walking.sets.pop(0)
        walking.walk = Walk(self._catalog.digest(walking.current))
        return self._send_steps(walking, walking.walk.open(self._rng.getrandbits(8)), now)

    def _send_steps(self, walking: _Walking, payloads: list[Payload], now: float) -> Out:
        out: Out = []
        walking.deadline = min(now + self._settings.walk_timeout, walking.ends)
        for payload in payloads:
            walking.next_step += 1
            walking.open_steps[walking.next_step] = None
            message = DigestStep(walking.number, walking.current, walking.next_step, True, False, *payload)
            out.append(Send(walking.partner, message, LINK))
        return out

    def _finish(self, walking: _Walking, now: float) -> Out:
        self._walking = None
        self._differs.pop(walking.partner, None)
        self._pause_until = now + self._settings.again * (0.5 + 0.5 * self._rng.random())
        # What the walk found is still on its way; where news never stops, roots may never agree.
        self._credit_at = min(self._credit_at, now + 2.0)
        return [Send(walking.partner, CatalogRoot(self._catalog.root), LINK)]

    def receive(self, message: Message, sender: PeerId, source: Address | LinkId, now: float) -> Out:
        """Handle the words of a comparison; may raise `PeerMisbehaved`, which `PeerCore` handles."""
        match message:
            case CatalogRoot():
                differed = message.root != self._catalog.root
                told = self._agreed.get(sender) == now or sender in self._differs
                out = self.heard_root(sender, message.root, now)
                if differed and not told and sender in self._linked:
                    # It may not know that we differ: two peers that agree stay silent.
                    out.append(Send(sender, CatalogRoot(self._catalog.root), LINK))
                return out
            case DigestStep():
                if message.opener:
                    return self._answer(message, sender, now)
                return self._heard_answer(message, sender, now)
            case RecordsWanted():
                return self._send_records(message, sender, now)
            case CertificatesWanted():
                return self._send_certificates(message, sender, now)
        return []

    def _answer(self, message: DigestStep, sender: PeerId, now: float) -> Out:
        if message.set not in SETS:
            return []
        step = Step()
        # Beyond its share a member hears that there is nothing more: it ends its walk, and walks again.
        if self._allowance.has(sender, now):
            asked = _payload(message)
            step = answer(self._catalog.digest(message.set), asked)
            self._allowance.spend(sender, sum(map(_units, (asked, *step.replies))), now)
        replies = step.replies or [Payload(3, message.salt, 0, 0, b"", b"", b"")]
        out: Out = [
            Send(
                sender,
                DigestStep(message.walk, message.set, message.step, False, number < len(replies) - 1, *reply),
                LINK,
            )
            for number, reply in enumerate(replies)
        ]
        return out + self._ask_for(message.set, [key for key, _ in step.theirs], sender)

    def _heard_answer(self, message: DigestStep, sender: PeerId, now: float) -> Out:
        walking = self._walking
        if (
            walking is None
            or walking.walk is None
            or sender != walking.partner
            or message.walk != walking.number
            or message.set != walking.current
            or message.step not in walking.open_steps
        ):
            return []
        try:
            step = walking.walk.receive(_payload(message))
        except PeerMisbehaved:
            self._walking = None
            self._differs.pop(sender, None)
            raise
        if not message.more:
            del walking.open_steps[message.step]
        out = self._send_steps(walking, step.replies, now)
        out += self._ask_for(message.set, [key for key, _ in step.theirs], sender)
        if not walking.open_steps:
            out += self._next_set(walking, now)
        return out

    def _ask_for(self, set_: str, keys: list[bytes], peer: PeerId) -> Out:
        return [
            Send(peer, RecordsWanted(set_, b"".join(keys[start : start + 500])), LINK)
            for start in range(0, len(keys), 500)
        ]

    def _send_records(self, message: RecordsWanted, sender: PeerId, now: float) -> Out:
        if not self._allowance.has(sender, now):
            return []  # its next walk finds them
        self._allowance.spend(sender, len(message.keys) / 32, now)
        keys = [message.keys[start : start + 32] for start in range(0, len(message.keys), 32)]
        if message.set == "certificates":
            found = [self._catalog.certificate_by_hash(key) for key in keys]
            ders = [certificate.der for certificate in found if certificate is not None]
            return [
                Send(sender, Certificates(tuple(ders[start : start + 200])), LINK)
                for start in range(0, len(ders), 200)
            ]
        if message.set not in SETS:
            return []
        records = [self._catalog.by_hash(message.set, key) for key in keys]
        packed = [record.packed for record in records if record is not None]
        size = self._settings.batch
        return [
            Send(sender, Records(tuple(packed[start : start + size])), LINK)
            for start in range(0, len(packed), size)
        ]

    def _send_certificates(self, message: CertificatesWanted, sender: PeerId, now: float) -> Out:
        if not self._allowance.has(sender, now):
            return []
        self._allowance.spend(sender, len(message.peers) / 16, now)
        ders = []
        for start in range(0, len(message.peers), 16):
            certificate = self._catalog.certificate(PeerId(message.peers[start : start + 16]))
            if certificate is not None:
                ders.append(certificate.der)
        return [Send(sender, Certificates(tuple(ders)), LINK)] if ders else []


def _units(payload: Payload) -> float:
    """Return what it costs to look at a payload, or to make it; see `Allowance`."""
    return 1 + len(payload.body) / (4 if payload.stage == HASHES else 64)


def _payload(message: DigestStep) -> Payload:
    return Payload(
        message.stage, message.salt, message.bits, message.width, message.nodes, message.counts, message.body
    )
