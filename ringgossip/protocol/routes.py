"""By which way is a member reached? Datagrams to the address that worked last, or its link.

Most members answer at their first address and cost nothing here. Only of the
others something is remembered: where else they answered, that datagrams to them
are blocked, or that only others reach them.
"""

from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import DATAGRAM, LINK, NEVER, Send
from ringgossip.protocol.evidence import Standing
from ringgossip.wire.messages import Message

# So many probes in a row answered on the link alone, before we say that datagrams are blocked;
# one is enough if no datagram came from anybody for a while.
_MISSES = 3
_SILENCE = 3.0
_RECHECK = 4  # every so many probes of a blocked member try a datagram again


class _Way:
    """What is peculiar about the way to one member."""

    __slots__ = ("blocked", "indirect", "learned", "missed", "probes", "told", "voucher")

    def __init__(self) -> None:
        self.learned: Address | None = None  # answered here, and it is not its first address
        self.missed = 0  # probes in a row that no datagram answered, though the member lives
        self.blocked = False
        self.indirect = False  # only others reach it
        self.told = False
        self.probes = 0
        self.voucher: bytes | None = None  # who reached it when we did not, or first told us of it


class Routes:
    """The ways to all members."""

    __slots__ = ("_heard_at", "_ways", "linked")

    def __init__(self) -> None:
        self.linked: dict[bytes, PeerId] = {}
        self._ways: dict[bytes, _Way] = {}
        self._heard_at = -NEVER

    def addresses(self, standing: Standing) -> list[Address]:
        """Return where a member may be, the best first."""
        known = list(standing.card.facts.addresses)
        way = self._ways.get(standing.card.key)
        if way is not None and way.learned is not None:
            known = [way.learned, *[address for address in known if address != way.learned]]
        return known

    def address(self, standing: Standing) -> Address | None:
        """Return the best address for datagrams, if there is one."""
        way = self._ways.get(standing.card.key)
        if way is not None and way.learned is not None:
            return way.learned
        known = standing.card.facts.addresses
        return known[0] if known else None

    def send(self, standing: Standing, message: Message) -> list[Send]:
        """Return how to send a message to a member; empty if there is no way now."""
        card = standing.card
        key = card.key
        way = self._ways.get(key)
        if way is None and card.facts.addresses:
            return [Send(card.facts.addresses[0], message, DATAGRAM)]
        address = self.address(standing)
        if address is None or (way is not None and way.blocked and key in self.linked):
            return [Send(standing.card.peer, message, LINK)] if key in self.linked else []
        return [Send(address, message, DATAGRAM)]

    def probe(self, standing: Standing, message: Message) -> list[Send]:
        """Like `send`, but now and then try again whether datagrams have come to pass."""
        out = self.send(standing, message)
        way = self._ways.get(standing.card.key) if self._ways else None
        if way is not None and way.blocked and out and out[0].lane is LINK:
            way.probes += 1
            address = self.address(standing)
            if way.probes % _RECHECK == 0 and address is not None:
                out.append(Send(address, message, DATAGRAM))
        return out

    def ask(self, standing: Standing, message: Message, by_link: bool, now: float) -> list[Send]:
        """Like `send`, but by a link that is there if so wished, or if we heard no datagram for a while."""
        key = standing.card.key
        if key in self.linked and (by_link or now - self._heard_at > _SILENCE):
            return [Send(standing.card.peer, message, LINK)]
        return self.send(standing, message)

    def is_indirect(self, key: bytes) -> bool:
        """Tell whether only others reach this member."""
        way = self._ways.get(key)
        return way is not None and way.indirect

    def voucher(self, key: bytes) -> bytes | None:
        """Return who reached this member when we could not, or told us of it."""
        way = self._ways.get(key)
        return None if way is None else way.voucher

    # --- what happened --------------------------------------------------------------

    def heard_from(self, standing: Standing, source: Address, now: float) -> None:
        """A member sent us a datagram; where it is not where its card says, answers go there."""
        self._heard_at = now
        known, key = standing.card.facts.addresses, standing.card.key
        way = self._ways.get(key)
        if source in known:
            if way is not None and way.learned is not None and way.learned not in known:
                way.learned = None
        elif way is None or way.learned != source:
            self._way(key).learned = source

    def answered(self, standing: Standing, source: Address, now: float) -> bool:
        """A member acknowledged our ping from `source`: the best address there is.

        Return whether until now only others reached it.
        """
        self._heard_at = now
        key = standing.card.key
        way = self._ways.get(key)
        known = standing.card.facts.addresses
        first = bool(known) and (known[0] is source or known[0] == source)
        if way is None and first:
            return False
        back = way is not None and way.indirect
        if way is not None:
            way.missed, way.blocked, way.indirect = 0, False, False
            way.learned = None if first else source
            if first and not way.told:
                del self._ways[key]
        elif not first:
            self._way(key).learned = source
        return back

    def answered_on_link(self, standing: Standing, now: float) -> bool:
        """It lives, but answers no datagram. Return whether it must be told that these are blocked."""
        if not standing.card.facts.addresses:
            return False
        way = self._way(standing.card.key)
        way.indirect = False
        way.missed += 1
        if way.missed >= _MISSES or now - self._heard_at > _SILENCE:
            way.blocked = True
        if way.blocked and not way.told:
            way.told = True
            return True
        return False

    def vouched_for(self, standing: Standing, voucher: bytes) -> None:
        """Others reach it, we do not."""
        way = self._way(standing.card.key)
        way.voucher = voucher
        way.missed += 1
        if way.missed >= 2:
            way.indirect = True

    def introduced(self, key: bytes, by: bytes) -> None:
        """A member begins a life, and `by` told us: until we know better, ask there whether it is alive."""
        self.forget(key)
        if by != key:
            self._way(key).voucher = by

    def missed(self, standing: Standing) -> None:
        """Nothing came back from its best address: do not insist on one we learned."""
        way = self._ways.get(standing.card.key)
        if way is not None and standing.card.facts.addresses:
            way.learned = None

    def forget(self, key: bytes) -> None:
        """It is dead, has left or is elsewhere: what we learned about the way is void."""
        self._ways.pop(key, None)

    def _way(self, key: bytes) -> _Way:
        way = self._ways.get(key)
        if way is None:
            way = self._ways[key] = _Way()
        return way
