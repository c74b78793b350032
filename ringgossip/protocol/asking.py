"""Whom do we ask for which chunk, now? Windows, budget, and the second ask.

Every source has a window of what its link brings in a quarter of a second; all
of them share one budget of bytes in flight and one bucket. Who misbehaved or is
slow is asked last. When nothing is left to ask an idle source for, it is asked
for a chunk that somebody else owes us for too long.
"""

from dataclasses import dataclass

from ringgossip.identity import PeerId
from ringgossip.protocol.core import LINK, NEVER, Draw, Effect, Notice, Send
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.protocol.pull import ALL, Phase, Pull
from ringgossip.protocol.sources import Ask, Source
from ringgossip.strategy.order import pick
from ringgossip.wire.messages import CancelChunks, GetChunks, GetPages

Out = list[Effect | Notice]


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How pulling behaves; seconds and bytes."""

    in_flight: int = 64 * 2**20  # bytes asked for and not yet stored, in the whole process
    window_seconds: float = 0.25  # of a link's rate; long enough to hide a round trip across an ocean
    largest_window: int = 16 * 2**20
    batch: int = 2**20  # bytes that one request for small chunks covers
    active: int = 16  # pulls of one kind at the same time
    silence: float = 10.0  # a holder without any progress for so long loses its requests
    slow: float = 30.0  # and is asked last for so long
    second_ask: float = 0.25  # how long a chunk must be overdue before an idle holder is asked for it too
    swarm_chunks: int = 4  # below this size looking for partial holders costs more than it brings
    new_links: int = 4  # holders to dial at once for one pull
    look_interval: float = 5.0  # how often to look for more holders
    retry: float = 5.0  # first retry after our own disk refused; doubles
    longest_retry: float = 300.0
    receive_bytes_per_second: float | None = None


class Asking:
    """The part of `Transfer` that knows sources; it changes pulls only by asking for their chunks."""

    def __init__(self, settings: TransferSettings, rng: Draw, now: float) -> None:
        self._settings = settings
        self._rng = rng
        self._bucket = TokenBucket(settings.receive_bytes_per_second, now)
        self._sources: dict[PeerId, Source] = {}
        self._pulls: dict[bytes, Pull] = {}  # by root
        self._request = 0
        self._ask_at = NEVER  # when a bucket or an overdue chunk allows the next request

    # --- asking ---------------------------------------------------------------------------

    def _give_back(self, source: Source, ask: Ask) -> None:
        released = ask.released
        items = source.forget(ask)
        pull = self._pulls.get(ask.root)
        if pull is None or released:
            return
        if ask.pages:
            for place in ask.pages:
                if pull.pages_asked.get(place) == source.peer:
                    del pull.pages_asked[place]
        else:
            pull.give_back(items)

    def _fill(self, now: float) -> Out:
        """Ask as much as windows, budget and bucket allow; the best source and the first pull first."""
        out: Out = []
        self._ask_at = NEVER
        if not self._pulls:
            return out
        total = sum(source.outstanding for source in self._sources.values())
        pulls = sorted(self._pulls.values(), key=lambda pull: pull.rank)
        ready = [source for source in self._sources.values() if now >= source.busy_until]
        # Random order, or the first link of every peer would do most of the work.
        if len(ready) > 1:
            turn = self._rng.getrandbits(16) % len(ready)
            ready = ready[turn:] + ready[:turn]
            ready.sort(key=lambda source: source.rank(now))
        while ready:
            still = []
            for source in ready:
                if total >= self._settings.in_flight:
                    return out
                if not self._bucket.may_take(now):
                    self._ask_at = self._bucket.ready_at(now)
                    return out
                before = source.outstanding
                asked = self._ask(source, pulls, now)
                if asked:
                    out += asked
                    total += source.outstanding - before
                    still.append(source)
            ready = still
        return out

    def _ask(self, source: Source, pulls: list[Pull], now: float) -> Out:
        """Send one more request to this source, or nothing."""
        settings = self._settings
        for pull in pulls:
            holding = pull.holders.get(source.peer)
            if not holding:
                continue
            if pull.phase is Phase.MANIFEST:
                asked = self._ask_pages(source, pull, holding, now)
                if asked:
                    return asked
                continue
            chunk_size = pull.record.chunk_size
            window = source.window(chunk_size, settings.window_seconds, settings.largest_window)
            if pull.phase is not Phase.PULLING or source.outstanding >= window:
                continue
            candidates = pull.needed & holding
            if candidates and self._better_source(pull, source, now):
                candidates = 0
            indices = pick(
                pull.availability.rarest(candidates),
                pull.count,
                min(64, max(1, settings.batch // chunk_size)),
                self._rng,
            )
            if not indices and source.outstanding == 0:
                indices = self._overdue(pull, source, holding, now)
            if indices:
                return self._send_ask(source, pull, indices, now)
        return []

    def _better_source(self, pull: Pull, source: Source, now: float) -> bool:
        """Tell whether a source that misbehaved should wait: an honest one has all this one has."""
        mine = source.rank(now)
        if mine == (0, 0):
            return False
        theirs = pull.holders[source.peer] & pull.needed
        for peer, holding in pull.holders.items():
            other = self._sources.get(peer)
            if other is not None and other.rank(now) < mine and holding & theirs == theirs:
                return True
        return False

    def _overdue(self, pull: Pull, source: Source, holding: int, now: float) -> list[int]:
        """Choose one chunk that another peer owes us for too long; this source is idle."""
        candidates = pull.asked_once() & holding
        if not candidates:
            return []
        late = 0
        soonest = NEVER
        for other in self._sources.values():
            if other is source:
                continue
            for ask in other.asks.values():
                if ask.root != pull.root or ask.pages:
                    continue
                patience = self._settings.second_ask
                if source.rate:
                    patience = max(patience, 2 * pull.record.chunk_size / source.rate)
                if now >= ask.asked_at + patience:
                    for index in ask.waiting:
                        late |= 1 << index
                else:
                    soonest = min(soonest, ask.asked_at + patience)
        self._ask_at = min(self._ask_at, soonest)
        return pick(candidates & late, pull.count, 1, self._rng)

    def _send_ask(self, source: Source, pull: Pull, indices: list[int], now: float) -> Out:
        self._request = self._request % (2**32 - 1) + 1
        waiting = {index: pull.length(index) for index in indices}
        source.asked(Ask(self._request, pull.root, waiting, now), now)
        pull.take(indices)
        self._bucket.take(sum(waiting.values()), now)
        return [Send(source.peer, GetChunks(self._request, pull.root, tuple(indices)), LINK)]

    def _ask_pages(self, source: Source, pull: Pull, holding: int, now: float) -> Out:
        # Only a whole copy is sure to have every page.
        if holding != ALL or pull.builder is None or len(pull.pages_asked) >= 64:
            return []
        if source.strikes and any(
            kept == ALL and not self._sources[peer].strikes for peer, kept in pull.holders.items()
        ):
            return []
        pages = tuple((page.level, page.index) for page in pull.builder.wanted(16, pull.pages_asked))
        if not pages:
            return []
        self._request = self._request % (2**32 - 1) + 1
        source.asked(Ask(self._request, pull.root, dict.fromkeys(range(len(pages)), 0), now, pages), now)
        for place in pages:
            pull.pages_asked[place] = source.peer
        levels, indices = zip(*pages, strict=True)
        return [Send(source.peer, GetPages(self._request, pull.root, levels, indices), LINK)]

    def _cancel_elsewhere(self, root: bytes, index: int, but: PeerId) -> Out:
        out: Out = []
        for source in self._sources.values():
            if source.peer == but:
                continue
            for ask in list(source.asks.values()):
                if ask.root == root and index in ask.waiting and not ask.pages:
                    source.answered(ask, index)
                    out.append(Send(source.peer, CancelChunks(ask.request, (index,)), LINK))
        return out

    def _failed(self, peer: PeerId, request: int, root: bytes, index: int) -> None:
        source = self._sources.get(peer)
        ask = source.asks.get(request) if source is not None else None
        pull = self._pulls.get(root)
        if source is None or ask is None:
            return
        released = ask.released
        if source.answered(ask, index) and pull is not None and not released:
            pull.give_back([index])

    def _silent(self, source: Source, now: float) -> Out:
        source.slow_until = now + self._settings.slow
        source.last_progress = now  # the next look is a whole `silence` away
        out: Out = []
        for ask in list(source.asks.values()):
            pull = self._pulls.get(ask.root)
            if pull is None or ask.released or not self._others_have(pull, source.peer):
                continue
            if ask.pages:
                self._give_back(source, ask)
            else:
                pull.give_back(source.release(ask))
        return out

    def _others_have(self, pull: Pull, but: PeerId) -> bool:
        return any(holding and peer != but for peer, holding in pull.holders.items())
