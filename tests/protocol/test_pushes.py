"""Do programs of the reference hear of what a plan spreads: that it begins, and how it ends?"""

from cores import KB, told, world_of

from ringgossip.events import DataSyncCompleted, DataSyncFailed, DataSyncStarted
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.faults import DiskTrouble
from ringgossip.simulation.world import PeerSpec


def specs(*names: str) -> list[PeerSpec]:
    return [PeerSpec(name, role="training", rules=RuleSettings(copies=1)) for name in names]


def test_a_publication_is_a_sync_by_its_plan_that_ends_when_all_who_were_told_have_it() -> None:
    world = world_of(*specs("n0", "n1", "n2"))
    world.publish(0, "npz", "x.npz", size=300 * KB, metadata={"board_type": "hex8", "num_players": 2})
    world.run(5.0)
    (started,), (completed,) = told(world, 0, DataSyncStarted), told(world, 0, DataSyncCompleted)
    assert (started.sync_type, started.data_type, started.host) == ("hybrid", "npz", "n0")
    assert set(started.targets) == {"n1", "n2"} and started.config_key == "hex8_2p"
    assert (completed.file_count, completed.bytes_transferred) == (2, 600 * KB)
    assert 0 < completed.duration < 5.0
    assert not told(world, 1, DataSyncStarted), "who receives did not begin it"


def test_models_are_broadcast_and_who_cannot_take_them_is_named_in_the_end() -> None:
    world = world_of(*specs("n0", "n1", "n2"))
    world.plan([DiskTrouble(world.now, 2, seconds=400.0)])
    world.run(0.1)
    world.publish(0, "models", "best.pth", size=300 * KB)
    world.run(290.0)
    assert told(world, 0, DataSyncStarted)[0].sync_type == "broadcast"
    assert not told(world, 0, DataSyncFailed) and not told(world, 0, DataSyncCompleted)
    world.run(20.0)
    (failed,) = told(world, 0, DataSyncFailed)
    assert (failed.target_node, failed.file_count) == ("n2", 1)
    assert "n2 did not confirm a copy in time" in failed.error


def test_of_two_versions_the_newer_ends_the_older_one_s_sync() -> None:
    world = world_of(*specs("n0", "n1"))
    for _ in range(2):
        world.publish(0, "npz", "x.npz", size=300 * KB)
    world.run(5.0)
    assert len(told(world, 0, DataSyncStarted)) == 2
    assert len(told(world, 0, DataSyncCompleted)) == 1
    world.run(320.0)
    assert not told(world, 0, DataSyncFailed)
