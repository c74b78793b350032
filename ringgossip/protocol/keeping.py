"""Who has copies of what we hold, and whom could we ask for more? What `offering` needs, and the drain.

A part of the switchboard. Copies count where they lie: peers of one storage
group are one place, and the origin's own place is none (see `strategy.wanting`).
"""

from collections.abc import Iterable, Iterator
from typing import Any

from ringgossip.config.blocks import Keep
from ringgossip.config.words import PRIORITIES
from ringgossip.content.record import Record
from ringgossip.events import ArtifactEvicted
from ringgossip.identity import PeerId
from ringgossip.protocol.answers import Short
from ringgossip.protocol.core import Effect, Evict, Notice, Tell
from ringgossip.protocol.deadlines import InHand
from ringgossip.protocol.offering import Offering
from ringgossip.protocol.receipts import entries_of, entry_of, version_of
from ringgossip.protocol.relaying import Relaying
from ringgossip.protocol.retention import Retention
from ringgossip.protocol.verbs import Verbs
from ringgossip.strategy.candidates import Candidate
from ringgossip.strategy.eligibility import may_push
from ringgossip.strategy.partners import sample
from ringgossip.strategy.plans import Plan
from ringgossip.strategy.weights import push_weight
from ringgossip.wire.messages import Message, News, Offer, OfferAnswered, Relayed

Out = list[Effect | Notice]

_HIGH, _CRITICAL = PRIORITIES.index("high"), PRIORITIES.index("critical")
_NORMAL = PRIORITIES.index("normal")


class Keeping(Verbs):
    """The switchboard with what looks after copies."""

    offering = InHand[Offering]()
    retention = InHand[Retention]()
    relaying = InHand[Relaying]()

    def __init__(self, *, now: float, **rest: Any) -> None:
        self.offering = Offering(self, rest["rng"], now)
        super().__init__(now=now, **rest)
        self.retention = Retention(self, self._held_version, self._rng, now)
        self.relaying = Relaying(
            rest["cluster"],
            self._notary,
            self._boot,
            self._rng,
            self.shelf.versions,
            entry_of,
            self.dialing.peers,
            self.dialing.linked,
            self.membership.member,
            self.membership.peer_named,
            self.catalog.certificate,
            self._booked_of_ours,
            lambda: self.receipts.counted(self._ours()),
            now,
        )

    def _ours(self) -> dict[bytes, None]:
        return {record.key.hash: None for record in self.catalog.records() if record.origin == self.name}

    def _booked_of_ours(self, holder: PeerId) -> list[bytes]:
        return self.receipts.booked(holder, self._ours())

    def _relayed(self, message: Relayed, sender: PeerId, now: float) -> Out:
        """Somebody passed a word on, or wants one to be passed on."""
        out, word = self.relaying.receive(message, sender, now)
        if word is None:
            return out
        holder = PeerId(message.sender)
        return out + self._copies_confirmed(holder, self.receipts.note(word, holder), now)

    # --- what offering asks of the others ------------------------------------------------------

    def held(self) -> Iterator[Record]:
        """Return the visible versions here."""
        return iter(self.versions.all_visible())

    def answers_for(self, record: Record) -> bool:
        """Tell whether we are the one who looks after this version's copies."""
        if self.versions.visible(record.key) != record or self.catalog.get(record.key) != record:
            return False
        if self.catalog.unlisted(record):
            return False
        if record.origin == self.name:
            return True
        there = self.reachable()
        if self.node(record.origin) in there:
            return False
        others = [peer for peer in self.receipts.confirmed(record) if peer in there and peer != self.me]
        return not others if self.offering.draining else all(self.me < peer for peer in others)

    def _places(self, record: Record) -> dict[object, None]:
        """Return where copies lie that count, ours and the origin's aside."""
        places: dict[object, None] = {}
        there = self.reachable()
        for peer in self.receipts.confirmed(record):
            candidate = self.rules.candidate(peer)
            # Who was lost a moment ago comes back, mostly.
            if candidate is not None and (peer in there or self.rules.is_remembered(peer)):
                places[candidate.place] = None
        places.pop(self.rules.myself().place, None)
        home = self.node(record.origin)
        origin = None if home is None else self.rules.candidate(home)
        if origin is not None:
            places.pop(origin.place, None)
        return places

    def copies(self, record: Record) -> int:
        """Return at how many other places this or a later version is."""
        return len(self._places(record))

    def wanted(self, record: Record) -> int:
        """Return how many copies at other places are wanted."""
        copies = self.rules.settings.copies_of(record.kind)
        if record.origin == self.name:
            return max(copies, self.plan(record.kind).copies)
        # Our own counts, unless we are about to go.
        return copies if self.offering.draining else max(0, copies - 1)

    def attainable(self, record: Record) -> int:
        """Return at how many other places there could be copies now."""
        places = self._places(record)
        for candidate in self._receivers(record):
            places[candidate.place] = None
        return min(self.wanted(record), len(places))

    def plan(self, kind: str) -> Plan:
        """Return how we spread what we publish of a kind."""
        return self.rules.plan(kind)

    def _receivers(self, record: Record) -> list[Candidate]:
        """Return who is there and may be given this by us, wherever copies are already."""
        me = self.rules.myself()
        found = []
        for peer in self.reachable():
            candidate = None if peer == self.me else self.rules.candidate(peer)
            if candidate is None or candidate.name == record.origin:
                continue
            barred = record.kind in self.rules.settings.excluded(candidate.name)
            if not barred and may_push(me, candidate, record.kind):
                found.append(candidate)
        return found

    def is_pulled(self, record: Record) -> bool:
        """Tell whether anybody pulls it from us just now."""
        return self.serving.is_pulled(record.root)

    def give_first(self, roots: list[bytes], now: float) -> Out:
        """Give what is asked for as critical of these contents before all else, in this order."""
        return self.serving.give_first(roots, now)

    def offer(
        self, record: Record, count: int, tried: dict[PeerId, None], insist: bool, linked: bool = False
    ) -> Out:
        """Offer it to up to `count` peers that lack it and were not `tried`, which they are then.

        `insist`: also to those that would not be chosen by the rules, and before everything else.
        `linked`: only to those that can pull it at once.
        """
        places = self._places(record)
        holders = self.rules.census(record.kind).holders(record.key.hash, record.origin)
        chosen = {candidate.peer for candidate in holders}
        pool = {
            candidate.peer: candidate
            for candidate in self._receivers(record)
            if candidate.peer not in tried
            and candidate.place not in places
            and (insist or candidate.peer in chosen)
            and (self.dialing.linked(candidate.peer) or not linked)
        }
        weights = {peer: push_weight(candidate).value for peer, candidate in pool.items()}
        order = sample(weights, len(weights), self._rng)
        # A machine that may vanish as we may is asked last, and those that should have it anyway first.
        order.sort(key=lambda peer: (pool[peer].ephemeral, peer not in chosen))
        priority = _NORMAL if not insist else _CRITICAL if self.offering.draining else _HIGH
        out: Out = []
        for peer in order:
            if count <= 0:
                break
            if pool[peer].place in places:
                continue
            places[pool[peer].place] = None
            tried[peer] = None
            count -= 1
            out += self._say(peer, News((record.packed,)))
            out += self._say(peer, Offer(entry_of(record), priority, insist, 0))
        return out

    # --- what retention asks of the others -----------------------------------------------------

    def keeps(self) -> tuple[Keep, ...]:
        """Return the rules of `keep`."""
        return self.rules.settings.keep

    def evictable(self, kind: str) -> list[Record]:
        """Return the visible versions of a kind that no user made here and nobody pulls."""
        return [
            record
            for record in self.versions.all_visible()
            if record.kind == kind and record.origin != self.name and not self.serving.is_pulled(record.root)
        ]

    def other_holders(self, record: Record) -> list[PeerId]:
        """Return the linked peers that confirmed this or a later version."""
        return [peer for peer in self.receipts.confirmed(record) if self.dialing.linked(peer)]

    def enough(self, record: Record, pledged: Iterable[PeerId]) -> bool:
        """Tell whether these holders lie in enough distinct places, neither ours nor the origin's."""
        home = self.node(record.origin)
        origin = None if home is None else self.rules.candidate(home)
        mine = [self.rules.myself().place, *([] if origin is None else [origin.place])]
        candidates = [self.rules.candidate(peer) for peer in pledged]
        places = [candidate.place for candidate in candidates if candidate and candidate.place not in mine]
        return len(dict.fromkeys(places)) >= max(1, self.rules.settings.copies_of(record.kind))

    def is_over(self, record: Record) -> bool:
        """Tell whether its artifact is listed no more: then nobody counts on any copy."""
        newest = self.catalog.get(record.key)
        return newest is not None and bool(self.catalog.unlisted(newest))

    def _held_version(self, entry: bytes) -> Record | None:
        record = self.record_of(entry[:32])
        held = None if record is None else self.versions.visible(record.key)
        return held if held is not None and held.sequence >= version_of(entry)[0] else None

    def evict(self, record: Record, reason: str, holders: Iterable[PeerId], now: float) -> Out:
        """Let a copy go: others pledged to keep theirs."""
        names = tuple(sorted(self.name_of(peer) for peer in holders))
        self.versions.lost(record, let_go=True)
        self.rules.forget(record.key)
        out = self.marks.evict(record) + self._no_longer_held(record, now)
        return [*out, Evict(record), Tell(ArtifactEvicted(record.key.text, record.sequence, reason, names))]

    # --- inputs and views --------------------------------------------------------------------------

    def drain(self, ticket: int, seconds: float, now: float) -> list[Effect]:
        """Bring what we hold to safety, for so many seconds at most; `DrainAnswered` says what is not."""
        return self._settle(self.offering.drain(ticket, seconds, now), now)

    def below_copies(self, now: float) -> list[Short]:
        """Return what has fewer copies than wanted, the most endangered first."""
        return self.offering.below(now)

    # --- what follows from what --------------------------------------------------------------------

    def eligible(self, peer: PeerId, record: Record) -> str:
        """As the rules say; who drains takes nothing more."""
        if peer == self.me and self.offering.draining:
            return "status"
        return super().eligible(peer, record)

    def _verb_heard(self, message: Message, sender: PeerId, now: float) -> Out:
        out = super()._verb_heard(message, sender, now) + self.retention.receive(message, sender, now)
        if isinstance(message, OfferAnswered) and message.code not in ("", "present"):
            for entry in entries_of(message.entries):
                record = self.record_of(entry[:32])
                if record is None or record.sequence != version_of(entry)[0]:
                    continue
                out += self.offering.refused(record.key, sender, now)
                if not message.code.startswith(("failed:", "not_wanted")):
                    for effect in self.rules.refusal_heard(sender, record.kind, message.code):
                        if isinstance(effect, Tell):  # a mind that changes all the time is told seldom
                            out += self._troubles.tell(f"{sender.hex()} {record.kind}", effect.event, now)
        return out

    def _copies_confirmed(self, holder: PeerId, entries: list[bytes], now: float) -> Out:
        out = super()._copies_confirmed(holder, entries, now)
        for entry in entries:
            record = self.record_of(entry[:32])
            if record is not None:
                out += self.offering.copied(record.key, now)
        return out

    def _became_visible(self, record: Record, shrank: str | None, now: float) -> Out:
        out = super()._became_visible(record, shrank, now)
        self.retention.arrived(record, now)
        self.relaying.held(record, now)
        return out + self.offering.published(record, now) if record.origin == self.name else out

    def _no_longer_held(self, record: Record, now: float) -> Out:
        if self.versions.visible(record.key) is None:
            self.offering.gone(record.key)
            self.retention.gone(record.key)
        out = super()._no_longer_held(record, now)
        if not self.receipts.has(entry_of(record)):
            self.relaying.dropped(record, now)
        return out
