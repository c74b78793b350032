"""When is news of members told, and to whom? On arrival, then each interval, to a few drawn at random."""

from ringgossip.protocol.core import NEVER, Draw, Effect, Notice
from ringgossip.protocol.roster import Roster
from ringgossip.protocol.routes import Routes
from ringgossip.protocol.settings import GossipSettings
from ringgossip.protocol.voice import Voice

Out = list[Effect | Notice]

_CARDS_PER_PACKET = 8  # so many cards waiting are worth one more packet for each partner
_MORE_PACKETS = 2


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
            at = max(now, self._last + settings.forward_gap)
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
            for _ in range(1 + min(_MORE_PACKETS, self._voice.backlog // _CARDS_PER_PACKET)):
                message = self._voice.gossip()
                if message is not None:
                    out += self._routes.send(self._roster.table[key], message)
        if not self._voice.has_news:
            self.due = NEVER
        elif not settings.forward:
            self.due = now + settings.interval
        else:
            # The second round soon after the first: it reaches those whom the first missed by chance.
            pause = settings.interval * (0.3 if self._rounds == 1 else 1.0)
            self.due = now + pause * (0.9 + 0.2 * self._rng.random())
        return out
