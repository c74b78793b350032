"""When must a peer be woken, and what is due then?

A part of the core. Every world asks after every input, and most inputs are probes and
answers, which move no deadline but membership's own and anti-entropy's: what all the
others wait for is asked of them again only after an input that may have changed it.
"""

from ringgossip.protocol.core import Effect, Notice, PulseHeard, Send
from ringgossip.protocol.refusing import Refusing

Out = list[Effect | Notice]


class Waking(Refusing):
    """The inputs of the world that are about time."""

    def wake(self, now: float) -> list[Effect]:
        """Do what is due."""
        if self._others_due is not None and now < self._others_due and now < self.anti_entropy.next_wakeup():
            due = self.membership.next_wakeup() <= now
            return self._of_membership(self.membership.wake(now), now) if due else []
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
            for machine in self._timed:
                if machine is not self.membership and machine is not self.anti_entropy:
                    at = machine.next_wakeup()
                    due = at if at < due else due  # quicker than `min`, and asked after most inputs
            self._others_due = due
        for at in (self.membership.next_wakeup(), self.anti_entropy.next_wakeup()):
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
