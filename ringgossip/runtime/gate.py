"""How many strangers may knock at once? Few, and those that failed wait longer.

A member's handshake succeeds, and successes cost a source nothing, so fifty
peers behind one address join at once. A failure costs a token. Whoever knocks
and then says nothing holds a place for seconds, which is what hurts: such a
source has a few places for a minute, and the others are for everybody else. And
while all places are taken and somebody waits, whoever had his for longer than
a member needs gives it up.
"""

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

MOST_HANDSHAKES = 32
MOST_SOURCES = 1024
FAILURES = 20.0  # in a row that a source may have
FORGIVEN = 5.0  # failures a second: a member that was enrolled wrongly shares its address with good ones
SUSPECT_HANDSHAKES = 4  # at a time, for a source that failed lately
# A refusal takes milliseconds; who takes so long waits for us to give up.
SLOW = 2.0
SLOW_REMEMBERED = 60.0
# A member takes a few round trips; who is cut off although it is one, knocks again.
LONG_ENOUGH = 1.0


@dataclass(slots=True)
class _Source:
    begun: deque[float] = field(default_factory=deque)  # when those under way began, the earliest first
    failures: float = 0.0
    seen: float = 0.0
    slow_until: float = 0.0


class Gate:
    """Counts handshakes under way, by source."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._busy = 0
        self._left = trio.Event()
        self._under_way: dict[trio.CancelScope, float] = {}  # since when, the earliest first

    async def wait_for_room(self) -> None:
        """Somebody waits for a place: return when there is one; meanwhile the kernel holds the line."""
        while self._busy >= MOST_HANDSHAKES:
            self._left = trio.Event()
            now = trio.current_time()
            scope, since = next(iter(self._under_way.items()), (None, now))
            if scope is not None and now - since >= LONG_ENOUGH:
                del self._under_way[scope]
                scope.cancel()
            with trio.move_on_at(since + LONG_ENOUGH if now - since < LONG_ENOUGH else now + LONG_ENOUGH):
                await self._left.wait()

    @contextmanager
    def place(self) -> Iterator[trio.CancelScope]:
        """Hold a place for what is done in the block, at most until others wait for it too long."""
        with trio.CancelScope() as scope:
            self._under_way[scope] = trio.current_time()
            try:
                yield scope
            finally:
                self._under_way.pop(scope, None)

    def enter(self, host: str, now: float) -> bool:
        """Say whether somebody from `host` may try; if so `leave` must follow."""
        source = self._source(host, now)
        busy = len(source.begun)
        failed_lately = source.failures >= 1
        if busy >= SUSPECT_HANDSHAKES and (failed_lately or now < source.slow_until):
            return False
        if source.failures + busy * failed_lately >= FAILURES:
            return False
        source.begun.append(now)
        self._busy += 1
        return True

    def leave(self, host: str, welcome: bool, now: float) -> None:
        """A handshake has ended."""
        source = self._source(host, now)
        self._busy -= 1
        if welcome:
            # Successes are quick, so most likely it was one of the latest.
            if source.begun:
                source.begun.pop()
        else:
            source.failures = min(FAILURES, source.failures + 1)
            if source.begun and now - source.begun.popleft() >= SLOW:
                source.slow_until = now + SLOW_REMEMBERED
        self._left.set()

    def _source(self, host: str, now: float) -> _Source:
        host = _network(host)
        source = self._sources.get(host)
        if source is None:
            source = self._sources[host] = _Source(seen=now, slow_until=now)
            if len(self._sources) > MOST_SOURCES:
                self._sources.popitem(last=False)
        else:
            self._sources.move_to_end(host)
        source.failures = max(0.0, source.failures - (now - source.seen) * FORGIVEN)
        source.seen = now
        return source


def _network(host: str) -> str:
    """Return whose address it is: one machine may have all of an IPv6 /64."""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host
