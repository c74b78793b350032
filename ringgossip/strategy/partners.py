"""Whom to gossip with, whom to push to: twice the weight, twice the chance, and nobody starves.

Who was passed over for too long goes first: with weights alone a light peer
among heavy ones would wait without a bound.

Source: exponential races, the same distribution as drawing one after the other
without replacement: Efraimidis, Spirakis 2006, "Weighted random sampling with a
reservoir".
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from heapq import nsmallest
from math import ceil, fsum, log
from typing import Generic, Protocol, TypeVar

from ringgossip.identity import PeerId
from ringgossip.strategy.candidates import Candidate
from ringgossip.strategy.plans import Plan

Key = TypeVar("Key", bound=Hashable)

# Waiting five times as long as one's weight promises happens to one turn in 150 by chance alone,
# so going first then bends the shares by less than 1 %.
PATIENCE = 5


class Draw(Protocol):
    """The part of `random.Random` that is used here."""

    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """Return an integer of `k` random bits."""
        ...


def sample(weights: Mapping[Key, float], count: int, rng: Draw) -> list[Key]:
    """Return up to `count` different keys, drawn one after the other in proportion to their weights.

    Weights are 0 or more; what weighs nothing is never drawn. One number is
    drawn for each key, so a change of weights does not shift later draws.
    """
    races = [(-log(1 - rng.random()), weight, place) for place, weight in enumerate(weights.values())]
    keys = list(weights)
    ends = [(time / weight, place) for time, weight, place in races if weight > 0]
    return [keys[place] for _, place in nsmallest(count, ends)]


class Turns(Generic[Key]):
    """Draws partners again and again, and remembers how long everybody waits."""

    def __init__(self) -> None:
        self._waited: dict[Key, int] = {}

    def draw(self, weights: Mapping[Key, float], count: int, rng: Draw) -> list[Key]:
        """Return up to `count` of the keys of `weights`; those overdue come first, the longest wait first."""
        chosen = self.order(weights, count, rng)[:count]
        self.note(weights, chosen)
        return chosen

    def order(self, weights: Mapping[Key, float], count: int, rng: Draw) -> list[Key]:
        """Return all keys that weigh something in the order of this draw, of which `count` will be taken."""
        total = fsum(weights.values())
        drawn = sample(weights, len(weights), rng)
        if count <= 0:
            return drawn

        def overdue(key: Key) -> int:
            waited = self._waited.get(key, 0)
            return -waited if waited >= patience(weights[key], total, count) else 0

        return sorted(drawn, key=overdue)

    def note(self, weights: Mapping[Key, float], chosen: Iterable[Key]) -> None:
        """Remember who of the keys was taken. Who is no candidate now has no claim later."""
        taken = set(chosen)
        self._waited = {key: 0 if key in taken else self._waited.get(key, 0) + 1 for key in weights}


def patience(weight: float, total: float, count: int) -> int:
    """Return after how many draws without success a peer goes first.

    Several may be overdue at once, so nobody waits longer than this plus the
    number of candidates over `count`.
    """
    return ceil(PATIENCE * total / (weight * count))


def push_targets(
    plan: Plan,
    candidates: Iterable[Candidate],
    weight: Callable[[Candidate], float],
    turns: "Turns[PeerId]",
    rng: Draw,
) -> list[Candidate]:
    """Return whom to tell first of a new publication, the first first.

    `candidates` are reachable peers that may receive it, ourselves not among
    them. Of peers that share a disk one is told. With `everyone` all are told,
    heavier ones earlier by chance.
    """
    pool = {candidate.peer: candidate for candidate in candidates}
    weights = {peer: weight(candidate) for peer, candidate in pool.items()}
    count = len(pool) if plan.everyone else plan.fanout
    order = [pool[peer] for peer in turns.order(weights, count, rng)]
    if plan.persistent_first:
        order.sort(key=lambda candidate: candidate.ephemeral)
    chosen: dict[tuple[str, str | PeerId], Candidate] = {}
    for candidate in order:
        if len(chosen) < count:
            chosen.setdefault(candidate.place, candidate)
    turns.note(weights, [candidate.peer for candidate in chosen.values()])
    return list(chosen.values())
