"""Does whoever is alone hear which of its seeds refused it, for as long as that may hold?"""

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from ringgossip.events import StrangerRefused
from ringgossip.identity import Address
from ringgossip.service.watch import Watch


@pytest.mark.trio
async def test_of_strangers_only_a_seed_counts_the_latest_and_not_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seeds = tuple(Address(f"10.0.0.{number}", 7946) for number in (1, 2, 3))
    peer: Any = SimpleNamespace(config=SimpleNamespace(seeds=seeds))
    watch = Watch(peer)
    assert watch._seed_refused() is None
    for host, reason in (("10.0.0.3", "first"), ("10.0.0.1", "second"), ("10.0.0.9", "no seed")):
        watch.tally.hear(StrangerRefused(f"{host}:7946", reason))
        await trio.sleep(1)
    assert watch._seed_refused() == ("10.0.0.1:7946", "second")
    await trio.sleep(900)
    assert watch._seed_refused() is None
