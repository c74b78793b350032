"""How much do others count for us? `strategy.weights` of cards, and of what we exchanged with them.

Three questions. Whom do we gossip with, and whose share of our uplink is how
large: `partner`. Whom do we tell first of something new: `push`. What do we
bring to safety first: `urgency`, by the drain urgency of those who hold it. Of
several holders the least urgent counts: what a machine may take with it is in
no danger while it also lies where nothing vanishes.
"""

from collections.abc import Callable, Iterable

from ringgossip.content.record import Record
from ringgossip.identity import PeerId
from ringgossip.strategy.candidates import Candidate
from ringgossip.strategy.weights import Weight, drain_urgency, push_weight


class Weighing:
    """Weights of the members we know; those that are asked for with every message are remembered."""

    def __init__(self, candidate: Callable[[PeerId], Candidate | None]) -> None:
        self._candidate = candidate
        self._partners: dict[PeerId, float] = {}
        self._sources: dict[PeerId, Candidate | None] = {}
        self._given: dict[PeerId, float] = {}  # when a member last took something of ours
        self._saved: dict[PeerId, float] = {}  # when something that a member holds last came here

    def cards_changed(self) -> None:
        """Weights are made anew."""
        self._partners.clear()
        self._sources.clear()

    def gone(self, peer: PeerId) -> None:
        """A member left: if it comes again, it is as one that never synced."""
        self._given.pop(peer, None)
        self._saved.pop(peer, None)

    def given(self, peer: PeerId, now: float) -> None:
        """It took something of ours: it is not the one that waits longest any more."""
        self._given[peer] = now

    def saved(self, holders: Iterable[PeerId], now: float) -> None:
        """Something that these hold came here."""
        self._saved |= dict.fromkeys(holders, now)

    def partner(self, peer: PeerId) -> float:
        """Return how much a peer counts as a partner and as one who asks."""
        weight = self._partners.get(peer)
        if weight is None:
            candidate = self._candidate(peer)
            weight = self._partners[peer] = 1.0 if candidate is None else push_weight(candidate).value
        return weight

    def push(self, candidate: Candidate, record: Record, now: float) -> float:
        """Return how much a peer counts when we choose whom to tell first of something of ours."""
        since = _since(self._given.get(candidate.peer), now)
        return push_weight(candidate, since_sync=since, quality=quality_of(record)).value

    def urgency(
        self, record: Record, holders: Iterable[PeerId], now: float
    ) -> tuple[Candidate, Weight] | None:
        """Return how urgently a version must be brought to safety, and whose drain urgency says so."""
        least: tuple[Candidate, Weight] | None = None
        quality = quality_of(record)
        for peer in holders:
            if peer not in self._sources:
                self._sources[peer] = self._candidate(peer)
            source = self._sources[peer]
            if source is None:
                continue
            weight = drain_urgency(source, since_sync=_since(self._saved.get(peer), now), quality=quality)
            if least is None or weight.value < least[1].value:
                least = source, weight
        return least


def quality_of(record: Record) -> float | None:
    """Return what its origin says of the quality of the data, if it is a number."""
    quality = record.metadata.get("quality")
    return quality if isinstance(quality, int | float) and not isinstance(quality, bool) else None


def _since(last: float | None, now: float) -> float | None:
    return None if last is None else now - last
