"""Who shares a disk: does one pull, do the others show its file, and does a copy count once?"""

from dataclasses import replace
from typing import Any

from cores import KB, core, holders, sync, told, world_of

from ringgossip.config.words import KINDS
from ringgossip.content.record import ArtifactKey
from ringgossip.events import ArtifactShown, StorageTrouble
from ringgossip.protocol.core import TellPlace
from ringgossip.protocol.receipts import entry_of
from ringgossip.protocol.rules import RuleSettings
from ringgossip.protocol.showing import Shown
from ringgossip.simulation.world import PeerSpec, World
from ringgossip.wire.messages import PlaceWanted

ALL = RuleSettings(want=KINDS, copies=2)
NONE = RuleSettings(want=(), copies=0)
KEY = ArtifactKey("models", "n0", "best.pth")


def cluster(groups: str = "-aab", rules: RuleSettings = ALL) -> World:
    """One peer for each letter; who has the same letter shares a disk, `-` shares none."""
    return world_of(
        *[
            PeerSpec(f"n{number}", storage_group=None if group == "-" else group, rules=rules)
            for number, group in enumerate(groups)
        ]
    )


def publish(world: World, by: int = 0, kind: str = "models", name: str = "best.pth", **more: Any) -> None:
    world.publish(by, kind, name, **{"size": 300 * KB, **more})
    world.run(3.0)


def shown(world: World, index: int, key: ArtifactKey = KEY) -> Shown | None:
    return core(world, index).showing.shown(key)


def pair(world: World, key: ArtifactKey = KEY) -> tuple[int, int]:
    """Who of n1 and n2 pulled it, and who did not."""
    [puller] = holders(world, *key) & {"n1", "n2"}
    return (1, 2) if puller == "n1" else (2, 1)


def test_one_pulls_and_the_other_shows_its_file_without_a_byte() -> None:
    world = cluster()
    publish(world)
    puller, other = pair(world)
    found = shown(world, other)
    assert found is not None and found.path == f"/shared/n{puller}/replicas/models/n0/best.pth"
    assert world.nodes[other].core.counters.get("chunk_bytes_received", 0) == 0  # type: ignore[union-attr]
    [event] = told(world, other, ArtifactShown)
    assert (event.artifact, event.sequence, event.via) == (KEY.text, 1, f"n{puller}")
    view = core(world, other).artifact_view(found.record)
    assert (view.complete, view.path, view.via) == (True, found.path, f"n{puller}")
    assert view.holders == tuple(sorted(["n0", "n3", f"n{puller}"])), "what is shown is no copy"
    assert core(world, 0).copies(found.record) == 2
    sentence = core(world, other).explain(KEY, f"n{other}", 0.0).sentence
    assert f"n{puller} pulls it to the disk" in sentence and found.path in sentence


def test_explain_counts_copies_by_the_disks_they_lie_on() -> None:
    world = cluster("---")
    publish(world)
    assert "2 are confirmed." in core(world, 0).explain(KEY, "n1", world.now).sentence
    for index in (1, 2):  # their owner tells that both folders lie on one disk
        peer = core(world, index)
        shared = replace(peer.rules.facts(), storage_group="a")
        world.nodes[index].give(3, 0, peer.change_facts, shared)
    world.run(5.0)
    record = core(world, 0).catalog.get(KEY)
    assert record is not None and core(world, 0).copies(record) == 1
    assert "1 is confirmed." in core(world, 0).explain(KEY, "n1", world.now).sentence


def test_a_copy_on_the_disk_of_its_origin_is_no_copy_to_explain() -> None:
    world = cluster("aa-")
    publish(world)
    answer = core(world, 0).explain(KEY, "n1", world.now)
    assert answer.code == "storage_group"
    assert "1 is confirmed." in answer.sentence


def test_a_newer_version_is_shown_when_it_is_there() -> None:
    world = cluster()
    publish(world)
    _, other = pair(world)
    publish(world, changed=0.5)
    found = shown(world, other)
    assert found is not None and found.record.sequence == 2
    assert [event.sequence for event in told(world, other, ArtifactShown)] == [1, 2]


def test_what_a_mate_published_is_shown_whatever_the_role_takes() -> None:
    world = cluster(rules=NONE)
    publish(world, by=1, kind="games", name="games.db")
    key = ArtifactKey("games", "n1", "games.db")
    found = shown(world, 2, key)
    assert found is not None and found.path == "/shared/n1/replicas/games/n1/games.db"
    assert shown(world, 3, key) is None and holders(world, *key) == {"n1"}


def test_who_asks_is_shown_what_a_mate_has_and_it_counts_as_present() -> None:
    world = cluster(rules=NONE)
    publish(world)
    sync(world, 0, data_type="models", targets=("n1",))
    assert holders(world, *KEY) == {"n0", "n1"} and shown(world, 2) is None
    report = sync(world, 2, data_type="models", targets=("n2",))
    assert [row.outcome for row in report.rows] == ["already_present"] and report.success
    assert shown(world, 2) is not None and holders(world, *KEY) == {"n0", "n1"}


def test_a_damaged_file_is_not_shown_and_who_asks_pulls_it_instead() -> None:
    world = cluster(rules=NONE)
    publish(world)
    sync(world, 0, data_type="models", targets=("n1",))
    [record] = [held.record for held in world.nodes[1].disk.holdings.values()]
    world.nodes[1].disk.damaged[record.root, 0] = bytes(32)
    report = sync(world, 2, data_type="models", targets=("n2",))
    assert [row.outcome for row in report.rows] == ["moved"]
    assert shown(world, 2) is None and "n2" in holders(world, *KEY)
    assert "cannot be read here: it is damaged" in told(world, 2, StorageTrouble)[0].reason


def test_when_the_puller_dies_the_other_takes_over() -> None:
    world = cluster()
    publish(world)
    puller, other = pair(world)
    world.crash(puller, machine=True)
    world.run(90.0)
    assert holders(world, *KEY) >= {"n0", "n3", f"n{other}"}
    assert shown(world, other) is None, "its own copy is what it shows"
    world.restart(puller)
    world.run(10.0)
    publish(world, changed=0.5)
    world.run(10.0)
    assert len(holders(world, *KEY, sequence=2) & {"n1", "n2"}) == 1, "together again, one pulls"


def test_what_its_member_lets_go_is_shown_no_more() -> None:
    world = cluster(rules=NONE)
    publish(world, by=1)
    key = KEY._replace(origin="n1")
    found = shown(world, 2, key)
    assert found is not None
    world.nodes[1].disk.lose(found.record)
    world.run(35.0)
    assert shown(world, 2, key) is None


def test_what_is_withdrawn_is_shown_no_more() -> None:
    world = cluster(rules=NONE)
    publish(world, by=1)
    world.withdraw(1, "models", "best.pth")
    world.run(3.0)
    assert shown(world, 2, KEY._replace(origin="n1")) is None


def test_a_peer_that_starts_again_shows_again() -> None:
    world = cluster(rules=NONE)
    publish(world, by=1)
    world.crash(2)
    world.restart(2)
    world.run(40.0)
    assert shown(world, 2, KEY._replace(origin="n1")) is not None


def test_nobody_else_is_told_where_our_files_lie() -> None:
    world = cluster(rules=NONE)
    publish(world, by=1)
    record = core(world, 1).catalog.get(KEY._replace(origin="n1"))
    assert record is not None
    node, question = world.nodes[1], PlaceWanted(entry_of(record))
    for index, told_where in ((2, record), (3, None)):
        asker = world.nodes[index].certificate.peer_id
        link = node.link_to(asker)
        assert link is not None
        [effect] = core(world, 1).receive(question, asker, link.number, node.clock())  # type: ignore[arg-type]
        assert isinstance(effect, TellPlace) and effect.record == told_where
