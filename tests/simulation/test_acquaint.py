"""Does a world that begins in the middle begin at rest?"""

from ringgossip.simulation import World
from ringgossip.simulation.acquaint import acquaint


def test_those_who_are_acquainted_have_one_catalog_and_nothing_to_compare() -> None:
    world = World(6, seed=3, seeds=())
    world.start()
    acquaint(world.nodes)
    world.run(5.0)
    cores = [node.core for node in world.nodes if node.core is not None]
    assert len({core.catalog.root for core in cores}) == 1
    assert [len(core.membership.alive()) for core in cores] == [6] * 6
    assert [core.anti_entropy.walks for core in cores] == [0] * 6
