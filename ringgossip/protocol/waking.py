"""When must a peer be woken, and what is due then?

A part of the core. Every world asks after every input, and most inputs are probes, answers
and chunks, which move no deadline but those of a few machines: what all the others wait
for is asked of them again only after an input that may have changed it.
"""

from typing import Any

from ringgossip.protocol.core import Effect, Notice, PulseHeard, Send, Tell
from ringgossip.protocol.notices import NOTICES
from ringgossip.protocol.refusing import Refusing

Out = list[Effect | Notice]

# Whatever else comes out of an input concerns the world alone.
_HEARD_BY_OTHERS = NOTICES | {Tell}


class Waking(Refusing):
    """The inputs of the world that are about time."""

    def __init__(self, **everything: Any) -> None:
        super().__init__(**everything)
        # Those that probes and chunks concern are asked for their deadlines each time.
        self._often = (self.membership, self.anti_entropy, self.transfer, self.serving, self.breakers)
        self._others = tuple(machine for machine in self._timed if machine not in self._often)

    def wake(self, now: float) -> list[Effect]:
        """Do what is due."""
        if self._others_due is not None and now < self._others_due:
            due = [machine for machine in self._often if machine.next_wakeup() <= now]
            if due == [self.membership]:
                return self._of_membership(self.membership.wake(now), now)
        out: Out = []
        for machine in self._timed:
            if machine.next_wakeup() <= now:
                out += machine.wake(now)
        dropped, gone = self.versions.drop_unpulled(now)
        out += dropped
        for record in gone:
            out += self._no_longer_held(record, now)
        return self._settle(self._compared(out, now), now)

    def next_wakeup(self) -> float:
        """Return when `wake` must be called at the latest."""
        due = self._others_due
        if due is None:
            due = self.versions.next_wakeup()
            for machine in self._others:
                at = machine.next_wakeup()
                due = at if at < due else due  # quicker than `min`, and asked after many inputs
            self._others_due = due
        for often in self._often:
            at = often.next_wakeup()
            due = at if at < due else due
        return due

    def _of_membership(self, out: Out, now: float) -> list[Effect]:
        """Settle what membership says all the time: probes and roots of catalogs concern nobody else.

        Then no other machine's deadline has moved, and none need be asked for it.
        """
        if not self.authorship.ready:
            return self._settle(out, now)
        effects: list[Effect] = []
        for place, item in enumerate(out):
            if type(item) is Send:
                effects.append(item)
                continue
            if type(item) is not PulseHeard:
                return effects + self._settle(out[place:], now)
            more = self.anti_entropy.heard_root(item.peer, item.root, now)
            if more:
                return effects + self._settle(more + out[place + 1 :], now)
        return effects

    def _of_bytes(self, out: Out, now: float) -> list[Effect]:
        """Settle what transfer and serving say of chunks: the same holds of them."""
        for item in out:
            if type(item) in _HEARD_BY_OTHERS:
                return self._settle(out, now)
        effects: list[Any] = out
        return effects
