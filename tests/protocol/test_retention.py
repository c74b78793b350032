"""Does `keep` let go only what enough others pledged to keep, and never what a user made?"""

from dataclasses import replace

from artifacts import Origin, manifest_of
from cores import KB, core, holders, sync, told, world_of
from pytest import MonkeyPatch

from ringgossip.config.blocks import Keep
from ringgossip.config.words import KINDS
from ringgossip.content.record import ArtifactKey
from ringgossip.events import ArtifactEvicted
from ringgossip.protocol.core import Send
from ringgossip.protocol.marks import Marks
from ringgossip.protocol.receipts import entry_of
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.world import PeerSpec, World
from ringgossip.wire.messages import Pledged, PledgeWanted


def keepers(*rules: Keep | None, copies: int = 1, groups: dict[int, str] | None = None) -> World:
    """Peers that take everything; the first publishes, each keeps as its rule says."""
    specs = [
        PeerSpec(
            f"n{index}",
            storage_group=(groups or {}).get(index),
            rules=RuleSettings(want=KINDS, copies=copies, keep=() if rule is None else (rule,)),
        )
        for index, rule in enumerate(rules)
    ]
    return world_of(*specs)


def fill(world: World, count: int = 5) -> None:
    for number in range(count):
        world.publish(0, "models", f"{number}.pth", size=100 * KB)
        world.run(2.0)


def held(world: World, index: int) -> list[str]:
    return sorted(key.name for key, _ in world.nodes[index].disk.holdings)


def test_only_the_newest_stay_and_the_rest_is_told_with_who_has_it() -> None:
    world = keepers(None, Keep(kind="models", newest=2), None)
    fill(world)
    world.run(200.0)
    assert held(world, 1) == ["3.pth", "4.pth"]
    events = told(world, 1, ArtifactEvicted)
    assert [event.artifact for event in events] == [f"models/n0/{number}.pth" for number in range(3)]
    assert events[0].holders and "n1" not in events[0].holders
    assert held(world, 2) == held(world, 0) == [f"{number}.pth" for number in range(5)]


def test_keep_that_is_changed_is_looked_at_within_seconds() -> None:
    world = keepers(None, None, None)
    fill(world)
    world.run(20.0)
    assert len(held(world, 1)) == 5
    settings = replace(core(world, 1).rules.settings, keep=(Keep(kind="models", newest=2),))
    world.nodes[1].give(3, 0, core(world, 1).change_rules, settings)
    world.run(4.0)
    assert len(held(world, 1)) == 2


def test_what_was_evicted_is_not_pulled_again_even_after_a_restart_unless_somebody_asks() -> None:
    world = keepers(None, Keep(kind="models", newest=1), None)
    fill(world, 2)
    world.run(200.0)
    assert held(world, 1) == ["1.pth"]
    world.crash(1)
    world.restart(1)
    world.run(100.0)
    assert held(world, 1) == ["1.pth"]
    answer = core(world, 1).explain(ArtifactKey("models", "n0", "0.pth"), "n1", world.now)
    assert (answer.code, answer.wanted, answer.held) == ("evicted", False, False)
    assert "n1 does not have it: n1: its `keep:` rules let it go" in answer.sentence
    report = sync(world, 1, data_type="models", targets=("n1",))
    assert report.success
    assert held(world, 1) == ["0.pth", "1.pth"]


def test_a_new_version_of_what_was_evicted_is_wanted_again() -> None:
    world = keepers(None, Keep(kind="models", newest=1), None)
    fill(world, 2)
    world.run(200.0)
    world.publish(0, "models", "0.pth", size=100 * KB)
    world.run(5.0)
    assert "0.pth" in held(world, 1)


def test_two_that_would_evict_the_same_never_both_do() -> None:
    world = keepers(None, Keep(kind="models", newest=1), Keep(kind="models", newest=1), copies=2)
    fill(world, 3)
    world.run(1000.0)
    for number in range(3):
        assert len(holders(world, "models", "n0", f"{number}.pth")) == 3, "each needs the two others"


def test_copies_that_share_a_disk_count_once() -> None:
    groups = {0: "nfs", 2: "nfs"}
    world = keepers(None, Keep(kind="models", newest=1), None, copies=2, groups=groups)
    fill(world, 3)
    world.run(300.0)
    assert len(held(world, 1)) == 3


def test_age_and_size_are_limits_too() -> None:
    world = keepers(None, Keep(kind="models", seconds=100.0), Keep(kind="models", bytes=250 * KB))
    fill(world, 4)
    world.run(90.0)
    assert len(held(world, 2)) == 2
    world.run(300.0)
    assert held(world, 1) == ["0.pth", "1.pth"], "beside their author's own they are the only copies"


def test_what_a_user_made_here_never_goes() -> None:
    world = keepers(Keep(kind="models", newest=1), None, None)
    fill(world, 3)
    world.run(300.0)
    assert held(world, 0) == ["0.pth", "1.pth", "2.pth"]


def test_whoever_pledged_keeps_and_whoever_is_evicting_refuses() -> None:
    world = keepers(None, Keep(kind="models", newest=1), None)
    fill(world, 2)
    peer, now = core(world, 1), world.nodes[1].clock()
    record = next(record for record in peer.versions.all_visible() if record.name == "0.pth")
    entry = entry_of(record)

    def answer() -> list[bool]:
        out = peer.retention.receive(PledgeWanted(entry), core(world, 2).me, now)
        return [effect.message.granted for effect in out if isinstance(effect.message, Pledged)]

    assert answer() == [True]
    peer.retention._look_at = now
    peer.retention.wake(now)
    assert entry[:32] not in peer.retention._leaving, "it pledged to keep it"
    peer.retention._pledges.clear()
    peer.retention._look_at = now
    peer.retention.wake(now)
    assert answer() == [False]


def test_when_copies_fall_short_an_evicted_one_comes_back() -> None:
    world = keepers(None, Keep(kind="models", newest=1), None)
    fill(world, 2)
    world.run(200.0)
    assert held(world, 1) == ["1.pth"]
    world.crash(2, machine=True)
    world.run(300.0)
    assert "0.pth" in held(world, 1)


def test_a_pledge_of_somebody_who_was_not_asked_counts_for_nothing() -> None:
    world = keepers(None, Keep(kind="models", newest=2), None, None)
    fill(world)
    machine, node = core(world, 1).retention, world.nodes[1]
    machine.rules_changed(node.clock())
    out = machine.wake(node.clock() + 4.0)
    asked = [effect.to for effect in out if isinstance(effect, Send)]
    assert asked
    leaving = next(iter(machine._leaving.values()))
    del leaving.asked[core(world, 3).me]  # as if it had never confirmed a copy
    pledge = Pledged(entry_of(leaving.record), granted=True)
    assert machine.receive(pledge, core(world, 3).me, node.clock() + 4.1) == []
    assert machine.receive(pledge, core(world, 2).me, node.clock() + 4.1) != []


def test_more_evictions_are_remembered_than_one_origin_may_have_artifacts(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr("ringgossip.protocol.marks._MOST", 2)
    monkeypatch.setattr("ringgossip.protocol.marks._MOST_EVICTED", 3)
    marks, origin = Marks(), Origin()
    gone = [origin.record(manifest_of(1), f"{number}.db") for number in range(4)]
    for record in gone[:3]:
        marks.evict(record)
    assert all(map(marks.is_evicted, gone[:3]))
    marks.evict(gone[3])
    assert [marks.is_evicted(record) for record in gone] == [False, True, True, True]
