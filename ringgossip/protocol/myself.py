"""Who are we, and is somebody else that too? Our card, our incarnation, and clones of us.

Only we raise our incarnation, when somebody says we are not alive. If the
incarnations run out, because somebody lied up to the last one, the boot number
takes the carry.

A newer card of ours that we did not make comes from a copy of this machine, or
from our own former life, if clock and memory were lost. We ask at its address:
a copy answers, and we stop; a former life does not, and we go above its boot.
Two copies that cannot reach each other would outbid one another for ever;
therefore whoever is outbid by a nonce it has outbid before stops.
"""

from collections.abc import Callable

from ringgossip.events import ClonedIdentity
from ringgossip.identity import Address
from ringgossip.protocol.cards import MAX_BOOT, Card, MemberFacts, fault_of, make_card
from ringgossip.protocol.core import DATAGRAM, Effect, Notary, Notice, Send, Stop, Tell
from ringgossip.protocol.evidence import ALIVE, LEFT, MAX_INCARNATION, NOBODY, Standing, standing_of
from ringgossip.protocol.health import LocalHealth
from ringgossip.protocol.roster import Roster
from ringgossip.protocol.timers import Deadlines
from ringgossip.protocol.voice import Voice
from ringgossip.wire.messages import Ping

Out = list[Effect | Notice]

_CHALLENGE_SECONDS = 1.0


class Myself:
    """Our own standing."""

    __slots__ = (
        "_cluster", "_deadlines", "_health", "_next_number", "_notary", "_outbid", "_rival", "_roster",
        "_voice", "dirty",
    )  # fmt: skip

    def __init__(
        self,
        cluster: str,
        notary: Notary,
        roster: Roster,
        voice: Voice,
        health: LocalHealth,
        deadlines: Deadlines,
        next_number: Callable[[], int],
    ) -> None:
        self._cluster = cluster
        self._notary = notary
        self._roster = roster
        self._voice = voice
        self._health = health
        self._deadlines = deadlines
        self._next_number = next_number
        self._rival: Card | None = None  # a newer card of ours that we did not make
        self._outbid: bytes | None = None  # the nonce that we went above
        self.dirty = False  # something changed, or is to be spread

    @property
    def standing(self) -> Standing:
        """What we say of ourselves."""
        return self._voice.me

    @property
    def card(self) -> Card:
        """Our present card."""
        return self._voice.me.card

    def _become(self, standing: Standing, now: float) -> None:
        self._roster.put(standing, now)
        self._voice.me = standing
        self._voice.changed()
        self.dirty = True

    def change_facts(self, facts: MemberFacts, now: float) -> None:
        """Say something new about ourselves; raises `UsageError` if it cannot be said."""
        if facts != self.card.facts:
            self._new_card(facts, self.card.boot, self.standing.incarnation, now)

    def _new_card(self, facts: MemberFacts, boot: int, incarnation: int, now: float) -> None:
        old = self.card
        card = make_card(self._notary, self._cluster, facts, boot, old.nonce, old.version + 1)
        self._become(standing_of(card, incarnation, ALIVE), now)
        self._voice.introduce(card, b"")

    def leave(self, now: float) -> None:
        """Say goodbye."""
        self._become(standing_of(self.card, self.standing.incarnation, LEFT), now)
        self._voice.tell(self.standing, NOBODY)

    def hear(self, boot: int, incarnation: int, state: int, now: float) -> bool:
        """Refute what is said of us if it is not so; return whether we did."""
        me = self.standing
        if not me.is_overridden_by(boot, incarnation, state) or boot != me.card.boot or me.state == LEFT:
            return False
        if incarnation >= MAX_INCARNATION:
            if boot >= MAX_BOOT:
                return False
            self._new_card(me.card.facts, boot + 1, 0, now)
        else:
            self._become(standing_of(me.card, incarnation + 1, ALIVE), now)
            self._voice.tell(self.standing, NOBODY)
        self._health.note(1)
        return True

    # --- clones -------------------------------------------------------------------------

    def meet(self, card: Card, live_at: str | None, now: float) -> Out:
        """A card of ours came in; `live_at` says that whoever sent it is there, and holds our key."""
        mine = self.card
        if card.nonce == mine.nonce or card.age <= mine.age:
            return []
        if fault_of(card, self._notary.certificate, self._notary, self._cluster) is not None:
            return []
        if live_at is not None:
            return self._give_way(live_at)
        if card.nonce == self._outbid:
            return self._give_way(", ".join(str(address) for address in card.facts.addresses[:2]))
        if self._rival is None:
            self._deadlines.set(("challenge", 0), now + _CHALLENGE_SECONDS)
        if self._rival is None or card.age > self._rival.age:
            self._rival = card
        ping = Ping(self._next_number(), card.key, self._voice.pulse, b"")
        return [Send(address, ping, DATAGRAM) for address in card.facts.addresses[:3]]

    def answered(self, boot: int, source: Address) -> Out:
        """Somebody speaks with our key: if it is the newer one, whose card we have, we stop."""
        if self._rival is not None and boot == self._rival.boot > self.card.boot:
            return self._give_way(str(source))
        return []

    def challenge_over(self, now: float) -> Out:
        """Nobody answered at that card's address: it was ourselves, before."""
        rival, self._rival = self._rival, None
        if rival is None or rival.boot < self.card.boot:
            return []
        self._outbid = rival.nonce
        if rival.boot >= MAX_BOOT:
            return [Stop("the boot numbers of this node have run out: enroll it again")]
        self._new_card(self.card.facts, rival.boot + 1, 0, now)
        return []

    def _give_way(self, where: str) -> Out:
        self.dirty = True
        return [
            Tell(ClonedIdentity(where)),
            Stop(
                f"another machine runs with this node's key, at {where or 'an unknown address'}: "
                "enroll one of the two under a name of its own"
            ),
        ]
