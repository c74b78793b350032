"""How do we find the others at first? Seeds, tried again until each is known.

A seed that does not answer is tried again within a second, then more slowly, for
as long as we run; one that is known and alive needs no more.
"""

from dataclasses import dataclass

from ringgossip.identity import Address
from ringgossip.protocol.core import NEVER, Dial, Draw, Effect, Notice

Out = list[Effect | Notice]


@dataclass(frozen=True, slots=True)
class SeedSettings:
    """Seconds."""

    first_retry: float = 0.5
    longest_retry: float = 15.0
    answer_within: float = 10.0  # a dial of which nothing is heard counts as failed


class Seeds:
    """The addresses we were given."""

    __slots__ = ("_due", "_failures", "_peers", "_rng", "_settings")

    def __init__(self, addresses: tuple[Address, ...], settings: SeedSettings, rng: Draw) -> None:
        self._due: dict[Address, float] = dict.fromkeys(addresses, NEVER)
        self._failures: dict[Address, int] = {}
        self._peers: dict[Address, bytes] = {}  # who answered there
        self._settings = settings
        self._rng = rng

    def start(self, now: float) -> None:
        """Dial all at once."""
        for address in self._due:
            self._due[address] = now

    def drop(self, address: Address) -> None:
        """This one is ourselves."""
        self._due.pop(address, None)

    def wake(self, now: float) -> Out:
        """Dial those that are due."""
        out: Out = []
        for address, due in self._due.items():
            if due <= now:
                # Silence comes from links that are not kept; it grows longer each time.
                failures = self._failures.get(address, 0)
                self._failures[address] = min(failures + 1, 16)
                self._due[address] = now + self._settings.answer_within * 2 ** min(failures, 3)
                out.append(Dial(address, None))
        return out

    def due(self, now: float) -> list[Address]:
        """Return which are about to be dialled."""
        return [address for address, due in self._due.items() if due <= now]

    def failed(self, address: Address, now: float) -> None:
        """Nobody answered there."""
        if address in self._due:
            failures = max(1, self._failures.get(address, 0))
            delay = min(self._settings.longest_retry, self._settings.first_retry * 1.6 ** (failures - 1))
            self._due[address] = now + delay * (0.7 + 0.6 * self._rng.random())

    def answered(self, address: Address, key: bytes) -> bool:
        """A member answered there; return whether that is one of the seeds."""
        if address not in self._due:
            return False
        self._failures.pop(address, None)
        self._peers[address] = key
        self._due[address] = NEVER
        return True

    def lost(self, key: bytes, now: float) -> None:
        """The member that answered at a seed's address is gone: another may start there."""
        for address, peer in list(self._peers.items()):
            if peer == key:
                del self._peers[address]
                self.failed(address, now)

    def next_wakeup(self) -> float:
        """Return when the next seed is due."""
        return min(self._due.values(), default=NEVER)
