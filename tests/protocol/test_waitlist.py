"""Does what waits come in order, each once, and does the queue stay as small as what waits?"""

from random import Random

from artifacts import Origin, manifest_of

from ringgossip.content.record import Record
from ringgossip.protocol.waitlist import Waitlist

ORIGIN = Origin()


def record(name: str, sequence: int = 1) -> Record:
    return ORIGIN.record(manifest_of(1, f"{name} {sequence}"), name, "games", sequence=sequence)


def names(waitlist: Waitlist) -> list[str]:
    """Take all; return their names."""
    taken = []
    while waitlist.first_rank("games") is not None:
        taken.append(waitlist.take("games")[-1].key.name)
    return taken


def test_the_most_urgent_comes_first_then_the_scarcest_each_once() -> None:
    waitlist = Waitlist(["games"], Random(1))
    for name, rank, holders in (("common", 1, 5), ("rare", 1, 1), ("urgent", 0, 9), ("gone", 0, 0)):
        waitlist.put(record(name), rank, holders)
    waitlist.put(record("common"), 1, 5)
    waitlist.put(record("rare"), 1, 2)
    waitlist.leave(record("gone").key)
    assert len(waitlist) == 3
    assert names(waitlist) == ["urgent", "rare", "common"]
    assert len(waitlist) == 0


def test_a_newer_version_takes_the_place_of_an_older_one_and_what_is_put_back_waits_on() -> None:
    waitlist = Waitlist(["games"], Random(1))
    old, new = record("a", 1), record("a", 2)
    waitlist.put(old, 1, 1)
    waitlist.put(new, 1, 3)
    waitlist.put(record("b"), 1, 2)
    assert waitlist.get(old.key) is new
    first = waitlist.take("games")
    assert first[-1].key.name == "b"
    waitlist.put_back(first)
    assert names(waitlist) == ["b", "a"]


def test_who_makes_one_version_move_again_and_again_does_not_make_the_queue_grow() -> None:
    waitlist = Waitlist(["games"], Random(1))
    one = record("a")
    for turn in range(5_000):
        waitlist.put(one, 1, turn)
    assert len(waitlist) == 1
    assert sum(map(len, waitlist._heaps.values())) <= 100
    size = len(waitlist._heaps["games"])
    for _ in range(50):
        waitlist.put(one, 1, 4_999)
    assert len(waitlist._heaps["games"]) == size, "what moves nothing makes no work"
