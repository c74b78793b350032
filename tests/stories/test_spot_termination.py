"""What is lost when a rented machine goes: with notice nothing, without notice at most the last cycle's."""

import pytest
from cores import KB, core, drain, holders, told, world_of

from ringgossip.config.blocks import Bandwidth
from ringgossip.events import DrainCompleted
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.world import PeerSpec, World

NONE = RuleSettings(copies=0)
CYCLE = 30.0


def cluster(seed: int) -> World:
    """One rented machine behind a thin uplink, and two that stay; nobody takes games by its role."""
    stay = [PeerSpec(name, rules=NONE) for name in ("lambda-1", "lambda-2")]
    rented = PeerSpec("vast-1", ephemeral=True, rules=NONE)
    world = world_of(rented, *stay, seed=seed, carrier="pieces")
    world.limit(0, up=500.0 * KB, down=None)
    return world


def publish_every(world: World, seconds: float, until: float) -> dict[str, float]:
    """Publish 300 kB every so often; return when each was published."""
    made = {}
    while world.now < until:
        name = f"{len(made)}.db"
        made[name] = world.now
        world.publish(0, "games", name, size=300 * KB)
        world.run(seconds)
    return made


def lost(world: World, made: dict[str, float]) -> list[str]:
    return [name for name in made if not holders(world, "games", "vast-1", name) - {"vast-1"}]


@pytest.mark.parametrize("seed", range(3))
def test_without_notice_only_what_was_published_in_the_last_cycle_can_be_lost(seed: int) -> None:
    world = cluster(seed)
    made = publish_every(world, 2.0, until=world.now + 60.0)
    gone_at = world.now
    world.crash(0, machine=True)
    world.run(60.0)
    assert [name for name in lost(world, made) if made[name] < gone_at - CYCLE] == []


@pytest.mark.parametrize("seed", range(3))
def test_with_notice_nothing_is_lost_though_much_was_published_at_once(seed: int) -> None:
    world = cluster(seed)
    made = publish_every(world, 0.05, until=world.now + 0.5)
    assert len(lost(world, made)) > 2, "else the notice would change nothing"
    report = drain(world, 0, 25.0)
    world.crash(0, machine=True)
    world.run(30.0)
    assert lost(world, made) == []
    assert told(world, 0, DrainCompleted)
    assert all(short.copies for short in report.below)
    assert core(world, 1).below_copies(world.nodes[1].clock()) == []


def test_a_drain_that_is_too_short_saves_the_most_valuable_whole_and_names_the_others() -> None:
    limit = RuleSettings(bandwidth=Bandwidth(send_bytes_per_second=2000.0 * KB))
    rented = PeerSpec("vast-1", ephemeral=True, rules=limit)
    world = world_of(rented, *(PeerSpec(f"lambda-{number}") for number in range(3)), carrier="pieces")
    for number in range(8):  # everybody pulls all of them when the notice comes
        quality = {"quality": (number + 1) / 10}
        world.publish(0, "models", f"{number}", size=4000 * KB, chunk_size=2**20, metadata=quality)
    world.run(1.0)
    report = drain(world, 0, 8.0)
    kept = [number for number in range(8) if holders(world, "models", "vast-1", f"{number}") - {"vast-1"}]
    # 16 MB could leave in 8 s, a part of which had begun to be something else.
    assert len(kept) >= 3 and kept == list(range(8))[-len(kept) :]
    short = {entry.artifact for entry in report.below if not entry.copies}
    assert short == {f"models/vast-1/{number}" for number in range(8) if number not in kept}
