"""Give chunks to those who ask: who is next, how much at once, and tell progress.

Every asker has a queue. What may leave now says `precedence.py`, and whose turn
it is and what it gets `turns.py`.

Little is granted ahead: two chunks a link, or what it moves in 20 ms, so that
the choice stays open and control messages never wait behind a queue of bodies.
"""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ringgossip.config.blocks import Budget
from ringgossip.content.chunking import chunk_count, chunk_length
from ringgossip.content.hashing import HASH_BYTES
from ringgossip.content.manifest import PAGE_BYTES
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.askers import CRITICAL, Asker, Wanted, order_of
from ringgossip.protocol.budgets import Account
from ringgossip.protocol.core import (
    LINK,
    NEVER,
    Draw,
    Effect,
    LinkId,
    Notice,
    Send,
    SendChunk,
    SendPages,
)
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.protocol.precedence import Precedence
from ringgossip.protocol.shelf import Shelf
from ringgossip.protocol.turns import Turns
from ringgossip.strategy.bandwidth import Spent
from ringgossip.strategy.weights import KIND_RANK
from ringgossip.wire.messages import (
    Busy,
    CancelChunks,
    GetChunks,
    GetPages,
    Have,
    HaveMore,
    Interest,
    Message,
    NoChunks,
)

Out = list[Effect | Notice]

_BURST_SECONDS = 0.005
_BITMAP = 900_000  # bytes of one `Have`


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """How giving behaves; seconds and bytes."""

    queue: int = 512  # chunks one asker may have waiting; beyond it hears "busy"
    total_queue: int = 8192
    ahead_seconds: float = 0.02
    ahead_least: int = 2  # chunks
    width: int = 2  # chunks under way to all peers together, to begin with
    ahead_most: int = 16 * 2**20
    progress_interval: float = 0.02  # verified chunks are told at once, but no more often than this
    interests: int = 4096  # roots one peer may be interested in
    # A guess: manifests are a two-thousandth of what they describe, so nobody honest needs more.
    page_bytes_per_second: float = 32 * 2**20  # to one peer; beyond it hears "busy"
    retry_after: float = 1.0
    starving: float = 5.0  # what waits longer goes first, once in `mercy` seconds
    mercy: float = 1.0
    spent_retry: float = 30.0  # when to ask again of somebody whose byte budget has left
    send_bytes_per_second: float | None = None


class Serving:
    """The machine that gives."""

    def __init__(
        self,
        settings: ServingSettings,
        shelf: Shelf,
        rng: Draw,
        now: float,
        limit_of: Callable[[PeerId], float | None] = lambda peer: None,
        weight_of: Callable[[PeerId], float] = lambda peer: 1.0,
        budget: Budget | None = None,
        spent: Spent | None = None,
    ) -> None:
        self._settings = settings
        self._shelf = shelf
        self._limit_of = limit_of
        self._turns = Turns(weight_of, rng)
        self.account = Account(budget or Budget(), spent or Spent())
        # What is granted will be sent, so nothing is before its time; only late wake-ups are made up for.
        self._bucket = TokenBucket(settings.send_bytes_per_second, now, _BURST_SECONDS)
        self._precedence = Precedence(
            settings.width, settings.ahead_seconds, settings.starving, settings.mercy, now
        )
        self._askers: dict[PeerId, Asker] = {}
        self._interested: dict[bytes, dict[PeerId, None]] = {}
        self._news: dict[bytes, list[int]] = {}
        self._draining: dict[bytes, int] = {}  # root -> its place, below 0
        self._draining_to: dict[bytes, PeerId] = {}  # who has begun to take it
        self._tell_at = NEVER
        self._told_at = -NEVER
        self._grant_at = NEVER
        self.chunk_bytes_sent = 0

    # --- links -----------------------------------------------------------------------

    def link_opened(self, peer: PeerId, now: float) -> Out:
        """Somebody may ask now."""
        pages = TokenBucket(self._settings.page_bytes_per_second, now, burst_seconds=1.0)
        bucket = TokenBucket(self._limit_of(peer), now)
        self._askers[peer] = Asker(peer, pages, bucket, sample_start=now)
        return []

    def link_broken(self, peer: PeerId, now: float) -> Out:
        """Forget what it asked for."""
        asker = self._askers.pop(peer, None)
        if asker is not None:
            for request, index in asker.granted:
                self._precedence.settled((peer, request, index))
            for root in asker.interests:
                self._lose_interest(root, peer)
        return self._grant(now)

    def _lose_interest(self, root: bytes, peer: PeerId) -> None:
        others = self._interested.get(root)
        if others is not None:
            others.pop(peer, None)
            if not others:
                del self._interested[root]
                self._turns.forget(root)

    # --- messages ----------------------------------------------------------------------

    def receive(self, message: Message, sender: PeerId, source: Address | LinkId, now: float) -> Out:
        """Handle what pullers say."""
        asker = self._askers.get(sender)
        if asker is None:
            return []
        match message:
            case Interest():
                return self._heard_interest(asker, message)
            case GetPages():
                return self._heard_get_pages(asker, message, now)
            case GetChunks():
                return self._heard_get_chunks(asker, message, now) + self._grant(now)
            case CancelChunks():
                return self._heard_cancel(asker, message) + self._grant(now)
        return []

    def _heard_interest(self, asker: Asker, message: Interest) -> Out:
        root = message.root
        if not message.wanted:
            asker.interests.pop(root, None)
            self._lose_interest(root, asker.peer)
            return []
        if len(asker.interests) >= self._settings.interests and root not in asker.interests:
            return []
        asker.interests[root] = None
        self._interested.setdefault(root, {})[asker.peer] = None
        return self._have(root, asker.peer)

    def _have(self, root: bytes, peer: PeerId) -> Out:
        known = self._shelf.available(root)
        if known is None:
            return [Send(peer, Have(root, 0, 0, b""), LINK)]
        if known[1] is None:
            return [Send(peer, Have(root, 2, 0, b""), LINK)]
        # With no chunk yet we still have the manifest to give.
        bitmap = known[1].bitmap()
        return [
            Send(peer, Have(root, 1, start * 8, bitmap[start : start + _BITMAP]), LINK)
            for start in range(0, len(bitmap), _BITMAP)
        ]

    def _heard_get_pages(self, asker: Asker, message: GetPages, now: float) -> Out:
        known = self._shelf.available(message.root)
        if known is None or len(message.levels) != len(message.indices):
            return [Send(asker.peer, NoChunks(message.request, message.root, (), "no manifest here"), LINK)]
        if not asker.pages.may_take(now):
            return [Send(asker.peer, Busy(message.request, self._settings.retry_after), LINK)]
        pages = tuple(dict.fromkeys(zip(message.levels, message.indices, strict=True)))
        record = known[0]
        largest = min(PAGE_BYTES, chunk_count(record.size, record.chunk_size) * HASH_BYTES)
        asker.pages.take(largest * len(pages), now)
        self._bucket.take(largest * len(pages), now)
        return [SendPages(asker.peer, message.request, message.root, pages)]

    def _heard_get_chunks(self, asker: Asker, message: GetChunks, now: float) -> Out:
        known = self._shelf.available(message.root)
        if known is None:
            return [Send(asker.peer, NoChunks(message.request, message.root, (), "not here"), LINK)]
        settings = self._settings
        if message.priority != CRITICAL and self.account.left() == 0:
            spent = Busy(message.request, settings.spent_retry, self.account.spent_until())
            return [Send(asker.peer, spent, LINK), *self.account.tell_if_spent()]
        waiting = sum(len(other.queue) for other in self._askers.values())
        indices = tuple(dict.fromkeys(message.indices))
        more = len(indices)
        if len(asker.queue) + more > settings.queue or waiting + more > settings.total_queue:
            return [Send(asker.peer, Busy(message.request, settings.retry_after), LINK)]
        record, chunks = known
        count = chunk_count(record.size, record.chunk_size)
        rank = KIND_RANK.get(record.kind, 1)
        if not asker.queue:
            self._catch_up(asker)
        absent = []
        for index in indices:
            if index >= count or (chunks is not None and index not in chunks):
                absent.append(index)
                continue
            length = chunk_length(index, record.size, record.chunk_size)
            wanted = Wanted(message.request, message.root, index, length, rank, message.priority, now)
            wanted.first = self._place_in_drain(wanted)
            if asker.queue and asker.queue[-1].order > wanted.order:
                insort(asker.queue, wanted, key=order_of)
            else:
                asker.queue.append(wanted)
        if not absent:
            return []
        return [Send(asker.peer, NoChunks(message.request, message.root, tuple(absent), "not here"), LINK)]

    def _catch_up(self, asker: Asker) -> None:
        """Whoever asked for nothing meanwhile has saved nothing up: it could starve the others."""
        active = [other.given for other in self._askers.values() if other.queue or other.granted]
        asker.given = max(asker.given, min(active, default=asker.given))

    def _heard_cancel(self, asker: Asker, message: CancelChunks) -> Out:
        gone = set(message.indices)
        asker.queue = [
            wanted for wanted in asker.queue if wanted.request != message.request or wanted.index not in gone
        ]
        return []

    # --- giving -----------------------------------------------------------------------------

    def _grant(self, now: float) -> Out:
        """Grant whole chunks while links and bucket have room."""
        out: Out = []
        self._grant_at = NEVER
        while True:
            ready = []
            for asker in self._askers.values():
                if not asker.queue or not self._has_room(asker):
                    continue
                if asker.bucket.may_take(now):
                    ready.append(asker)
                else:
                    self._grant_at = min(self._grant_at, asker.bucket.ready_at(now))
            if not ready:
                return out
            if not self._bucket.may_take(now):
                self._grant_at = min(self._grant_at, self._bucket.ready_at(now))
                return out
            candidates = self._drained(ready, now)
            if candidates is None:
                candidates = self._precedence.choose(ready, now)
            if not candidates:
                self._grant_at = min(self._grant_at, self._precedence.again_at)
                return out
            asker, wanted = self._turns.take(candidates)
            known = self._shelf.available(wanted.root)
            if known is None:
                refusal = NoChunks(wanted.request, wanted.root, (wanted.index,), "no longer here")
                out.append(Send(asker.peer, refusal, LINK))
                continue
            if not asker.granted:
                asker.sample_start, asker.sample_bytes = now, 0
            place = wanted.request, wanted.index
            asker.granted[place] = asker.granted.get(place, 0) + wanted.length
            asker.granted_bytes += wanted.length
            self._precedence.granted((asker.peer, *place), wanted.rank, wanted.length, now)
            swarm = wanted.root in self._interested
            chunks = chunk_count(known[0].size, known[0].chunk_size) if swarm else None
            self._turns.given(asker, wanted, chunks, now)
            self._bucket.take(wanted.length, now)
            asker.bucket.take(wanted.length, now)
            out.append(SendChunk(asker.peer, wanted.request, wanted.root, wanted.index, wanted.length))
            out += self.account.take(wanted.length)
            if self.account.left() == 0:
                out += self._turn_away()

    def give_first(self, roots: Sequence[bytes], now: float) -> Out:
        """In a drain: what of these is asked for as critical goes before everything else, in this order.

        Each to one peer at a time: half of two artifacts is none. No roots: the drain is over.
        """
        places = {root: place - len(roots) for place, root in enumerate(roots)}
        if places == self._draining:
            return []
        self._draining = places
        self._draining_to = {root: peer for root, peer in self._draining_to.items() if root in places}
        for asker in self._askers.values():
            for wanted in asker.queue:
                wanted.first = self._place_in_drain(wanted)
            asker.queue.sort(key=order_of)
        return self._grant(now)

    def _place_in_drain(self, wanted: Wanted) -> int:
        return self._draining.get(wanted.root, 0) if wanted.priority == CRITICAL else 0

    def _drained(self, ready: list[Asker], now: float) -> list[tuple[Asker, int]] | None:
        """Return who is next of those whom a drain serves first; None: nobody asks for anything of that."""
        if not self._draining:
            return None
        first = min((asker.queue[0].first for asker in self._askers.values() if asker.queue), default=0)
        if not first:
            return None
        self._precedence.again_at = NEVER
        places = [asker for asker in ready if asker.queue[0].first < 0]
        if not places:
            # Whoever takes it has its share under way; nobody else's may make it late.
            return []
        asker = min(places, key=lambda one: (one.queue[0].first, not self._takes(one)))
        if not self._precedence.allows(asker.queue[0].rank, now):
            return []
        self._draining_to.setdefault(asker.queue[0].root, asker.peer)
        return [(asker, 0)]

    def _takes(self, asker: Asker) -> bool:
        return self._draining_to.get(asker.queue[0].root) == asker.peer

    def _turn_away(self) -> Out:
        """The byte budget has left: what is not critical is to be had elsewhere, or later."""
        out: Out = []
        for asker in self._askers.values():
            requests = sorted({wanted.request for wanted in asker.queue if wanted.priority != CRITICAL})
            asker.queue = [wanted for wanted in asker.queue if wanted.priority == CRITICAL]
            retry, reason = self._settings.spent_retry, self.account.spent_until()
            out += [Send(asker.peer, Busy(request, retry, reason), LINK) for request in requests]
        return out

    def _has_room(self, asker: Asker) -> bool:
        settings = self._settings
        if len(asker.granted) < settings.ahead_least:
            return True
        return asker.granted_bytes < min(settings.ahead_most, asker.rate * settings.ahead_seconds)

    def chunk_sent(self, peer: PeerId, request: int, index: int, length: int, now: float) -> Out:
        """A body left us entirely."""
        self.chunk_bytes_sent += length
        asker = self._askers.get(peer)
        if asker is None:
            return self._grant(now)
        self._precedence.sent(self._settle(asker, request, index), length, now)
        asker.sample_bytes += length
        seconds = now - asker.sample_start
        if seconds >= 0.05:
            sample = asker.sample_bytes / seconds
            asker.rate = sample if not asker.rate else 0.5 * (asker.rate + sample)
            asker.sample_start, asker.sample_bytes = now, 0
        return self._grant(now)

    def chunk_unreadable(self, peer: PeerId, request: int, root: bytes, index: int, now: float) -> Out:
        """We could not read it, or it is no longer what was published.

        Why is for our own log: it names paths of this machine, which are nobody else's business.
        """
        asker = self._askers.get(peer)
        if asker is not None:
            self._settle(asker, request, index)
        refusal = Send(peer, NoChunks(request, root, (index,), "it cannot be read here"), LINK)
        return [refusal, *self._grant(now)]

    def _settle(self, asker: Asker, request: int, index: int) -> int:
        asker.granted_bytes -= asker.granted.pop((request, index), 0)
        return self._precedence.settled((asker.peer, request, index))

    # --- progress -----------------------------------------------------------------------------

    def chunk_held(self, root: bytes, index: int, now: float) -> Out:
        """We verified one more chunk: tell those who are interested, a few at a time."""
        if root in self._interested and root in self._shelf.partial:
            self._news.setdefault(root, []).append(index)
            self._tell_at = min(self._tell_at, max(now, self._told_at + self._settings.progress_interval))
            return self._tell_progress(now)
        return []

    def _tell_progress(self, now: float) -> Out:
        out: Out = []
        if now < self._tell_at:
            return out
        self._tell_at, self._told_at = NEVER, now
        for root, indices in self._news.items():
            for start in range(0, len(indices), 1024):
                message = HaveMore(root, tuple(indices[start : start + 1024]))
                out += [Send(peer, message, LINK) for peer in self._interested.get(root, {})]
        self._news.clear()
        return out

    def root_completed(self, root: bytes, now: float) -> Out:
        """We hold all of it."""
        self._news.pop(root, None)
        return self._tell_interested(root)

    def _tell_interested(self, root: bytes) -> Out:
        return [message for peer in self._interested.get(root, {}) for message in self._have(root, peer)]

    def root_lost(self, root: bytes, now: float) -> Out:
        """We no longer hold this version; if that was the last with this content, refuse what is queued."""
        if self._shelf.available(root) is not None:
            return []
        self._news.pop(root, None)
        out = self._tell_interested(root)
        for asker in self._askers.values():
            requests = sorted({wanted.request for wanted in asker.queue if wanted.root == root})
            asker.queue = [wanted for wanted in asker.queue if wanted.root != root]
            for request in requests:
                out.append(Send(asker.peer, NoChunks(request, root, (), "no longer here"), LINK))
        return out

    def is_pulled(self, root: bytes) -> bool:
        """Tell whether a linked peer pulls this root now."""
        return root in self._interested or any(
            wanted.root == root for asker in self._askers.values() for wanted in asker.queue
        )

    def wake(self, now: float) -> Out:
        """Tell progress that is due; grant what the bucket allows."""
        return self._tell_progress(now) + self._grant(now)

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        return self._tell_at if self._tell_at < self._grant_at else self._grant_at

    def set_limits(self, total: float | None, budget: Budget, now: float) -> Out:
        """Change the limits of sending, in total and to each peer."""
        self.set_send_rate(total, now)
        out = self.account.change(budget)
        for asker in self._askers.values():
            asker.bucket.set_rate(self._limit_of(asker.peer), now)
        return out + self._grant(now)

    def set_send_rate(self, rate: float | None, now: float) -> None:
        """Change the limit of all sending."""
        self._bucket.set_rate(rate, now, _BURST_SECONDS)

    def limits_changed(self, peer: PeerId, now: float) -> None:
        """A peer's card says another provider, perhaps."""
        asker = self._askers.get(peer)
        if asker is not None:
            asker.bucket.set_rate(self._limit_of(peer), now)
