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

from ringgossip.content.record import ArtifactKey
from ringgossip.events import BadChunk, TransferStalled
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import (
    LINK,
    NEVER,
    AcceptBody,
    DiscardBody,
    Effect,
    LinkId,
    Notice,
    RouteFailed,
    Send,
    Tell,
)
from ringgossip.protocol.notices import BY_ASKING
from ringgossip.protocol.pacing import LATE, TokenBucket
from ringgossip.protocol.pull import ALL, ASKING, Phase, Pull
from ringgossip.protocol.pulling import Pulling
from ringgossip.protocol.sources import Source
from ringgossip.strategy.order import full_set
from ringgossip.wire.messages import (
    Busy,
    Have,
    HaveMore,
    Interest,
    Message,
    NoChunks,
    Page,
)

Out = list[Effect | Notice]

NO_HOLDER = "no holder is reachable"

_MOST_STRUCK = 4096  # peers that sent wrong chunks and are not linked now


class Transfer(Pulling):
    """The machine that pulls: what holders say, the bodies they send, and the time they take."""

    # --- links and holders -----------------------------------------------------------

    def link_opened(self, peer: PeerId, now: float) -> Out:
        """A peer can be asked now."""
        limit = TokenBucket(self._guide.limit_of(peer), now, LATE)
        self._sources[peer] = Source(peer, self._strikes.pop(peer, 0), bucket=limit)
        out: Out = []
        for pull in self._pulls.values():
            holds = peer in self._holders(pull.record)
            if pull.told is not None and (holds or pull.told_all):
                pull.told[peer] = None
                out.append(Send(peer, Interest(pull.root, True), LINK))
            if holds:
                pull.set_holder(peer, ALL)
        return out + self._fill(now)

    def link_broken(self, peer: PeerId, now: float, replaced: bool = False) -> Out:
        """What was asked of it goes to others; `replaced`: a newer link took its place."""
        source = self._sources.pop(peer, None)
        if source is None:
            return []
        out: Out = []
        if source.chunks and not source.answered_once and not replaced:
            out.append(RouteFailed(peer, BY_ASKING, "the link broke before anything came that was asked"))
        if source.strikes:
            # A new link does not make a liar honest; the table is as bounded as the cluster.
            self._strikes[peer] = source.strikes
            if len(self._strikes) > _MOST_STRUCK:
                del self._strikes[next(iter(self._strikes))]
        for ask in list(source.asks.values()):
            self._give_back(source, ask)
        for pull in list(self._pulls.values()):
            pull.drop_holder(peer)
            if pull.told is not None:
                pull.told.pop(peer, None)
            pull.look_at = now
            out += self._look_for_holders(pull, now)
        return out + self._fill(now)

    def heard(self, peer: PeerId, now: float) -> None:
        """Something, whatever it is, came on a peer's link."""
        source = self._sources.get(peer)
        if source is not None:
            source.heard_at = now

    def holder_known(self, root: bytes, peer: PeerId, now: float) -> Out:
        """A peer announced a whole copy."""
        pull = self._pulls.get(root)
        if pull is None:
            return []
        if peer in self._sources:
            pull.set_holder(peer, ALL)
            self._look_by(max(now, self._looked_at + self._pause(pull)))
            return self._fill(now)
        pull.look_at = now
        return self._look_for_holders(pull, now)

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
                    self._look_by(max(now, self._looked_at + self._pause(pull)))
                    return self._refill(giver, now)
            case Page():
                return self._heard_page(giver, message, now)
            case Busy():
                ask = giver.asks.get(message.request)
                if ask is not None:
                    pause = min(max(message.retry_after, 0.05), 60.0)
                    until = now + pause * (1 + 0.5 * self._rng.random())
                    giver.busy_because = message.reason
                    if message.reason and not ask.critical:
                        giver.spent_until = until
                    else:
                        giver.busy_until = until
                    self._give_back(giver, ask)
                    pull = self._pulls.get(ask.root)
                    if message.reason and pull is not None:
                        return self._answered(giver) + self._fill(now) + self._if_stalled(pull, now)
                return self._answered(giver) + self._fill(now)
            case NoChunks():
                return self._answered(giver) + self._heard_no(giver, message, now)
        return []

    def _if_stalled(self, pull: Pull, now: float) -> Out:
        """A holder says why it gives nothing: if no other may be asked, that is told at once."""
        others = any(peer in self._sources and self._sources[peer].may_be_asked(now) for peer in pull.holders)
        if pull.stall_told or others or pull.asked:
            return []
        pull.stall_told = True
        return [Tell(TransferStalled(pull.record.key.text, pull.record.sequence, self._why_stalled(pull)))]

    def _why_stalled(self, pull: Pull) -> str:
        if not pull.holders:
            return NO_HOLDER
        return self.refusals(pull) or "no holder answers"

    def _heard_have(self, giver: Source, message: Have, now: float) -> Out:
        pull = self._pulls.get(message.root)
        if pull is None:
            return []
        if message.state == 2:
            pull.set_holder(giver.peer, ALL)
        elif message.state == 0:
            pull.drop_holder(giver.peer)
            return self._fill(now) + self._leave_unserved(pull, now, patience=0.0)
        elif not pull.proven:
            pull.hear_some(giver.peer, 0)
        elif message.offset % 8 == 0 and message.offset < pull.count:
            chunks = int.from_bytes(message.bitmap, "little") << message.offset
            pull.hear_some(giver.peer, chunks & full_set(pull.count))
        self._look_by(max(now, self._looked_at + self._pause(pull)))
        return self._fill(now)

    def _heard_page(self, giver: Source, message: Page, now: float) -> Out:
        ask = giver.asks.get(message.request)
        place = (message.level, message.index)
        if ask is None or place not in ask.pages:
            return []
        giver.progressed(now)
        giver.answered(ask, ask.pages.index(place))
        out = self._answered(giver)
        pull = self._pulls.get(ask.root)
        if pull is None or pull.builder is None:
            return out + self._fill(now)
        if pull.pages_asked.get(place) == giver.peer:
            del pull.pages_asked[place]
        if not pull.builder.add(message.level, message.index, message.data):
            # Until its top page is here the record may lie about this root as well as the giver.
            if pull.builder.begun or giver.peer in self._holders(pull.record):
                giver.lied(now)
            pull.drop_holder(giver.peer)
            return out + self._fill(now)
        pull.last_progress = now
        return out + self._manifest_progress(pull, now, searched=message.level == 0)

    def _heard_no(self, giver: Source, message: NoChunks, now: float) -> Out:
        ask = giver.asks.get(message.request)
        pull = self._pulls.get(message.root)
        if ask is not None and ask.root == message.root:
            if message.indices and not ask.pages:
                lost = [index for index in message.indices if index in ask.waiting]
                self._refund(giver, ask.root, sum(ask.waiting[index] for index in lost))
                for index in message.indices:
                    giver.answered(ask, index)
                if pull is not None:
                    pull.give_back(lost)
            else:
                self._give_back(giver, ask)
        if pull is None:
            return self._fill(now)
        pull.remove_from_holder(giver.peer, message.indices)
        # Soon, but not for ever once a second while nobody has it.
        pull.look_at = min(pull.look_at, now + 1.0 + 0.1 * max(0.0, now - pull.last_progress))
        return self._fill(now) + self._leave_unserved(pull, now, patience=0.0)

    # --- bodies -------------------------------------------------------------------------

    def body_arrives(self, peer: PeerId, request: int, index: int, length: int, now: float) -> Out:
        """The first piece of a chunk is here: take it, or read it away."""
        source = self._sources.get(peer)
        ask = source.asks.get(request) if source is not None else None
        if source is not None and ask is not None and not ask.pages and index not in ask.begun:
            expected = ask.waiting.get(index, ask.late.get(index))
            pull = self._pulls.get(ask.root)
            if expected == length:
                source.progressed(now)
                if pull is not None and pull.proven and pull.manifest is not None and index not in pull.have:
                    hash_ = pull.manifest.chunk_hash(index)
                    others = self._begins(source, ask, index, pull, now)
                    return [AcceptBody(peer, request, ask.root, index, length, hash_), *others]
                source.answered(ask, index)
            elif expected is not None:
                # No chunk of that place has this length: as wrong as one with another hash.
                self.chunk_bytes_wasted += length
                discard = DiscardBody(peer, request, index, length)
                return [discard, *self.chunk_bad(peer, request, ask.root, index, "wrong length", now)]
        self.chunk_bytes_wasted += length
        if source is not None and (came := source.cancelled.pop((request, index), None)) is not None:
            self._charge(source, *came, now)
        return [DiscardBody(peer, request, index, length)]

    def chunk_stored(
        self, peer: PeerId, request: int, root: bytes, index: int, length: int, now: float
    ) -> Out:
        """A chunk is proven and written."""
        source = self._sources.get(peer)
        ask = source.asks.get(request) if source is not None else None
        begun: float | None = None
        late = True  # also if its ask was forgotten: others were asked for it meanwhile
        out: Out = []
        if source is not None and ask is not None:
            begun = ask.begun.get(index)
            late = not source.answered(ask, index)
            source.received(length, now)
            out += self._answered(source)
        pull = self._pulls.get(root)
        if pull is None:
            return out + self._refill(source, now)
        if begun is not None:
            pull.took(now - begun)
        twice = late or pull.asked.get(index, 0) > 1
        if not pull.stored(index, length, now):
            self.chunk_bytes_wasted += length
        elif twice:
            out += self._cancel_others(root, index)
        if pull.complete:
            return out + self._continue(pull, now)
        return out + self._refill(source, now)

    def chunk_bad(self, peer: PeerId, request: int, root: bytes, index: int, reason: str, now: float) -> Out:
        """The bytes do not have the hash they should: never stored, its sender is asked last."""
        out: Out = []
        self._failed(peer, request, root, index)
        source = self._sources.get(peer)
        if source is not None:
            source.lied(now)
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
        # A second body of a chunk that is here comes too late, while the version is made visible.
        return [] if pull is None or pull.phase is Phase.FINISHING else self._park(pull, reason, now)

    def room_made(self, freed: int, now: float) -> Out:
        """So many bytes became free on our disk: what they may have been missing for need not wait longer."""
        for record in self._parked.take(fitting=freed):
            self._enqueue(record, now)
        return self._advance(now)

    # --- time --------------------------------------------------------------------------------

    def wake(self, now: float) -> Out:
        """Move requests away from silent holders, look for new ones, retry what our disk refused."""
        out: Out = []
        for source in self._sources.values():
            if now >= source.busy_until:
                source.busy_until = -NEVER
            if now >= source.spent_until:
                source.spent_until = -NEVER
            if now >= source.stalled_at(self._settings.silence):
                out += self._silent(source, now)
        for record in self._parked.take(due=now):
            self._enqueue(record, now)
        for pull in list(self._pulls.values()):
            out += self._leave_unserved(pull, now, patience=self._settings.look_interval)
            if self._pulls.get(pull.root) is not pull:
                continue
            out += self._look_for_holders(pull, now)
            waited = now - pull.last_progress
            if not pull.stall_told and pull.phase in ASKING and waited > 30.0:
                pull.stall_told = True
                why = self._why_stalled(pull)
                out.append(Tell(TransferStalled(pull.record.key.text, pull.record.sequence, why)))
        self._stalled = sum(pull.stall_told for pull in self._pulls.values())
        return out + self._advance(now)

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        due, silence, never = self._ask_at, self._settings.silence, -NEVER
        if self._parked:
            due = min(due, self._parked.next_wakeup())
        if not self._pulls:
            return due  # nobody is asked for anything, so nobody can be late with it
        for source in self._sources.values():
            if source.chunks and source.last_progress + silence < due:
                due = source.last_progress + silence
            if never < source.busy_until < due:
                due = source.busy_until
            if never < source.spent_until < due:
                due = source.spent_until
        for pull in self._pulls.values():
            if pull.look_at < due and pull.phase in ASKING:
                due = pull.look_at
        return due

    # --- looking at it ------------------------------------------------------------------------

    def pulls(self) -> list[Pull]:
        """Return the pulls under way, for `PeerCore` to make views of."""
        return list(self._pulls.values())

    def flowing(self) -> list[str]:
        """Return the artifacts whose chunks come in: nothing that went wrong with them before counts."""
        return [
            pull.record.key.text
            for pull in self._pulls.values()
            if pull.phase is Phase.PULLING and pull.bytes_received and not pull.stall_told
        ]

    def waiting(self) -> int:
        """Return how many wanted versions have no place yet."""
        return len(self._queued) + len(self._parked)

    def progress_of(self, key: ArtifactKey) -> str:
        """Return in a sentence how far the pull of an artifact is; empty if there is none."""
        pull = self._keys.get(key)
        if pull is not None:
            names = ", ".join(sorted(self._name_of(peer) for peer in pull.holders)) or "nobody reachable"
            done = f"{pull.bytes_done()} of {pull.record.size} bytes are here"
            refused = f" But {self.refusals(pull)}." if self.refusals(pull) else ""
            return f"It is being pulled ({pull.phase.value}) from {names}: {done}.{refused}"
        if key in self._queued:
            return f"It waits for a place: {self._settings.active} artifacts are pulled at a time."
        return "Our disk refused it; it is tried again later." if key in self._parked else ""

    def refusals(self, pull: Pull) -> str:
        """Say which holders told us why they give nothing now, and what they told."""
        found = [(self._name_of(peer), self._sources[peer].busy_because) for peer in pull.holders]
        return "; ".join(f"{name}: {reason}" for name, reason in sorted(found) if reason)

    def set_limits(self, total: float | None, now: float) -> Out:
        """Change the limits of receiving, in total and from each peer."""
        self._bucket.set_rate(total, now, LATE)
        for source in self._sources.values():
            source.bucket.set_rate(self._guide.limit_of(source.peer), now, LATE)
        return self._fill(now)
