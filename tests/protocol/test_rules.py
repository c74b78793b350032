"""Do whole peers place what is published as the rules say, and say the same as the rules?"""

from dataclasses import replace
from random import Random

from artifacts import Origin, manifest_of, peer

from ringgossip.content.record import ArtifactKey
from ringgossip.events import ReceivingChanged
from ringgossip.protocol.cards import MemberFacts
from ringgossip.protocol.core import NEVER, WantChanged
from ringgossip.protocol.member_views import Member
from ringgossip.protocol.peer_core import PeerCore
from ringgossip.protocol.rules import Rules, RuleSettings
from ringgossip.simulation.world import PeerSpec, World
from ringgossip.strategy.candidates import DiskUse
from ringgossip.strategy.weights import rank_of

MB = 1_000_000
GB = 10**9


def core(world: World, name: str) -> PeerCore:
    running = world.checks.node_named(name).core
    assert running is not None
    return running


def together(*specs: PeerSpec, seed: int = 1) -> World:
    world = World(specs, seed=seed)
    world.start()
    assert world.run_until(lambda: not world.problems(), 20.0) is not None
    world.run(5.0)
    return world


def placed(world: World, key: ArtifactKey, sequence: int = 1) -> list[str]:
    return [node.name for node in world.nodes if node.disk.holds(key, sequence)]


def published(world: World, index: int, kind: str, name: str = "a", size: int = MB) -> ArtifactKey:
    ticket = world.publish(index, kind, name, size=size)
    assert world.settle(30.0) is not None, world.problems()
    world.run(3.0)
    assert not world.problems()
    return world.publications[ticket].key


def chosen(world: World, key: ArtifactKey) -> list[str]:
    """What the rules of the first peer say, origin included."""
    peer = core(world, world.nodes[0].name)
    record = peer.catalog.get(key)
    assert record is not None
    holders = peer.rules.census(key.kind).holders(key.hash, key.origin)
    return sorted({key.origin, *(candidate.name for candidate in holders)})


def test_a_coordinator_that_only_wants_a_kind_spreads_it_as_one_that_receives_it() -> None:
    world = together(
        PeerSpec("says-want", role="coordinator", rules=RuleSettings(want=("games",))),
        PeerSpec("says-receive", role="coordinator", rules=RuleSettings(receive=("games",))),
        PeerSpec("says-nothing", role="coordinator"),
    )
    names = ("says-want", "says-receive", "says-nothing")
    plans = [[core(world, name).rules.plan(kind).name for kind in ("games", "npz")] for name in names]
    assert plans == [["hybrid", "skip"], ["hybrid", "skip"], ["skip", "skip"]]


def test_models_go_to_whoever_plays_or_trains_and_to_no_coordinator() -> None:
    world = together(
        PeerSpec("head", role="coordinator"),
        PeerSpec("train", role="training"),
        PeerSpec("play-1"),
        PeerSpec("play-2"),
    )
    key = published(world, 1, "models")
    assert placed(world, key) == ["train", "play-1", "play-2"]
    verdict = core(world, "head").wanting_of(key, "head")
    assert (bool(verdict), getattr(verdict, "code", "")) == (False, "coordinator")


def test_games_of_a_player_reach_as_many_chosen_holders_as_copies_are_wanted() -> None:
    world = together(*(PeerSpec(f"play-{i}") for i in range(8)))
    for name in ("a", "b", "c", "d"):
        key = published(world, 0, "games", name)
        assert len(placed(world, key)) == 1 + 3
        assert sorted(placed(world, key)) == chosen(world, key)


def test_every_peer_names_the_same_holders() -> None:
    world = together(*(PeerSpec(f"play-{i}") for i in range(8)))
    key = published(world, 3, "games")
    views = set()
    for node in world.nodes:
        assert node.core is not None
        holders = node.core.rules.census("games").holders(key.hash, key.origin)
        views.add(tuple(sorted(candidate.name for candidate in holders)))
    assert len(views) == 1


def test_when_a_chosen_holder_is_lost_another_takes_its_place_after_a_while() -> None:
    world = together(*(PeerSpec(f"play-{i}") for i in range(8)))
    key = published(world, 0, "games")
    lost = next(name for name in placed(world, key) if name != "play-0")
    world.crash(world.checks.node_named(lost).index, machine=True)
    world.run(20.0)
    assert len(placed(world, key)) == 4, "a machine that reboots keeps its copies: nobody hurries"
    world.run(80.0)
    assert len([name for name in placed(world, key) if name != lost]) == 4


def test_who_comes_late_takes_what_it_wants_and_nothing_else() -> None:
    specs = [PeerSpec("train", role="training"), *(PeerSpec(f"play-{i}") for i in range(3))]
    world = World(specs, seed=2)
    world.start(0, 1, 2)
    world.run(8.0)
    model, games = published(world, 0, "models"), published(world, 0, "games")
    world.start(3)
    world.run(15.0)
    assert "play-2" in placed(world, model)
    # Three copies are wanted and three others are there.
    assert placed(world, games) == ["train", "play-0", "play-1", "play-2"]


def test_a_full_disk_stops_games_but_not_models_and_goes_on_when_it_is_free_again() -> None:
    world = together(PeerSpec("train-1", role="training"), PeerSpec("train-2", role="training"))
    full, free = DiskUse(900 * GB, 50 * GB), DiskUse(300 * GB, 650 * GB)
    node = world.nodes[1]
    node.give(3, 0, core(world, "train-2").disk_changed, full)
    world.run(2.0)
    told = [event for _, event in node.told if isinstance(event, ReceivingChanged)]
    assert [(event.kind, event.code) for event in told] == [("games", "disk"), ("npz", "disk")]
    games, model = published(world, 0, "games"), published(world, 0, "models")
    assert (placed(world, games), placed(world, model)) == (["train-1"], ["train-1", "train-2"])
    verdict = core(world, "train-1").wanting_of(games, "train-2")
    assert getattr(verdict, "code", "") == "disk", "the others know it from its card"
    # Fuller than where it goes on, and less full than where it stopped: a restart makes no difference.
    between = DiskUse(110 * GB, 60 * GB)
    world.disk_uses[1] = between
    node.give(3, 0, core(world, "train-2").disk_changed, between)
    world.run(2.0)
    world.crash(1)
    world.restart(1)
    world.run(10.0)
    assert placed(world, games) == ["train-1"]
    node.give(3, 0, core(world, "train-2").disk_changed, free)
    world.run(10.0)
    assert placed(world, games) == ["train-1", "train-2"]


def test_a_role_that_changes_changes_what_is_wanted_while_running() -> None:
    world = together(
        *(PeerSpec(f"play-{i}", role="proxy") for i in range(2)), PeerSpec("train", role="training")
    )
    key = published(world, 2, "models", size=MB)
    world.run(10.0)
    peer = core(world, "play-0")
    facts = peer.membership.member(peer.me)
    assert facts is not None
    assert peer.rules.plan("games").name == "hybrid"
    world.nodes[0].give(3, 0, peer.change_facts, replace(facts.facts, role="selfplay", ephemeral=True))
    world.run(5.0)
    assert (peer.rules.plan("games").name, peer.rules.plan("games").persistent_first) == ("ephemeral", True)
    assert "play-0" in placed(world, key)
    wanted = core(world, "train").membership.member(peer.me)
    assert wanted is not None
    assert wanted.facts.wants == ("models",)


def test_what_somebody_asked_for_comes_whatever_the_role_takes_and_is_then_asked_no_more() -> None:
    world = together(*(PeerSpec(f"play-{i}") for i in range(6)))
    key = published(world, 0, "games")
    outside = next(node for node in world.nodes if node.name not in placed(world, key))
    record = core(world, outside.name).catalog.get(key)
    world.nodes[outside.index].give(3, 0, core(world, outside.name).ask, record, "high")
    world.run(5.0)
    assert outside.name in placed(world, key)
    second = world.publish(0, "games", "a", changed=0.5)
    world.run(10.0)
    assert outside.name not in placed(world, world.publications[second].key, 2)


def test_a_rule_that_names_a_node_is_told_before_what_it_was_asked_for() -> None:
    world = together(PeerSpec("train", role="training"), PeerSpec("play", role="selfplay"))
    key = published(world, 1, "models")
    peer = core(world, "train")
    peer.rules.ask(key, 1)
    assert getattr(peer.wanting_of(key, "train"), "why", "") == "asked"
    assert peer.explain(key, "train", world.now).code == "role"


def test_in_a_storage_group_one_member_pulls() -> None:
    world = together(
        PeerSpec("train", role="training"),
        PeerSpec("nfs-1", role="training", storage_group="nfs"),
        PeerSpec("nfs-2", role="training", storage_group="nfs"),
    )
    key = published(world, 0, "npz")
    assert len(placed(world, key)) == 2
    other = next(name for name in ("nfs-1", "nfs-2") if name not in placed(world, key))
    assert getattr(core(world, "train").wanting_of(key, other), "code", "") == "storage_group"


def test_a_peer_that_starts_alone_chooses_itself_for_nothing() -> None:
    world = together(*(PeerSpec(f"play-{i}") for i in range(7)))
    key = published(world, 0, "games")
    outside = next(node for node in world.nodes if node.name not in placed(world, key))
    world.crash(outside.index)
    world.run(2.0)
    world.restart(outside.index)
    reserved = []
    for _ in range(60):
        world.run(0.1)
        reserved += list(outside.disk.reserved)
    assert not reserved
    assert outside.name not in placed(world, key)


def test_kinds_go_before_words() -> None:
    order = [("models", "critical"), ("models", "background"), ("games", "critical"), ("npz", "normal")]
    assert sorted(order, key=lambda entry: rank_of(*entry)) == order


def test_partners_are_drawn_by_weight_and_nobody_starves() -> None:
    members = {
        bytes([i]) * 16: Member(bytes([i]) * 16, f"p{i}", "alive", 1, 0, MemberFacts((), role=role))  # type: ignore[arg-type]
        for i, role in enumerate(["selfplay", "training", "selfplay", "selfplay"])
    }
    me = next(iter(members))
    rules = Rules(
        RuleSettings(), MemberFacts(()), me, "p0", Random(1), members.get, lambda: tuple(members),  # type: ignore[arg-type]
        lambda: iter(()), lambda key: 0, 0.0,
    )  # fmt: skip
    drawn = [rules.partners(1)[0] for _ in range(4000)]
    share = sum(peer == bytes([1]) * 16 for peer in drawn) / 4000
    heavy, light = (rules.weights.partner(bytes([i]) * 16) for i in (1, 2))  # type: ignore[arg-type]
    assert abs(share - heavy / (heavy + 2 * light)) < 0.03
    assert rules.next_wakeup() < NEVER


def test_members_that_change_all_the_time_keep_no_record_from_being_looked_at() -> None:
    records = [Origin().record(manifest_of(1), f"{number}") for number in range(30)]
    me = peer(0)
    members = {me: Member(me, "p0", "alive", 1, 0, MemberFacts(()))}
    rules = Rules(
        RuleSettings(batch=4), MemberFacts(()), me, "p0", Random(1), members.get, lambda: tuple(members),
        lambda: iter(records), lambda key: 0, 0.0,
    )  # fmt: skip
    looked: dict[str, None] = {}
    now = 0.0
    for _ in range(20):
        now = rules.next_wakeup()
        looked |= {change.record.name: None for change in rules.wake(now) if isinstance(change, WantChanged)}
        rules.members_changed(now)
    assert len(looked) == 30
