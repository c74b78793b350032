"""Which ways to a peer are not worth trying for a while? A breaker for each (peer, route).

A route that failed five times in a row opens its breaker: nobody uses it for a
minute, then two, at most ten. After that, or as soon as there is evidence that
the peer is reachable again, one trial may go out: a success closes the breaker,
a failure opens it for longer. So a breaker always heals by itself.

Rules of this room:
- Only failures at a member that is believed alive count: whoever is suspected
  or dead is membership's matter, and tried as often as membership likes.
- A breaker never touches membership, and what others say of a route opens none.
- Without any failure a peer costs nothing here.

Source: field notes, section 1 (circuit breaker) and incident 17; the pattern is
Nygard's (Release It!, 2007).
"""

from collections.abc import Callable
from dataclasses import dataclass

from ringgossip.events import BreakerClosed, BreakerOpened
from ringgossip.identity import PeerId
from ringgossip.protocol.core import NEVER, Draw, Effect, NeedLink, Notice, Tell
from ringgossip.protocol.notices import BY_DIALLING

Out = list[Effect | Notice]

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
_MOST = 8192  # breakers; the oldest goes


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Seconds and numbers; those of the field notes."""

    failures: int = 5  # in a row
    first_open: float = 60.0
    longest_open: float = 600.0
    jitter: float = 0.1
    trial: float = 60.0  # a trial without any outcome for so long is over


@dataclass(frozen=True, slots=True)
class BreakerView:
    """One breaker that is not closed and at rest: `seconds` until it lets a trial through."""

    peer: PeerId
    route: str
    state: str
    failures: int
    seconds: float
    reason: str


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    times: int = 0  # how often it opened since it was closed
    until: float = -NEVER  # open until then
    tried_at: float = -NEVER  # when the trial under way began
    reason: str = ""

    @property
    def tripped(self) -> bool:
        return self.times > 0


class Breakers:
    """The machine that keeps them."""

    def __init__(self, settings: BreakerSettings, rng: Draw, name_of: Callable[[PeerId], str]) -> None:
        self._settings = settings
        self._rng = rng
        self._name_of = name_of
        self._breakers: dict[tuple[PeerId, str], _Breaker] = {}
        self._wake_at = NEVER
        self.opened = 0  # how often any breaker opened

    # --- questions ---------------------------------------------------------------------------

    def held_until(self, peer: PeerId, route: str, now: float) -> float:
        """Return until when this route must not be used; a time that is over: it may be used."""
        breaker = self._breakers.get((peer, route)) if self._breakers else None
        if breaker is None or not breaker.tripped:
            return -NEVER
        if now < breaker.until:
            return breaker.until
        return breaker.tried_at + self._settings.trial

    def troubled(self, peer: PeerId, route: str) -> bool:
        """Tell whether this route failed lately: only then a success is news."""
        return bool(self._breakers) and (peer, route) in self._breakers

    def views(self, now: float) -> tuple[BreakerView, ...]:
        """Return every breaker that saw a failure and no success since."""
        return tuple(
            BreakerView(
                peer,
                route,
                CLOSED if not breaker.tripped else OPEN if now < breaker.until else HALF_OPEN,
                breaker.failures,
                max(0.0, breaker.until - now) if breaker.tripped else 0.0,
                breaker.reason,
            )
            for (peer, route), breaker in self._breakers.items()
        )

    def open_for(self, peer: PeerId, now: float) -> BreakerView | None:
        """Return the breaker that keeps us from this peer longest; None if every way may be tried."""
        views = [view for view in self.views(now) if view.peer == peer and view.state == OPEN]
        return max(views, key=lambda view: view.seconds, default=None)

    # --- what happens --------------------------------------------------------------------------

    def tried(self, peer: PeerId, route: str, now: float) -> None:
        """The route is being used: if its breaker is half open, this is the one trial."""
        breaker = self._breakers.get((peer, route)) if self._breakers else None
        if breaker is not None and breaker.tripped:
            breaker.tried_at = now

    def failed(self, peer: PeerId, route: str, reason: str, now: float) -> Out:
        """Using a route to a member that is alive came to nothing."""
        key = (peer, route)
        breaker = self._breakers.get(key)
        if breaker is None:
            if len(self._breakers) >= _MOST:
                del self._breakers[next(iter(self._breakers))]
            breaker = self._breakers[key] = _Breaker()
        breaker.failures += 1
        breaker.reason = reason
        if breaker.tripped and now < breaker.until:
            return []  # begun before it opened, or answered late
        if not breaker.tripped and breaker.failures < self._settings.failures:
            return []
        return self._open(key, breaker, now)

    def _open(self, key: tuple[PeerId, str], breaker: _Breaker, now: float) -> Out:
        settings = self._settings
        length = min(settings.longest_open, settings.first_open * 2 ** min(breaker.times, 16))
        length *= 1 - settings.jitter + 2 * settings.jitter * self._rng.random()
        breaker.times += 1
        breaker.until, breaker.tried_at = now + length, -NEVER
        self.opened += 1
        self._wake_at = min(self._wake_at, breaker.until)
        if breaker.times > 1:
            return []  # it was told when it opened first
        peer, route = key
        return [Tell(BreakerOpened(self._name_of(peer), route, length, breaker.reason))]

    def undecided(self, peer: PeerId, route: str) -> None:
        """Using it came to nothing, but the peer itself is in doubt: a trial is over, nothing is proven."""
        breaker = self._breakers.get((peer, route))
        if breaker is not None:
            breaker.tried_at = -NEVER

    def worked(self, peer: PeerId, route: str) -> Out:
        """A success closes the breaker, whatever it was."""
        breaker = self._breakers.pop((peer, route), None) if self._breakers else None
        if breaker is None or not breaker.tripped:
            return []
        return [Tell(BreakerClosed(self._name_of(peer), route))]

    def reachable(self, peer: PeerId, now: float) -> bool:
        """There is evidence that a peer is back: its breakers let a trial through at once.

        Returns whether any was open.
        """
        found = False
        for (other, _), breaker in self._breakers.items():
            if other == peer and breaker.tripped and now < breaker.until:
                breaker.until, breaker.tried_at = now, -NEVER
                self._wake_at = now
                found = True
        return found

    def peers(self) -> list[PeerId]:
        """Return those to whom some route failed and has not worked since."""
        return list(dict.fromkeys(peer for peer, _ in self._breakers))

    def forget(self, peer: PeerId) -> None:
        """It is dead or has left: from now on it is membership's matter."""
        for key in [key for key in self._breakers if key[0] == peer]:
            del self._breakers[key]

    # --- time -------------------------------------------------------------------------------------

    def wake(self, now: float) -> Out:
        """Try a link where a breaker lets a trial through; forget what nobody used for long."""
        if now < self._wake_at:
            return []
        self._wake_at = NEVER
        out: Out = []
        for key, breaker in list(self._breakers.items()):
            if not breaker.tripped:
                continue
            if now >= breaker.until + self._settings.longest_open:
                del self._breakers[key]  # nobody wanted to use it: nothing speaks against it any more
            elif now >= breaker.until:
                self._wake_at = min(self._wake_at, breaker.until + self._settings.longest_open)
                if key[1] == BY_DIALLING and breaker.tried_at == -NEVER:
                    out.append(NeedLink(key[0]))
            else:
                self._wake_at = min(self._wake_at, breaker.until)
        return out

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        return self._wake_at
