"""Whom do we ask for which chunk, now? Windows, budget, and the second ask.

Every source has a window of what its link brings in a quarter of a second; all
of them share one budget of bytes in flight and one bucket. Who misbehaved or is
slow is asked last: only for what nobody better has. When nothing is left to ask
an idle source for, it is asked for what somebody else owes us and has not begun.
"""

from operator import attrgetter

from ringgossip.config.words import PRIORITIES
from ringgossip.content.record import ArtifactKey
from ringgossip.identity import PeerId
from ringgossip.protocol.core import LINK, NEVER, Draw, Effect, Notice, RouteFailed, RouteWorked, Send
from ringgossip.protocol.downlink import Downlink
from ringgossip.protocol.guide import Guide
from ringgossip.protocol.lateness import Lateness, look_for_late
from ringgossip.protocol.notices import BY_ASKING
from ringgossip.protocol.pacing import LATE, TokenBucket
from ringgossip.protocol.pull import ALL, Phase, Pull
from ringgossip.protocol.sources import Ask, Source
from ringgossip.protocol.sparing import leave_to_better, leave_to_pullers
from ringgossip.protocol.transfer_settings import TransferSettings as TransferSettings
from ringgossip.strategy.order import pick
from ringgossip.wire.messages import CancelChunks, GetChunks, GetPages

Out = list[Effect | Notice]

_outstanding = attrgetter("outstanding")


class Asking:
    """The part of `Transfer` that knows sources; it changes pulls only by asking for their chunks."""

    def __init__(
        self, settings: TransferSettings, me: PeerId, rng: Draw, now: float, guide: Guide | None = None
    ) -> None:
        self._settings = settings
        self._me = me
        self._rng = rng
        self._guide = guide or Guide()
        self._mercy_at = now
        self._bucket = TokenBucket(settings.receive_bytes_per_second, now, LATE)
        self._downlink = Downlink()
        self._sources: dict[PeerId, Source] = {}
        self._strikes: dict[PeerId, int] = {}  # of peers that are not linked now
        self._pulls: dict[bytes, Pull] = {}  # by root
        self._limits: dict[ArtifactKey, TokenBucket] = {}  # what a user said of single artifacts
        self._request = 0
        self._looked_at = self._look_at = -NEVER  # when idle sources were looked at; when they are again
        self._found_late: dict[bytes, Lateness] = {}  # while one round of asking lasts, by root
        self._ask_at = NEVER  # when a bucket or an overdue chunk allows the next request
        self._short = False  # budget or bucket ended the last round: somebody may have been left out
        self._owed = 0  # `outstanding`, kept while one round of asking lasts

    # --- asking ---------------------------------------------------------------------------

    def _give_back(self, source: Source, ask: Ask) -> None:
        """A request came to nothing: its chunks may be asked of others."""
        self._refund(source, ask.root, sum(ask.waiting.values()))
        items = source.forget(ask)
        pull = self._pulls.get(ask.root)
        if pull is None:
            return
        if ask.pages:
            for place in ask.pages:
                if pull.pages_asked.get(place) == source.peer:
                    del pull.pages_asked[place]
        else:
            pull.give_back(items)

    def _refund(self, source: Source, root: bytes, unused: int) -> None:
        """Bytes asked of `source` will not come: every limit against which they counted has them back."""
        for bucket in self._limits_on(source, root):
            bucket.refund(unused)

    def _charge(self, source: Source, root: bytes, came: int, now: float) -> None:
        """Bytes are asked for, or come although they were given back: they were under way."""
        for bucket in self._limits_on(source, root):
            bucket.take(came, now)

    def _limits_on(self, source: Source, root: bytes) -> list[TokenBucket]:
        pull = self._pulls.get(root)
        own = self._limits.get(pull.record.key) if pull is not None else None
        return [self._bucket, source.bucket, *([] if own is None else [own])]

    def outstanding(self) -> int:
        """Return the bytes asked for and not yet stored."""
        return sum(map(_outstanding, self._sources.values()))

    def _in_turn(self, now: float) -> list[Pull]:
        """Return the pulls, the most urgent first; once a second one that is overtaken all the time."""
        pulls = sorted(self._pulls.values(), key=lambda pull: pull.rank)
        if now >= self._mercy_at and pulls and pulls[-1].rank > pulls[0].rank:
            waiting = [pull for pull in pulls if pull.phase is Phase.PULLING and pull.needed]
            last = min(waiting, key=lambda pull: pull.asked_last, default=pulls[0])
            if now >= max(last.asked_last, last.started_at) + self._settings.starving:
                self._mercy_at = now + self._settings.mercy
                pulls.remove(last)
                pulls.insert(0, last)
        return pulls

    def _fill(self, now: float) -> Out:
        """Ask as much as windows, budget and bucket allow; the best source and the first pull first."""
        out: Out = []
        self._ask_at = NEVER
        self._found_late.clear()
        thin, self._short = self._is_thin(), False
        if not self._pulls:
            return out
        self._owed = self.outstanding()
        pulls = self._in_turn(now)
        ready = [source for source in self._sources.values() if self._is_ready(source, now)]
        # Random order, or the first link of every peer would do most of the work.
        if len(ready) > 1:
            turn = self._rng.getrandbits(16) % len(ready)
            ready = ready[turn:] + ready[:turn]
            ready.sort(key=lambda source: source.rank(now))
        if thin:
            return self._fill_thin(ready, pulls, now)
        while ready and self._may_ask(now):
            still = []
            for source in ready:
                asked = self._ask(source, pulls, now)
                if asked:
                    out += asked
                    still.append(source)
                    if not self._may_ask(now):
                        break
            ready = still
        return out

    def _is_thin(self) -> bool:
        """Tell whether what one source is asked for may be missing for another."""
        return self._short or self._bucket.rate is not None

    def _fill_thin(self, ready: list[Source], pulls: list[Pull], now: float) -> Out:
        """Ask one source after the other, each time the one whose turn it is."""
        out: Out = []
        while self._may_ask(now):
            for source in self._downlink.in_turn(ready, pulls, now):
                asked = self._ask(source, pulls, now)
                out += asked
                if asked:
                    break
                ready.remove(source)
            else:
                break
        return out

    def _refill(self, source: Source | None, now: float) -> Out:
        """Ask this source for more, when nothing has changed for the others."""
        if source is None or self._is_thin():
            return self._fill(now)
        out: Out = []
        if not self._pulls or not self._is_ready(source, now):
            return out
        self._found_late.clear()
        self._owed = self.outstanding()
        pulls = self._in_turn(now)
        while self._may_ask(now):
            asked = self._ask(source, pulls, now)
            if not asked:
                break
            out += asked
        return out

    def _is_ready(self, source: Source, now: float) -> bool:
        """Tell whether a source may be asked, if only for what is critical."""
        source.suspected = self._guide.suspected(source.peer)
        source.held_until = self._guide.held_until(source.peer, now)
        if now < source.held_until:
            self._ask_at = min(self._ask_at, source.held_until)
        return source.may_be_asked_critically(now)

    def _note_asked(self, source: Source, now: float) -> None:
        """If its breaker is half open, that was the one trial."""
        self._guide.tried(source.peer, now)
        source.held_until = self._guide.held_until(source.peer, now)

    def _may_ask(self, now: float) -> bool:
        if not self._bucket.may_take(now):
            self._short = True
            self._ask_at = min(self._ask_at, self._bucket.ready_at(now))
            return False
        return True

    def _ask(self, source: Source, pulls: list[Pull], now: float) -> Out:
        """Send one more request to this source, or nothing."""
        settings = self._settings
        if source.chunks >= settings.most_chunks or now < source.held_until:
            return []
        if not source.bucket.may_take(now):
            self._ask_at = min(self._ask_at, source.bucket.ready_at(now))
            return []
        for pull in pulls:
            holding = pull.holders.get(source.peer)
            if holding is None:
                continue
            if pull.phase is Phase.MANIFEST:
                asked = self._ask_pages(source, pull, holding, now)
                if asked:
                    return asked
                continue
            if pull.phase is not Phase.PULLING or not holding:
                continue
            if now < source.spent_until and self._guide.priority(pull.record) != "critical":
                continue
            own = self._limits.get(pull.record.key)
            if own is not None and not own.may_take(now):
                self._ask_at = min(self._ask_at, own.ready_at(now))
                continue
            indices = self._choose(source, pull, holding, own, now)
            if indices:
                return self._send_ask(source, pull, indices, now)
        return []

    def _choose(
        self, source: Source, pull: Pull, holding: int, own: TokenBucket | None, now: float
    ) -> list[int]:
        """Return chunks to ask of this source, which nobody else owes us (or for too long)."""
        settings = self._settings
        chunk_size = pull.record.chunk_size
        window = source.window(chunk_size, settings.window_seconds, settings.largest_window)
        if source.outstanding >= window and self._owed_first(source, pull) >= window:
            return []
        limit = self._limit(chunk_size, window, now)
        if not limit:
            self._short = True
            return []
        candidates = pull.needed if holding == ALL else pull.needed & holding
        if not candidates and source.outstanding:
            return []
        if source.bucket.rate is not None:
            limit = min(limit, max(1, int(source.bucket.level(now)) // chunk_size))
        if own is not None and own.rate is not None:
            limit = min(limit, max(1, int(own.level(now)) // chunk_size))
        candidates = leave_to_better(candidates, pull, source, self._sources, now)
        if candidates and holding == ALL:
            candidates = leave_to_pullers(candidates, pull, source, self._sources, now)
            if not candidates:
                self._ask_at = min(self._ask_at, now + settings.look_at_least)
                return []
        rarest = pull.availability.rarest(candidates)
        if holding == ALL:
            rarest = rarest & pull.share_of(self._me) or rarest
        indices = pick(rarest, pull.count, limit, self._rng)
        if not indices and not source.outstanding:
            indices = self._hurry(source, pull, holding, limit, now)
        return indices

    def _owed_first(self, source: Source, pull: Pull) -> int:
        """Return the bytes that this source owes us and that are as urgent: it sends what is urgent first."""
        return sum(
            sum(ask.waiting.values())
            for ask in source.asks.values()
            if (other := self._pulls.get(ask.root)) is None or other.rank <= pull.rank
        )

    def _limit(self, chunk_size: int, window: int, now: float) -> int:
        """Return how many chunks the next request may name."""
        room = self._settings.in_flight - self._owed
        if room < chunk_size:
            # A chunk larger than the whole budget must pass too, alone.
            return 0 if self._owed else 1
        most = min(self._settings.batch, window // 2, self._bucket.level(now))
        return min(self._settings.request_chunks, max(1, int(most) // chunk_size), room // chunk_size)

    def _hurry(self, source: Source, pull: Pull, holding: int, limit: int, now: float) -> list[int]:
        """Choose chunks that others owe us: this source is idle, and they may have long queues.

        What nobody has begun to send is asked of a few; whose first byte comes first sends it, and the
        others hear at once that they need not. What somebody has begun and does not end for long is asked
        once more: one at a time, since most come after all; many from a peer that is very late.

        Whoever trains asks no more than others here: every giver serves by weight what it is asked, whoever
        hurries, and all are sooner for it. In `training_started` with uplinks of 1 MB/s everywhere the node
        that trains has its copy after 0.87 s, as all have (0.75 s is the least); without this after 1.7 s,
        and the others after 2.1 s.
        """
        settings, pause = self._settings, self._pause(pull)
        if now >= self._look_at:
            # All idle sources are looked at together, now and then: it goes through everything asked for.
            self._looked_at, self._look_at = now, now + max(pause, settings.look_at_least)
        if not pull.asked:
            return []
        if source.looked_at.get(pull.root) == self._looked_at:
            self._ask_at = min(self._ask_at, self._look_at)
            return []
        if self._looked_at not in source.looked_at.values():
            source.looked_at.clear()
        source.looked_at[pull.root] = self._looked_at
        found = self._found_late.get(pull.root)
        if found is None:
            patience = self._patience(pull, settings.second_ask)
            found = look_for_late(pull, self._sources.values(), now, pause, patience, settings.asked_of)
            self._found_late[pull.root] = found
        # Nothing else becomes late before then, but what is asked for or heard of from now on (`_look_by`).
        self._look_at = min(self._look_at, max(now + pause, found.due))
        self._ask_at = min(self._ask_at, self._look_at)
        if few := found.of(holding, found.overdue):
            order = sorted((pull.asked.get(index, 0), self._rng.getrandbits(16), index) for index in few)
            return found.take([index for _, _, index in order[:limit]])
        if not (late := found.of(holding, found.slow)):
            return []
        start = self._rng.getrandbits(16) * len(late) >> 16
        many = now >= min(found.slow[index] for index in late) + self._patience(pull, settings.very_late)
        return found.take((late[start:] + late[:start])[: limit if many else 1])

    def _pause(self, pull: Pull) -> float:
        """Return how many seconds lie between two looks at idle sources."""
        return min(1.0, max(self._settings.look_again, 0.25 * pull.usual))

    def _look_by(self, when: float) -> None:
        """Something changed for idle sources: look at them by then, if one waits for it."""
        if when < self._look_at:
            self._ask_at = when if self._ask_at == self._look_at else self._ask_at
            self._look_at = when

    def _patience(self, pull: Pull, least: float) -> float:
        """Return how many seconds a chunk may be on its way before it is late.

        Late is what takes longer than others do: if all are slow, our own line is, and asking again fills it.
        Source: hedged requests, Dean and Barroso 2013, "The tail at scale".
        """
        return max(least, 2 * (pull.usual or self._settings.very_late))

    def _send_ask(self, source: Source, pull: Pull, indices: list[int], now: float) -> Out:
        self._request = self._request % (2**32 - 1) + 1
        waiting = {index: pull.length(index) for index in indices}
        priority = self._guide.priority(pull.record)
        source.asked(Ask(self._request, pull.root, waiting, now, critical=priority == "critical"), now)
        self._note_asked(source, now)
        amount = sum(waiting.values())
        self._owed += amount
        self._look_by(now + self._pause(pull))
        self._downlink.asked(source, pull, amount)
        pull.take(indices)
        pull.asked_last = now
        self._charge(source, pull.root, amount, now)
        word = PRIORITIES.index(priority)
        return [Send(source.peer, GetChunks(self._request, pull.root, tuple(indices), word), LINK)]

    def _ask_pages(self, source: Source, pull: Pull, holding: int, now: float) -> Out:
        if pull.builder is None or len(pull.pages_asked) >= 64:
            return []
        # Whoever has some chunks has the manifest, but a whole copy is sure to last.
        mine = (source.strikes, int(now < source.slow_until), holding != ALL)
        for peer, kept in pull.holders.items():
            other = self._sources[peer]
            if other.may_be_asked(now) and (*other.rank(now), kept != ALL) < mine:
                return []
        pages = tuple((page.level, page.index) for page in pull.builder.wanted(16, pull.pages_asked))
        if not pages:
            return []
        self._request = self._request % (2**32 - 1) + 1
        source.asked(Ask(self._request, pull.root, dict.fromkeys(range(len(pages)), 0), now, pages), now)
        self._note_asked(source, now)
        for place in pages:
            pull.pages_asked[place] = source.peer
        levels, indices = zip(*pages, strict=True)
        return [Send(source.peer, GetPages(self._request, pull.root, levels, indices), LINK)]

    # --- what becomes of it ----------------------------------------------------------------

    def _answered(self, source: Source) -> Out:
        """It answered something that was asked of it."""
        source.answered_once = True
        return [RouteWorked(source.peer, BY_ASKING)] if self._guide.troubled(source.peer) else []

    def _cancel_others(self, root: bytes, index: int) -> Out:
        """This chunk is here: whoever else was asked for it, or the same peer again, need not send it."""
        out: Out = []
        for source in self._sources.values():
            for ask in list(source.asks.values()):
                if ask.root != root or ask.pages:
                    continue
                if source.answered(ask, index):
                    out.append(Send(source.peer, CancelChunks(ask.request, (index,)), LINK))
        return out

    def _begins(self, source: Source, ask: Ask, index: int, pull: Pull, now: float) -> Out:
        """The first byte of a chunk is here: who else was asked for it and has not begun need not send it."""
        ask.begun[index] = now
        if index in ask.late:
            source.claim(ask, index)
            pull.take([index])
        out: Out = []
        if pull.asked.get(index, 0) < 2:
            return out
        for other in self._sources.values():
            for theirs in list(other.asks.values()):
                if theirs is ask or theirs.root != ask.root or theirs.pages or index in theirs.begun:
                    continue
                length = theirs.waiting.get(index)
                if length is not None and other.answered(theirs, index):
                    pull.give_back([index])
                    self._refund(other, ask.root, length)
                    other.cancel(theirs, index, length)
                    out.append(Send(other.peer, CancelChunks(theirs.request, (index,)), LINK))
        return out

    def _failed(self, peer: PeerId, request: int, root: bytes, index: int) -> None:
        source = self._sources.get(peer)
        ask = source.asks.get(request) if source is not None else None
        pull = self._pulls.get(root)
        if source is not None and ask is not None and source.answered(ask, index) and pull is not None:
            pull.give_back([index])

    def _silent(self, source: Source, now: float) -> Out:
        """Give what others have to them; it may still answer, until it was silent a second time."""
        source.slow_until = now + self._settings.slow
        source.last_progress = now  # the next look is a whole `silence` away
        out: Out = []
        if now >= source.heard_at + self._settings.silence:
            # Who says anything is only slow: its queue may be long, its line thin. Asking others is enough.
            reason = f"nothing came on its link for {self._settings.silence:g} s"
            out.append(RouteFailed(source.peer, BY_ASKING, reason))
        for ask in list(source.asks.values()):
            pull = self._pulls.get(ask.root)
            if pull is None:
                source.forget(ask)
                continue
            others = [holding for peer, holding in pull.holders.items() if peer != source.peer]
            if ask.pages:
                if others:
                    self._give_back(source, ask)
                continue
            source.forget_late(ask)
            patience = self._patience(pull, self._settings.silence)
            movable = [
                index
                for index in ask.waiting
                if now >= ask.begun.get(index, -NEVER) + patience
                and any(kept == ALL or kept >> index & 1 for kept in others)
            ]
            if movable:
                source.release(ask, movable)
                pull.give_back(movable)
                # What it has not begun it shall not send any more, should it come back.
                out.append(Send(source.peer, CancelChunks(ask.request, tuple(movable)), LINK))
        return out
