"""Do copies get made, is it told when they are missing, and does a drain bring everything to safety?"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from artifacts import CLUSTER, Origin, manifest_of, peer
from cores import KB, core, drain, holders, quiet, rows, sync, told, world_of

from ringgossip.config.words import KINDS
from ringgossip.content.record import Record
from ringgossip.events import CopiesComplete, CopiesMissing, CopyConfirmed, DrainCompleted, PushRefused
from ringgossip.identity import PeerId
from ringgossip.protocol.core import LINK, Effect, Notice, Send
from ringgossip.protocol.offering import Offering
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.notary import Authority
from ringgossip.simulation.world import PeerSpec, World
from ringgossip.strategy.plans import PLANS, Plan
from ringgossip.wire.messages import News

NONE = RuleSettings(copies=0)


def ephemeral(*others: PeerSpec, seed: int = 1, carrier: str = "unlimited") -> World:
    """An ephemeral node and others, where the rules alone want no copies."""
    vast = PeerSpec("vast-1", ephemeral=True, rules=NONE)
    return world_of(vast, *others, seed=seed, carrier=carrier)


def test_what_an_ephemeral_node_publishes_is_written_through_to_two_persistent_ones() -> None:
    others = [PeerSpec(f"vast-{n}", ephemeral=True, rules=NONE) for n in (2, 3, 4)]
    world = ephemeral(*others, PeerSpec("n1", rules=NONE), PeerSpec("n2", rules=NONE))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(2.0)
    assert holders(world, "games", "vast-1", "games.db") == {"vast-1", "n1", "n2"}


def test_a_persistent_node_writes_nothing_through() -> None:
    world = world_of(*quiet(3))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(200.0)
    assert holders(world, "games", "n0", "games.db") == {"n0"}


def test_of_two_that_share_a_disk_one_is_written_to() -> None:
    shared = [PeerSpec(f"nfs-{n}", storage_group="nfs", rules=NONE) for n in (1, 2)]
    world = ephemeral(*shared, PeerSpec("n1", rules=NONE))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(2.0)
    assert len(holders(world, "games", "vast-1", "games.db") & {"nfs-1", "nfs-2"}) == 1
    assert core(world, 0).below_copies(world.nodes[0].clock()) == []


def test_missing_copies_are_told_with_their_age_and_again_when_they_are_there() -> None:
    world = world_of(*quiet(2, copies=2))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(200.0)
    (alarm,) = told(world, 0, CopiesMissing)
    assert (alarm.kind, alarm.artifacts) == ("games", 1)
    assert alarm.oldest >= 100.0
    (short,) = core(world, 0).below_copies(world.nodes[0].clock())
    assert (short.copies, short.wanted) == (1, 2)
    assert short.age > 190.0
    assert not told(world, 0, CopiesComplete)


def test_peers_that_started_together_do_not_look_after_copies_in_step() -> None:
    world = world_of(*quiet(2))
    lengths = []
    for _ in range(4):
        begins = core(world, 0).offering.next_wakeup()
        world.run(begins - world.nodes[0].clock() + 1.0)
        lengths.append(core(world, 0).offering.next_wakeup() - begins)
    assert len({round(length, 3) for length in lengths}) == 4
    assert all(53.9 < length <= 60.0 for length in lengths)


def test_the_alarm_ends_when_the_copies_are_there() -> None:
    world = world_of(*quiet(3, copies=2))
    world.crash(2)
    world.run(30.0)
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(200.0)
    assert told(world, 0, CopiesMissing)
    world.restart(2)
    world.run(30.0)
    assert [event.kind for event in told(world, 0, CopiesComplete)] == ["games"]
    assert core(world, 0).below_copies(world.nodes[0].clock()) == []


def test_a_drain_brings_the_most_endangered_first_over_a_thin_uplink() -> None:
    world = ephemeral(PeerSpec("n1", rules=NONE), carrier="pieces")
    world.limit(0, up=200.0 * KB, down=None)
    for quality in (0.1, 0.9, 0.5, 0.3):
        world.publish(0, "games", f"{quality}", size=3000 * KB, metadata={"quality": quality})
    world.run(0.5)
    report = drain(world, 0, 40.0)
    assert holders(world, "games", "vast-1", "0.9") == {"vast-1", "n1"}
    copies = {short.artifact.split("/")[-1]: short.copies for short in report.below}
    assert copies["0.9"] == 1, "two are wanted, but only one other node is there"
    assert copies["0.3"] == 0
    assert list(copies.values()) == sorted(copies.values()), "the most endangered first"


def test_a_drain_ends_when_everything_is_where_it_can_be() -> None:
    world = world_of(*quiet(3))
    for number in range(20):
        world.publish(0, "npz", f"{number}.npz", size=100 * KB)
    world.run(1.0)
    core(world, 0).rules.settings = RuleSettings(copies=1)
    report = drain(world, 0, 30.0)
    assert report.below == () and report.copied == 20
    assert report.duration < 5.0
    assert told(world, 0, DrainCompleted) == [DrainCompleted(20, ())]
    assert all(len(holders(world, "npz", "n0", f"{number}.npz")) >= 2 for number in range(20))


def test_a_drain_alone_says_at_once_what_nobody_has() -> None:
    world = world_of(*quiet(1, copies=1))
    world.publish(0, "games", "games.db")
    world.run(20.0)
    report = drain(world, 0, 30.0)
    assert report.duration < 0.1
    assert [short.artifact for short in report.below] == ["games/n0/games.db"]


def test_who_drains_takes_nothing_more() -> None:
    world = ephemeral(PeerSpec("n1", rules=NONE), carrier="pieces")
    world.limit(0, up=10.0 * KB, down=None)
    world.publish(0, "games", "own.db", size=1000 * KB)
    world.publish(1, "games", "other.db", size=10 * KB)
    world.run(1.0)
    node = world.nodes[0]
    node.give(3, 0, core(world, 0).drain, 1, 20.0)
    report = sync(world, 1, data_type="games", targets=("vast-1",))
    assert rows(report)["other.db", "vast-1"] == "refused: status"


def test_without_notice_at_most_what_the_last_cycle_published_is_lost() -> None:
    world = ephemeral(PeerSpec("n1", rules=NONE), PeerSpec("n2", rules=NONE))
    lost = []
    for number in range(10):
        world.publish(0, "games", f"{number}.db", size=300 * KB)
        world.run(10.0)
    world.publish(0, "games", "last.db", size=300 * KB)
    world.crash(0, machine=True)
    world.run(60.0)
    lost = [n for n in range(10) if not holders(world, "games", "vast-1", f"{n}.db") - {"vast-1"}]
    assert lost == []


def test_what_a_dead_node_published_is_copied_again_by_one_who_has_it() -> None:
    world = world_of(*quiet(4, copies=2))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(10.0)
    first = holders(world, "games", "n0", "games.db") - {"n0"}
    assert len(first) == 2
    gone = int(min(first)[1])
    world.crash(0, machine=True)
    world.crash(gone, machine=True)
    world.run(200.0)
    alive = holders(world, "games", "n0", "games.db") - {"n0", f"n{gone}"}
    assert len(alive) == 2


def test_those_who_cannot_be_reached_get_their_copies_by_way_of_somebody_who_can() -> None:
    specs = [replace(spec, accepts=spec.name == "n0") for spec in quiet(6, copies=2)]
    world = World(specs, seed=1)
    world.start()
    world.run(10.0)
    for number in range(8):
        world.publish(1, "games", f"{number}.db", size=100 * KB)
    world.run(20.0)
    short = core(world, 1).below_copies(world.nodes[1].clock())
    # Some were to be held by two to which nobody can link from here: but one is open.
    assert [each.copies for each in short].count(0) > 1
    world.run(180.0)
    assert all(len(holders(world, "games", "n1", f"{number}.db")) >= 3 for number in range(8))
    assert not world.problems()


def test_nobody_else_is_asked_while_the_chosen_ones_pull() -> None:
    world = world_of(*quiet(6, copies=2), carrier="pieces")
    world.limit(0, up=20.0 * KB, down=None)
    world.publish(0, "games", "games.db", size=2500 * KB)
    world.run(110.0)  # nobody has it before 125 seconds
    asked = sum(len(other.rules.asked()) for other in (core(world, index) for index in range(6)))
    assert asked == 0 and holders(world, "games", "n0", "games.db") == {"n0"}
    world.run(100.0)
    assert len(holders(world, "games", "n0", "games.db")) == 3


def test_a_rule_that_the_card_does_not_show_is_told_once_as_a_refused_push() -> None:
    world = ephemeral(PeerSpec("n1", rules=NONE), PeerSpec("n2", rules=NONE))
    refuser = core(world, 1)
    assert refuser.rules.settings is not None
    out = core(world, 0).rules.refusal_heard(refuser.me, "games", "disk")
    assert [effect.event for effect in out if hasattr(effect, "event")] == [
        PushRefused("n1", "games", "disk", "n1: its disk is too full")
    ]
    assert core(world, 0).rules.refusal_heard(refuser.me, "games", "disk") == []


def test_every_copy_is_told_though_another_name_or_version_has_the_same_content() -> None:
    world = world_of(*(PeerSpec(f"n{index}", rules=RuleSettings(want=KINDS)) for index in range(3)))
    world.publish(1, "models", "best.pth", size=3000 * KB)
    world.run(3.0)
    moved = world.counter("chunk_bytes_received")
    world.publish(0, "models", "mine.pth", same_as="best.pth")  # a copy of a replica
    world.run(3.0)
    world.publish(0, "models", "mine.pth", same_as="best.pth", metadata={"board_type": "hex8"})
    world.run(3.0)
    copies = sorted((event.artifact, event.sequence, event.holder) for event in told(world, 0, CopyConfirmed))
    assert copies == [("models/n0/mine.pth", version, name) for version in (1, 2) for name in ("n1", "n2")]
    assert world.counter("chunk_bytes_received") == moved  # all of it was here under the other name


class Refusers:
    """Peers that could hold what we have, and will not."""

    def __init__(self, record: Record, count: int) -> None:
        self.record = record
        self.peers = [peer(number) for number in range(2, 2 + count)]
        self.asked: list[PeerId] = []

    def held(self) -> Iterator[Record]:
        return iter((self.record,))

    def answers_for(self, record: Record) -> bool:
        return True

    def copies(self, record: Record) -> int:
        return 0

    def attainable(self, record: Record) -> int:
        return 1

    def wanted(self, record: Record) -> int:
        return 1

    def plan(self, kind: str) -> Plan:
        return PLANS["ephemeral"]

    def give_first(self, roots: list[bytes], now: float) -> list[object]:
        return []

    def is_pulled(self, record: Record) -> bool:
        return False

    def offer(
        self, record: Record, count: int, tried: dict[PeerId, None], insist: bool, linked: bool = False
    ) -> list[Effect | Notice]:
        chosen = [each for each in self.peers if each not in tried][:count]
        tried.update(dict.fromkeys(chosen))
        self.asked += chosen
        return [Send(each, News((record.packed,)), LINK) for each in chosen]


def test_a_drain_asks_each_that_refuses_once_a_round_and_hears_nobody_else() -> None:
    origin = Origin("n0", Authority(CLUSTER))
    scene = Refusers(origin.record(manifest_of(1), "games.db", "games"), 3)
    machine, now = Offering(scene, Random(1), 0.0), 0.0
    key = scene.record.key
    machine.drain(1, 9.0, now)
    for tick in range(100):
        now = tick / 10
        for refuser in scene.peers:  # each says no ten times a second, whether it was asked or not
            machine.refused(key, refuser, now)
        machine.refused(key, peer(9), now)
        machine.wake(now)
    assert scene.asked[:3] == scene.peers
    assert 9 <= len(scene.asked) <= 15, "rounds of three, some two seconds apart"


class OnePlace(Refusers):
    """One peer takes all; another, that could, takes nothing."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__(records[0], 2)
        self.records = records
        self.offered: dict[str, None] = {}
        self.safe: dict[str, None] = {}

    def held(self) -> Iterator[Record]:
        return iter(self.records)

    def copies(self, record: Record) -> int:
        return int(record.name in self.safe)

    def attainable(self, record: Record) -> int:
        return 2

    wanted = attainable

    def offer(
        self, record: Record, count: int, tried: dict[PeerId, None], insist: bool, linked: bool = False
    ) -> list[Effect | Notice]:
        self.offered[record.name] = None
        return super().offer(record, count, tried, insist, linked)


def test_in_a_drain_what_cannot_get_a_second_copy_keeps_nothing_from_its_first() -> None:
    origin = Origin("n0", Authority(CLUSTER))
    names = [f"{number}.db" for number in range(700)]
    scene = OnePlace([origin.record(manifest_of(1, name), name, "games") for name in names])
    machine, now = Offering(scene, Random(1), 0.0), 0.0
    machine.drain(1, 60.0, now)
    keys = {record.name: record.key for record in scene.records}
    while now < 30.0 and len(scene.safe) < len(names):
        now += 0.1
        for name in [name for name in scene.offered if name not in scene.safe]:
            scene.safe[name] = None
            machine.copied(keys[name], now)
        machine.wake(now)
    assert len(scene.safe) == len(names)
    assert machine.draining
