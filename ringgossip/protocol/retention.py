"""Which copies may leave this store? Those beyond what `keep` says, once enough others pledge to keep theirs.

A pledge is a holder's own word, on its link, that it keeps its verified copy
for ten minutes. Holders that are evicting the same artifact themselves refuse,
so two never rely on each other. What a user made here is never evicted, nor
what somebody pulls from us just now. Of what is listed no more nobody counts
copies: beyond `keep` it goes without pledges, and within it stays.

Source: design section 4 (Who holds what; No remote deletion); incident 3.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ringgossip.config.blocks import Keep
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.identity import PeerId
from ringgossip.protocol.core import LINK, NEVER, Draw, Effect, Notice, Send
from ringgossip.protocol.receipts import entries_of, entry_of
from ringgossip.wire.messages import Message, Pledged, PledgeWanted

Out = list[Effect | Notice]

PLEDGE = 600.0  # seconds for which a holder keeps what it pledged
_INTERVAL = 60.0
_SOON = 2.0  # when `keep` was changed
_PATIENCE = 10.0  # seconds that holders have to answer
_AT_ONCE = 200  # evictions that are prepared together
_MOST_PLEDGES = 100_000


class Scene(Protocol):
    """What retention must know of everything else."""

    def keeps(self) -> tuple[Keep, ...]:
        """Return the rules of `keep`."""
        ...

    def evictable(self, kind: str) -> Iterable[Record]:
        """Return the visible versions of a kind that no user made here and nobody pulls."""
        ...

    def other_holders(self, record: Record) -> list[PeerId]:
        """Return the linked peers that confirmed this or a later version."""
        ...

    def enough(self, record: Record, pledged: Iterable[PeerId]) -> bool:
        """Tell whether these holders lie in enough distinct places to do without us."""
        ...

    def is_over(self, record: Record) -> bool:
        """Tell whether its artifact was withdrawn, or its origin retired."""
        ...

    def evict(self, record: Record, reason: str, holders: Iterable[PeerId], now: float) -> Out: ...


@dataclass(slots=True, eq=False)
class _Leaving:
    """A copy that is about to go."""

    record: Record
    reason: str
    until: float
    asked: dict[PeerId, None]
    pledged: dict[PeerId, None] = field(default_factory=dict)


class Retention:
    """The machine that evicts, and that pledges to others."""

    def __init__(self, scene: Scene, holds: Callable[[bytes], Record | None], rng: Draw, now: float) -> None:
        """`holds(entry)` returns our own visible copy of that version or a later one."""
        self._scene = scene
        self._holds = holds
        self._rng = rng
        self._started = now
        self._arrived: dict[ArtifactKey, tuple[float, int]] = {}  # when, and in which order
        self._order = 0
        self._leaving: dict[bytes, _Leaving] = {}  # key hash -> what goes
        self._pledges: dict[bytes, float] = {}  # key hash -> until when we keep it
        self._look_at = now + _INTERVAL * (0.5 + rng.random())

    def arrived(self, record: Record, now: float) -> None:
        """A version became visible here."""
        self._order += 1
        self._arrived[record.key] = (now, self._order)

    def gone(self, key: ArtifactKey) -> None:
        """It is no longer here."""
        self._arrived.pop(key, None)
        self._leaving.pop(key.hash, None)

    def rules_changed(self, now: float) -> None:
        """`keep` says something else: whoever changed it is looking."""
        self._look_at = min(self._look_at, now + _SOON * (0.5 + self._rng.random()))

    # --- time -----------------------------------------------------------------------------------

    def wake(self, now: float) -> Out:
        """Look for what is beyond the rules; give up on what found too few pledges."""
        for key_hash, leaving in list(self._leaving.items()):
            if now >= leaving.until:
                del self._leaving[key_hash]
        if now < self._look_at:
            return []
        # Two nodes that always look at the same moment would refuse each other for ever.
        self._look_at = now + _INTERVAL * (0.5 + self._rng.random())
        self._pledges = {key_hash: until for key_hash, until in self._pledges.items() if until > now}
        out: Out = []
        for record, reason in self._beyond(now):
            if len(self._leaving) >= _AT_ONCE:
                break
            key_hash = record.key.hash
            if key_hash in self._leaving or key_hash in self._pledges:
                continue
            if self._scene.is_over(record):
                out += self._scene.evict(record, reason, (), now)
                continue
            holders = self._scene.other_holders(record)
            if not self._scene.enough(record, holders):
                continue
            self._leaving[key_hash] = _Leaving(record, reason, now + _PATIENCE, dict.fromkeys(holders))
            out += [Send(peer, PledgeWanted(entry_of(record)), LINK) for peer in holders]
        return out

    def _beyond(self, now: float) -> list[tuple[Record, str]]:
        """Return what the rules let go, the oldest first, and why."""
        found: dict[ArtifactKey, tuple[Record, str]] = {}
        for rule in self._scene.keeps():
            held = sorted(self._scene.evictable(rule.kind), key=self._age_key)
            total = sum(record.size for record in held)
            for place, record in enumerate(held):
                age = now - self._arrived.get(record.key, (self._started, 0))[0]
                if rule.newest is not None and place < len(held) - rule.newest:
                    reason = f"only the newest {rule.newest} {rule.kind} are kept"
                elif rule.seconds is not None and age >= rule.seconds:
                    reason = f"{rule.kind} are kept for {rule.seconds:g} s"
                elif rule.bytes is not None and total > rule.bytes:
                    reason = f"{rule.kind} may take {rule.bytes} bytes"
                else:
                    continue
                total -= record.size
                found.setdefault(record.key, (record, reason))
        return list(found.values())

    def _age_key(self, record: Record) -> tuple[float, int, int, str]:
        when, order = self._arrived.get(record.key, (self._started, 0))
        return (when, order, record.stamp, record.key.text)

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        if not self._scene.keeps():
            return NEVER
        if not self._leaving:
            return self._look_at
        return min(self._look_at, *(leaving.until for leaving in self._leaving.values()))

    # --- messages -----------------------------------------------------------------------------------

    def receive(self, message: Message, sender: PeerId, now: float) -> Out:
        """Pledge to keep what we hold, or hear a pledge."""
        match message:
            case PledgeWanted():
                kept: list[bytes] = []
                refused: list[bytes] = []
                for entry in entries_of(message.entries):
                    (kept if self._pledge(entry, now) else refused).append(entry)
                return [
                    Send(sender, Pledged(b"".join(entries), granted), LINK)
                    for entries, granted in ((kept, True), (refused, False))
                    if entries
                ]
            case Pledged(granted=True):
                out: Out = []
                for entry in entries_of(message.entries):
                    out += self._heard(entry, sender, now)
                return out
        return []

    def _pledge(self, entry: bytes, now: float) -> bool:
        key_hash = entry[:32]
        if key_hash in self._leaving or self._holds(entry) is None:
            return False
        if key_hash not in self._pledges and len(self._pledges) >= _MOST_PLEDGES:
            return False
        self._pledges[key_hash] = now + PLEDGE
        return True

    def _heard(self, entry: bytes, sender: PeerId, now: float) -> Out:
        leaving = self._leaving.get(entry[:32])
        if leaving is None or entry_of(leaving.record) != entry or now >= leaving.until:
            return []
        if sender not in leaving.asked:
            return []  # it never confirmed a copy
        leaving.pledged[sender] = None
        if not self._scene.enough(leaving.record, leaving.pledged):
            return []
        del self._leaving[entry[:32]]
        return self._scene.evict(leaving.record, leaving.reason, leaving.pledged, now)
