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


def busy_turns(turns: int, weights: dict[str, float], seed: int = 1) -> list[str]:
    """Let eight of each sort always wait; return of which sort was what was taken, turn by turn."""
    waitlist, number, taken = Waitlist(["games"], Random(seed)), 0, []
    for sort, weight in weights.items():
        for _ in range(8):
            number += 1
            waitlist.put(record(f"{sort} {number}"), 1, 1, weight)
    for _ in range(turns):
        sort = waitlist.take("games")[-1].key.name.split()[0]
        taken.append(sort)
        number += 1
        waitlist.put(record(f"{sort} {number}"), 1, 1, weights[sort])
    return taken


def test_twice_the_weight_is_twice_the_chance_at_every_turn_however_long_others_wait() -> None:
    taken = busy_turns(6000, {"light": 25.0, "heavy": 50.0})
    # One turn in nine is of what waits longest, and of those that wait as many are light as are heavy.
    chosen = [sort for turn, sort in enumerate(taken, 1) if turn % 9]
    for part in (chosen[:2000], chosen[-2000:]):
        assert abs(part.count("heavy") / len(part) - 2 / 3) < 0.035


def test_a_weight_that_changes_while_it_waits_counts_at_the_next_turn() -> None:
    first = 0
    for seed in range(1200):
        waitlist = Waitlist(["games"], Random(seed))
        waitlist.put(record("a"), 1, 1, 10.0)
        waitlist.put(record("b"), 1, 1, 10.0)
        waitlist.put(record("a"), 1, 1, 30.0)
        first += names(waitlist)[0] == "a"
    assert abs(first / 1200 - 3 / 4) < 0.04


def test_nothing_that_waits_starves_behind_what_is_more_urgent_and_scarcer_and_never_ends() -> None:
    waitlist = Waitlist(["games"], Random(1))
    for number in range(3):
        waitlist.put(record(f"old {number}"), 1, 1, 100.0)
    waitlist.put(record("poor"), 7, 8, 1.0)
    for turn in range(1, 1000):
        waitlist.put(record(f"rich {turn}"), 0, 1, 100.0)
        if waitlist.take("games")[-1].key.name == "poor":
            break
    assert turn <= 9 * (3 + 1)
