"""How long is a packet on its way? Four models, each a function of the pair and of chance.

Only `random()` is drawn, so that a run repeats on every Python; the normal
numbers are Box and Muller's (1958).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from ringgossip.simulation.kernel import derive


class Latency(Protocol):
    """One-way delay between two peers, in seconds."""

    def delay(self, source: int, target: int, generator: Random) -> float:
        """Return the delay of one packet."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same."""

    seconds: float = 0.001

    def delay(self, source: int, target: int, generator: Random) -> float:
        return self.seconds


@dataclass(frozen=True, slots=True)
class Uniform:
    """Anything between two bounds."""

    low: float = 0.0005
    high: float = 0.002

    def delay(self, source: int, target: int, generator: Random) -> float:
        return self.low + (self.high - self.low) * generator.random()


@dataclass(frozen=True, slots=True)
class Lognormal:
    """A typical value and a long tail; `spread` is the deviation of the logarithm."""

    median: float = 0.02
    spread: float = 0.5

    def delay(self, source: int, target: int, generator: Random) -> float:
        return self.median * math.exp(self.spread * normal(generator))


@dataclass(frozen=True, slots=True)
class Regions:
    """Peers live in regions: every pair has a base delay that stays, and each packet some jitter.

    `between` maps two region names to a typical delay; a pair that it lacks
    takes `far`, and two peers of one region `near`. A pair's own base lies
    within a third of the typical one.
    """

    region: Sequence[str]
    between: Mapping[tuple[str, str], float] = field(default_factory=dict)
    near: float = 0.001
    far: float = 0.08
    jitter: float = 0.1
    _base: dict[tuple[int, int], float] = field(default_factory=dict, compare=False)

    def delay(self, source: int, target: int, generator: Random) -> float:
        pair = (source, target) if source < target else (target, source)
        base = self._base.get(pair)
        if base is None:
            base = self._base[pair] = self._draw_base(*pair)
        return base * (1.0 + self.jitter * generator.random())

    def _draw_base(self, low: int, high: int) -> float:
        here, there = self.region[low], self.region[high]
        if here == there:
            typical = self.near
        else:
            typical = self.between.get((here, there), self.between.get((there, here), self.far))
        # From the pair alone, not from a generator: who talks first must not change where peers are.
        return typical * (2 / 3 + 2 / 3 * derive(0, "pair", low, high) / 2**128)


def normal(generator: Random) -> float:
    """Return a number from the standard normal distribution."""
    return math.sqrt(-2.0 * math.log(1.0 - generator.random())) * math.cos(2.0 * math.pi * generator.random())
