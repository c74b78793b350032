"""Who is served when an uplink is thin? Checkpoints, then as weights say; nobody starves. Whole peers."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ringgossip.config.blocks import Bandwidth
from ringgossip.events import ArtifactCompleted
from ringgossip.protocol.answers import SyncRequest
from ringgossip.protocol.core import AcceptBody, SendChunk, Tell
from ringgossip.protocol.rule_settings import RuleSettings
from ringgossip.simulation import World, read_story
from ringgossip.simulation.kernel import VERB
from ringgossip.simulation.node import Node
from ringgossip.simulation.scenario import Publish, Story
from ringgossip.simulation.tasks import schedule
from ringgossip.simulation.world import PeerSpec

FOLDER = Path(__file__).parents[2] / "simulations"
UPLINK = 1e6  # bytes a second, of the holder
GAMES_CHUNK = 65536
MODEL_CHUNK = 262144
ROUND_TRIP = 0.02
AHEAD = 0.02  # what may be granted before the chunk under way has left


def thin_holder(*readers: PeerSpec) -> World:
    """A holder with a thin uplink, and readers that have nothing but its games, and hardly give them on."""
    holder = PeerSpec("holder", "training", up=UPLINK, down=20e6, rules=RuleSettings(copies=0))
    world = World([holder, *readers], seed=1, carrier="pieces", seeds=(0,))
    world.start()
    world.run(3.0)
    return world


def reader(name: str, **more: Any) -> PeerSpec:
    """Return a peer that pulls games and gives none on."""
    limit = Bandwidth(send_bytes_per_second=1000.0)
    rules = RuleSettings(want=("games",), copies=0, bandwidth=limit)
    return PeerSpec(name, up=10e6, down=20e6, rules=rules, **more)


class Given:
    """What the holder gives to whom, and how long each waits between two chunks."""

    def __init__(self, world: World) -> None:
        self.bytes: dict[str, int] = {}
        self.longest: dict[str, float] = {}
        self._world = world
        self.last: dict[str, float] = {}
        self._names = {node.certificate.peer_id: node.name for node in world.nodes}
        world.checks.watch(SendChunk, self._sends)

    def _sends(self, node: Node, effect: SendChunk) -> None:
        if node.name == "holder":
            name, now = self._names[effect.peer], self._world.now
            self.bytes[name] = self.bytes.get(name, 0) + effect.length
            self.longest[name] = max(self.longest.get(name, 0.0), now - self.last.get(name, now))
            self.last[name] = now


@dataclass
class Arrivals:
    """When chunks of a model begin to arrive at the player, and when it is whole; after its publication."""

    chunks: list[float] = field(default_factory=list)
    whole: float = 0.0


def arrivals(story: Story, seed: int) -> Arrivals:
    """Tell a story up to the moment at which the player has its model."""
    world = World(
        story.specs, seed=seed, weather=story.weather_there(), carrier=story.carrier, seeds=story.seeds
    )
    found = Arrivals()
    player = next(node for node in world.nodes if node.name == "player-0")

    def since() -> float:
        [model] = [each for each in world.publications.values() if each.key.kind == "models"]
        return world.now - model.asked_at

    def accepted(node: Node, effect: AcceptBody) -> None:
        if node is player:
            found.chunks.append(since())

    def told(node: Node, effect: Tell) -> None:
        if node is player and isinstance(effect.event, ArtifactCompleted):
            found.whole = since()

    world.checks.watch(AcceptBody, accepted)
    world.checks.watch(Tell, told)
    world.start()
    schedule(story, world)
    while not found.whole and world.now < 60.0:
        world.run(0.5)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_no_chunk_of_a_model_leaves_more_than_one_chunk_time_later_than_alone(seed: int) -> None:
    story = read_story(FOLDER / "critical_models.yaml")
    models = tuple(task for task in story.tasks if isinstance(task, Publish) and task.kind == "models")
    alone = arrivals(replace(story, tasks=models), seed)
    beside = arrivals(story, seed)
    # Two chunks of games, which are half of a chunk of this model and an eighth of one in production.
    allowed = 2 * GAMES_CHUNK / UPLINK + AHEAD + ROUND_TRIP
    assert allowed < MODEL_CHUNK / UPLINK
    late = [there - here for here, there in zip(alone.chunks, beside.chunks, strict=True)]
    assert max(late) <= allowed
    assert beside.whole - alone.whole <= allowed


def test_a_node_that_trains_has_a_thin_uplink_as_its_weight_says() -> None:
    world = thin_holder(*(reader(f"reader-{index}") for index in range(3)))
    world.train(1, True)
    world.run(2.0)
    given = Given(world)
    world.publish(0, "games", "selfplay.db", size=40_000_000)
    world.run(20.0)
    core = world.nodes[0].core
    assert core is not None
    weights = {node.name: core.rules.weights.partner(node.certificate.peer_id) for node in world.nodes[1:]}
    assert weights["reader-0"] > 1.5 * weights["reader-1"] == 1.5 * weights["reader-2"]
    for name in ("reader-1", "reader-2"):
        shares = given.bytes["reader-0"] / given.bytes[name]
        assert shares == pytest.approx(weights["reader-0"] / weights[name], rel=0.05)
    assert sum(given.bytes.values()) > 0.95 * 20.0 * UPLINK, "and the uplink is full"


def test_what_is_asked_as_critical_has_twice_the_share_of_what_is_asked_as_normal() -> None:
    world = thin_holder(*(reader(f"reader-{index}") for index in range(2)))
    world.publish(0, "games", "selfplay.db", size=40_000_000)
    world.run(1.0)
    core = world.nodes[1].core
    assert core is not None
    urgent = SyncRequest(data_type="games", targets=("reader-0",), priority="critical")
    world.nodes[1].give(VERB, 1, core.sync, 1, urgent)
    world.run(6.0)  # what was asked before has left
    given = Given(world)
    world.run(20.0)
    assert given.bytes["reader-0"] / given.bytes["reader-1"] == pytest.approx(2.0, rel=0.05)


def test_nobody_who_wants_games_starves_beside_models_that_never_end() -> None:
    player = PeerSpec("player", up=10e6, down=20e6, rules=RuleSettings(want=("models",), copies=0))
    readers = [reader(f"reader-{index}") for index in range(4)]
    world = thin_holder(*readers, player)
    given = Given(world)
    world.publish(0, "games", "selfplay.db", size=40_000_000)
    world.run(2.0)
    for number in range(4):
        world.publish(0, "models", f"best-{number}.pth", size=30_000_000, chunk_size=MODEL_CHUNK)
    world.run(2.0)
    before = given.bytes["player"]
    world.run(60.0)
    # Of N that wait each has its turn; between two turns a second passes, and eight times as many bytes.
    turn = max(1.0, (9 * GAMES_CHUNK + MODEL_CHUNK) / UPLINK)
    for one in readers:
        assert world.now - given.last[one.name] <= 5.0 + len(readers) * turn
        assert given.longest[one.name] <= 5.0 + len(readers) * turn
    assert given.bytes["player"] - before >= 8 / 9 * 0.98 * UPLINK * 60.0
