"""What does the calendar say? Byte budgets are per day, certificates expire, and the core has no calendar."""

import time
from collections.abc import Callable

import trio

from ringgossip.protocol.core import Effect
from ringgossip.protocol.peer_core import PeerCore

_LOOK = 30.0  # Clocks are set, and machines sleep: the next midnight is no deadline to wait for.
_DAY = 86400


def today() -> int:
    """Return the days since 1970-01-01 UTC."""
    return int(time.time()) // _DAY


async def watch_calendar(core: PeerCore, perform: Callable[[list[Effect]], None]) -> None:
    """Tell the core what time it is, for ever."""
    while True:
        perform(core.clock_read(int(time.time()), trio.current_time()))
        perform(core.day_changed(today(), trio.current_time()))
        await trio.sleep(_LOOK)
