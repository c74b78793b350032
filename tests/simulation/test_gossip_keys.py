"""Does the gossip key decide who belongs here, on links as with datagrams, and can it be changed?"""

from ringgossip.events import GossipKeysRefused, PeerLost, StrangerRefused
from ringgossip.simulation import World
from ringgossip.simulation.world import PeerSpec


def test_a_good_certificate_alone_lets_nobody_in() -> None:
    keyless_one = PeerSpec("keyless", stranger=True, certified=True)
    world = World([*[PeerSpec(f"peer-{i}") for i in range(4)], keyless_one])
    world.start()
    world.publish(0, "models", "secret.pth")
    world.run(60)
    keyless = world.nodes[4].core
    assert keyless is not None
    assert [member.name for member in keyless.members()] == ["keyless"]
    assert len(keyless.catalog) == 0
    told = [event for _, event in world.nodes[4].told if isinstance(event, GossipKeysRefused)]
    assert {event.name for event in told} == {"peer-0", "peer-1"}
    assert "accepts none of our gossip keys" in told[0].reason
    for node in world.nodes[:4]:
        assert node.core is not None
        assert [member.name for member in node.core.members() if member.name == "keyless"] == []
    refusals = [event for _, event in world.nodes[0].told if isinstance(event, StrangerRefused)]
    assert any("'keyless' has none of our gossip keys" in event.reason for event in refusals)
    # Every 30 seconds at most for each reason, however often it knocks.
    assert len(refusals) <= 6


def test_a_change_of_keys_in_three_steps_is_noticed_by_nobody() -> None:
    world = World(5)
    world.start()
    world.run(10)
    old, new = world.nodes[0].keys[0], "the new key"

    def step(keys: list[str]) -> None:
        """One after the other gets these keys and starts again, as a rolling restart does."""
        for index, node in enumerate(world.nodes):
            world.leave(index)
            world.run(1)
            node.keys = keys
            world.restart(index)
            world.run(4)
            # While only a part has taken the step, everybody is linked with everybody.
            assert world.problems() == []

    for keys in ([old, new], [new, old], [new]):
        step(keys)
    assert not [event for node in world.nodes for _, event in node.told if isinstance(event, PeerLost)]
    assert not [event for node in world.nodes for _, event in node.told if isinstance(event, StrangerRefused)]
