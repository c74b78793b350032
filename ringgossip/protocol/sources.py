"""Whom are we pulling from? What is asked of each peer, how fast it answers, how far it is trusted."""

from dataclasses import dataclass, field

from ringgossip.identity import PeerId
from ringgossip.protocol.core import NEVER

RATE_SAMPLE = 0.1  # seconds; shorter samples measure the scheduler, not the link


@dataclass(slots=True)
class Ask:
    """One request: chunks of one root (or pages of its manifest) still expected from one peer."""

    request: int
    root: bytes
    waiting: dict[int, int]  # chunk index -> length in bytes; for pages: place in `pages` -> 0
    asked_at: float
    pages: tuple[tuple[int, int], ...] = ()
    released: bool = False  # given to others meanwhile; a late answer is still welcome


@dataclass(slots=True)
class Source:
    """A linked peer as a giver of chunks."""

    peer: PeerId
    asks: dict[int, Ask] = field(default_factory=dict)
    outstanding: int = 0  # bytes asked for and not yet stored, released ones aside
    rate: float = 0.0  # bytes a second, smoothed; 0 while unknown
    strikes: int = 0  # wrong chunks and pages
    busy_until: float = -NEVER
    slow_until: float = -NEVER
    last_progress: float = -NEVER
    _sample_start: float = -NEVER
    _sample_bytes: int = 0

    def window(self, chunk_size: int, seconds: float, largest: int) -> int:
        """Return how many bytes may be outstanding: what `seconds` bring, at least two chunks."""
        least = max(2 * chunk_size, 2**21) if not self.rate else 2 * chunk_size
        return min(largest, max(least, int(self.rate * seconds)))

    def asked(self, ask: Ask, now: float) -> None:
        """Note a request that was sent."""
        if not self.asks:
            self.last_progress = now
            self._sample_start, self._sample_bytes = now, 0
        self.asks[ask.request] = ask
        self.outstanding += sum(ask.waiting.values())

    def progressed(self, now: float) -> None:
        """It lives: something of what we asked began to arrive."""
        self.last_progress = now

    def received(self, amount: int, now: float) -> None:
        """A chunk from it was stored; keep the rate up to date."""
        self.last_progress = now
        self._sample_bytes += amount
        seconds = now - self._sample_start
        if seconds >= RATE_SAMPLE:
            sample = self._sample_bytes / seconds
            self.rate = sample if not self.rate else 0.5 * (self.rate + sample)
            self._sample_start, self._sample_bytes = now, 0

    def answered(self, ask: Ask, item: int) -> bool:
        """Strike one item off a request; return whether it was expected."""
        length = ask.waiting.pop(item, None)
        if length is None:
            return False
        if not ask.released:
            self.outstanding -= length
        if not ask.waiting:
            self.asks.pop(ask.request, None)
        return True

    def release(self, ask: Ask) -> list[int]:
        """Stop counting on a request, but accept late answers; return its items."""
        if not ask.released:
            ask.released = True
            self.outstanding -= sum(ask.waiting.values())
        return list(ask.waiting)

    def forget(self, ask: Ask) -> list[int]:
        """Drop a request that will not be answered; return its items."""
        items = self.release(ask)
        self.asks.pop(ask.request, None)
        return items

    def stalled_at(self, timeout: float) -> float:
        """Return when this source counts as silent; `NEVER` while nothing is expected from it."""
        return self.last_progress + timeout if self.outstanding or self._awaits_pages() else NEVER

    def _awaits_pages(self) -> bool:
        return any(ask.pages and not ask.released for ask in self.asks.values())

    def rank(self, now: float) -> tuple[int, int]:
        """Return how late it should be asked: wrong chunks weigh most, then slowness."""
        return self.strikes, int(now < self.slow_until)
