"""Whom are we pulling from? What is asked of each peer, how fast it answers, how far it is trusted."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ringgossip.identity import PeerId
from ringgossip.protocol.core import NEVER
from ringgossip.protocol.pacing import TokenBucket

RATE_SAMPLE = 0.1  # seconds; shorter samples measure the scheduler, not the link
FIRST_DOUBT = 5.0  # seconds; doubles with each wrong chunk
LONGEST_DOUBT = 300.0
_MOST_CANCELLED = 64  # more than are ever under way on one link
FORGIVEN_AFTER = 256  # good chunks that make up for a wrong one: a disk may err once


@dataclass(slots=True)
class Ask:
    """One request: chunks of one root (or pages of its manifest) still expected from one peer."""

    request: int
    root: bytes
    waiting: dict[int, int]  # chunk index -> length in bytes; for pages: place in `pages` -> 0
    asked_at: float
    pages: tuple[tuple[int, int], ...] = ()
    critical: bool = False  # it was asked for as such
    late: dict[int, int] = field(default_factory=dict)  # given to others meanwhile; still welcome
    begun: dict[int, float] = field(default_factory=dict)  # bodies on their way to our disk, since when


@dataclass(slots=True)
class Source:
    """A linked peer as a giver of chunks."""

    peer: PeerId
    strikes: int = 0  # wrong chunks and pages, on earlier links too
    asks: dict[int, Ask] = field(default_factory=dict)
    outstanding: int = 0  # bytes asked for and not yet stored, late ones aside
    chunks: int = 0  # the same in chunks and pages
    rate: float = 0.0  # bytes a second, smoothed; 0 while unknown
    busy_until: float = -NEVER
    busy_because: str = ""  # of what no waiting for a place will help
    spent_until: float = -NEVER  # it gives only what is asked for as critical until then
    slow_until: float = -NEVER
    held_until: float = -NEVER  # by its breaker
    suspected: bool = False
    answered_once: bool = False  # on this link
    last_progress: float = -NEVER
    heard_at: float = -NEVER  # anything at all on its link
    doubted_until: float = -NEVER  # what it is said to have in whole is not believed until then
    bucket: TokenBucket = field(default_factory=lambda: TokenBucket(None, 0.0))  # what it may send us
    # Given back to the limits, and may come: request, chunk -> root, bytes.
    cancelled: dict[tuple[int, int], tuple[bytes, int]] = field(default_factory=dict)
    looked_at: dict[bytes, float] = field(default_factory=dict)  # when for a second ask, of which pull
    taken: float = 0.0  # of our line, when it is too thin for all: see `downlink`
    _good: int = 0
    _sample_start: float = -NEVER
    _sample_bytes: int = 0

    def window(self, chunk_size: int, seconds: float, largest: int) -> int:
        """Return how many bytes may be outstanding: what `seconds` bring, at least two chunks."""
        least = 2 * chunk_size if self.rate else max(2 * chunk_size, 2**21)
        return max(least, min(largest, int(self.rate * seconds)))

    def asked(self, ask: Ask, now: float) -> None:
        """Note a request that was sent."""
        if not self.chunks:
            self.last_progress = now
            self._sample_start, self._sample_bytes = now, 0
        self.asks[ask.request] = ask
        self.outstanding += sum(ask.waiting.values())
        self.chunks += len(ask.waiting)

    def progressed(self, now: float) -> None:
        """It lives: something of what we asked began to arrive."""
        self.last_progress = self.heard_at = now
        self.busy_because = ""

    def received(self, amount: int, now: float) -> None:
        """A chunk from it was stored; keep the rate up to date."""
        self.last_progress = now
        if self.strikes:
            self._good += 1
            if self._good >= FORGIVEN_AFTER:
                self._good, self.strikes = 0, self.strikes - 1
        self._sample_bytes += amount
        seconds = now - self._sample_start
        if seconds >= RATE_SAMPLE:
            sample = self._sample_bytes / seconds
            self.rate = sample if not self.rate else 0.5 * (self.rate + sample)
            self._sample_start, self._sample_bytes = now, 0

    def lied(self, now: float) -> None:
        """It sent wrong bytes. Its disk may be repaired, so it is believed again, later each time."""
        self.strikes += 1
        self.doubted_until = now + min(LONGEST_DOUBT, FIRST_DOUBT * 2 ** min(self.strikes - 1, 16))

    def answered(self, ask: Ask, item: int) -> bool:
        """Strike one item off a request; return whether it was counted on (not late, not unknown)."""
        length = ask.waiting.pop(item, None)
        ask.begun.pop(item, None)
        if length is None:
            ask.late.pop(item, None)
        else:
            self.outstanding -= length
            self.chunks -= 1
        if not ask.waiting and not ask.late:
            self.asks.pop(ask.request, None)
        return length is not None

    def release(self, ask: Ask, items: Iterable[int]) -> None:
        """Stop counting on some items of a request, but accept late answers."""
        for item in items:
            length = ask.waiting.pop(item)
            ask.late[item] = length
            self.outstanding -= length
            self.chunks -= 1

    def claim(self, ask: Ask, item: int) -> None:
        """Count again on an item that others were asked for meanwhile: it comes from here."""
        length = ask.late.pop(item)
        ask.waiting[item] = length
        self.outstanding += length
        self.chunks += 1

    def forget(self, ask: Ask) -> list[int]:
        """Drop a request that will not be answered; return the items that were counted on."""
        items = list(ask.waiting)
        self.outstanding -= sum(ask.waiting.values())
        self.chunks -= len(items)
        self.asks.pop(ask.request, None)
        return items

    def cancel(self, ask: Ask, item: int, length: int) -> None:
        """Note what was given back to the limits although it may be under way already."""
        self.cancelled[ask.request, item] = ask.root, length
        if len(self.cancelled) > _MOST_CANCELLED:
            del self.cancelled[next(iter(self.cancelled))]

    def forget_late(self, ask: Ask) -> None:
        """Give up on late answers too."""
        ask.late.clear()
        if not ask.waiting:
            self.asks.pop(ask.request, None)

    def stalled_at(self, timeout: float) -> float:
        """Return when this source counts as silent; `NEVER` while nothing is expected from it."""
        return self.last_progress + timeout if self.chunks else NEVER

    def may_be_asked(self, now: float) -> bool:
        """Tell whether it is neither busy nor held by its breaker, and gives what is not critical."""
        return now >= self.spent_until and self.may_be_asked_critically(now)

    def may_be_asked_critically(self, now: float) -> bool:
        """Tell whether it is neither busy nor held by its breaker."""
        return now >= self.busy_until and now >= self.held_until

    def rank(self, now: float) -> tuple[int, int]:
        """Return how late it should be asked: wrong chunks weigh most, then slowness and what others say."""
        return self.strikes, int(now < self.slow_until or self.suspected)
