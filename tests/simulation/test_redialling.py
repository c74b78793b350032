"""How soon is a link dialled again that ended? By whether it was ever used."""

from typing import Any

import pytest

from ringgossip.protocol.dialing import DialingSettings
from ringgossip.protocol.peer_core import CoreSettings
from ringgossip.simulation.kernel import OTHER
from ringgossip.simulation.links import ends_of
from ringgossip.simulation.members import MembersWorld
from ringgossip.simulation.node import Node
from ringgossip.simulation.world import World


@pytest.mark.parametrize("kind", [World, MembersWorld])
def test_a_link_that_breaks_again_and_again_and_is_needed_is_there_again_at_once(kind: type[World]) -> None:
    world = kind(2, seed=3)
    world.start()
    world.run(5.0)
    [node, other] = world.nodes
    core = node.core
    assert core is not None
    for number in range(6):
        for end in ends_of(world.links, 0, 1):
            world.links.reset(end)
        node.give(OTHER, 0, lambda now: core._settle(core.dialing.need(other.certificate.peer_id, now), now))
        world.run(0.9)
        assert core.dialing.peers() == [other.certificate.peer_id], f"not after break {number + 1}"


def test_who_has_no_room_for_a_link_is_not_dialled_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, usual = 0, Node.on_link_opened

    def counted(node: Node, *link: Any) -> None:
        nonlocal opened
        opened += 1
        usual(node, *link)

    monkeypatch.setattr(Node, "on_link_opened", counted)
    world = World(8, seed=3, settings=CoreSettings(dialing=DialingSettings(most_links=3)))
    world.start()
    world.run(60.0)
    # Twelve links fill all; each of the other sixteen pairs tries a few times a minute.
    assert 24 <= opened < 600
