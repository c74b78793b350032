"""What is kept when a newer version becomes visible?"""

from artifacts import Origin, manifest_of

from ringgossip.content.record import Record
from ringgossip.protocol.core import NEVER, Drop
from ringgossip.protocol.shelf import Shelf
from ringgossip.protocol.versions import Versions

ORIGIN = Origin()
V = [
    ORIGIN.record(manifest_of(2, f"v{n}"), sequence=n, metadata={"games_completed": 10 * n})
    for n in range(1, 7)
]


def test_a_superseded_version_goes_once_nobody_pulls_it() -> None:
    pulled = {V[0].root}
    versions = Versions(Shelf(), lambda root: root in pulled)
    versions.became_visible(V[0], False, 0.0)
    assert versions.next_wakeup() == NEVER
    versions.became_visible(V[1], False, 1.0)
    assert versions.drop_unpulled(1.0) == ([], [])
    assert 1.0 < versions.next_wakeup() < NEVER
    pulled.clear()
    assert versions.drop_unpulled(versions.next_wakeup()) == ([Drop(V[0])], [V[0]])
    assert versions.next_wakeup() == NEVER


def test_at_most_two_superseded_versions_stay_though_all_are_pulled() -> None:
    shelf = Shelf()
    versions = Versions(shelf, lambda root: True)
    for now, record in enumerate(V):
        versions.became_visible(record, False, float(now))
        versions.drop_unpulled(float(now))
    assert [record.sequence for record in shelf.versions()] == [4, 5, 6]


def test_a_version_that_shrank_or_comes_from_another_store_is_kept_beside() -> None:
    versions = Versions(Shelf(), lambda root: False)
    versions.became_visible(V[4], False, 0.0)
    fewer = ORIGIN.record(manifest_of(2, "few"), sequence=9, metadata={"games_completed": 3})
    silent = ORIGIN.record(manifest_of(2, "silent"), sequence=9)
    more = {"games_completed": 99}
    foreign = Origin(store=b"store--2").record(manifest_of(2, "x"), sequence=9, metadata=more)
    assert versions.shrinks(fewer) == "it has 3 completed games, not 50"
    assert versions.shrinks(silent) == "it has an unknown number of completed games, not 50"
    assert versions.shrinks(foreign) == "another store of its origin made it"
    assert versions.shrinks(V[5]) is None
    versions.became_visible(fewer, True, 1.0)
    assert versions.drop_unpulled(1.0) == ([], [])


def test_of_two_records_with_one_sequence_the_second_takes_the_place_and_nothing_is_deleted() -> None:
    shelf = Shelf()
    versions = Versions(shelf, lambda root: False)
    twin = ORIGIN.record(manifest_of(2, "twin"), sequence=1)
    assert versions.became_visible(V[0], False, 0.0) is None
    assert versions.became_visible(twin, False, 1.0) == V[0]
    assert versions.drop_unpulled(9.0) == ([], []), "a drop would name the sequence that is visible"
    assert shelf.versions() == [twin]


def test_a_version_that_took_longer_than_a_newer_one_does_not_go_back() -> None:
    versions = Versions(Shelf(), lambda root: False)
    versions.became_visible(V[1], False, 0.0)
    versions.became_visible(V[0], False, 1.0)
    assert versions.visible(V[0].key) == V[1]
    assert versions.drop_unpulled(1.0) == ([Drop(V[0])], [V[0]])


def test_a_lost_copy_is_not_dropped_as_well() -> None:
    versions = Versions(Shelf(), lambda root: False)
    versions.became_visible(V[0], False, 0.0)
    versions.became_visible(V[1], False, 1.0)
    versions.lost(V[0])
    assert versions.drop_unpulled(1.0) == ([], [])
    versions.lost(V[1])
    assert versions.visible(V[1].key) is None


def test_where_completed_games_are_not_told_apart_fewer_games_do_not_replace_more() -> None:
    versions = Versions(Shelf(), lambda root: False)

    def of(sequence: int, **facts: int) -> Record:
        return ORIGIN.record(manifest_of(2, f"t{sequence}"), sequence=sequence, metadata=facts)

    versions.became_visible(of(6, games_total=300), False, 0.0)
    assert versions.shrinks(of(7, games_total=40)) == "it has 40 games, not 300"
    assert versions.shrinks(of(8)) == "it has an unknown number of games, not 300"
    assert versions.shrinks(of(9, games_total=300)) is None
    versions.became_visible(of(10, games_total=300, games_completed=5), False, 0.0)
    assert versions.shrinks(of(11, games_total=200, games_completed=5)) is None


def an_old_one_that_is_pulled() -> tuple[set[bytes], Shelf, Versions]:
    pulled, shelf = {V[0].root}, Shelf()
    versions = Versions(shelf, lambda root: root in pulled)
    for record in V[:2]:
        versions.became_visible(record, False, 1.0)
    assert versions.drop_unpulled(1.0) == ([], [])
    return pulled, shelf, versions


def test_an_old_version_stays_for_as_long_as_the_newer_one_is_lost() -> None:
    pulled, shelf, versions = an_old_one_that_is_pulled()
    versions.lost(V[1])
    pulled.clear()
    assert versions.drop_unpulled(10.0) == ([], []) and shelf.holds(V[0])
    versions.became_visible(V[1], False, 20.0)
    assert versions.next_wakeup() == 20.0
    assert versions.drop_unpulled(20.0)[1] == [V[0]] and not shelf.holds(V[0])


def test_old_versions_go_with_the_newest_when_that_is_let_go_as_soon_as_nobody_pulls_them() -> None:
    pulled, shelf, versions = an_old_one_that_is_pulled()
    versions.lost(V[1], let_go=True)
    pulled.clear()
    assert versions.drop_unpulled(versions.next_wakeup())[1] == [V[0]] and not shelf.holds(V[0])


def test_nothing_is_remembered_of_an_artifact_of_which_every_version_was_lost() -> None:
    versions = Versions(Shelf(), lambda root: True)
    for record in V[:2]:
        versions.became_visible(record, False, 1.0)
    versions.drop_unpulled(1.0)
    versions.lost(V[1])
    versions.lost(V[0])
    assert not versions._superseded and not versions._alone
