"""What is withdrawn or retired: does it end everywhere, and does every file stay where it is?"""

from typing import Any

from cores import KB, core, holders, sync, told, world_of

from ringgossip.config.blocks import Keep
from ringgossip.config.words import KINDS
from ringgossip.content.record import ArtifactKey
from ringgossip.events import (
    ArtifactAnnounced,
    ArtifactEvicted,
    ArtifactWithdrawn,
    CopiesComplete,
    CopiesMissing,
    NodeRetired,
)
from ringgossip.protocol.core import Draft
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.world import PeerSpec, World
from ringgossip.strategy.eligibility import No

KEY = ArtifactKey("models", "n0", "best.pth")


def takers(count: int = 3, **rules: Any) -> World:
    """Peers that take everything."""
    settings = RuleSettings(**{"want": KINDS, "copies": 1, **rules})
    return world_of(*[PeerSpec(f"n{index}", rules=settings) for index in range(count)])


def listed(world: World, index: int) -> list[str]:
    return [view.record.key.text for view in core(world, index).artifacts()]


def files(world: World) -> list[dict[str, tuple[str, bool]]]:
    """Every file of ours and of users, with where it lies."""
    return [
        {f"{key.text}@{n}": (held.path, held.of_user) for (key, n), held in node.disk.holdings.items()}
        for node in world.nodes
    ]


def publish(world: World, name: str = "best.pth", **more: Any) -> None:
    world.publish(0, "models", name, **{"size": 300 * KB, **more})
    world.run(2.0)


def withdraw(world: World, index: int = 0, origin: int = 0, name: str = "best.pth") -> None:
    world.withdraw(index, "models", name)
    world.run(3.0)


def test_a_withdrawal_ends_listing_and_wanting_everywhere_and_no_file() -> None:
    world = takers()
    publish(world)
    before = files(world)
    withdraw(world)
    for index in range(3):
        assert listed(world, index) == []
        assert [event.sequence for event in told(world, index, ArtifactWithdrawn)] == [2]
        [shown] = core(world, index).artifacts(unlisted=True)
        assert (shown.unlisted, shown.record.sequence) == ("withdrawn", 2)
        verdict = core(world, index).wanting_of(KEY, f"n{index}")
        assert isinstance(verdict, No) and verdict.code == "withdrawn"
        assert "its origin withdrew it" in core(world, index).explain(KEY, "n0", 0.0).sentence
    assert files(world) == before
    world.crash(1)
    world.restart(1)
    world.run(100.0)
    assert files(world) == before and listed(world, 1) == []


def test_who_comes_later_learns_that_it_is_withdrawn_and_pulls_nothing() -> None:
    world = takers()
    world.crash(2)
    publish(world)
    withdraw(world)
    world.restart(2)
    world.run(20.0)
    assert told(world, 2, ArtifactWithdrawn) and not told(world, 2, ArtifactAnnounced)
    assert holders(world, *KEY) == {"n0", "n1"}
    assert sync(world, 2, data_type="models", targets=("n2",)).rows == ()


def test_publishing_again_is_a_new_sequence_and_works_even_with_the_same_bytes() -> None:
    world = takers()
    publish(world)
    withdraw(world)
    record = core(world, 0).catalog.get(KEY)
    assert record is not None
    same = (KEY.kind, KEY.name, record.size, record.chunk_size, record.root, record.metadata)
    world.nodes[0].give(3, 0, core(world, 0).publish, Draft(98, *same, revive=False))
    world.run(2.0)
    assert listed(world, 0) == [], "a shared folder that has it as ever does not take it back"
    world.nodes[0].give(3, 0, core(world, 0).publish, Draft(99, *same))
    world.run(2.0)
    assert listed(world, 2) == [KEY.text]
    assert holders(world, *KEY, sequence=3) == {"n0", "n1", "n2"}
    assert world.counter("chunk_bytes_received") == 2 * 300 * KB, "the bytes were there"


def test_a_transfer_under_way_ends_with_what_it_brings() -> None:
    settings = RuleSettings(want=KINDS, copies=1)
    specs = [PeerSpec(f"n{index}", rules=settings) for index in range(2)]
    world = world_of(*specs, carrier="pieces")
    world.limit(0, up=100.0 * KB, down=None)
    publish(world, size=5000 * KB)
    assert core(world, 1).transfers()
    withdraw(world)
    assert not core(world, 1).transfers()
    world.run(60.0)
    assert world.counter("chunk_bytes_received") <= 2 * 2**20, "what was on its way, and nothing more"
    assert holders(world, *KEY) == {"n0"}


def test_only_its_origin_withdraws_and_only_what_it_published() -> None:
    world = takers()
    publish(world)
    node = world.nodes[1]
    for ticket, key, why in ((1, KEY, "only n0 may"), (2, KEY._replace(origin="n1"), "nobody has published")):
        [refused] = core(world, 1).withdraw(ticket, key, node.clock())
        assert why in refused.reason  # type: ignore[union-attr]
    assert listed(world, 1) == [KEY.text]


def test_withdrawn_twice_is_withdrawn_once() -> None:
    world = takers()
    publish(world)
    withdraw(world)
    withdraw(world)
    record = core(world, 1).catalog.get(KEY)
    assert record is not None and record.sequence == 2


def test_the_alarm_below_target_ends_with_what_it_was_about() -> None:
    world = takers(want=(), copies=5)
    publish(world)
    world.run(200.0)
    assert core(world, 0).below_copies(world.nodes[0].clock()) and told(world, 0, CopiesMissing)
    withdraw(world)
    assert core(world, 0).below_copies(world.nodes[0].clock()) == []
    world.run(100.0)
    assert told(world, 0, CopiesComplete)


def test_keep_lets_go_of_what_is_withdrawn_without_pledges_and_of_nothing_within_its_rule() -> None:
    specs = [
        PeerSpec(f"n{index}", rules=RuleSettings(want=KINDS, copies=3, keep=keep))
        for index, keep in enumerate(((), (Keep(kind="models", newest=2),)))
    ]
    world = world_of(*specs)
    for name in ("a.pth", "b.pth", "c.pth"):
        publish(world, name)
    world.run(200.0)
    assert not told(world, 1, ArtifactEvicted), "three copies are wanted, so that nobody could pledge enough"
    for name in ("a.pth", "b.pth"):
        withdraw(world, name=name)
    world.run(200.0)
    assert [event.artifact for event in told(world, 1, ArtifactEvicted)] == ["models/n0/a.pth"]
    assert holders(world, "models", "n0", "b.pth") == {"n0", "n1"}


def test_a_wiped_origin_that_withdrew_keeps_it_withdrawn() -> None:
    world = takers()
    publish(world)
    withdraw(world)
    world.crash(0)
    world.wipe(0)
    world.restart(0)
    world.run(20.0)
    assert [listed(world, index) for index in range(3)] == [[], [], []]


def test_a_retired_node_ends_with_all_it_published_and_no_file() -> None:
    world = takers(copies=2)
    publish(world)
    publish(world, "second.pth")
    world.publish(1, "models", "other.pth", size=300 * KB)
    world.run(2.0)
    world.crash(0, machine=True)
    world.run(60.0)
    before = files(world)
    assert core(world, 1).below_copies(world.nodes[1].clock()) or core(world, 2).below_copies(0.0)
    world.retire("n0", by=1)
    world.run(40.0)
    for index in (1, 2):
        assert listed(world, index) == ["models/n1/other.pth"]
        assert [event.name for event in told(world, index, NodeRetired)] == ["n0"]
        verdict = core(world, index).wanting_of(KEY, f"n{index}")
        assert isinstance(verdict, No) and verdict.code == "retired"
        assert all("n0" not in short.artifact for short in core(world, index).below_copies(0.0))
    assert files(world) == before
    world.crash(2)
    world.restart(2)
    world.restart(0)
    world.run(20.0)
    assert listed(world, 2) == ["models/n1/other.pth"], "the order is remembered"
    assert listed(world, 0) == ["models/n1/other.pth"], "it comes back, and hears that it is retired"
    ticket = world.publish(0, "models", "late.pth", size=300 * KB)
    world.run(2.0)
    assert "enroll this node again" in (world.publications[ticket].refused or "")
    assert files(world)[1:] == before[1:]
