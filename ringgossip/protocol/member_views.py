"""What may others see of the members? Copies, frozen, never what the machine works with."""

from dataclasses import dataclass

from ringgossip.identity import Address, PeerId
from ringgossip.protocol.cards import MemberFacts
from ringgossip.protocol.evidence import ALIVE, DEAD, LEFT, STATE_NAMES, SUSPECT, Standing
from ringgossip.protocol.roster import Roster
from ringgossip.protocol.routes import Routes


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one member, at one moment."""

    peer: PeerId
    name: str
    state: str  # alive, suspect, dead, left
    boot: int
    incarnation: int
    facts: MemberFacts


class MemberViews:
    """The questions that `Membership` answers about members."""

    __slots__ = (
        "_alive", "_members", "_members_of", "_roster", "_routes", "_table", "me",
    )  # fmt: skip

    def __init__(self, me: PeerId, roster: Roster, routes: Routes) -> None:
        self.me = me
        self._roster = roster
        self._routes = routes
        self._table = roster.table
        self._alive: tuple[PeerId, ...] | None = None  # `alive`, until something changes
        self._members: tuple[Member, ...] = ()
        self._members_of: tuple[PeerId, ...] = ()  # the `_alive` with which `_members` was made

    @property
    def own_card(self) -> bytes:
        """Our card, packed, as a hello carries it."""
        return self._table[self._roster.me].card.packed

    @property
    def state_digest(self) -> bytes:
        """The digest of all who are alive or suspect; equal digests mean equal lists."""
        return self._roster.digest.to_bytes(8, "big")

    def members(self) -> tuple[Member, ...]:
        """Return the owner of every name, ourselves and the dead included, by name."""
        alive = self.alive()
        if alive is self._members_of and alive:
            return self._members
        # A key whose name was taken over is no member any more: nobody may read two states of one name.
        owner, me = self._roster.names, self._roster.me
        found = [
            self._as_member(standing)
            for key, standing in self._table.items()
            if key == me or owner.get(standing.card.name, key) == key
        ]
        self._members = tuple(sorted(found, key=lambda member: (member.name, member.peer)))
        self._members_of = alive
        return self._members

    def member(self, peer: PeerId) -> Member | None:
        """Return one member."""
        standing = self._standing(peer)
        return self._as_member(standing) if standing is not None else None

    def suspected(self, peer: PeerId) -> bool:
        """Tell whether somebody says that this member is down, and it has not said otherwise."""
        standing = self._table.get(peer[:8])
        return standing is not None and standing.state == SUSPECT

    def peer_named(self, name: str) -> PeerId | None:
        """Return who owns a name."""
        key = self._roster.names.get(name)
        return self._table[key].card.peer if key is not None else None

    def addresses(self, peer: PeerId) -> list[Address]:
        """Return where a member may be reached, the address that worked last first."""
        standing = self._standing(peer)
        return self._routes.addresses(standing) if standing is not None else []

    def is_over(self, peer: PeerId) -> bool:
        """Tell whether this member's certificate has expired."""
        return peer[:8] in self._roster.muted

    def alive(self) -> tuple[PeerId, ...]:
        """Return all who are alive or suspect, ourselves first unless we have left."""
        if self._alive is None:
            ours = (self.me,) if self._table[self._roster.me].state < DEAD else ()
            # In the order of the table, which nothing changes: who looks, or when, must change nothing.
            me, muted = self._roster.me, self._roster.muted
            self._alive = (
                *ours,
                *[
                    standing.card.peer
                    for key, standing in self._table.items()
                    if standing.state < DEAD and key != me and key not in muted
                ],
            )
        return self._alive

    def _standing(self, peer: PeerId) -> Standing | None:
        standing = self._table.get(peer[:8])
        return standing if standing is not None and standing.card.peer == peer else None

    def _as_member(self, standing: Standing) -> Member:
        card = standing.card
        state = STATE_NAMES[max(standing.state, LEFT if card.key in self._roster.muted else ALIVE)]
        return Member(card.peer, card.name, state, card.boot, standing.incarnation, card.facts)
