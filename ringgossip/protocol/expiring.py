"""Whose certificate has expired? Every peer judges by its own clock, and clocks differ.

Whoever is over here is no member to us: it is not live, not probed, not dialled,
and not heard. But it is not accused either, and what others say of it is noted
as of anybody: in the hours in which one clock says so and another does not yet,
it must not come and go, and lists of members must go on to agree. When every
clock agrees, `LENIENT` seconds later, it has left, and everybody says so.

A clock that was wrong and is put right finds everybody back. Records stay valid.
"""

from ringgossip.events import PeerRecovered, StrangerRefused
from ringgossip.identity.certificate import expired
from ringgossip.protocol.beliefs import Beliefs
from ringgossip.protocol.core import Effect, MemberDown, MemberUp, Notice, Tell
from ringgossip.protocol.evidence import DEAD, LEFT, Standing, standing_of
from ringgossip.protocol.roster import Roster
from ringgossip.protocol.routes import Routes

Out = list[Effect | Notice]

LENIENT = 7 * 86_400  # as much as certificates begin in the past


class Expiry:
    """Looks at every member's certificate when the world tells the time."""

    __slots__ = ("_beliefs", "_roster", "_routes")

    def __init__(self, roster: Roster, routes: Routes, beliefs: Beliefs) -> None:
        self._roster = roster
        self._routes = routes
        self._beliefs = beliefs

    def clock_read(self, wall: int, now: float) -> Out:
        """The wall clock shows `wall`, in Unix seconds."""
        self._beliefs.wall = wall
        roster, out = self._roster, Out()
        for key, standing in list(roster.table.items()):
            certificate = self._beliefs.certificate_of(standing.card.peer)
            if key == roster.me or certificate is None:
                continue
            if not expired(certificate, wall):
                if key in roster.muted:
                    out += self._back(standing)
                continue
            if key not in roster.muted:
                out += self._over(standing)
            if wall > certificate.not_after + LENIENT and standing.state < DEAD:
                out += self._beliefs.conclude(standing_of(standing.card, standing.incarnation, LEFT), now)
        return out

    def _over(self, standing: Standing) -> Out:
        card = standing.card
        self._roster.mute(card.key)
        self._beliefs.dirty = True
        if standing.state >= DEAD:
            return []
        place = self._routes.address(standing)
        reason = f"the certificate of {card.name!r} has expired (is a clock wrong?): enroll it again"
        refused = StrangerRefused("" if place is None else str(place), reason)
        return [Tell(refused), MemberDown(card.peer, left=True)]

    def _back(self, standing: Standing) -> Out:
        card = standing.card
        self._roster.unmute(card.key)
        self._beliefs.dirty = True
        return (
            [Tell(PeerRecovered(card.name)), MemberUp(card.peer, card.boot)] if standing.state < DEAD else []
        )
