"""When must a peer be woken, and what is due then?

A part of the core. Every world asks after every input; `deadlines` says whom the core must ask.
"""

from typing import Any

from ringgossip.protocol.core import Effect, Notice, PulseHeard, Send, Tell
from ringgossip.protocol.deadlines import Dues, beheld
from ringgossip.protocol.notices import NOTICES
from ringgossip.protocol.refusing import Refusing

Out = list[Effect | Notice]

# Whatever else comes out of an input concerns the world alone.
_HEARD_BY_OTHERS = NOTICES | {Tell}


# In the order in which they are woken.
_TIMED = (
    "membership", "breakers", "dialing", "neighbours", "rules", "serving", "receipts", "transfer",
    "rumors", "anti_entropy", "authorship", "requests", "pushes", "offering", "retention", "relaying",
    "showing",
)  # fmt: skip


class Waking(Refusing):
    """The inputs of the world that are about time."""

    def __init__(self, **everything: Any) -> None:
        self.dues = Dues()
        super().__init__(**everything)
        for name in (*_TIMED, "versions"):
            self.dues.add(name, getattr(self, name))
        self._itself = beheld(self)

    def wake(self, now: float) -> list[Effect]:
        """Do what is due."""
        if self.dues.due(now) == ["membership"]:
            return self._of_membership(self.membership.wake(now), now)
        out: Out = []
        for name in _TIMED:
            if self.dues.of(name) <= now:
                out += getattr(self, name).wake(now)
        dropped, gone = self.versions.drop_unpulled(now)
        out += dropped
        for record in gone:
            out += self._no_longer_held(record, now)
        return self._settle(self._compared(out, now), now)

    def next_wakeup(self) -> float:
        """Return when `wake` must be called at the latest."""
        return self.dues.next()

    def _of_membership(self, out: Out, now: float) -> list[Effect]:
        """Settle what membership says all the time: probes and roots of catalogs concern nobody else."""
        seen = self._itself
        if not seen.authorship.ready:
            return self._settle(out, now)
        effects: list[Effect] = []
        for place, item in enumerate(out):
            if type(item) is Send:
                effects.append(item)
                continue
            if type(item) is not PulseHeard:
                return effects + self._settle(out[place:], now)
            if seen.anti_entropy.agrees(item.peer, item.root, now):
                continue
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
