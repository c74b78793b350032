"""What is late, and of how many is it asked at one look?"""

from artifacts import Origin, manifest_of, peer

from ringgossip.protocol.core import NEVER
from ringgossip.protocol.lateness import Lateness, look_for_late
from ringgossip.protocol.pull import ALL, Phase, Pull
from ringgossip.protocol.sources import Ask, Source

PAUSE, PATIENCE, ASKED_OF = 1.0, 5.0, 3


def a_pull(*asked: tuple[float, dict[int, float]]) -> tuple[Pull, list[Source]]:
    """Return a pull of which chunks were asked of one source each: when, and since when each has begun."""
    pull = Pull(Origin().record(manifest_of(8)), 1, started_at=0.0, phase=Phase.PREPARING)
    pull.begin(0, 0, 0.0)
    sources = []
    for number, (when, begun) in enumerate(asked):
        source = Source(peer(number))
        source.asked(Ask(number, pull.root, {index: pull.length(index) for index in begun}, when), when)
        source.asks[number].begun = {index: at for index, at in begun.items() if at < NEVER}
        pull.take(list(begun))
        sources.append(source)
    return pull, sources


def late(pull: Pull, sources: list[Source], now: float) -> Lateness:
    return look_for_late(pull, sources, now, PAUSE, PATIENCE, ASKED_OF)


def test_what_waits_in_a_queue_is_late_sooner_than_what_has_begun() -> None:
    pull, sources = a_pull((0.0, {0: NEVER, 1: 0.5}), (0.8, {2: NEVER}))
    found = late(pull, sources, 0.9)
    assert (list(found.overdue), found.slow, found.due) == ([], {}, 1.0)
    found = late(pull, sources, 2.0)
    assert (list(found.overdue), found.slow) == ([0, 2], {})
    found = late(pull, sources, 5.5)
    assert (list(found.overdue), found.slow) == ([0, 2], {1: 0.5})


def test_what_somebody_has_begun_or_enough_were_asked_for_is_not_overdue() -> None:
    pull, sources = a_pull((0.0, {0: NEVER, 1: NEVER}), (0.0, {0: 0.1}), (0.0, {1: NEVER}), (0.0, {1: NEVER}))
    found = late(pull, sources, 9.0)
    assert list(found.overdue) == []  # 0 comes, and 1 was asked of three
    assert found.slow == {}  # of two: one of them is enough


def test_an_idle_source_is_shown_only_what_it_has_and_nobody_took_at_this_look() -> None:
    pull, sources = a_pull((0.0, {0: NEVER, 1: NEVER, 2: NEVER}))
    found = late(pull, sources, 2.0)
    assert found.of(0b101, found.overdue) == [0, 2]
    assert found.of(ALL, found.overdue) == [0, 1, 2]
    assert found.take([0, 1]) == [0, 1]
    assert found.of(ALL, found.overdue) == [2]
