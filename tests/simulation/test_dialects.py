"""Peers of other versions, and packets that do not open: what is said to whom, and what is not understood."""

from typing import Any

import pytest

from ringgossip.simulation.dialects import DIALECTS
from ringgossip.simulation.latency import Constant
from ringgossip.simulation.network import Weather
from ringgossip.simulation.node import Node
from ringgossip.simulation.world import PeerSpec, World
from ringgossip.wire.codec import decode, encode
from ringgossip.wire.messages import HaveMore, Message


def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, type[Message]]]:
    """Return a list that fills with who understood what of whom."""
    heard: list[tuple[str, str, type[Message]]] = []
    open_ = Node._open

    def note(node: Node, carried: Any, sender: Any) -> Message | None:
        message = open_(node, carried, sender)
        if message is not None:
            by = next(other.name for other in NODES if other.certificate.peer_id == sender)
            heard.append((node.name, by, type(message)))
        return message

    monkeypatch.setattr(Node, "_open", note)
    return heard


NODES: list[Node] = []


def told(specs: list[PeerSpec], weather: Weather | None = None) -> World:
    world = World(specs, seed=1, weather=weather or Weather(latency=Constant(0.01)), carrier="pieces")
    NODES[:] = world.nodes
    for index in range(len(specs)):
        world.limit(index, up=2e6, down=None)
    world.start()
    world.run(3.0)
    return world


def test_an_older_version_lacks_messages_both_ways_and_all_get_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = opened(monkeypatch)
    specs = [PeerSpec(f"peer-{i}", version="older" if i == 1 else "current") for i in range(4)]
    world = told(specs)
    world.publish(0, "models", "best.pth", size=6_000_000)
    assert world.settle(60.0) is not None and len(world.nodes[1].disk.holdings) == 1
    lacks = DIALECTS["older"].lacks
    assert [kind for to, by, kind in heard if "peer-1" in (to, by) and kind in lacks] == []
    assert any(kind is HaveMore for to, by, kind in heard if "peer-1" not in (to, by))


def test_a_newer_version_says_more_fields_and_is_understood() -> None:
    world = told([PeerSpec("peer-0"), PeerSpec("peer-1", version="newer")])
    old, new = (node.shared.wire.frame(HaveMore(bytes(32), (1,)), node.dialect)[0] for node in world.nodes)
    assert type(new) is bytes and decode(new) == HaveMore(bytes(32), (1,)) == old
    assert len(new) > len(encode(HaveMore(bytes(32), (1,)))) and not world.problems()


def test_a_damaged_packet_does_not_open_and_is_counted() -> None:
    world = World(2, seed=1)
    world.start()
    world.run(3.0)
    core = world.nodes[1].core
    assert core is not None and core.counters.get("strangers_refused", 0) == 0
    world.network.weather = Weather(corruption=1.0)
    heard = core.counters.get("strangers_refused", 0)
    world.run(5.0)
    assert core.counters["strangers_refused"] >= heard + 3
