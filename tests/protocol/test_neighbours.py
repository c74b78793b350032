"""Are links kept to enough others, by both ends, and without a storm?"""

from random import Random

from ringgossip.content.hashing import hash_bytes
from ringgossip.identity import PeerId
from ringgossip.protocol.core import NeedLink
from ringgossip.protocol.neighbours import AT_ONCE_OLD, DEGREE, LONGEST_HOLD, PATIENCE, QUIET, Neighbours

BOOT = 1_800_000_000
MANY = [PeerId(hash_bytes(str(number).encode())[:16]) for number in range(200)]


def neighbours(me: PeerId, alive: list[PeerId], linked: set[PeerId]) -> Neighbours:
    return Neighbours(me, Random(me), lambda: alive, linked.__contains__, 0.0, BOOT)


def test_a_small_cluster_is_a_full_mesh_within_seconds() -> None:
    alive = sorted(MANY[:5])
    asked: set[tuple[PeerId, PeerId]] = set()
    for me in alive:
        machine = neighbours(me, alive, set())
        while machine.next_wakeup() < 30.0:
            now = machine.next_wakeup()
            for effect in machine.wake(now):
                assert isinstance(effect, NeedLink)
                asked.add((min(me, effect.peer), max(me, effect.peer)))
            assert machine.next_wakeup() > now
    assert len(asked) == 10


def test_a_large_cluster_is_one_graph_of_bounded_degree() -> None:
    links: dict[PeerId, set[PeerId]] = {me: set() for me in MANY}
    for me in MANY:
        chosen = neighbours(me, MANY, set()).chosen()
        assert len(chosen) == DEGREE
        for other in chosen:
            links[me].add(other)
            links[other].add(me)
    assert max(map(len, links.values())) < 5 * DEGREE
    reached, edge = {MANY[0]}, [MANY[0]]
    while edge:
        for other in links[edge.pop()] - reached:
            reached.add(other)
            edge.append(other)
    assert len(reached) == len(MANY)


def test_nobody_is_asked_for_a_link_that_is_there() -> None:
    machine = neighbours(MANY[0], MANY[:5], set(MANY[1:5]))
    assert machine.wake(machine.next_wakeup()) == []


def test_a_new_member_is_linked_soon() -> None:
    machine = neighbours(MANY[0], MANY[:2], set())
    machine.wake(machine.next_wakeup())
    later = machine.next_wakeup()
    machine.member_up(MANY[1], BOOT, later - 3.0)
    assert machine.next_wakeup() <= later - 2.0


def test_links_are_asked_for_one_after_the_other_and_one_that_hangs_keeps_nobody_waiting_long() -> None:
    linked: set[PeerId] = set()
    me, *others = sorted(MANY[:11])
    machine = neighbours(me, [me, *others], linked)
    hangs, asked = others[3], 0
    while len(linked) < 9:
        now = machine.next_wakeup()
        assert now < 5.0 + 11 * 0.5 + PATIENCE, "all are asked for in seconds"
        begun = [effect.peer for effect in machine.wake(now)]
        assert len(begun) <= 1
        asked += hangs in begun
        linked.update(peer for peer in begun if peer != hangs)
    assert asked == 1


def test_where_a_crowd_comes_links_wait_until_nobody_new_comes() -> None:
    machine = neighbours(MANY[0], MANY[:21], set())
    for number in range(1, 21):
        machine.member_up(MANY[number], BOOT, 10.0 + number * 0.05)
    last = 11.0
    assert last + QUIET <= machine.next_wakeup() <= last + 2 * QUIET
    assert machine.wake(last + QUIET - 0.01) == []


def test_one_who_comes_back_to_many_does_not_take_them_for_a_crowd() -> None:
    me, *others = sorted(MANY[:41])
    linked: set[PeerId] = set()
    machine = neighbours(me, [me, *others], linked)
    for peer in others:
        machine.member_up(peer, BOOT - 3600, 10.0)
    while len(linked) < 40:
        now = machine.next_wakeup()
        assert now < 13.5, "all are asked for in seconds"
        begun = [effect.peer for effect in machine.wake(now)]
        assert len(begun) <= AT_ONCE_OLD
        linked.update(begun)


def test_where_somebody_always_comes_links_do_not_wait_for_ever() -> None:
    machine = neighbours(MANY[0], MANY, set())
    for number in range(1, 200):
        machine.member_up(MANY[number], BOOT, number * 0.1)
        if machine.wake(number * 0.1):
            break
    assert LONGEST_HOLD <= number * 0.1 <= LONGEST_HOLD + 2 * QUIET


def first_link(comers: list[tuple[float, PeerId]]) -> float:
    """Return when a peer asks for its first link while these members come."""
    here = [MANY[0]]
    machine = neighbours(MANY[0], here, set())
    for at, peer in comers:
        while machine.next_wakeup() < at:
            now = machine.next_wakeup()
            if machine.wake(now):
                return now
        here += [peer] if peer not in here else []
        machine.member_up(peer, BOOT, at)
    return comers[-1][0]


def test_one_member_that_starts_again_and_again_is_no_crowd() -> None:
    assert first_link([(1.0 + 0.05 * number, MANY[1]) for number in range(200)]) < 3.0


def test_crowds_that_come_again_and_again_with_pauses_between_keep_nobody_from_links() -> None:
    comers = [(1.0 + 1.001 * burst, peer) for burst in range(60) for peer in MANY[1:9]]
    assert first_link(comers) <= 1.0 + LONGEST_HOLD + 2 * QUIET


def test_old_members_that_cannot_be_reached_do_not_keep_new_ones_waiting_for_ever() -> None:
    me, *others = sorted(MANY[:12])
    old, new = others[:10], others[10]
    machine = neighbours(me, [me, *others], set())
    for peer in old:
        machine.member_up(peer, BOOT - 3600, 10.0)
    machine.member_up(new, BOOT, 10.0)
    asked: list[PeerId] = []
    while new not in asked:
        now = machine.next_wakeup()
        assert now < 16.0
        asked += [effect.peer for effect in machine.wake(now)]
