"""What is pulled first of what many have? As the drain urgency of the sources says. Whole peers.

The reader's line is what is thin, by its own `receive_bytes_per_second`; every source has enough to give.
"""

from random import Random
from typing import Any

import pytest

from ringgossip.config.blocks import Bandwidth
from ringgossip.content.record import ArtifactKey
from ringgossip.events import ArtifactCompleted
from ringgossip.protocol.core import AcceptBody, Tell
from ringgossip.protocol.rule_settings import RuleSettings
from ringgossip.simulation import World
from ringgossip.simulation.node import Node
from ringgossip.simulation.world import PeerSpec
from ringgossip.strategy.weights import drain_urgency

LINE = 1e6  # bytes a second, of the reader
CHUNK = 65536


def thin_reader(seed: int = 1, places: int | None = None, **reader: Any) -> World:
    """A reader of everything, a machine that may vanish and one that stays; nobody else holds anything."""
    rules = RuleSettings(
        want=("games", "models"), copies=0, bandwidth=Bandwidth(receive_bytes_per_second=LINE)
    )
    # No write-through: what is offered as urgent goes before what is not, whatever both weigh.
    giver = RuleSettings(want=(), copies=0, strategy="hybrid")
    world = World(
        [
            PeerSpec("reader", up=10e6, down=20e6, rules=rules, max_concurrent=places, **reader),
            PeerSpec("spot", ephemeral=True, up=10e6, down=20e6, rules=giver),
            PeerSpec("stays", up=10e6, down=20e6, rules=giver),
        ],
        seed=seed,
        carrier="pieces",
        seeds=(0,),
    )
    world.start()
    world.run(5.0)
    return world


def urgencies(world: World, quality: float | None = None) -> dict[str, float]:
    """Return the weights with which the reader drains both."""
    core = world.nodes[0].core
    assert core is not None
    found = {}
    for record in core.catalog.records():
        chosen = core.rules.weights.urgency(record, core._holders(record), world.now)
        assert chosen is not None
        found[chosen[0].name] = chosen[1].value
    return found


class Taken:
    """Bytes that the reader takes from whom, and what is whole there, in order."""

    def __init__(self, world: World) -> None:
        self.bytes: dict[str, int] = {}
        self.whole: list[ArtifactKey] = []
        self.longest: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._world = world
        self._names = {node.certificate.peer_id: node.name for node in world.nodes}
        world.checks.watch(AcceptBody, self._accepted)
        world.checks.watch(Tell, self._told)

    def _accepted(self, node: Node, effect: AcceptBody) -> None:
        if node.index == 0:
            name, now = self._names[effect.peer], self._world.now
            self.bytes[name] = self.bytes.get(name, 0) + effect.length
            self.longest[name] = max(self.longest.get(name, 0.0), now - self._last.get(name, now))
            self._last[name] = now

    def _told(self, node: Node, effect: Tell) -> None:
        if node.index == 0 and isinstance(effect.event, ArtifactCompleted):
            self.whole.append(ArtifactKey.parse(effect.event.artifact))


def test_sources_share_a_thin_line_as_their_drain_urgency_says() -> None:
    world = thin_reader()
    for peer in (1, 2):
        world.publish(peer, "games", "games.db", size=40_000_000, chunk_size=CHUNK)
    world.run(2.0)
    weights = urgencies(world)
    assert weights["spot"] == weights["stays"] + 30
    taken = Taken(world)
    world.run(20.0)
    ratio = weights["spot"] / weights["stays"]
    assert taken.bytes["spot"] / taken.bytes["stays"] == pytest.approx(ratio, rel=0.05)
    assert sum(taken.bytes.values()) > 0.95 * 20.0 * LINE, "and the line is full"
    # Who weighs less waits no longer than its share says, and one chunk more.
    assert taken.longest["stays"] <= (ratio + 2) * CHUNK / LINE + 0.3


def test_what_a_machine_that_may_vanish_has_comes_sooner_in_the_ratio_of_weights() -> None:
    shares = []
    for seed in range(16):
        world = thin_reader(seed, places=1)
        names = [(peer, number) for peer in (1, 2) for number in range(30)]
        Random(seed).shuffle(names)  # no order of publication favours either
        taken = Taken(world)
        for peer, number in names:
            world.publish(peer, "games", f"{number}.db", size=150_000, chunk_size=CHUNK)
        assert world.run_until(lambda taken=taken: len(taken.whole) >= 30, 30.5) is not None  # type: ignore[misc]
        shares.append(sum(key.origin == "spot" for key in taken.whole[:30]) / 30)
    # Half of all are drawn and none is put back (Wallenius' distribution: the rest of each shrinks as its
    # weight says), and one place in nine goes to what waits longest, whoever has it. The weights are those
    # of the moment in which all began to wait: nothing had been pulled of either yet.
    reader = world.nodes[0].core
    assert reader is not None
    sources = [reader.rules.candidate(node.certificate.peer_id) for node in world.nodes[1:3]]
    weight = {source.name: drain_urgency(source).value for source in sources if source is not None}
    ratio = weight["spot"] / weight["stays"]
    drawn = next(share / 1000 for share in range(500, 1000) if 1 - share / 1000 < (share / 1000) ** ratio)
    assert sum(shares) / len(shares) == pytest.approx(8 / 9 * drawn + 1 / 18, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_a_model_of_one_source_is_not_late_because_others_have_games_for_us(seed: int) -> None:
    def seconds(games: bool) -> float:
        world = thin_reader(seed)
        if games:
            world.publish(1, "games", "games.db", size=40_000_000, chunk_size=CHUNK)
        world.run(4.0)
        taken, began = Taken(world), world.now
        world.publish(2, "models", "best.pth", size=3_000_000, chunk_size=4 * CHUNK)
        done = world.run_until(lambda: any(key.kind == "models" for key in taken.whole), 30.0)
        assert done is not None
        return world.now - began

    # What was asked for games before, and the debt of one chunk of either kind.
    assert seconds(games=True) - seconds(games=False) <= 0.5 + (4 * CHUNK) / LINE
