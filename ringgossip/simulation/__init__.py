"""A made world: whole clusters of the machines of production, in one process and in virtual time.

`kernel` is time and chance; `network`, `bandwidth`, `links` and `disk` are the
things a peer touches; `notary` is cryptography that costs nothing and is still
checked; `node` drives one `PeerCore`; `faults` says what goes wrong; `checks`
says what must hold all the same; `world` puts it together.

In a test of your own (README in simulations/ has an example):

    from ringgossip.simulation import Weather, World, fault_plans, read_story, run_story
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringgossip.simulation.network import Weather
    from ringgossip.simulation.running import Run, run_story
    from ringgossip.simulation.scenario_schema import read_story
    from ringgossip.simulation.strategies import fault_plans
    from ringgossip.simulation.watched import World
    from ringgossip.simulation.world import PeerSpec

__all__ = ["PeerSpec", "Run", "Weather", "World", "fault_plans", "read_story", "run_story"]

_FROM = {
    "PeerSpec": "world",
    "Run": "running",
    "Weather": "network",
    "World": "watched",
    "fault_plans": "strategies",
    "read_story": "scenario_schema",
    "run_story": "running",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: who simulates nothing pays nothing."""
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FROM[name]}"), name)
