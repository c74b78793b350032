"""When is news of members told, and to whom? On arrival, then each interval, to a few drawn at random."""

from ringgossip.protocol.core import NEVER, Draw, Effect, Notice
from ringgossip.protocol.roster import Roster
from ringgossip.protocol.routes import Routes
from ringgossip.protocol.settings import GossipSettings
from ringgossip.protocol.voice import Voice

Out = list[Effect | Notice]

# So many cards never told yet are of members that came at once: lists bring them for a third of the work.
_CROWD = 8
_CROWD_PAUSE = 2.5  # intervals between two rounds then


class Gossiper:
    """Holds rounds while there is news."""

    __slots__ = ("_last", "_rng", "_roster", "_rounds", "_routes", "_settings", "_started", "_voice", "due")

    def __init__(
        self, settings: GossipSettings, roster: Roster, routes: Routes, voice: Voice, rng: Draw
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._routes = routes
        self._voice = voice
        self._rng = rng
        self._started = 0.0
        self._last = -NEVER
        self._rounds = 0
        self.due = NEVER

    def start(self, now: float) -> None:
        """Begin the count of intervals."""
        self._started = now

    def stop(self) -> None:
        """Say nothing more."""
        self.due = NEVER

    def hurry(self, now: float) -> None:
        """Something is new: hold a round soon."""
        settings = self._settings
        if settings.forward:
            self._rounds = 0
            at = max(now, self._last + (self._pause() if self._crowded() else settings.forward_gap))
        else:
            # Rounds run all the time; only those with news are held.
            at = now + settings.interval - (now - self._started) % settings.interval
        self.due = min(self.due, at)

    def wake(self, now: float) -> Out:
        """Tell a few members what is new."""
        settings = self._settings
        self._last = now
        self._rounds += 1
        out: Out = []
        for key in self._roster.sample(self._rng, settings.fanout):
            message = self._voice.gossip()
            if message is not None:
                out += self._routes.send(self._roster.table[key], message)
        if not self._voice.has_news:
            self.due = NEVER
        elif not settings.forward:
            self.due = now + settings.interval
        else:
            # The next two soon after the first: they reach those whom the first missed by chance.
            pause = self._pause() * (0.3 if self._rounds <= 2 else 1.0)
            self.due = now + pause * (0.9 + 0.2 * self._rng.random())
        return out

    def _crowded(self) -> bool:
        return self._settings.forward and self._voice.untold >= _CROWD

    def _pause(self) -> float:
        return self._settings.interval * (_CROWD_PAUSE if self._crowded() else 1.0)
