"""Is a name refused that cannot lie beside what this peer published, wherever it is copied to?"""

import pytest

from ringgossip.runtime.own_names import OwnNames


@pytest.mark.parametrize(
    ("name", "other", "collide"),
    [
        ("Games.db", "games.db", True),
        ("games.db", "games.db", False),
        ("STRASSE", "straße", True),
        ("a", "A/b", True),
        ("a/b", "a", True),
        ("ab", "a", False),
        ("a/b", "a/c", False),
    ],
)
def test_names_that_meet_where_case_is_ignored_collide(name: str, other: str, collide: bool) -> None:
    names = OwnNames()
    for published in ("unrelated", other):
        names.add("models", published)
    assert names.collision("models", name) == (other if collide else None)
    assert names.collision("npz", name) is None
