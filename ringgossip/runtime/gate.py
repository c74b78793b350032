"""How many strangers may knock at once? Few, and those that failed wait longer.

A member's handshake succeeds, and successes cost a source nothing, so fifty
peers behind one address join at once. A failure costs a token.
"""

from collections import OrderedDict
from dataclasses import dataclass

import trio

MOST_HANDSHAKES = 32
MOST_SOURCES = 1024
FAILURES = 20.0  # in a row that a source may have
FORGIVEN = 5.0  # failures a second: a member that was enrolled wrongly shares its address with good ones
SUSPECT_HANDSHAKES = 4  # at a time, for a source that failed lately


@dataclass(slots=True)
class _Source:
    busy: int = 0
    failures: float = 0.0
    seen: float = 0.0


class Gate:
    """Counts handshakes under way, by source."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._busy = 0
        self._left = trio.Event()

    async def wait_for_room(self) -> None:
        """Wait until another handshake may begin; meanwhile the kernel holds the line."""
        while self._busy >= MOST_HANDSHAKES:
            self._left = trio.Event()
            await self._left.wait()

    def enter(self, host: str, now: float) -> bool:
        """Say whether somebody from `host` may try; if so `leave` must follow."""
        source = self._source(host, now)
        if source.failures >= 1 and source.busy >= SUSPECT_HANDSHAKES:
            return False
        if source.failures + source.busy * (source.failures >= 1) >= FAILURES:
            return False
        source.busy += 1
        self._busy += 1
        return True

    def leave(self, host: str, welcome: bool, now: float) -> None:
        """A handshake has ended."""
        source = self._source(host, now)
        source.busy = max(0, source.busy - 1)
        self._busy -= 1
        if not welcome:
            source.failures = min(FAILURES, source.failures + 1)
        self._left.set()

    def _source(self, host: str, now: float) -> _Source:
        source = self._sources.get(host)
        if source is None:
            source = self._sources[host] = _Source(seen=now)
            if len(self._sources) > MOST_SOURCES:
                self._sources.popitem(last=False)
        else:
            self._sources.move_to_end(host)
        source.failures = max(0.0, source.failures - (now - source.seen) * FORGIVEN)
        source.seen = now
        return source
