"""Does `explain` say what is so, of every artifact and node, in every odd moment and whoever is asked?

Whole peers in the made world. After each thing that happens, what every peer says
of every (artifact, node) is held against what lies on that node's disk.
"""

from dataclasses import replace

import pytest
from cores import core, told

from ringgossip.config.blocks import Budget, DiskRules
from ringgossip.content.record import ArtifactKey
from ringgossip.errors import OperationFailed
from ringgossip.events import BudgetSpent
from ringgossip.protocol.explaining import Explanation
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation import ruling
from ringgossip.simulation.world import PeerSpec, World

GB = 10**9
KINDS = ("games", "models", "npz")
RULES = RuleSettings(copies=1, disk=DiskRules(floor_bytes=GB))
TRAIN, OTHER, PLAY, HEAD, LATER = range(5)


def together() -> World:
    world = World(
        [
            PeerSpec("train", role="training", rules=RULES),
            PeerSpec("other", role="training", rules=replace(RULES, copies=0)),
            PeerSpec("play", rules=RULES),
            PeerSpec("head", role="coordinator", rules=RULES),
            PeerSpec("later", rules=RULES),
        ],
        seed=3,
        carrier="pieces",
    )
    world.start()
    assert world.run_until(lambda: not world.problems(), 20.0) is not None
    world.run(5.0)
    return world


def publish(world: World, *peers: int, name: str = "a", size: int = 1_000_000) -> None:
    for peer in peers:
        for kind in KINDS:
            world.publish(peer, kind, f"{name}-{kind}", size=size)


def running(world: World) -> list[int]:
    return [node.index for node in world.nodes if node.core is not None]


def answers(world: World) -> list[tuple[str, int, Explanation]]:
    """What every peer that runs says of every artifact and node: (who says it, of which node, what)."""
    found = []
    for asked in running(world):
        for record in core(world, asked).catalog.records():
            for node in world.nodes:
                answer = core(world, asked).explain(record.key, node.name, world.now)
                found.append((world.nodes[asked].name, node.index, answer))
    return found


def agree(world: World, arrived: bool = True) -> list[Explanation]:
    """See that all of it is so. `arrived`: what is wanted, and to be had, is there by now."""
    found = []
    for asker, index, answer in answers(world):
        node = world.nodes[index]
        key = ArtifactKey.parse(answer.artifact)
        record = core(world, running(world)[0]).catalog.get(key)
        assert record is not None
        about = f"{asker} of {answer.artifact}: {answer.sentence}"
        assert answer.held == node.disk.holds(key, record.sequence), about
        if arrived and answer.wanted and not answer.hindrance and node.core is not None:
            assert answer.held, about
        said = "has it" if answer.held else "will get it" if answer.wanted else "does not have it"
        assert answer.code in ("withdrawn", "retired") or answer.sentence.startswith(f"{node.name} {said}")
        found.append(answer)
    return found


def about(found: list[Explanation], node: str, kind: str) -> set[str]:
    return {one.code for one in found if one.node == node and one.artifact.startswith(kind)}


def test_nobody_says_anything_else_than_what_is_so_while_disks_fill_and_nodes_pause() -> None:
    world = together()
    publish(world, TRAIN, PLAY)
    assert world.settle(30.0) is not None
    world.run(3.0)
    agree(world)
    ruling.fill(world, OTHER, 0.99, GB // 2)  # below its floor: nothing at all
    world.nodes[LATER].give(3, 0, core(world, LATER).change_rules, replace(RULES, state="suspended"))
    world.run(5.0)
    publish(world, TRAIN, PLAY, name="b")
    world.run(20.0)
    found = [one for one in agree(world) if one.artifact.split("/")[-1].startswith("b")]
    for kind in KINDS:
        assert about(found, "other", kind) == {"disk"}
        assert about(found, "later", kind) == {"status"}
        assert about(found, "head", kind) == {"coordinator"}
    ruling.fill(world, OTHER, 0.1, 900 * GB)
    world.nodes[LATER].give(3, 0, core(world, LATER).change_rules, RULES)
    assert world.settle(60.0) is not None
    world.run(5.0)
    found = [one for one in agree(world) if one.node in ("other", "later")]
    assert not {"disk", "status"} & {one.code for one in found}


def test_who_waits_for_a_spent_budget_is_said_to_wait_and_until_when() -> None:
    world = together()
    spends = replace(RULES, budget=Budget(send_bytes_per_day=1_500_000))
    world.nodes[PLAY].give(3, 0, core(world, PLAY).change_rules, spends)
    world.run(2.0)
    publish(world, PLAY, size=1_200_000)
    assert world.run_until(lambda: bool(told(world, PLAY, BudgetSpent)), 30.0) is not None
    world.run(3.0)
    found = agree(world, arrived=False)
    assert any(one.hindrance == "budget" for one in found)
    for one in found:
        assert one.hindrance != "budget" or "byte budget spent until" in one.sentence


def test_of_who_went_it_is_said_that_it_went_and_nobody_is_promised_what_lies_there_alone() -> None:
    world = together()
    world.limit(PLAY, up=200e3, down=None)
    publish(world, PLAY, size=2_000_000)
    world.run(1.0)
    world.leave(PLAY)
    world.run(60.0)
    found = agree(world)
    alone = [one for one in found if one.holders == ("play",)]
    assert alone and {one.hindrance for one in alone if one.node != "play"} == {"absent"}
    for one in found:
        assert ("play is gone (left): nobody gets it from there" in one.sentence) == (one.node == "play")
        assert one.node == "play" or "play" not in one.holders or "play (left)" in one.sentence
    held_back = core(world, TRAIN).held_back(world.now)
    assert held_back is not None and "Nobody who is here has it: play (left)." in held_back[1]
    world.restart(PLAY)
    assert world.settle(120.0) is not None
    world.run(3.0)  # who holds it is heard on links, a moment later
    assert core(world, TRAIN).held_back(world.now) is None
    assert not any(one.hindrance for one in agree(world))


def test_what_nobody_knows_is_said_to_be_unknown() -> None:
    world = together()
    publish(world, TRAIN)
    world.run(5.0)
    with pytest.raises(OperationFailed, match="there is no member nobody: see"):
        core(world, HEAD).explain(ArtifactKey("games", "train", "a-games"), "nobody", world.now)
    with pytest.raises(OperationFailed, match="nobody has published games/train/b: see"):
        core(world, HEAD).explain(ArtifactKey("games", "train", "b"), "train", world.now)
    world.withdraw(TRAIN, "games", "a-games")
    world.run(5.0)
    assert about(agree(world), "other", "games") == {"withdrawn"}
