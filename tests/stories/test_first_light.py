"""Five whole peers in the made world: what is published reaches everybody, whatever happens meanwhile.

Promises are checked after every step; these stories say what happens, and that
it ends well within a stated virtual time.
"""

import pytest

from ringgossip.content.record import ArtifactKey
from ringgossip.events import ArtifactCompleted, PeerLost, TransferStarted
from ringgossip.simulation import World
from ringgossip.simulation.faults import BadWeather, BitRot, Crash, DiskTrouble, Partition, Pause
from ringgossip.simulation.network import Weather
from ringgossip.simulation.swarm import between, draw_plan, whole

MB = 1_000_000


def together(world: World, within: float = 5.0) -> World:
    """Start everybody and wait until all see all."""
    world.start()
    assert world.run_until(lambda: not world.problems(), within) is not None, world.problems()
    return world


def holders(world: World, key: ArtifactKey, sequence: int) -> list[int]:
    return [node.index for node in world.nodes if node.disk.holds(key, sequence)]


def test_what_one_publishes_everybody_soon_holds() -> None:
    world = together(World(5, seed=1, wire="real"))
    ticket = world.publish(0, "models", "best.pth", size=20 * MB)
    assert world.run_until(lambda: world.publications[ticket].answered_at is not None, 1.0) is not None
    took = world.run_until(lambda: not world.problems(), 5.0)
    assert took is not None, world.problems()
    assert holders(world, world.publications[ticket].key, 1) == [0, 1, 2, 3, 4]
    for node in world.nodes[1:]:
        assert [type(event) for _, event in node.told].count(ArtifactCompleted) == 1


def test_of_the_next_version_only_what_changed_travels() -> None:
    world = together(World(5, seed=2))
    world.publish(0, "games", "games.db", size=20 * MB)
    assert world.settle(10.0) is not None
    before = world.counter("chunk_bytes_received")
    world.publish(0, "games", "games.db", size=20 * MB, changed=0.1)
    assert world.settle(10.0) is not None, world.problems()
    moved = world.counter("chunk_bytes_received") - before
    assert 0.03 < moved / (4 * 20 * MB) < 0.2


def test_loss_doubling_and_damage_delay_nothing_for_long() -> None:
    weather = Weather(loss=0.3, duplication=0.1, reordering=0.3, corruption=0.02)
    world = World(5, seed=3, wire="real", weather=weather)
    world.start()
    world.run(5.0)
    for peer in range(5):
        world.publish(peer, "npz", f"{peer}.npz", size=5 * MB)
    assert world.run_until(lambda: not world.problems(), 60.0) is not None, world.problems()


def test_two_halves_go_on_by_themselves_and_meet_again() -> None:
    world = together(World(5, seed=4))
    world.plan([Partition(world.now, (0, 1), seconds=60.0)])
    world.run(30.0)
    one = world.publish(0, "models", "a.pth", size=2 * MB)
    two = world.publish(4, "models", "b.pth", size=2 * MB)
    world.run(20.0)
    assert holders(world, world.publications[one].key, 1) == [0, 1]
    assert holders(world, world.publications[two].key, 1) == [2, 3, 4]
    assert any(isinstance(event, PeerLost) for _, event in world.nodes[0].told)
    took = world.settle(20.0)
    assert took is not None, world.problems()


@pytest.mark.parametrize("machine", [False, True])
def test_a_peer_that_dies_in_the_middle_of_a_transfer_resumes_it(machine: bool) -> None:
    world = World(5, seed=5, carrier="pieces")
    for index in range(5):
        world.limit(index, up=2.0 * MB, down=4.0 * MB)
    together(world)
    world.publish(0, "npz", "big.npz", size=40 * MB)
    world.run(10.0)
    partial = world.nodes[3].disk.partials
    assert len(partial) == 1
    world.crash(3, machine=machine)
    kept = sum(part.have.bit_count() for part in partial.values())
    assert kept > 2
    world.run(3.0)
    world.restart(3)
    assert world.settle(120.0) is not None, world.problems()
    # No synced chunk is fetched twice.
    started = [event for _, event in world.nodes[3].told if isinstance(event, TransferStarted)]
    assert [event.missing for event in started] == [39, 39 - kept]


def test_the_origin_dies_and_what_it_gave_to_one_reaches_the_others() -> None:
    world = together(World(5, seed=6, carrier="pieces"))
    for index in range(5):
        world.limit(index, up=4.0 * MB, down=None)
    ticket = world.publish(0, "models", "best.pth", size=8 * MB)
    key = world.publications[ticket].key
    assert world.run_until(lambda: len(holders(world, key, 1)) > 1, 30.0) is not None
    world.crash(0, machine=True)
    assert world.run_until(lambda: not world.problems(), 60.0) is not None, world.problems()
    assert holders(world, key, 1) == [0, 1, 2, 3, 4]


def test_a_wiped_origin_learns_its_history_before_it_publishes_again() -> None:
    world = together(World(5, seed=7))
    for _ in range(3):
        world.publish(2, "models", "best.pth", size=MB)
        world.run(2.0)
    world.crash(2)
    world.wipe(2)
    world.restart(2)
    ticket = world.publish(2, "models", "best.pth", size=MB)
    assert world.settle(30.0) is not None, world.problems()
    record = world.publications[ticket].record
    assert record is not None and record.sequence == 4


def test_a_rotten_copy_is_never_spread() -> None:
    world = together(World(5, seed=8))
    world.crash(4)
    world.publish(0, "games", "games.db", size=2 * MB)
    assert world.settle(20.0) is not None, world.problems()
    for index in (1, 2, 3):
        world.plan([BitRot(world.now, index, 0.5)])
    world.run(1.0)
    world.restart(4)
    assert world.settle(30.0) is not None, world.problems()
    assert not world.nodes[4].disk.damaged


def test_a_full_disk_is_told_and_the_rest_goes_on_and_it_catches_up() -> None:
    world = together(World(5, seed=9))
    world.plan([DiskTrouble(world.now, 2, seconds=30.0)])
    world.run(0.1)
    ticket = world.publish(0, "models", "best.pth", size=2 * MB)
    world.run(5.0)
    assert holders(world, world.publications[ticket].key, 1) == [0, 1, 3, 4]
    assert world.settle(60.0) is not None, world.problems()


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    def run(seed: int) -> str:
        world = World(5, seed=seed, wire="real", weather=Weather(loss=0.1))
        world.plan([Crash(8.0, 3, 5.0), Partition(12.0, (1, 4), seconds=10.0), Pause(15.0, 2, 4.0)])
        world.start()
        world.run(6.0)
        world.publish(0, "models", "best.pth", size=10 * MB)
        world.run(30.0)
        return world.run_hash

    assert run(1) == run(1) != run(2)


@pytest.mark.parametrize("seed", range(12))
def test_random_faults_break_no_promise_and_all_converge_after_them(seed: int) -> None:
    carrier = ("unlimited", "pieces", "fluid")[seed % 3]
    world = World(5, seed=seed, wire="real", shuffle=seed % 2 == 1, carrier=carrier)
    plan = draw_plan(world.kernel.generator("plan"), 5, 2.0, 32.0)
    world.plan(plan)
    world.start()
    generator = world.kernel.generator("publishing")
    while world.now < 40.0:
        world.run(between(generator, 0.2, 5.0))
        peer = whole(generator, 5)
        if world.nodes[peer].running:
            kind = ("games", "models", "npz")[whole(generator, 3)]
            size, name = whole(generator, 5 * MB), f"f{whole(generator, 3)}"
            world.publish(peer, kind, name, size=size, changed=generator.random())
    assert world.settle(120.0) is not None, [*plan, *world.problems()]


def test_bad_weather_ends() -> None:
    world = together(World(3, seed=1))
    world.plan([BadWeather(world.now, loss=1.0, seconds=5.0)])
    world.run(1.0)
    assert world.network.weather.loss == 1.0
    world.run(10.0)
    assert world.network.weather == world.fair_weather
