"""Are the dead really dead? One of them is asked now and then, so that a partition heals.

The question says of what the member is accused; if it lives, it refutes that.
"""

from ringgossip.protocol.core import DATAGRAM, Draw, Effect, NeedLink, Notice, Send
from ringgossip.protocol.evidence import DEAD
from ringgossip.protocol.probing import Prober
from ringgossip.protocol.roster import Roster
from ringgossip.protocol.routes import Routes
from ringgossip.protocol.settings import RevisitSettings
from ringgossip.protocol.timers import Deadlines
from ringgossip.protocol.voice import Voice

Out = list[Effect | Notice]

_LINK_SHARE = 0.25  # so many visits also try to open a link: datagrams may be blocked
_NAME = ("revisit", 0)


class Revisits:
    """Goes round among the dead, the youngest first."""

    __slots__ = ("_dead", "_deadlines", "_prober", "_rng", "_roster", "_routes", "_settings", "_voice")

    def __init__(
        self,
        settings: RevisitSettings,
        roster: Roster,
        routes: Routes,
        voice: Voice,
        prober: Prober,
        deadlines: Deadlines,
        rng: Draw,
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._routes = routes
        self._voice = voice
        self._prober = prober
        self._deadlines = deadlines
        self._rng = rng
        self._dead: list[bytes] = []

    def add(self, key: bytes, now: float) -> None:
        """This member was declared dead."""
        if key in self._dead:
            self._dead.remove(key)
        self._dead.insert(0, key)
        self._within(self._settings.interval, now)

    def _within(self, seconds: float, now: float) -> None:
        at = now + seconds * (0.75 + 0.5 * self._rng.random())
        self._deadlines.set(_NAME, min(at, self._deadlines.get(_NAME)))

    def wake(self, now: float) -> Out:
        """Ask the next one."""
        for _ in range(len(self._dead)):
            key = self._dead.pop(0)
            standing = self._roster.table.get(key)
            if standing is None or standing.state != DEAD:
                continue
            self._dead.append(key)
            recent = now - self._roster.fallen[key] < self._settings.recent
            self._within(self._settings.interval if recent else self._settings.late_interval, now)
            ping = self._voice.ping(self._prober.next_number(), standing)
            addresses = self._routes.addresses(standing)
            out: Out = [Send(address, ping, DATAGRAM) for address in addresses[:2]]
            if not addresses or self._rng.random() < _LINK_SHARE:
                out.append(NeedLink(standing.card.peer))
            return out
        return []
