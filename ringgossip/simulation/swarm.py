"""Which faults does a seed bring? First which kinds exist at all, then how often each, then one by one.

Drawing the kinds first is what makes plans differ: if every kind were always
there, all runs would look alike, and some bugs need the absence of a fault.
So with their rates: now a crash comes once, now again and again.
Source: swarm testing (Groce et al. 2012).
"""

from collections.abc import Callable, Sequence
from math import fsum
from random import Random

from ringgossip.simulation.faults import (
    BadWeather,
    BitRot,
    BlockUdp,
    ClockJump,
    Crash,
    DiskTrouble,
    Fault,
    Flap,
    Leave,
    Move,
    Partition,
    Pause,
    ResetLinks,
    Slow,
)
from ringgossip.simulation.faults_disk import LostWrites, SlowDisk, TornWrites
from ringgossip.simulation.faults_life import Churn, ClockDrift, PowerCut, WallClockStep
from ringgossip.simulation.faults_network import Bridge, Clog, CloseDoor, HalfOpen, RingCut, Swizzle
from ringgossip.simulation.liars import LIES, Knocking, Liar

Maker = Callable[[Random, float, int], Fault]  # generator, when, how many peers


def whole(generator: Random, below: int) -> int:
    """Return a whole number from 0 to below - 1."""
    return int(generator.random() * below)


def between(generator: Random, low: float, high: float) -> float:
    """Return a number between two bounds, rounded so that a plan can be read."""
    return round(low + (high - low) * generator.random(), 3)


def _group(generator: Random, peers: int) -> tuple[int, ...]:
    members = [i for i in range(peers) if generator.random() < 0.5]
    return tuple(members) if 0 < len(members) < peers else (whole(generator, peers),)


def _pair(generator: Random, peers: int) -> tuple[int, int]:
    one = whole(generator, peers)
    return one, (one + 1 + whole(generator, max(1, peers - 1))) % peers


def _bad_weather(generator: Random, at: float, peers: int) -> Fault:
    return BadWeather(
        at,
        loss=between(generator, 0.0, 0.4),
        duplication=between(generator, 0.0, 0.3),
        reordering=between(generator, 0.0, 0.5),
        corruption=between(generator, 0.0, 0.05),
        burst=generator.random() < 0.3,
        seconds=between(generator, 1.0, 30.0),
    )


MAKERS: dict[str, Maker] = {
    "crash": lambda g, at, n: Crash(at, whole(g, n), between(g, 0.5, 20.0)),
    "power": lambda g, at, n: Crash(at, whole(g, n), between(g, 0.5, 40.0), machine=True),
    "wipe": lambda g, at, n: Crash(at, whole(g, n), between(g, 0.5, 20.0), wipe=True),
    "leave": lambda g, at, n: Leave(at, whole(g, n), between(g, 1.0, 20.0)),
    "pause": lambda g, at, n: Pause(at, whole(g, n), between(g, 0.1, 20.0)),
    "slow": lambda g, at, n: Slow(at, whole(g, n), between(g, 0.001, 0.02), between(g, 1.0, 20.0)),
    "clock": lambda g, at, n: ClockJump(at, whole(g, n), between(g, 0.1, 5.0)),
    "partition": lambda g, at, n: Partition(
        at, _group(g, n), (), between(g, 0.5, 40.0), g.random() < 0.3, g.random() < 0.2
    ),
    "flap": lambda g, at, n: Flap(
        at, whole(g, n), between(g, 0.2, 5.0), between(g, 0.2, 5.0), between(g, 5.0, 30.0)
    ),
    "reset": lambda g, at, n: ResetLinks(at, whole(g, n), whole(g, n)),
    "weather": _bad_weather,
    "udp": lambda g, at, n: BlockUdp(at, whole(g, n), between(g, 1.0, 40.0)),
    "disk": lambda g, at, n: DiskTrouble(at, whole(g, n), "input/output error", between(g, 1.0, 30.0)),
    "rot": lambda g, at, n: BitRot(at, whole(g, n), g.random()),
    # Seeds keep their addresses: that is what makes them seeds. They are the first two.
    "move": lambda g, at, n: Move(at, min(2, n - 1) + whole(g, max(1, n - 2)), g.random() < 0.5),
    "churn": lambda g, at, n: Churn(
        at, between(g, 1.0, 8.0), between(g, 2.0, 10.0), seconds=between(g, 5.0, 30.0)
    ),
    "power_cut": lambda g, at, n: PowerCut(at, _group(g, n), between(g, 1.0, 15.0), between(g, 0.1, 3.0)),
    "clock_drift": lambda g, at, n: ClockDrift(at, whole(g, n), between(g, -0.2, 0.2), between(g, 5.0, 40.0)),
    "wall_clock": lambda g, at, n: WallClockStep(at, whole(g, n), between(g, -1e6, 1e6)),
    "clog": lambda g, at, n: Clog(at, *_pair(g, n), between(g, 0.5, 20.0)),
    "swizzle": lambda g, at, n: Swizzle(at, (), between(g, 0.1, 2.0), between(g, 3.0, 20.0)),
    "half_open": lambda g, at, n: HalfOpen(at, *_pair(g, n)),
    "ring_cut": lambda g, at, n: RingCut(at, 1 + whole(g, 2), between(g, 1.0, 30.0)),
    "bridge": lambda g, at, n: Bridge(at, whole(g, n), between(g, 1.0, 30.0)),
    "close_door": lambda g, at, n: CloseDoor(at, whole(g, n), between(g, 1.0, 30.0)),
    "torn_writes": lambda g, at, n: TornWrites(at, whole(g, n), between(g, 1.0, 20.0)),
    "lost_writes": lambda g, at, n: LostWrites(at, whole(g, n), between(g, 0.5, 8.0), between(g, 8.0, 20.0)),
    "slow_disk": lambda g, at, n: SlowDisk(at, whole(g, n), between(g, 0.01, 0.5), between(g, 1.0, 20.0)),
    "liar": lambda g, at, n: Liar(
        at, whole(g, n), (LIES[whole(g, len(LIES))],), between(g, 1.0, 10.0), between(g, 1.0, 15.0)
    ),
    "knocking": lambda g, at, n: Knocking(at, whole(g, n), between(g, 1.0, 50.0), between(g, 1.0, 10.0)),
}


def _drawn(generator: Random, kinds: Sequence[str], rates: Sequence[float]) -> str:
    left = generator.random() * fsum(rates)
    for kind, rate in zip(kinds, rates, strict=True):
        left -= rate
        if left < 0.0:
            return kind
    return kinds[-1]


def draw_plan(
    generator: Random,
    peers: int,
    start: float,
    end: float,
    kinds: Sequence[str] = tuple(MAKERS),
    most: int = 20,
) -> list[Fault]:
    """Return the faults of one seed, in the order of their times, between `start` and `end`."""
    existing = [kind for kind in kinds if generator.random() < 0.4]
    if not existing:
        return []
    rates = [generator.random() for _ in existing]
    plan = [
        MAKERS[_drawn(generator, existing, rates)](generator, between(generator, start, end), peers)
        for _ in range(1 + whole(generator, most))
    ]
    return sorted(plan, key=lambda fault: fault.at)
