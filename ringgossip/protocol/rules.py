"""Who gets what, as far as this peer decides: what do we want, whom do we push to, who goes first?

All decisions are `strategy`'s; this machine keeps what they need: candidates
made of cards, a census for each kind that lives until a card changes, what was
asked for, and whether our disk has stopped. After the census changed, the
catalog is gone through again, a few records at a time.

Rules of this room:
- Ourselves we judge by our settings and disk, and tell the outcome in our card;
  the census reads our card as it reads everybody's, so all come to one answer.
- What our role takes is pulled at once. What we were chosen to hold waits until
  the members have stood still for a moment: whoever starts sees nobody yet, and
  would choose itself for everything.
- The copies of a member that was lost count for a while: most come back.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from ringgossip.config.limits import Limit, peer_limit
from ringgossip.config.words import KINDS, PRIORITIES, provider_of
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.events import PushRefused, ReceivingChanged
from ringgossip.identity import PeerId
from ringgossip.protocol.cards import MemberFacts
from ringgossip.protocol.core import NEVER, Draw, Effect, Notice, Remember, Tell, WantChanged
from ringgossip.protocol.member_views import Member
from ringgossip.protocol.rule_settings import RuleSettings as RuleSettings
from ringgossip.protocol.weighing import Weighing
from ringgossip.strategy.candidates import Candidate, DiskUse
from ringgossip.strategy.eligibility import (
    CODES,
    No,
    Verdict,
    disk_stops,
    may_push,
    may_receive,
    refusals,
    taken,
)
from ringgossip.strategy.partners import Turns, push_targets
from ringgossip.strategy.plans import Plan, is_pushed, plan_for
from ringgossip.strategy.wanting import Census, Wanted, row_of
from ringgossip.strategy.weights import rank_of

Out = list[Effect | Notice]

# Remembered beside what users decided about artifacts, under a key that none can have.
OUR_DISK = ArtifactKey("", "", "")
DISK_STOPPED = "stopped"  # the hysteresis of `disk_stops`

_DISK_STEP = 0.05  # a card that changed at every write would be news all day
_POOL = 64  # partners are drawn by weight among so many
_MOST_ASKED = 100_000


class Rules:
    """The machine that decides for this peer."""

    def __init__(
        self,
        settings: RuleSettings,
        facts: MemberFacts,
        me: PeerId,
        name: str,
        rng: Draw,
        member: Callable[[PeerId], Member | None],
        alive: Callable[[], Sequence[PeerId]],
        records: Callable[[], Iterator[Record]],
        held_sequence: Callable[[ArtifactKey], int],
        now: float,
        disk: DiskUse | None = None,
        disk_had_stopped: bool = False,
    ) -> None:
        self.settings = settings
        self.me = me
        self.disk = disk
        self._facts = _with_disk(facts, disk)
        self._name = name
        self._rng = rng
        self._member = member
        self._alive = alive
        self._records = records
        self._held_sequence = held_sequence
        # Remembered, or a restart between both limits would let in what had been stopped.
        self._disk_had_stopped = disk_had_stopped
        self._disk_stopped = disk_stops(disk_had_stopped, disk, settings.disk)
        self._asked: dict[ArtifactKey, tuple[int, str]] = {}
        self.is_evicted: Callable[[Record], bool] = lambda record: False
        self.unlisted: Callable[[Record], str] = lambda record: ""  # why it is not listed, a word
        self.unreadable: Callable[[Record], bool] = lambda record: False  # on the disk that we share
        self._gone: dict[PeerId, float] = {}  # lost members -> until when their copies count
        self._census: dict[str, Census] = {}
        self.weights = Weighing(self.candidate)
        self._turns: Turns[PeerId] = Turns()
        self._partner_turns: Turns[PeerId] = Turns()
        self._refused: dict[tuple[PeerId, str], str] = {}  # what was told of a push that was refused
        self._settled_at = now + settings.first_look
        self._unsettled_since = now
        self._scan: Iterator[Record] | None = None
        self._place = 0  # how many records were looked at since all were
        self._scan_at = self._settled_at

    # --- ourselves ----------------------------------------------------------------------

    def myself(self) -> Candidate:
        """Return ourselves as our settings and disk say, with no card believed."""
        facts, settings = self._facts, self.settings
        return Candidate(
            self._name,
            self.me,
            role=facts.role,
            state=settings.state,
            ephemeral=facts.ephemeral,
            training=facts.training,
            priority=self._name in settings.priority_nodes,
            provider=facts.provider or provider_of(self._name),
            storage_group=facts.storage_group,
            disk=self.disk,
            disk_stopped=self._disk_stopped,
            receive=settings.receive,
            want=settings.want,
            excluded=settings.excluded(self._name),
        )

    @property
    def storage_group(self) -> str | None:
        """The name of the disk that we share with others, if we do."""
        return self._facts.storage_group

    def facts(self) -> MemberFacts:
        """Return what our card must say, the outcome of the rules included."""
        me = self.myself()
        refuses = refusals(me, KINDS, self.settings.disk)
        return replace(
            self._facts,
            state=self.settings.state,
            refuses=tuple((kind, refuses[kind]) for kind in KINDS if kind in refuses),
            wants=tuple(kind for kind in KINDS if kind in row_of(me)),
        )

    def change_facts(self, facts: MemberFacts) -> None:
        """Something about ourselves changed; `facts()` says what to tell."""
        self._facts = replace(facts, disk_used=self._facts.disk_used, disk_free=self._facts.disk_free)

    def change_settings(self, settings: RuleSettings, now: float) -> Out:
        """The configuration was read again; plans, limits and rules hold from now on."""
        before = self.facts()
        self.settings = settings
        self._judge_disk()
        self.members_changed(now)
        return self._told(before)

    def disk_changed(self, disk: DiskUse | None, now: float) -> Out:
        """Our disk was looked at; events say what it stopped or freed."""
        before = self.facts()
        self.disk = disk
        self._judge_disk()
        share, said = None if disk is None else disk.share, self._facts.disk_used
        moved = (share is None) != (said is None)
        if share is not None and said is not None:
            moved = abs(share - said) >= _DISK_STEP
        if moved or self.facts().refuses != before.refuses:
            self._facts = _with_disk(self._facts, disk)
        return self._told(before)

    def _judge_disk(self) -> None:
        self._disk_stopped = disk_stops(self._disk_stopped, self.disk, self.settings.disk)

    def _told(self, before: MemberFacts) -> Out:
        me, out = self.myself(), Out()
        if self._disk_stopped != self._disk_had_stopped:
            self._disk_had_stopped = self._disk_stopped
            out.append(Remember(OUR_DISK, DISK_STOPPED, int(self._disk_stopped)))
        was, is_ = dict(before.refuses), dict(self.facts().refuses)
        for kind in KINDS:
            if was.get(kind) != is_.get(kind):
                verdict = may_receive(me, kind, self.settings.disk)
                reason = verdict.sentence if isinstance(verdict, No) else ""
                out.append(Tell(ReceivingChanged(kind, is_.get(kind, ""), reason)))
        return out

    # --- others --------------------------------------------------------------------------

    def candidate(self, peer: PeerId) -> Candidate | None:
        """Return a member as its card says; what its card refuses is believed."""
        member = self._member(peer)
        if member is None:
            return None
        facts = member.facts
        disk = None
        if facts.disk_used is not None and facts.disk_free is not None:
            share = min(facts.disk_used, 0.99)
            disk = DiskUse(round(facts.disk_free * share / (1 - share)), facts.disk_free)
        return Candidate(
            member.name,
            peer,
            role=facts.role,
            state=facts.state,
            ephemeral=facts.ephemeral,
            training=facts.training,
            priority=member.name in self.settings.priority_nodes,
            provider=facts.provider or provider_of(member.name),
            storage_group=facts.storage_group,
            disk=disk,
            want=facts.wants,
            refuses=dict(facts.refuses),
        )

    def member_up(self, peer: PeerId, now: float) -> None:
        """Somebody came; who comes back soon changes nothing."""
        if self._gone.pop(peer, None) is None:
            self.members_changed(now)

    def member_down(self, peer: PeerId, left: bool, now: float) -> None:
        """Somebody went: who said goodbye does not come back soon."""
        if left:
            self.weights.gone(peer)
            self.members_changed(now)
        else:
            self._gone[peer] = now + self.settings.grace

    def members_changed(self, now: float) -> None:
        """Members or cards changed: decide anew, once they stand still."""
        self._census.clear()
        self.weights.cards_changed()
        if self._scan_at == NEVER or self._scan is not None:
            self._unsettled_since = now
        self._scan = None
        latest = self._unsettled_since + 5 * self.settings.settle
        self._settled_at = max(self._settled_at, min(now + self.settings.settle, latest))
        self._scan_at = self._settled_at

    def census(self, kind: str) -> Census:
        """Return who wants artifacts of this kind."""
        census = self._census.get(kind)
        if census is None:
            peers = [*self._alive(), *self._gone]
            members = [found for peer in peers if (found := self.candidate(peer)) is not None]
            census = self._census[kind] = Census(kind, members, self.settings.copies_of(kind))
        return census

    def limit_of(self, peer: PeerId) -> Limit:
        """Return what we may exchange with a peer, each direction."""
        member = self._member(peer)
        name = "" if member is None else member.name
        provider = provider_of(name) if member is None else member.facts.provider or provider_of(name)
        return peer_limit(name, provider, self.settings.bandwidth)

    # --- what we want -----------------------------------------------------------------------

    def ask(self, key: ArtifactKey, sequence: int, priority: str = "normal") -> None:
        """Somebody here asks for this or a later version; it is wanted until one is here."""
        before = self._asked.get(key, (0, priority))
        if key not in self._asked and len(self._asked) >= _MOST_ASKED:
            # The oldest, which came long ago, goes: a full table must not make every question vain.
            del self._asked[next(iter(self._asked))]
        urgent = max(before[1], priority, key=PRIORITIES.index)
        self._asked[key] = (max(before[0], sequence), urgent)

    def forget(self, key: ArtifactKey) -> None:
        """Nobody here asks for it any more."""
        self._asked.pop(key, None)

    def asked(self) -> dict[ArtifactKey, tuple[int, str]]:
        """Return what was asked for: the version, and how urgently."""
        return dict(self._asked)

    def is_asked(self, record: Record) -> bool:
        """Tell whether this version is wanted because somebody asked."""
        if record.key not in self._asked:
            return False
        sequence, _ = self._asked[record.key]
        return record.sequence <= sequence or self._held_sequence(record.key) < sequence

    def wanting(self, record: Record) -> Wanted | Verdict:
        """Return why we want a version, or why not."""
        asked = self.is_asked(record)
        if not asked and self.is_evicted(record):
            return No("evicted", f"{self._name}: {CODES['evicted']}")
        verdict = self.wanting_of(self.me, record, asked)
        if asked and isinstance(verdict, No) and verdict.code == "storage_group" and self.unreadable(record):
            return Wanted("asked", f"{self._name} asked for it, and cannot read it on its shared disk")
        return verdict

    def wanting_of(self, peer: PeerId, record: Record, asked: bool = False) -> Wanted | Verdict:
        """Return why a member wants a version, or why not, as everybody can see it."""
        if code := self.unlisted(record):
            return No(code, f"{record.key.text}: {CODES[code]}")
        member = self._member(peer)
        if member is None or (peer not in self._gone and member.state in ("dead", "left")):
            if member is None:
                return No("status", "it is unknown")
            return No("status", f"{member.name} {'said goodbye' if member.state == 'left' else 'is lost'}")
        return self.census(record.kind).wanting(peer, record.key.hash, record.origin, asked)

    def may_receive(self, record: Record) -> Verdict:
        """Judge before space is set aside for a version, as our disk is now."""
        return may_receive(self.myself(), record.kind, self.settings.disk)

    def wants_now(self, record: Record, now: float) -> bool:
        """Tell whether to pull at once; who was chosen among others waits until the members stand still."""
        verdict = self.wanting(record)
        chosen = ("holder",) if self.storage_group is None else ("holder", "role")
        return bool(verdict) and (now >= self._settled_at or getattr(verdict, "why", "") not in chosen)

    def rank(self, record: Record) -> int:
        """Return the place of a version among those that wait: smaller goes first."""
        _, priority = self._asked.get(record.key, (0, "normal"))
        return rank_of(record.kind, priority)

    def priority_of(self, record: Record) -> str:
        """Return the word that travels with our requests for it."""
        return self._asked[record.key][1] if record.key in self._asked else "normal"

    def urgency(self, record: Record, holders: Iterable[PeerId], now: float) -> float:
        """Return the weight with which a version is brought to safety, in whole points: age moves slowly."""
        found = self.weights.urgency(record, holders, now)
        return 1.0 if found is None else float(round(found[1].value))

    # --- whom we push to ------------------------------------------------------------------------

    def plan(self, kind: str) -> Plan:
        """Return how we spread what we publish of this kind."""
        settings, facts = self.settings, self._facts
        return plan_for(
            settings.strategy,
            kind,
            facts.role,
            ephemeral=facts.ephemeral,
            priority=self._name in settings.priority_nodes,
            receive=taken(self.myself()),
            interval=settings.interval,
            ephemeral_interval=settings.ephemeral_interval,
        )

    def push_targets(self, record: Record, now: float) -> tuple[list[PeerId], Out]:
        """Return whom to tell first of a version of ours, and who will not receive it."""
        games = record.metadata.get("games_completed")
        if not is_pushed(record.kind, games if isinstance(games, int) else None, self.settings.min_games):
            return [], []
        me, out = self.myself(), Out()
        barred = {name for name, kinds in self.settings.exclude if record.kind in kinds}
        candidates = []
        census = self.census(record.kind)
        for candidate in census.holders(record.key.hash, record.origin):
            if candidate.peer == self.me or candidate.peer in self._gone:
                continue
            verdict = may_push(me, candidate, record.kind)
            if verdict and candidate.name in barred:
                verdict = No("excluded", f"our settings exclude {candidate.name} from {record.kind}")
            if verdict:
                candidates.append(candidate)
        out += self._refusals_news(record.kind)

        def weight(candidate: Candidate) -> float:
            return self.weights.push(candidate, record, now)

        chosen = push_targets(self.plan(record.kind), candidates, weight, self._turns, self._rng)
        return [candidate.peer for candidate in chosen], out

    def _refusals_news(self, kind: str) -> Out:
        """Tell, once, who takes this kind by its role and will not have it now."""
        out = Out()
        for peer in self._alive():
            candidate = None if peer == self.me else self.candidate(peer)
            if candidate is None or kind not in row_of(candidate):
                continue
            verdict = may_receive(candidate, kind)
            code = verdict.code if isinstance(verdict, No) else ""
            if code != self._refused.get((peer, kind), "") and isinstance(verdict, No):
                out.append(Tell(PushRefused(candidate.name, kind, code, verdict.sentence)))
            self._refused[peer, kind] = code
        return out

    def refusal_heard(self, peer: PeerId, kind: str, code: str) -> Out:
        """A peer answered that it will not have this kind: told once."""
        member = self._member(peer)
        before, self._refused[peer, kind] = self._refused.get((peer, kind), ""), code
        if member is None or before == code:
            return []
        return [Tell(PushRefused(member.name, kind, code, f"{member.name}: {CODES.get(code, code)}"))]

    def is_remembered(self, peer: PeerId) -> bool:
        """Tell whether a lost member went so short a time ago that its copies count."""
        return peer in self._gone

    def partners(self, count: int) -> list[PeerId]:
        """Return some others to gossip with: twice the weight, twice the chance."""
        others = [peer for peer in self._alive() if peer != self.me]
        weights = [self.weights.partner(peer) for peer in others[:_POOL]]
        uneven = len(set(weights)) > 1
        taken = _POOL if uneven or len(others) > _POOL else count
        for place in range(min(taken, len(others))):
            other = place + (self._rng.getrandbits(24) * (len(others) - place) >> 24)
            others[place], others[other] = others[other], others[place]
        pool = {peer: self.weights.partner(peer) for peer in others[:taken]}
        if len(set(pool.values())) <= 1:
            return others[:count]
        return self._partner_turns.draw(pool, count, self._rng)

    # --- time ---------------------------------------------------------------------------------

    def wake(self, now: float) -> Out:
        """Let lost members go; look at some more records."""
        over = [peer for peer, until in self._gone.items() if now >= until]
        for peer in over:
            del self._gone[peer]
            self.weights.gone(peer)
        if over:
            self.members_changed(now)
        if now < self._scan_at:
            return []
        if self._scan is None:
            records = list(self._records())
            cut = self._place % max(1, len(records))  # members that change all the time hide no record
            self._scan = iter(records[cut:] + records[:cut])
        out = Out()
        for _ in range(self.settings.batch):
            record = next(self._scan, None)
            if record is None:
                self._scan, self._scan_at, self._place = None, NEVER, 0
                return out
            self._place += 1
            verdict = self.wanting(record)
            out.append(WantChanged(record, bool(verdict), verdict.code if isinstance(verdict, No) else ""))
        self._scan_at = now + self.settings.pause
        return out

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        return min(self._scan_at, *self._gone.values()) if self._gone else self._scan_at


def _with_disk(facts: MemberFacts, disk: DiskUse | None) -> MemberFacts:
    if disk is None:
        return replace(facts, disk_used=None, disk_free=None)
    return replace(facts, disk_used=round(disk.share, 2), disk_free=disk.free)
