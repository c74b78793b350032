"""The life of a pull: queued, reserved, its manifest, its chunks, its end.

Rules of this room:
- What `rules` ranks first goes first, then the scarcest, then chance as the drain urgency of sources says.
  So many are pulled at one time; whatever nobody serves takes nobody's place.
- A version that became old while it was pulled is finished while somebody
  serves it; of the versions published meanwhile only the newest waits.
- What our own disk refuses is parked and tried again, later each time; content
  that is not what its kind demands is never tried again.
"""

from collections.abc import Callable, Iterable, Mapping

from ringgossip.content.chunking import chunk_count
from ringgossip.content.manifest import Manifest, ManifestBuilder
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.events import ArtifactRejected, TransferStalled, TransferStarted
from ringgossip.identity import PeerId
from ringgossip.protocol.asking import Asking, TransferSettings
from ringgossip.protocol.core import (
    LINK,
    Abandon,
    BeginPartial,
    Draw,
    Effect,
    Finalise,
    FindPages,
    NeedLink,
    Notice,
    Reserve,
    Send,
    Tell,
)
from ringgossip.protocol.guide import Guide
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.protocol.parking import Parking
from ringgossip.protocol.pull import ALL, ASKING, Phase, Pull
from ringgossip.protocol.shelf import Shelf
from ringgossip.protocol.waitlist import Entry, Waitlist
from ringgossip.strategy.eligibility import No
from ringgossip.strategy.weights import KIND_RANK
from ringgossip.wire.messages import (
    CancelChunks,
    Interest,
)

Out = list[Effect | Notice]

_PLENTY = 8  # known holders from which on more make nothing safer
_OVERTAKING = 4  # places beyond `active` for what is more urgent than something under way
# 32 bytes of memory for each chunk: with tiny ones a file that fits on a disk may take more than there is.
_SMALL_CHUNK, _MOST_SMALL = 2**16, 2**21
_ROOM = 4  # times `active`: so many pulls, most of which nobody serves now, may hold room on our disk


class Pulling(Asking):
    """The part of `Transfer` that decides what is pulled.

    `holders` names peers known to have all of a record, linked or not.
    """

    def __init__(
        self,
        settings: TransferSettings,
        me: PeerId,
        shelf: Shelf,
        rng: Draw,
        holders: Callable[[Record], Iterable[PeerId]],
        keep_predecessor: Callable[[Record], bool],
        name_of: Callable[[PeerId], str],
        now: float,
        guide: Guide | None = None,
        tries: Mapping[ArtifactKey, int] | None = None,
    ) -> None:
        super().__init__(settings, me, rng, now, guide)
        self._shelf = shelf
        self._holders = holders
        self._keep_predecessor = keep_predecessor
        self._name_of = name_of
        self._keys: dict[ArtifactKey, Pull] = {}
        self._queued = Waitlist(KIND_RANK, rng)
        self._parked = Parking(settings.retry, settings.longest_retry, rng, tries or {})
        self._hopeless: dict[bytes, str] = {}  # record hash -> why its content was rejected
        self._active: dict[str, int] = {}
        self._stalled = 0  # of the pulls under way, as of the last look
        self.chunk_bytes_wasted = 0

    # --- what we want -----------------------------------------------------------

    def want(self, record: Record, now: float, insist: bool = False) -> Out:
        """Pull this version unless it is here, on its way, or known to be bad.

        What our disk refused is tried again in its time, however often it is wanted; `insist`: at once.
        """
        if record.hash in self._hopeless or self._shelf.holds(record):
            return []
        if record.chunk_size < _SMALL_CHUNK and chunk_count(record.size, record.chunk_size) > _MOST_SMALL:
            return self._condemn(record, f"its chunks of {record.chunk_size} bytes are too many to be honest")
        pull = self._keys.get(record.key)
        if pull is not None:
            before, pull.rank = pull.rank, self._guide.rank(record)
            # Of two records with one sequence the catalog has chosen; the one it names now is wanted.
            newest = pull.newer or pull.record
            if record != pull.record and record.sequence >= newest.sequence:
                pull.newer = record
                return self._leave_unserved(pull, now, patience=self._settings.look_interval)
            # Who gives nothing but what is critical may be asked now.
            return self._fill(now) if pull.rank < before else []
        waiting = self._queued.get(record.key)
        if waiting is not None and (waiting == record or waiting.sequence > record.sequence):
            if waiting == record:
                self._enqueue(waiting, now)  # perhaps it is more urgent now
            return self._advance(now) if self._has_place(record.kind) else []
        parked = self._parked.get(record.key)
        if parked is not None and not insist and (parked == record or parked.sequence > record.sequence):
            return []
        if not insist and self._parked.park_again(record, now):
            return []
        self._parked.leave(record.key)
        self._enqueue(record, now)
        return self._advance(now) if self._has_place(record.kind) else []

    def limit(self, key: ArtifactKey, bucket: TokenBucket | None) -> None:
        """Pull this artifact no faster than `bucket` allows, until it is here; None: as fast as it comes."""
        self._limits.pop(key, None)
        if bucket is not None:
            self._limits[key] = bucket

    def unwant(self, key: ArtifactKey, now: float, running: bool = True) -> Out:
        """Stop pulling an artifact; what is verified stays. Not `running`: only what has no room yet."""
        self._queued.leave(key)
        self._parked.leave(key)
        self._limits.pop(key, None)
        pull = self._keys.get(key)
        if pull is None or (not running and pull.phase is not Phase.RESERVING):
            return []
        pull.newer = None
        if pull.phase is Phase.FINISHING:  # too late to stop it
            return []
        return self._drop(pull, keep=True, now=now)

    def superseded(self, record: Record, now: float) -> Out:
        """This version came by another way (we published it): nothing older is pulled any more."""
        self._queued.leave(record.key)  # `want` brings back what is newer
        self._parked.leave(record.key)
        pull = self._keys.get(record.key)
        if pull is None or pull.record.sequence >= record.sequence:
            return []
        if pull.newer is not None and pull.newer.sequence <= record.sequence:
            pull.newer = None
        if pull.phase is Phase.FINISHING:
            return []  # the store gives it a name of its own, behind the newer one
        return self._drop(pull, keep=False, now=now)

    def _leave_unserved(self, pull: Pull, now: float, patience: float) -> Out:
        """Go on to a newer version that waits, if nobody serves what is missing of this one."""
        if pull.newer is None or pull.phase not in ASKING or pull.copying:
            return []
        waited = now - pull.last_progress
        # Nobody has it; or somebody says so and yet nothing comes.
        if (waited < patience or pull.offered()) and waited < self._settings.silence:
            return []
        return self._drop(pull, keep=True, now=now)

    def _enqueue(self, record: Record, now: float) -> None:
        holders = list(self._holders(record))
        urgency = self._guide.urgency(record, holders, now)
        self._queued.put(record, self._guide.rank(record), min(_PLENTY, len(holders)), urgency)

    def _has_place(self, kind: str) -> bool:
        most, moving = self._settings.active, len(self._pulls) - self._stalled
        if len(self._pulls) >= _ROOM * most + _OVERTAKING:
            return False
        if moving < most or moving >= most + _OVERTAKING or (first := self._queued.first_rank(kind)) is None:
            return moving < most
        # The first of its kind, and what is more urgent than something under way, need not wait.
        return not self._active.get(kind) or any(pull.rank > first for pull in self._pulls.values())

    def _advance(self, now: float) -> Out:
        """Start pulls for which there is a place, then fill the windows."""
        out: Out = []
        for kind in KIND_RANK:
            postponed: list[Entry] = []
            while self._queued.first_rank(kind) is not None and self._has_place(kind) and len(postponed) < 64:
                entry = self._queued.take(kind)
                record = entry[-1]
                rival = self._pulls.get(record.root)
                if rival is not None and not self._gives_way(rival, record, now):
                    postponed.append(entry)  # the same content under another name comes first
                    continue
                if rival is not None:
                    out += self._stop(rival, True, now)
                    self._enqueue(rival.record, now)
                verdict = self._guide.may_receive(record)
                if verdict:
                    out += self._start(record, entry[4], now)
                elif isinstance(verdict, No):
                    # The rules ask for it again as soon as they allow it.
                    out.append(Tell(TransferStalled(record.key.text, record.sequence, verdict.sentence)))
            for entry in postponed:
                self._queued.put_back(entry)
        return out + self._fill(now)

    def _start(self, record: Record, urgency: float, now: float) -> Out:
        pull = Pull(record, self._guide.rank(record), now, urgency, last_progress=now)
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
        self._stalled -= pull.stall_told and self._stalled > 0
        self._shelf.partial.pop(pull.root, None)
        for source in self._sources.values():
            for ask in [ask for ask in source.asks.values() if ask.root == pull.root]:
                source.forget(ask)

    def _gives_way(self, pull: Pull, record: Record, now: float) -> bool:
        """Tell whether a pull of the same root leaves its place: one of the two records lies about the root.

        A root binds size and chunk size. Until a page proves one of them, both have their turns.
        """
        if (pull.record.size, pull.record.chunk_size) == (record.size, record.chunk_size):
            return False
        unproven = pull.phase is Phase.MANIFEST and pull.builder is not None and not pull.builder.begun
        return unproven and now >= pull.last_progress + self._settings.look_interval

    def _drop(self, pull: Pull, keep: bool, now: float) -> Out:
        return self._stop(pull, keep, now) + self._advance(now)

    def _stop(self, pull: Pull, keep: bool, now: float) -> Out:
        out: Out = [Abandon(pull.root, keep)]
        out += self._no_interest(pull)
        for source in self._sources.values():
            for ask in list(source.asks.values()):
                if ask.root == pull.root and ask.waiting and not ask.pages:
                    out.append(Send(source.peer, CancelChunks(ask.request, tuple(ask.waiting)), LINK))
        self._end(pull)
        if pull.newer is not None:
            self._enqueue(pull.newer, now)
        return out

    # --- our own disk answers ------------------------------------------------------

    def reserved(self, root: bytes, manifest: Manifest | None, now: float) -> Out:
        """There is room; a manifest that was fetched before spares us to fetch it again."""
        pull = self._pulls.get(root)
        if pull is None or pull.phase is not Phase.RESERVING:
            return []
        record = pull.record
        if manifest is not None and (manifest.size, manifest.chunk_size) != (record.size, record.chunk_size):
            return self._refuse(pull, "it names the root of a content of another size", True, now)
        if manifest is not None:
            return self._prepare(pull, manifest)
        pull.builder = ManifestBuilder(record.root, record.size, record.chunk_size)
        if pull.builder.complete:  # an empty file has no pages
            return self._prepare(pull, pull.builder.build())
        pull.phase = Phase.MANIFEST
        out = self._interest(pull)
        return out + self._look_for_holders(pull, now) + self._fill(now)

    def reserve_refused(self, root: bytes, reason: str, now: float) -> Out:
        """No room now; tried again later."""
        pull = self._pulls.get(root)
        return [] if pull is None else self._park(pull, reason, now)

    def _park(self, pull: Pull, reason: str, now: float) -> Out:
        key, record = pull.record.key, pull.newer or pull.record
        pull.newer = None
        out: Out = [Tell(TransferStalled(key.text, record.sequence, reason)), *self._parked.park(record, now)]
        return out + self._drop(pull, keep=True, now=now)

    def pages_found(self, root: bytes, found: dict[bytes, bytes], now: float) -> Out:
        """Manifest pages of older versions that this one shares."""
        pull = self._pulls.get(root)
        if pull is None or pull.builder is None:
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
        pull.begin(have, copying, now)
        record = pull.record
        self._shelf.partial[root] = (record, pull.have)
        missing = pull.count - len(pull.have)
        out: Out = [Tell(TransferStarted(record.key.text, record.sequence, record.size, missing))]
        if not pull.complete:
            # Sets of chunks can be kept from now on.
            pull.look_at = now
            out += self._interest(pull)
        return out + self._continue(pull, now)

    def chunks_copied(self, root: bytes, copied: int, failed: int, now: float) -> Out:
        """Chunks from elsewhere in our store are in place, or could not be read there."""
        pull = self._pulls.get(root)
        if pull is None or pull.phase is not Phase.PULLING:
            return []
        pull.copied(copied, failed, now)
        return self._continue(pull, now)

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
        out = self._no_interest(pull)
        out += self._parked.over(record.key)
        self._limits.pop(record.key, None)
        newer = pull.newer
        self._end(pull)
        if newer is not None:
            self._enqueue(newer, now)
        return out + self._advance(now)

    def rejected(self, record: Record, reason: str, final: bool, now: float) -> Out:
        """It could not be made visible: `final` if its content is to blame."""
        pull = self._keys.get(record.key)
        if pull is None or pull.record != record:
            return []
        return self._refuse(pull, reason, False, now) if final else self._park(pull, reason, now)

    def _refuse(self, pull: Pull, reason: str, keep: bool, now: float) -> Out:
        over = self._parked.over(pull.record.key)
        return [*over, *self._condemn(pull.record, reason), *self._drop(pull, keep, now)]

    def _condemn(self, record: Record, reason: str) -> Out:
        """Its content is to blame: it is never tried again."""
        if len(self._hopeless) >= 10_000:
            self._hopeless.pop(next(iter(self._hopeless)))
        self._hopeless[record.hash] = reason
        return [Tell(ArtifactRejected(record.key.text, record.sequence, reason))]

    def retry(self, now: float) -> Out:
        """Try at once what our disk refused before."""
        for record in self._parked.take():
            self._enqueue(record, now)
        return self._advance(now)

    # --- holders ---------------------------------------------------------------------------

    def _interest(self, pull: Pull) -> Out:
        """Tell linked peers that we pull this: all, or those who hold it."""
        settings = self._settings
        if pull.count < settings.swarm_chunks:
            return []
        if pull.told is None:
            pull.told, pull.told_all = {}, pull.count >= settings.swarm_at_once
            holders = dict.fromkeys(self._holders(pull.record))
            return self._say(pull, [peer for peer in self._sources if pull.told_all or peer in holders])
        # The second time, when the manifest is proven, only those that have a part.
        return self._say(pull, [peer for peer in pull.told if pull.holders.get(peer) == 0])

    def _say(self, pull: Pull, peers: list[PeerId]) -> Out:
        assert pull.told is not None
        pull.told.update(dict.fromkeys(peers))
        return [Send(peer, Interest(pull.root, True), LINK) for peer in peers]

    def _no_interest(self, pull: Pull) -> Out:
        """Tell those who know that we pull this that we no longer do."""
        told, pull.told = pull.told or {}, None
        return [Send(peer, Interest(pull.root, False), LINK) for peer in told]

    def _look_for_holders(self, pull: Pull, now: float) -> Out:
        """Make linked holders known to the pull; ask for links to some others."""
        if pull.phase not in ASKING or now < pull.look_at:
            return []
        out: Out = []
        pull.look_at = now + self._settings.look_interval
        if pull.told is not None and not pull.told_all:
            all_at = pull.started_at + self._settings.swarm_after
            if now >= all_at:
                # It takes its time: whoever pulls it as well may have chunks for us, and we for them.
                pull.told_all = True
                out += self._say(pull, [peer for peer in self._sources if peer not in pull.told])
            else:
                pull.look_at = min(pull.look_at, all_at)
        strangers = []
        for peer in self._holders(pull.record):
            source = self._sources.get(peer)
            if source is not None:
                if pull.holders.get(peer) != ALL and now >= source.doubted_until:
                    pull.set_holder(peer, ALL)
            else:
                strangers.append(peer)
        for _ in range(min(self._settings.new_links, len(strangers))):
            out.append(NeedLink(strangers.pop(self._rng.getrandbits(16) * len(strangers) >> 16)))
        return out

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
