"""How near to the least time does a file reach everybody, by production's `Transfer` and `Serving`?

Every peer sends one chunk after the other, as fast as its uplink allows; a slower
downlink takes them one after the other too. A word between two peers takes about
a five-hundredth of a chunk's time. Who asks whom for what, and who is
served next, is up to the machines; the manifest is known to all.

Sources: Mundinger, Weber, Weiss 2008, "Optimal scheduling of peer-to-peer file
dissemination" (equal lines: M + floor(log2 N) chunk times); Kumar and Ross 2006,
"Peer-assisted file distribution: the minimum distribution time" (any lines).
"""

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import floor, log2
from random import Random
from typing import Any

from ringgossip.content.hashing import hash_bytes
from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record, make_record
from ringgossip.identity import PeerId
from ringgossip.protocol.asking import TransferSettings
from ringgossip.protocol.core import (
    AcceptBody,
    BeginPartial,
    DiscardBody,
    Effect,
    Finalise,
    LinkId,
    Notice,
    Reserve,
    Send,
    SendChunk,
)
from ringgossip.protocol.serving import Serving, ServingSettings
from ringgossip.protocol.shelf import Shelf
from ringgossip.protocol.transfer import Transfer
from ringgossip.simulation.measures import fluid_bound
from ringgossip.simulation.notary import Authority
from ringgossip.wire.messages import Busy, Have, HaveMore, Message, NoChunks

Sample = float | list[float]

CHUNK = 2**20
_LINK = LinkId(1)
_ANSWERS = (Busy, Have, HaveMore, NoChunks)  # what goes to those who pull
_TOO_LONG = 20.0  # times the bound: then the run is given up


def _record(manifest: Manifest) -> Record:
    notary = Authority("truth").enroll("origin")
    return make_record(
        kind="models", origin="origin", name="best.pth", sequence=1, stamp=1, store=bytes(8),
        size=manifest.size, chunk_size=CHUNK, root=manifest.root, metadata={},
        signer=notary.certificate.peer_id, cluster="truth", sign=notary.sign,
    )  # fmt: skip


class _Peer:
    """The machines of one peer, its uplink and its downlink."""

    def __init__(self, number: int, up: float, down: float | None, swarm: "Swarm", seed: str) -> None:
        self.id = PeerId(hash_bytes(f"{seed}/{number}".encode())[:16])
        self.up, self.down = up, down
        self.shelf = Shelf()
        rng = Random(f"{seed}/{number}")
        self.serving = Serving(ServingSettings(ahead_least=1, width=1), self.shelf, rng, 0.0)
        self.transfer = Transfer(
            TransferSettings(),
            self.id,
            self.shelf,
            rng,
            lambda record: (swarm.peers[0].id,),
            lambda record: False,
            lambda peer: "",
            0.0,
        )
        self.queue: deque[SendChunk] = deque()
        self.sending = False
        self.free_at = 0.0  # of the downlink
        self.accepted: dict[tuple[PeerId, int, int], AcceptBody] = {}
        self.sent = 0
        self.received = 0
        self.done_at: float | None = None
        self.alarm = float("inf")


class Swarm:
    """Peer 0 has a file of `chunks` chunks; all others want it. Rates are in chunks a second."""

    def __init__(self, chunks: int, ups: Sequence[float], downs: Sequence[float | None], seed: str) -> None:
        hashes = b"".join(hash_bytes(f"{seed} {index}".encode()) for index in range(chunks))
        self.manifest = Manifest(chunks * CHUNK, CHUNK, hashes)
        self.record = _record(self.manifest)
        self.now = 0.0
        self._rng = Random(seed)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0
        self.peers: list[_Peer] = []
        for number, (up, down) in enumerate(zip(ups, downs, strict=True)):
            rate = None if down is None else down * CHUNK
            self.peers.append(_Peer(number, up * CHUNK, rate, self, seed))
        self._by_id = {peer.id: peer for peer in self.peers}
        self._delay = 0.002 / max(ups)
        self.peers[0].shelf.add(self.record)
        self.peers[0].done_at = 0.0

    # --- time ---------------------------------------------------------------------------

    def _at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        self._serial += 1
        heapq.heappush(self._events, (when, self._serial, action, arguments))

    def run(self, until: float) -> float:
        """Let everybody pull; return when the last one has the file (`until` if somebody has not)."""
        for peer in self.peers:
            for other in self.peers:
                if other is not peer:
                    self._perform(peer, peer.serving.link_opened(other.id, 0.0))
                    self._perform(peer, peer.transfer.link_opened(other.id, 0.0))
        for peer in self.peers[1:]:
            self._perform(peer, peer.transfer.want(self.record, 0.0))
        while self._events and any(peer.done_at is None for peer in self.peers):
            when, _, action, arguments = heapq.heappop(self._events)
            if when > until:
                return until
            self.now = when
            action(*arguments)
        return max(until if peer.done_at is None else peer.done_at for peer in self.peers)

    def _perform(self, peer: _Peer, effects: "Sequence[Effect | Notice]") -> None:
        now = self.now
        work = deque(effects)
        while work:
            effect = work.popleft()
            if isinstance(effect, Send):
                assert isinstance(effect.to, bytes)
                to = self._by_id[PeerId(effect.to)]
                self._at(now + self._delay * (0.5 + self._rng.random()), self._hear, to, effect.message, peer)
            elif isinstance(effect, SendChunk):
                peer.queue.append(effect)
                self._send_next(peer)
            elif isinstance(effect, AcceptBody):
                peer.accepted[effect.peer, effect.request, effect.index] = effect
            elif isinstance(effect, Reserve):
                work.extend(peer.transfer.reserved(self.record.root, self.manifest, now))
            elif isinstance(effect, BeginPartial):
                work.extend(peer.transfer.partial_ready(self.record.root, 0, 0, now))
            elif isinstance(effect, Finalise):
                peer.done_at = now
                peer.shelf.add(self.record)
                work.extend(peer.transfer.finalised(self.record, now))
                work.extend(peer.serving.root_completed(self.record.root, now))
        alarm = min(peer.serving.next_wakeup(), peer.transfer.next_wakeup())
        if alarm < peer.alarm:
            peer.alarm = alarm
            self._at(max(alarm, now), self._wake, peer, alarm)

    def _wake(self, peer: _Peer, alarm: float) -> None:
        if alarm != peer.alarm:
            return  # An earlier one came between.
        peer.alarm = float("inf")
        self._perform(peer, [*peer.serving.wake(self.now), *peer.transfer.wake(self.now)])

    def _hear(self, peer: _Peer, message: Message, sender: _Peer) -> None:
        machine = peer.transfer if isinstance(message, _ANSWERS) else peer.serving
        self._perform(peer, machine.receive(message, sender.id, _LINK, self.now))

    # --- bodies -----------------------------------------------------------------------------

    def _send_next(self, peer: _Peer) -> None:
        if peer.sending or not peer.queue:
            return
        peer.sending = True
        chunk = peer.queue.popleft()
        to = self._by_id[chunk.peer]
        begin = self.now
        end = begin + chunk.length / peer.up
        arrived = end + self._delay
        if to.down is not None:
            # Its first byte passes at once if nothing is before it; the downlink is a queue too.
            arrived = max(arrived, max(to.free_at, begin + self._delay) + chunk.length / to.down)
            to.free_at = arrived
        self._at(begin + self._delay, self._begins, to, peer, chunk)
        self._at(end, self._free, peer)
        # To who takes less than we give, no more is sent meanwhile: as much as one chunk is on the way.
        self._at(max(end, arrived - self._delay), self._sent, peer, chunk)
        self._at(arrived, self._arrived, to, peer, chunk)

    def _free(self, peer: _Peer) -> None:
        peer.sending = False
        self._send_next(peer)

    def _sent(self, peer: _Peer, chunk: SendChunk) -> None:
        peer.sent += chunk.length
        out = peer.serving.chunk_sent(chunk.peer, chunk.request, chunk.index, chunk.length, self.now)
        self._perform(peer, out)

    def _begins(self, peer: _Peer, sender: _Peer, chunk: SendChunk) -> None:
        out = peer.transfer.body_arrives(sender.id, chunk.request, chunk.index, chunk.length, self.now)
        self._perform(peer, [effect for effect in out if not isinstance(effect, DiscardBody)])

    def _arrived(self, peer: _Peer, sender: _Peer, chunk: SendChunk) -> None:
        peer.received += chunk.length
        accepted = peer.accepted.pop((sender.id, chunk.request, chunk.index), None)
        if accepted is None:
            return
        root = accepted.root
        out = peer.transfer.chunk_stored(sender.id, chunk.request, root, chunk.index, chunk.length, self.now)
        self._perform(peer, [*out, *peer.serving.chunk_held(root, chunk.index, self.now)])


def _rates(setup: Mapping[str, Any], key: str, count: int) -> list[Any]:
    value = setup.get(key, 1.0)
    values = list(value) if isinstance(value, list) else [value]
    return [values[place % len(values)] for place in range(count)]


def _bound(setup: Mapping[str, Any], ups: Sequence[float], downs: Sequence[float | None]) -> float:
    chunks, receivers = setup["m"], setup["n"]
    if len(set(ups)) == 1 and all(down is None or down == ups[0] for down in downs):
        return float(chunks + floor(log2(receivers))) / ups[0]
    return fluid_bound(chunks, ups[0], list(ups[1:]), list(downs[1:]))


def run(setup: Mapping[str, Any], seed: str) -> dict[str, Sample]:
    """Spread one file; return the time over the least time, and the copies that the seed sent."""
    receivers = setup["n"]
    seed_up = setup.get("seed", 1.0)
    ups = [seed_up, *_rates(setup, "up", receivers)]
    downs = [None, *_rates(setup, "down", receivers)]
    bound = _bound(setup, ups, downs)
    swarm = Swarm(setup["m"], ups, downs, seed)
    took = swarm.run(_TOO_LONG * bound)
    size = setup["m"] * CHUNK
    return {
        "rounds": took,
        "ratio": took / bound,
        "least ratio": took / bound,
        "seed copies": swarm.peers[0].sent / size,
        "bytes over need": sum(peer.received for peer in swarm.peers) / (size * receivers),
    }


def theory(setup: Mapping[str, Any], means: Mapping[str, float]) -> dict[str, float]:
    """Return the bound in chunk times."""
    receivers = setup["n"]
    ups = [setup.get("seed", 1.0), *_rates(setup, "up", receivers)]
    return {"rounds": _bound(setup, ups, [None, *_rates(setup, "down", receivers)])}
