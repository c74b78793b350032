"""How does a user's own test draw fault plans? A hypothesis strategy: any plan, shrunk to few, simple faults.

The length is drawn first, then the list: lists drawn at once come out short.
Loads hypothesis, which only tests need: `pip install 'ringgossip[test]'`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ringgossip.simulation.faults import Fault
from ringgossip.simulation.swarm import MAKERS

if TYPE_CHECKING:
    from random import Random

    from hypothesis.strategies import SearchStrategy


def fault_plans(
    peers: int = 5,
    *,
    start: float = 2.0,
    end: float = 30.0,
    most: int = 20,
    kinds: Sequence[str] = tuple(MAKERS),
) -> "SearchStrategy[list[Fault]]":
    """Return a strategy of plans of 1 to `most` faults, in the order of their times."""
    from hypothesis import strategies as st

    times = st.integers(0, 1000).map(lambda part: round(start + (end - start) * part / 1000, 3))
    generators = st.randoms(use_true_random=False)

    def make(kind: str, at: float, generator: "Random") -> Fault:
        return MAKERS[kind](generator, at, peers)

    one = st.builds(make, st.sampled_from(list(kinds)), times, generators)
    plans = st.integers(1, most).flatmap(lambda length: st.lists(one, min_size=length, max_size=length))
    return plans.map(lambda plan: sorted(plan, key=lambda fault: fault.at))
