"""What users ask for in so many words: sync, signals; and the offers by which peers ask each other.

A part of the switchboard: what a user wants is carried out by the same machines
that carry out the rules, only earlier, and it is told what became of it.
"""

from dataclasses import replace
from typing import Any

from ringgossip.config.signals import signal
from ringgossip.config.words import KINDS, PRIORITIES
from ringgossip.content.kinds.metadata import parse_config_key
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.errors import UsageError
from ringgossip.events import (
    SIGNALS,
    ArtifactRejected,
    NodeRecovered,
    OrphanGamesDetected,
    Signal,
    TrainingCompleted,
    TrainingStarted,
)
from ringgossip.identity import PeerId
from ringgossip.protocol.answers import SyncProgress, SyncRequest
from ringgossip.protocol.core import LINK, Effect, NeedLink, Notice, Restored, Send, Tell
from ringgossip.protocol.deadlines import InHand
from ringgossip.protocol.errands import Errands
from ringgossip.protocol.marks import Marks
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.protocol.pushes import Pushes
from ringgossip.protocol.receipts import entries_of, entry_of, version_of
from ringgossip.protocol.request_words import ORPHANS
from ringgossip.protocol.requests import Requests
from ringgossip.protocol.switchboard import Switchboard
from ringgossip.strategy.eligibility import No
from ringgossip.wire.messages import (
    Message,
    Offer,
    OfferAnswered,
    RecordsWanted,
    SignalTold,
    SyncDone,
    SyncWanted,
)

Out = list[Effect | Notice]

_MOST_EARLY = 10_000  # offers whose record has not come yet
_MOST_OFFERERS = 10_000
# Slow down, never stop (field notes, incident 16): at a byte a second nothing would ever be here.
_LEAST_RATE = 64 * 2**10
_MOST_UNSAID = 64  # signals that wait for a link
_LIST_PAUSE = 0.5
_IN_ONE_LIST = 1000
_IN_ONE_OFFER = 500


class Verbs(Switchboard):
    """The switchboard with its users' verbs."""

    requests = InHand[Requests]()
    pushes = InHand[Pushes]()

    def __init__(self, *, restored: Restored, now: float, **rest: Any) -> None:
        self.marks = Marks(restored.marks)
        self.requests = Requests(self)
        self.errands = Errands(restored.marks)
        self.pushes = Pushes(rest["notary"].certificate.name)
        # Key hash -> what was offered before its record was here.
        self._early: dict[bytes, tuple[bytes, PeerId, Offer, TokenBucket | None]] = {}
        self._offerers: dict[bytes, dict[PeerId, bytes]] = {}  # key hash -> who offered which entry
        self._unsaid: dict[PeerId, list[Message]] = {}
        self._listed: dict[tuple[PeerId, str], float] = {}
        self._own_tickets = 0
        super().__init__(restored=restored, now=now, **rest)
        for key, sequence, priority in self.marks.asked():
            self.rules.ask(key, sequence, priority)
        self.rules.is_evicted = self.marks.is_evicted
        self.rules.unlisted = self.catalog.unlisted

    # --- what requests ask of the others ------------------------------------------------------

    def node(self, name: str) -> PeerId | None:
        """Return who owns a name."""
        return self.membership.peer_named(name)

    def reachable(self) -> tuple[PeerId, ...]:
        """Return who is alive or suspect, ourselves included."""
        return self.membership.alive()

    def linked(self, peer: PeerId) -> bool:
        """Tell whether a link is open."""
        return self.dialing.linked(peer)

    def eligible(self, peer: PeerId, record: Record) -> str:
        """Return the code of the rule by which a peer would not receive this when asked; empty: it may."""
        name = self.name_of(peer)
        if record.kind in self.rules.settings.excluded(name):
            return "excluded"
        verdict = self.rules.wanting_of(peer, record, asked=True)
        # Who is not there is told as unreachable, not as a rule that refuses it.
        return verdict.code if isinstance(verdict, No) and peer in self.reachable() else ""

    def ephemeral(self, node: str) -> bool:
        """Tell whether a node may vanish at any time."""
        peer = self.node(node)
        member = None if peer is None else self.membership.member(peer)
        return member is not None and member.facts.ephemeral

    def records(self, kind: str) -> list[Record]:
        """Return what is listed of a kind."""
        return list(self.catalog.listed(kind))

    def record_of(self, key_hash: bytes) -> Record | None:
        """Return the newest record of the artifact with this key hash."""
        found = (self.catalog.by_hash(kind, key_hash) for kind in KINDS)
        return next((record for record in found if record is not None), None)

    def unlisted(self, record: Record) -> str:
        """Return why this newest record is not listed; empty: it is."""
        return self.catalog.unlisted(record)

    def holders_of(self, record: Record) -> list[PeerId]:
        """Return who holds this or a later version, ourselves included."""
        holders = [peer for peer in self.receipts.confirmed(record) if peer != self.me]
        return [*holders, self.me] if self._held_sequence(record.key) >= record.sequence else holders

    def sources_of(self, record: Record) -> list[PeerId]:
        """Return who may be asked for it: its holders and its origin."""
        return [*self.holders_of(record), *self._holders(record)]

    def ask_here(
        self, record: Record, priority: int, limit: TokenBucket | None, now: float
    ) -> tuple[str, Out]:
        """Pull it here because somebody asks; return `present`, a rule's code, or nothing, and effects."""
        if self._held_sequence(record.key) >= record.sequence:
            return "present", []
        code = self.eligible(self.me, record)
        if code:
            return code, []
        self.rules.ask(record.key, record.sequence, PRIORITIES[priority])
        out = self.marks.ask(record, PRIORITIES[priority])
        self.transfer.limit(record.key, limit)
        return "", out + self.transfer.want(record, now, insist=True)

    def keep(self, record: Record, target: PeerId, priority: int) -> Out:
        """A target cannot be told now that it should have this: it is when it can be."""
        return self.errands.keep(record, self.name_of(target), priority)

    # --- inputs -----------------------------------------------------------------------------------

    def sync(self, ticket: int, asked: SyncRequest, now: float) -> list[Effect]:
        """Bring artifacts to nodes; `SyncAnswered` comes with what became of each."""
        return self._settle(self.requests.sync(ticket, asked, now), now)

    def expect(
        self, kind: str, name: str, origin: str | None, newer_than: int | None, now: float
    ) -> list[Effect]:
        """Somebody here asks for what is not published yet: it is pulled when it is, also after a restart."""
        key = ArtifactKey(kind, origin or "", name)
        return self._settle(self.marks.expect(key, (newer_than or 0) + 1), now)

    def sync_progress(self, ticket: int) -> SyncProgress | None:
        """Return how far a sync is; None when it is over."""
        return self.requests.progress(ticket)

    def signal(self, told: Signal, now: float) -> list[Effect]:
        """A program says what happened at some node: act on it, and tell that node."""
        out = self._act_on(told, now)
        if told.node_id != self.name:
            peer = self.node(told.node_id)
            if peer is not None:
                word = _word_of(told)
                out += self._say(peer, SignalTold(word, told.node_id, told.config_key))
        return self._settle(out, now)

    def _say(self, peer: PeerId, message: Message) -> Out:
        """Say something on a link, as soon as there is one."""
        if self.dialing.linked(peer):
            return [Send(peer, message, LINK)]
        waiting = self._unsaid.setdefault(peer, [])
        if len(waiting) < _MOST_UNSAID:
            waiting.append(message)
        return [NeedLink(peer)]

    # --- signals ----------------------------------------------------------------------------------

    def _act_on(self, told: Signal, now: float) -> Out:
        out: Out = [Tell(told)]
        ours = told.node_id == self.name
        if isinstance(told, NodeRecovered):
            # It was cut off, or we were: no breaker makes anybody wait longer.
            back = self.node(told.node_id)
            for peer in self.breakers.peers() if ours else [back] if back is not None else []:
                out += self._try_again(peer, now)
        match told:
            case TrainingStarted() if ours:
                out += self._train(True, now)
            case TrainingCompleted() if ours:
                out += self._train(False, now)
            case NodeRecovered() if ours:
                out += self._catch_up(now)
            case OrphanGamesDetected() if not ours:
                board, players = _meant_by(told)
                asked = SyncRequest(
                    data_type="games", priority="critical", source_node=told.node_id, reason=ORPHANS,
                    sync_type="priority", board_type=board, num_players=players,
                )  # fmt: skip
                self._own_tickets -= 1
                out += self.requests.sync(self._own_tickets, asked, now)
        return out

    def _train(self, training: bool, now: float) -> Out:
        """A training run begins or ends here: our card says so, and we weigh more, or no longer."""
        before = self.rules.facts()
        self.rules.change_facts(replace(before, training=training))
        facts = self.rules.facts()
        if facts == before:
            return []
        self.rules.members_changed(now)
        return self.membership.change_facts(facts, now)

    def _catch_up(self, now: float) -> Out:
        """We were away: compare and pull at once, whatever was put off."""
        out = self.anti_entropy.hurry(now)
        for record in self.catalog.records():
            if self.rules.wants_now(record, now):
                out += self.transfer.want(record, now)
        return out + self.transfer.retry(now)

    # --- messages -----------------------------------------------------------------------------------

    def _verb_heard(self, message: Message, sender: PeerId, now: float) -> Out:
        match message:
            case Offer():
                return self._hear_offer(message, sender, now)
            case OfferAnswered():
                over = [self._errand_over(sender, entry) for entry in entries_of(message.entries)]
                answered = self.requests.answered(sender, message.entries, message.code, now)
                return [*(effect for out in over for effect in out), *answered]
            case SyncWanted():
                return self._list_for(message, sender, now)
            case SyncDone():
                return self.requests.list_heard(sender, message, now)
            case SignalTold():
                try:
                    told = signal(message.kind, {"node_id": message.node, "config_key": message.config_key})
                except ValueError:
                    return []  # of a newer peer
                return self._act_on(told, now) if told.node_id == self.name else []
        return []

    def _hear_offer(self, offer: Offer, sender: PeerId, now: float) -> Out:
        out: Out = []
        answers: dict[str, list[bytes]] = {}
        unknown: list[bytes] = []
        limit = TokenBucket(max(offer.rate, _LEAST_RATE), now) if offer.rate else None
        for entry in entries_of(offer.entries):
            record = self.record_of(entry[:32])
            if record is None or record.sequence < version_of(entry)[0]:
                self._early.pop(entry[:32], None)
                if len(self._early) >= _MOST_EARLY:
                    # The oldest goes: what one member invents must not keep out what comes later.
                    del self._early[next(iter(self._early))]
                self._early[entry[:32]] = (entry, sender, offer, limit)
                unknown.append(entry[:32])
                continue
            code, effects = self._take(record, offer, limit, entry, sender, now)
            answers.setdefault(code, []).append(entry)
            out += effects
        if unknown:
            # A key hash does not tell its kind: whoever lacks it in that set says nothing.
            out += [Send(sender, RecordsWanted(kind, b"".join(unknown)), LINK) for kind in KINDS]
        said = [Send(sender, OfferAnswered(b"".join(same), code), LINK) for code, same in answers.items()]
        return [*said, *out]

    def _take(
        self,
        record: Record,
        offer: Offer,
        limit: TokenBucket | None,
        entry: bytes,
        sender: PeerId,
        now: float,
    ) -> tuple[str, Out]:
        """Judge one version that is offered; pull it if it is wanted."""
        if offer.asked:
            code, out = self.ask_here(record, offer.priority, limit, now)
        elif self._held_sequence(record.key) >= record.sequence:
            code, out = "present", []
        else:
            # An offer that no user made says that copies fall short: an eviction counts no more.
            freed = self.marks.forget_eviction(record.key)
            verdict = self.rules.wanting(record)
            code = verdict.code if isinstance(verdict, No) else ""
            out = freed if code else [*freed, *self.transfer.want(record, now)]
        if not code:
            if record.key.hash not in self._offerers and len(self._offerers) >= _MOST_OFFERERS:
                del self._offerers[next(iter(self._offerers))]
            self._offerers.setdefault(record.key.hash, {})[sender] = entry
        return code, out

    def _list_for(self, message: SyncWanted, sender: PeerId, now: float) -> Out:
        place = (sender, message.kind)
        if now < self._listed.get(place, now - _LIST_PAUSE) + _LIST_PAUSE:
            return []
        if len(self._listed) >= 4096:
            self._listed.clear()
        self._listed[place] = now
        entries = [entry_of(record) for record in self.shelf.versions() if message.kind in ("", record.kind)]
        return [
            Send(
                sender,
                SyncDone(
                    message.request,
                    start + _IN_ONE_LIST >= len(entries),
                    b"".join(entries[start : start + _IN_ONE_LIST]),
                ),
                LINK,
            )
            for start in range(0, max(1, len(entries)), _IN_ONE_LIST)
        ]

    # --- what follows from what ------------------------------------------------------------------------

    def _link_up(self, peer: PeerId, now: float) -> Out:
        said: Out = [Send(peer, message, LINK) for message in self._unsaid.pop(peer, ())]
        return said + self._run_errands(peer) + self.requests.link_opened(peer, now)

    def _run_errands(self, peer: PeerId) -> Out:
        """Offer what users here want that peer to have."""
        out: Out = []
        offers: dict[int, list[bytes]] = {}
        name = self.name_of(peer)
        for key, sequence, priority in self.errands.of(name):
            record = self.catalog.get(key)
            if record is not None:
                offers.setdefault(priority, []).append(entry_of(record))
            elif self.authorship.ready:
                out += self.errands.over(name, key, sequence)  # it is no longer listed
        for priority, entries in offers.items():
            for start in range(0, len(entries), _IN_ONE_OFFER):
                part = b"".join(entries[start : start + _IN_ONE_OFFER])
                out.append(Send(peer, Offer(part, priority, True, 0), LINK))
        return out

    def _errand_over(self, peer: PeerId, entry: bytes) -> Out:
        record = self.record_of(entry[:32]) if self.errands else None
        if record is None:
            return []
        return self.errands.over(self.name_of(peer), record.key, version_of(entry)[0])

    def _copies_confirmed(self, holder: PeerId, entries: list[bytes], now: float) -> Out:
        out = super()._copies_confirmed(holder, entries, now)
        for entry in entries:
            out += self._errand_over(holder, entry)
            out += self.pushes.confirmed(entry[:32], version_of(entry)[0], self.name_of(holder), now)
            out += self.requests.held(holder, entry[:32], version_of(entry)[0], now)
        return out

    def _entered(self, record: Record, before: Record | None, sender: PeerId | None, now: float) -> Out:
        out = super()._entered(record, before, sender, now)
        early = self._early.get(record.key.hash)
        if early is not None and record.sequence >= version_of(early[0])[0]:
            del self._early[record.key.hash]
            entry, offerer, offer, limit = early
            code, effects = self._take(record, offer, limit, entry, offerer, now)
            out += [Send(offerer, OfferAnswered(entry, code), LINK), *effects]
        expected, forgotten = self.marks.met(record)
        out += forgotten
        if expected and record.origin != self.name:
            out += self.ask_here(record, PRIORITIES.index("normal"), None, now)[1]
        return out + self.requests.entered(record, now)

    def _became_visible(self, record: Record, shrank: str | None, now: float) -> Out:
        out = super()._became_visible(record, shrank, now)
        key_hash = record.key.hash
        self._offerers.pop(key_hash, None)
        return out + self.requests.held(self.me, key_hash, record.sequence, now)

    def _settle(self, out: Out, now: float) -> list[Effect]:
        effects = super()._settle(out, now)
        # What is told of transfers is the outcome of somebody's question.
        for event in [effect.event for effect in effects if type(effect) is Tell]:
            more = self.requests.observe(event, now)
            if isinstance(event, ArtifactRejected):
                more += self._say_failed(event)
            effects += super()._settle(more, now)
        return effects

    def _say_failed(self, event: ArtifactRejected) -> Out:
        """Whoever offered it need not wait."""
        offerers = self._offerers.pop(ArtifactKey.parse(event.artifact).hash, {})
        said = f"failed: {event.reason}"[:200]
        return [Send(peer, OfferAnswered(entry, said), LINK) for peer, entry in offerers.items()]


def _meant_by(told: OrphanGamesDetected) -> tuple[str | None, int | None]:
    """Return the board and players whose games are orphans. None: all; so too for a key we do not know."""
    try:
        return parse_config_key(told.config_key)
    except UsageError:
        return None, None


def _word_of(told: Signal) -> str:
    """Return the name by which programs know a signal."""
    return next(word for word, kind in SIGNALS.items() if type(told) is kind)
