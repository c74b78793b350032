"""Does a certificate that ends put its node outside, without anybody coming and going while clocks differ?"""

from ringgossip.events import Event, PeerLost, PeerRecovered, PeerSuspected, StrangerRefused
from ringgossip.protocol.expiring import LENIENT
from ringgossip.simulation import World
from ringgossip.simulation.world import PeerSpec

DAY = 86_400
LIFE = DAY + 300  # of the certificate of peer-4


def a_world() -> World:
    """Five peers; the clock of peer-1 is a day fast, that of peer-2 a day slow."""
    specs = [PeerSpec(f"peer-{i}", certificate_life=LIFE if i == 4 else None) for i in range(5)]
    world = World(specs, wire="real")
    world.nodes[1].clock.wall_offset = DAY
    world.nodes[2].clock.wall_offset = -DAY
    world.start()
    return world


def states(world: World, name: str = "peer-4") -> list[str]:
    """Return what each of the others believes of it."""
    found = []
    for node in world.nodes[:4]:
        assert node.core is not None
        found += [member.state for member in node.core.members() if member.name == name]
    return found


def told(world: World, kind: type[Event], since: float = 0.0) -> list[Event]:
    """Return what the four others were told of this kind."""
    return [
        event
        for node in world.nodes[:4]
        for at, event in node.told
        if at >= since and isinstance(event, kind)
    ]


def set_clocks(world: World, wall: float) -> None:
    """Let a day or a week pass on every wall clock."""
    for node in world.nodes:
        node.clock.wall_offset += wall


def test_whoever_has_expired_by_one_clock_only_is_out_there_and_nobody_comes_and_goes() -> None:
    world = a_world()
    world.run(200)
    world.publish(4, "models", "mine.pth", size=3_000_000)
    world.run(60)
    assert states(world) == ["alive"] * 4
    world.run(300)
    # A day ahead, peer-1 sees it over; by the other clocks its day has only begun.
    assert states(world) == ["alive", "left", "alive", "alive"]
    began = world.now
    world.run(300)
    assert states(world) == ["alive", "left", "alive", "alive"]
    for kind in (PeerLost, PeerRecovered, PeerSuspected):
        assert told(world, kind, began) == []
    refused = [event.reason for _, event in world.nodes[1].told if isinstance(event, StrangerRefused)]
    assert "the certificate of 'peer-4' has expired (is a clock wrong?): enroll it again" in refused
    assert len(refused) <= 60  # once in half a minute for each thing that is refused


def test_when_all_clocks_say_so_it_has_left_everywhere_and_its_records_stay() -> None:
    world = a_world()
    world.run(30)
    ticket = world.publish(4, "models", "mine.pth", size=3_000_000)
    world.run(60)
    set_clocks(world, DAY)
    world.run(300)
    assert states(world) == ["left", "left", "alive", "left"]
    set_clocks(world, DAY)
    world.run(60)
    assert states(world) == ["left"] * 4
    assert told(world, PeerLost) == []
    began = world.now
    set_clocks(world, LENIENT)
    world.run(120)
    assert states(world) == ["left"] * 4
    assert told(world, PeerRecovered, began) == told(world, PeerLost, began) == []
    record = world.publications[ticket].record
    assert record is not None
    for node in world.nodes[:4]:
        assert node.core is not None
        assert node.core.catalog.get(record.key) == record
        assert node.core.catalog.certificate(world.nodes[4].certificate.peer_id) is not None


def test_a_clock_that_was_wrong_finds_everybody_back() -> None:
    world = a_world()
    world.run(30)
    world.nodes[0].clock.wall_offset += 2 * DAY
    world.run(60)
    assert states(world)[0] == "left"
    world.nodes[0].clock.wall_offset -= 2 * DAY
    world.run(60)
    assert states(world) == ["alive", "alive", "alive", "alive"]
    assert [event.name for event in told(world, PeerRecovered)] == ["peer-4"]
