"""Is the seed spared what other pullers have, and only then?"""

import pytest
from artifacts import Origin, manifest_of, peer

from ringgossip.identity import PeerId
from ringgossip.protocol.pull import ALL, Phase, Pull
from ringgossip.protocol.sources import Source
from ringgossip.protocol.sparing import leave_to_pullers
from ringgossip.strategy.order import full_set

COUNT = 20
SEED, BOB, CAROL = peer(1), peer(2), peer(3)
BOBS, CAROLS = 0b1111, 0b110000


@pytest.fixture
def swarm() -> tuple[Pull, dict[PeerId, Source]]:
    pull = Pull(Origin().record(manifest_of(COUNT)), 1, started_at=0.0, phase=Phase.PREPARING)
    pull.begin(0, 0, 0.0)
    sources = {
        one: Source(one, outstanding=65536, chunks=1, rate=1e6, last_progress=0.0)
        for one in (SEED, BOB, CAROL)
    }
    for one, chunks in ((SEED, ALL), (BOB, BOBS), (CAROL, CAROLS)):
        pull.set_holder(one, chunks)
    return pull, sources


def left(swarm: tuple[Pull, dict[PeerId, Source]], now: float = 0.5) -> int:
    pull, sources = swarm
    return leave_to_pullers(pull.needed, pull, sources[SEED], sources, now)


def test_a_seed_is_asked_only_for_what_no_puller_has(swarm) -> None:
    assert left(swarm) == full_set(COUNT) ^ BOBS ^ CAROLS


def test_a_seed_that_brings_clearly_more_than_a_puller_is_asked_for_everything(swarm) -> None:
    swarm[1][SEED].rate = 1.6e6
    assert left(swarm) == full_set(COUNT)


def test_a_seed_whose_speed_nobody_knows_is_tried(swarm) -> None:
    pull, sources = swarm
    pull.set_holder(BOB, full_set(COUNT))
    sources[BOB].rate, sources[SEED].rate, sources[SEED].outstanding = 1e4, 0.0, 0
    assert left(swarm) == full_set(COUNT), "else one slow puller that has it all would keep us from it"
    sources[SEED].outstanding = 65536
    assert left(swarm) == 0


def test_pullers_that_bring_nothing_now_take_no_work_from_the_seed(swarm) -> None:
    swarm[1][CAROL].outstanding = 0
    assert left(swarm) == full_set(COUNT) ^ BOBS
    swarm[1][BOB].busy_until = 5.0
    assert left(swarm) == full_set(COUNT)


def test_pullers_that_fell_silent_a_second_ago_take_no_work_from_the_seed(swarm) -> None:
    swarm[1][BOB].last_progress = 1.5
    assert left(swarm, now=2.0) == full_set(COUNT) ^ BOBS
    assert left(swarm, now=3.0) == full_set(COUNT)
