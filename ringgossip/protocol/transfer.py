"""Pull what we want: from whom, which chunk, how much at once.

Every wanted record becomes a `Pull`. Space is reserved, the manifest is fetched
and proven page by page, chunks that lie elsewhere in our own store are copied,
and the rest is asked of everybody who has some of it, rarest first. Which pull
a free place goes to is decided again for every request, so a checkpoint never
waits behind a database. Everything under way at one time is bounded in bytes.

Rules of this room:
- A chunk is asked twice only when nothing else is left to ask that holder for.
- A holder that stays silent loses its requests, not its right to answer late.
- A version that became old while it was pulled is finished while somebody
  serves it; of the versions published meanwhile only the newest waits.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ringgossip.content.manifest import Manifest, ManifestBuilder
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.events import ArtifactRejected, BadChunk, TransferStalled, TransferStarted
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import (
    LINK,
    NEVER,
    Abandon,
    AcceptBody,
    BeginPartial,
    DiscardBody,
    Draw,
    Effect,
    Finalise,
    FindPages,
    LinkId,
    NeedLink,
    Notice,
    Reserve,
    Send,
    Tell,
)
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.protocol.pull import ALL, Phase, Pull
from ringgossip.protocol.shelf import Shelf
from ringgossip.protocol.sources import Ask, Source
from ringgossip.strategy.order import pick
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
    Page,
)

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


# Which kind goes first. Checkpoints are small and everyone waits for them.
KIND_RANK = {"models": 0, "npz": 1, "games": 1}


class Transfer:
    """The machine that pulls. `holders` names peers known to have all of a record, linked or not."""

    def __init__(
        self,
        settings: TransferSettings,
        shelf: Shelf,
        rng: Draw,
        holders: Callable[[Record], Iterable[PeerId]],
        keep_predecessor: Callable[[Record], bool],
        name_of: Callable[[PeerId], str],
        now: float,
    ) -> None:
        self._settings = settings
        self._shelf = shelf
        self._rng = rng
        self._holders = holders
        self._keep_predecessor = keep_predecessor
        self._name_of = name_of
        self._bucket = TokenBucket(settings.receive_bytes_per_second, now)
        self._sources: dict[PeerId, Source] = {}
        self._pulls: dict[bytes, Pull] = {}  # by root
        self._keys: dict[ArtifactKey, Pull] = {}
        self._queue: list[tuple[int, int, int, Record]] = []
        self._queued: dict[ArtifactKey, Record] = {}
        self._parked: dict[ArtifactKey, tuple[float, Record]] = {}
        self._retries: dict[ArtifactKey, int] = {}
        self._hopeless: dict[bytes, str] = {}  # record hash -> why its content was rejected
        self._active: dict[str, int] = {}
        self._serial = 0
        self._request = 0
        self._outstanding_due = NEVER
        self.chunk_bytes_wasted = 0

    # --- what we want -----------------------------------------------------------

    def want(self, record: Record, now: float) -> Out:
        """Pull this version unless it is here, on its way, or known to be bad."""
        if record.hash in self._hopeless or self._shelf.holds(record):
            return []
        pull = self._keys.get(record.key)
        if pull is not None:
            if record.sequence > pull.record.sequence and (
                pull.newer is None or record.sequence > pull.newer.sequence
            ):
                pull.newer = record
            return []
        waiting = self._queued.get(record.key)
        if waiting is not None and waiting.sequence >= record.sequence:
            return []
        self._parked.pop(record.key, None)
        self._enqueue(record)
        return self._advance(now)

    def unwant(self, key: ArtifactKey, now: float) -> Out:
        """Stop pulling an artifact; what is verified stays for another time."""
        self._queued.pop(key, None)
        self._parked.pop(key, None)
        pull = self._keys.get(key)
        return [] if pull is None else self._drop(pull, keep=True, now=now)

    def _enqueue(self, record: Record) -> None:
        self._queued[record.key] = record
        self._serial += 1
        rank = KIND_RANK.get(record.kind, 1)
        # Ties at random, or all peers would pull the same artifact from the same holder first.
        heapq.heappush(self._queue, (rank, self._rng.getrandbits(16), self._serial, record))

    def _advance(self, now: float) -> Out:
        """Start pulls for which there is a place, then fill the windows."""
        out: Out = []
        postponed = []
        while self._queue:
            rank, tie, serial, record = heapq.heappop(self._queue)
            if self._queued.get(record.key) is not record:
                continue
            if self._active.get(record.kind, 0) >= self._settings.active or record.root in self._pulls:
                postponed.append((rank, tie, serial, record))
                if len(postponed) > 64:
                    break
                continue
            del self._queued[record.key]
            out += self._start(record, rank, now)
        for entry in postponed:
            heapq.heappush(self._queue, entry)
        return out + self._fill(now)

    def _start(self, record: Record, rank: int, now: float) -> Out:
        pull = Pull(record, rank, started_at=now, last_progress=now)
        self._pulls[record.root] = pull
        self._keys[record.key] = pull
        self._active[record.kind] = self._active.get(record.kind, 0) + 1
        if self._shelf.holds_content(record):
            # Only the metadata is new: no chunk moves, not even on our own disk.
            pull.phase = Phase.FINISHING
            return [Finalise(record, keep_predecessor=False)]
        return [Reserve(record)]

    def _end(self, pull: Pull) -> None:
        del self._pulls[pull.root]
        del self._keys[pull.record.key]
        self._active[pull.record.kind] -= 1
        self._shelf.partial.pop(pull.root, None)
        for source in self._sources.values():
            for ask in [ask for ask in source.asks.values() if ask.root == pull.root]:
                source.forget(ask)

    def _drop(self, pull: Pull, keep: bool, now: float) -> Out:
        out: Out = [Abandon(pull.root, keep)]
        out += self._interest(pull, wanted=False)
        for source in self._sources.values():
            for ask in list(source.asks.values()):
                if ask.root == pull.root and not ask.pages:
                    out.append(Send(source.peer, CancelChunks(ask.request, tuple(ask.waiting)), LINK))
        self._end(pull)
        if pull.newer is not None:
            self._enqueue(pull.newer)
        return out + self._advance(now)

    # --- our own disk answers ------------------------------------------------------

    def reserved(self, root: bytes, manifest: Manifest | None, now: float) -> Out:
        """There is room; a manifest that was fetched before spares us to fetch it again."""
        pull = self._pulls.get(root)
        if pull is None or pull.phase is not Phase.RESERVING:
            return []
        if manifest is not None:
            return self._prepare(pull, manifest)
        record = pull.record
        pull.builder = ManifestBuilder(record.root, record.size, record.chunk_size)
        if pull.builder.complete:  # an empty file has no pages
            return self._prepare(pull, pull.builder.build())
        pull.phase = Phase.MANIFEST
        return self._look_for_holders(pull, now) + self._fill(now)

    def reserve_refused(self, root: bytes, reason: str, now: float) -> Out:
        """No room now; tried again later."""
        pull = self._pulls.get(root)
        return [] if pull is None else self._park(pull, reason, now)

    def _park(self, pull: Pull, reason: str, now: float) -> Out:
        key, record = pull.record.key, pull.newer or pull.record
        pull.newer = None
        tries = self._retries.get(key, 0)
        self._retries[key] = tries + 1
        delay = min(self._settings.longest_retry, self._settings.retry * 2**tries)
        self._parked[key] = (now + delay * (0.75 + 0.5 * self._rng.random()), record)
        out: Out = [Tell(TransferStalled(key.text, record.sequence, reason))]
        return out + self._drop(pull, keep=True, now=now)

    def pages_found(self, root: bytes, found: dict[bytes, bytes], now: float) -> Out:
        """Manifest pages of older versions that this one shares."""
        pull = self._pulls.get(root)
        if pull is None or pull.builder is None or pull.phase is not Phase.FINDING_PAGES:
            return []
        for page in pull.builder.wanted(len(found) + 4096):
            data = found.get(page.hash)
            if data is not None:
                pull.builder.add(page.level, page.index, data)
        return self._manifest_progress(pull, now, searched=True)

    def partial_ready(self, root: bytes, have: int, copying: int, now: float) -> Out:
        """The partial file is open."""
        pull = self._pulls.get(root)
        if pull is None or pull.phase is not Phase.PREPARING:
            return []
        pull.begin(have, copying)
        self._publish_progress(pull)
        missing = pull.count - pull.have.bit_count()
        out: Out = [Tell(TransferStarted(pull.record.key.text, pull.record.sequence, pull.record.size, missing))]
        return out + self._continue(pull, now)

    def chunks_copied(self, root: bytes, copied: int, failed: int, now: float) -> Out:
        """Chunks from elsewhere in our store are in place, or could not be read there."""
        pull = self._pulls.get(root)
        if pull is None or pull.phase is not Phase.PULLING:
            return []
        pull.copied(copied, failed, now)
        self._publish_progress(pull)
        return self._continue(pull, now)

    def _publish_progress(self, pull: Pull) -> None:
        self._shelf.partial[pull.root] = (pull.record, pull.have)

    def _continue(self, pull: Pull, now: float) -> Out:
        if pull.complete:
            pull.phase = Phase.FINISHING
            return [Finalise(pull.record, self._keep_predecessor(pull.record)), *self._fill(now)]
        return self._look_for_holders(pull, now) + self._fill(now)

    def finalised(self, record: Record, now: float) -> Out:
        """The version is visible; free its place."""
        pull = self._keys.get(record.key)
        if pull is None or pull.record != record:
            return []
        out = self._interest(pull, wanted=False)
        self._retries.pop(record.key, None)
        newer = pull.newer
        self._end(pull)
        if newer is not None:
            self._enqueue(newer)
        return out + self._advance(now)

    def rejected(self, record: Record, reason: str, final: bool, now: float) -> Out:
        """It could not be made visible: `final` if its content is to blame."""
        pull = self._keys.get(record.key)
        if pull is None or pull.record != record:
            return []
        if not final:
            return self._park(pull, reason, now)
        if len(self._hopeless) >= 10_000:
            self._hopeless.pop(next(iter(self._hopeless)))
        self._hopeless[record.hash] = reason
        out: Out = [Tell(ArtifactRejected(record.key.text, record.sequence, reason))]
        return out + self._drop(pull, keep=False, now=now)

    # --- links and holders -----------------------------------------------------------

    def link_opened(self, peer: PeerId, now: float) -> Out:
        """A peer can be asked now."""
        self._sources[peer] = Source(peer)
        out: Out = []
        for pull in self._pulls.values():
            if self._is_swarm(pull) and pull.phase is not Phase.FINISHING:
                out.append(Send(peer, Interest(pull.root, True), LINK))
            if peer in self._holders(pull.record):
                pull.set_holder(peer, ALL)
        return out + self._fill(now)

    def link_broken(self, peer: PeerId, now: float) -> Out:
        """What was asked of it goes to others."""
        source = self._sources.pop(peer, None)
        if source is None:
            return []
        for ask in list(source.asks.values()):
            self._give_back(source, ask)
        out: Out = []
        for pull in list(self._pulls.values()):
            pull.drop_holder(peer)
            pull.look_at = now
            out += self._look_for_holders(pull, now)
        return out + self._fill(now)

    def holder_known(self, root: bytes, peer: PeerId, now: float) -> Out:
        """A peer announced a whole copy."""
        pull = self._pulls.get(root)
        if pull is None:
            return []
        if peer in self._sources:
            pull.set_holder(peer, ALL)
            return self._fill(now)
        pull.look_at = now
        return self._look_for_holders(pull, now)

    def _is_swarm(self, pull: Pull) -> bool:
        return pull.count >= self._settings.swarm_chunks

    def _interest(self, pull: Pull, wanted: bool) -> Out:
        if not self._is_swarm(pull):
            return []
        return [Send(peer, Interest(pull.root, wanted), LINK) for peer in self._sources]

    def _look_for_holders(self, pull: Pull, now: float) -> Out:
        """Make linked holders known to the pull; ask for links to some others."""
        if pull.phase not in (Phase.MANIFEST, Phase.PULLING) or now < pull.look_at:
            return []
        first = pull.look_at < 0 and not pull.holders
        pull.look_at = now + self._settings.look_interval
        out: Out = self._interest(pull, wanted=True) if first else []
        strangers = []
        for peer in self._holders(pull.record):
            if peer in self._sources:
                if pull.holders.get(peer) != ALL:
                    pull.set_holder(peer, ALL)
            else:
                strangers.append(peer)
        for _ in range(min(self._settings.new_links, len(strangers))):
            out.append(NeedLink(strangers.pop(self._rng.getrandbits(16) * len(strangers) >> 16)))
        return out

    # --- messages -------------------------------------------------------------------

    def receive(self, message: Message, sender: PeerId, source: Address | LinkId, now: float) -> Out:
        """Handle what holders say."""
        giver = self._sources.get(sender)
        if giver is None:
            return []
        match message:
            case Have():
                return self._heard_have(giver, message, now)
            case HaveMore():
                pull = self._pulls.get(message.root)
                if pull is not None:
                    pull.add_to_holder(sender, message.indices)
                    return self._fill(now)
            case Page():
                return self._heard_page(giver, message, now)
            case Busy():
                ask = giver.asks.get(message.request)
                if ask is not None:
                    pause = min(max(message.retry_after, 0.05), 60.0)
                    giver.busy_until = now + pause * (1 + 0.5 * self._rng.random())
                    self._give_back(giver, ask)
                return self._fill(now)
            case NoChunks():
                return self._heard_no(giver, message, now)
        return []

    def _heard_have(self, giver: Source, message: Have, now: float) -> Out:
        pull = self._pulls.get(message.root)
        if pull is None:
            return []
        if message.state == 2:
            pull.set_holder(giver.peer, ALL)
        elif message.state == 1 and message.offset % 8 == 0 and message.offset < pull.count:
            chunks = int.from_bytes(message.bitmap, "little") << message.offset
            chunks &= (1 << pull.count) - 1
            known = pull.holders.get(giver.peer, 0)
            if known != ALL:
                pull.set_holder(giver.peer, known | chunks)
        return self._fill(now)

    def _heard_page(self, giver: Source, message: Page, now: float) -> Out:
        ask = giver.asks.get(message.request)
        place = (message.level, message.index)
        if ask is None or place not in ask.pages:
            return []
        giver.progressed(now)
        giver.answered(ask, ask.pages.index(place))
        pull = self._pulls.get(ask.root)
        if pull is None or pull.builder is None:
            return self._fill(now)
        if pull.pages_asked.get(place) == giver.peer:
            del pull.pages_asked[place]
        if not pull.builder.add(message.level, message.index, message.data):
            giver.strikes += 1
            pull.drop_holder(giver.peer)
            return self._fill(now)
        pull.last_progress = now
        return self._manifest_progress(pull, now, searched=message.level == 0)

    def _manifest_progress(self, pull: Pull, now: float, searched: bool) -> Out:
        builder = pull.builder
        assert builder is not None
        if builder.complete:
            return self._prepare(pull, builder.build())
        if not searched:
            # A page above the bottom names pages that an older version may have brought here.
            pull.phase = Phase.FINDING_PAGES
            wanted = builder.wanted(4096, pull.pages_asked)
            return [FindPages(pull.root, tuple((page.level, page.index, page.hash) for page in wanted))]
        pull.phase = Phase.MANIFEST
        return self._fill(now)

    def _prepare(self, pull: Pull, manifest: Manifest) -> Out:
        pull.builder = None
        pull.manifest = manifest
        pull.phase = Phase.PREPARING
        return [BeginPartial(pull.record, manifest)]

    def _heard_no(self, giver: Source, message: NoChunks, now: float) -> Out:
        ask = giver.asks.get(message.request)
        pull = self._pulls.get(message.root)
        if ask is not None and ask.root == message.root:
            if message.indices and not ask.pages:
                lost = [index for index in message.indices if index in ask.waiting]
                released = ask.released
                for index in lost:
                    giver.answered(ask, index)
                if pull is not None and not released:
                    pull.give_back(lost)
            else:
                self._give_back(giver, ask)
        if pull is not None:
            pull.remove_from_holder(giver.peer, message.indices)
            pull.look_at = min(pull.look_at, now + 1.0)
        return self._fill(now)

    # --- bodies -------------------------------------------------------------------------

    def body_arrives(self, peer: PeerId, request: int, index: int, length: int, now: float) -> Out:
        """The first piece of a chunk is here: take it, or read it away."""
        source = self._sources.get(peer)
        ask = source.asks.get(request) if source is not None else None
        if source is not None and ask is not None and not ask.pages and ask.waiting.get(index) == length:
            source.progressed(now)
            pull = self._pulls.get(ask.root)
            if (
                pull is not None
                and pull.phase is Phase.PULLING
                and pull.manifest is not None
                and not pull.have >> index & 1
            ):
                hash_ = pull.manifest.chunk_hash(index)
                return [AcceptBody(peer, request, ask.root, index, length, hash_)]
            source.answered(ask, index)
        self.chunk_bytes_wasted += length
        return [DiscardBody(peer, request, index, length)]

    def chunk_stored(self, peer: PeerId, request: int, root: bytes, index: int, length: int, now: float) -> Out:
        """A chunk is proven and written."""
        source = self._sources.get(peer)
        ask = source.asks.get(request) if source is not None else None
        if source is not None and ask is not None and source.answered(ask, index):
            source.received(length, now)
        pull = self._pulls.get(root)
        if pull is None:
            return self._fill(now)
        out: Out = []
        twice = pull.asked.get(index, 0) > 1 or (ask is not None and ask.released)
        if not pull.stored(index, length, now):
            self.chunk_bytes_wasted += length
        elif twice:
            out += self._cancel_elsewhere(root, index, peer)
        self._publish_progress(pull)
        if pull.complete:
            return out + self._continue(pull, now)
        return out + self._fill(now)

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

    def chunk_bad(
        self, peer: PeerId, request: int, root: bytes, index: int, reason: str, now: float
    ) -> Out:
        """The bytes do not have the hash they should: never stored, its sender is asked last."""
        out: Out = []
        self._failed(peer, request, root, index)
        source = self._sources.get(peer)
        if source is not None:
            source.strikes += 1
        pull = self._pulls.get(root)
        if pull is not None:
            pull.remove_from_holder(peer, (index,))
            out.append(Tell(BadChunk(self._name_of(peer), pull.record.key.text, index)))
        return out + self._fill(now)

    def chunk_unstored(
        self, peer: PeerId, request: int, root: bytes, index: int, reason: str, now: float
    ) -> Out:
        """Our own disk would not take it."""
        self._failed(peer, request, root, index)
        pull = self._pulls.get(root)
        return [] if pull is None else self._park(pull, reason, now)

    def _failed(self, peer: PeerId, request: int, root: bytes, index: int) -> None:
        source = self._sources.get(peer)
        ask = source.asks.get(request) if source is not None else None
        pull = self._pulls.get(root)
        if source is None or ask is None:
            return
        released = ask.released
        if source.answered(ask, index) and pull is not None and not released:
            pull.give_back([index])

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
        self._outstanding_due = NEVER
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
                    self._outstanding_due = self._bucket.ready_at(now)
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
        self._outstanding_due = min(self._outstanding_due, soonest)
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

    # --- time --------------------------------------------------------------------------------

    def wake(self, now: float) -> Out:
        """Move requests away from silent holders, look for new ones, retry what our disk refused."""
        out: Out = []
        for source in self._sources.values():
            if now >= source.busy_until:
                source.busy_until = -NEVER
            if now >= source.stalled_at(self._settings.silence):
                out += self._silent(source, now)
        for key, (due, record) in list(self._parked.items()):
            if now >= due:
                del self._parked[key]
                self._enqueue(record)
        for pull in self._pulls.values():
            out += self._look_for_holders(pull, now)
            waited = now - pull.last_progress
            if not pull.stall_told and pull.phase in (Phase.MANIFEST, Phase.PULLING) and waited > 30.0:
                pull.stall_told = True
                reason = "no holder answers" if pull.holders else "no holder is reachable"
                out.append(Tell(TransferStalled(pull.record.key.text, pull.record.sequence, reason)))
        return out + self._advance(now)

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

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        due = self._outstanding_due
        for source in self._sources.values():
            due = min(due, source.stalled_at(self._settings.silence))
            if self._pulls and source.busy_until > -NEVER:
                due = min(due, source.busy_until)
        for when, _ in self._parked.values():
            due = min(due, when)
        for pull in self._pulls.values():
            if pull.phase in (Phase.MANIFEST, Phase.PULLING):
                due = min(due, pull.look_at)
        return due

    # --- looking at it ------------------------------------------------------------------------

    def pulls(self) -> list[Pull]:
        """Return the pulls under way, for `PeerCore` to make views of."""
        return list(self._pulls.values())

    def waiting(self) -> int:
        """Return how many wanted versions have no place yet."""
        return len(self._queued) + len(self._parked)

    def outstanding(self) -> int:
        """Return the bytes asked for and not yet stored."""
        return sum(source.outstanding for source in self._sources.values())

    def is_wanted(self, record: Record) -> bool:
        """Tell whether this version is being pulled or waits for it."""
        pull = self._keys.get(record.key)
        return (
            (pull is not None and record in (pull.record, pull.newer))
            or self._queued.get(record.key) is record
            or record.key in self._parked
        )

    def set_receive_rate(self, rate: float | None, now: float) -> None:
        """Change the limit of receiving."""
        self._bucket.set_rate(rate, now)
