"""What if members met like molecules? `Membership` machines, woken by hand, that hear each other at once.

Formulas of epidemics know no network and no clocks: members meet in pairs, at
moments that are drawn. Here an experiment says who asks next, and all that is
said in consequence is heard before anything else happens.
"""

from collections import deque
from math import log
from random import Random

from ringgossip.identity import Address
from ringgossip.protocol.cards import MemberFacts, read_card
from ringgossip.protocol.core import Effect, Notice, Send
from ringgossip.protocol.evidence import SUSPECT, standing_of
from ringgossip.protocol.membership import Membership
from ringgossip.protocol.settings import MembershipSettings
from ringgossip.simulation.notary import Authority
from ringgossip.wire.messages import Gossip, Ping

_BOOT = 1
_CLUSTER = "truth"


class Contacts:
    """Members by number."""

    def __init__(self, count: int, settings: MembershipSettings, rng: Random) -> None:
        authority = Authority(_CLUSTER)
        self._rng = rng
        self._addresses = [Address(f"10.0.{number >> 8}.{number & 255}", 7946) for number in range(count)]
        self._number = {address: number for number, address in enumerate(self._addresses)}
        notaries = [authority.enroll(f"member-{number}") for number in range(count)]
        certificates = {notary.certificate.peer_id: notary.certificate for notary in notaries}
        self._machines = [
            Membership(
                _CLUSTER, notary, MemberFacts((address,)), (), _BOOT, number.to_bytes(8, "big"),
                settings, Random(rng.getrandbits(64)), certificates.get,
            )
            for number, (notary, address) in enumerate(zip(notaries, self._addresses))
        ]  # fmt: skip
        self._interval = settings.probe.interval
        cards = tuple(read_card(machine.own_card) for machine in self._machines)
        self._cards = cards
        for machine in self._machines:
            machine.start(0.0)
            machine.acquaint(cards)
        self._infected: dict[int, None] = {}
        self._source = -1
        # A machine's own clock runs a period from one question to the next, whenever that is asked.
        self._clocks = [0.0] * count

    @property
    def infected(self) -> int:
        """How many know the news."""
        return len(self._infected)

    def wait(self) -> float:
        """Draw the time until something happens that happens once a period, at any moment as likely."""
        return -log(1.0 - self._rng.random())

    def infect(self, number: int) -> None:
        """Give a member something to tell: a higher incarnation, since nobody may call it dead."""
        self._source = number
        card = self._cards[number]
        stranger = self._cards[number - 1]
        accusation = Gossip(standing_of(card, 0, SUSPECT).pack(), (), ())
        nowhere = Address("192.0.2.1", 1)
        self._deliver(number, self._machines[number].receive(accusation, stranger.peer, nowhere, 0.0), 0.0)

    def probe(self, number: int, now: float) -> list[int]:
        """Let a member begin its next period; return whom it asked, and whom others asked at that."""
        clock = self._clocks[number] = self._clocks[number] + self._interval
        return self._deliver(number, self._machines[number].wake(clock), clock)

    def _deliver(self, number: int, effects: list[Effect | Notice], now: float) -> list[int]:
        asked: list[int] = []
        queue = deque([(number, effects)])
        while queue:
            source, out = queue.popleft()
            self._look_at(source)
            sender, address = self._machines[source].me, self._addresses[source]
            for effect in out:
                if not isinstance(effect, Send) or not isinstance(effect.to, Address):
                    continue
                target = self._number.get(effect.to)
                if target is None:
                    continue
                if isinstance(effect.message, Ping):
                    asked.append(target)
                answer = self._machines[target].receive(effect.message, sender, address, self._clocks[target])
                queue.append((target, answer))
        return asked

    def _look_at(self, number: int) -> None:
        if self._source >= 0 and number not in self._infected:
            seen = self._machines[number].member(self._machines[self._source].me)
            if seen is not None and seen.incarnation > 0:
                self._infected[number] = None
