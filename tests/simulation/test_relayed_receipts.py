"""Does an origin hear of copies at peers with which it can never have a link?"""

import pytest

from ringgossip.config.words import KINDS
from ringgossip.content.record import Record
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation import World
from ringgossip.simulation.world import PeerSpec

ALL = RuleSettings(want=KINDS)


def a_world(closed: int = 4, opened: int = 1) -> World:
    """Peers that nobody can dial, and few that accept connections: `open-0` first."""
    specs = [PeerSpec(f"open-{i}", rules=ALL) for i in range(opened)]
    specs += [PeerSpec(f"closed-{i}", accepts=False, rules=ALL) for i in range(closed)]
    world = World(specs, seed=5, seeds=range(opened), wire="real")
    world.start()
    world.run(10)
    return world


def holders(world: World, origin: int, ticket: int) -> list[str]:
    """Return whom the origin's receipt names."""
    core, record = world.nodes[origin].core, world.publications[ticket].record
    if core is None or record is None:
        return []
    return list(core.receipt(record.key, record).holders)


def record_of(world: World, ticket: int) -> Record:
    record = world.publications[ticket].record
    assert record is not None
    return record


def test_a_receipt_counts_holders_that_cannot_be_linked_as_soon_as_they_hold_it() -> None:
    world = a_world()
    ticket = world.publish(1, "models", "best.pth", size=3_000_000)
    others = ["closed-1", "closed-2", "closed-3", "open-0"]
    assert world.run_until(lambda: holders(world, 1, ticket) == others, within=15) is not None
    core = world.nodes[1].core
    assert core is not None
    assert [peer for peer in core.dialing.peers() if core.name_of(peer).startswith("closed")] == []
    assert world.settle(within=60) is not None


def test_what_was_lost_on_its_way_comes_with_the_next_comparison() -> None:
    world = a_world()
    # Nobody passes news on; digests and lists come through.
    relay = world.nodes[0].core
    assert relay is not None
    passing, relay.relaying._may_pass = relay.relaying._may_pass, lambda *word: False  # type: ignore[method-assign]
    ticket = world.publish(1, "models", "best.pth", size=3_000_000)
    world.run(20)
    assert holders(world, 1, ticket) == ["open-0"]
    relay.relaying._may_pass = passing  # type: ignore[method-assign]
    assert world.run_until(lambda: len(holders(world, 1, ticket)) == 4, within=90) is not None


def test_a_copy_that_is_gone_and_a_holder_that_starts_anew_are_heard_of_too() -> None:
    world = a_world()
    ticket = world.publish(1, "games", "games.db", size=1_000_000)
    assert world.run_until(lambda: len(holders(world, 1, ticket)) == 4, within=15) is not None
    world.run(2)
    record, node = record_of(world, ticket), world.nodes[2]
    assert node.core is not None
    node.give(4, 0, node.core.copy_lost, record, "damaged by the test")
    gone = world.run_until(lambda: "closed-1" not in holders(world, 1, ticket), within=1, step=0.05)
    assert gone is not None
    # It is pulled again, and said again.
    assert world.run_until(lambda: "closed-1" in holders(world, 1, ticket), within=30) is not None
    world.crash(1)
    world.run(3)
    world.restart(1)
    # The origin has forgotten who holds what: the comparison tells it.
    assert world.run_until(lambda: len(holders(world, 1, ticket)) == 4, within=90) is not None


@pytest.mark.parametrize("opened", [1, 3])
def test_what_is_said_through_others_stays_little(opened: int) -> None:
    world = a_world(closed=6, opened=opened)
    for number in range(20):
        world.publish(opened, "models", f"{number}.pth", size=100_000)
    world.run(30)
    assert world.settle(within=90) is not None
    before = sum(world.network.bytes_sent)
    world.run(60)
    idle = (sum(world.network.bytes_sent) - before) / 60 / len(world.nodes)
    assert idle < 2000, f"{idle:.0f} bytes a second and peer, at rest"


def test_who_has_no_link_to_an_author_counts_only_its_newest_version_as_held_there() -> None:
    world = a_world(closed=2)
    author, reader = world.nodes[1].core, world.nodes[2].core
    assert author is not None and reader is not None and not reader.dialing.linked(author.me)
    held = []
    for _ in range(3):
        ticket = world.publish(1, "games", "games.db", size=100_000)
        world.run(3)
        records = [record_of(world, one) for one in range(1, ticket + 1)]
        held.append([author.me in reader.receipts.holders(record) for record in records])
    assert held == [[True], [False, True], [False, False, True]], "no book may grow with every publication"
