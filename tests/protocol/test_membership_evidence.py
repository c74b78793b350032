"""Which statement about a member is believed? SWIM's override table, row by row, and its algebra."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from member_network import Lab, card_of, update_of

from ringgossip.protocol.evidence import (
    ALIVE,
    DEAD,
    LEFT,
    STATE_NAMES,
    SUSPECT,
    Standing,
    read_updates,
)
from ringgossip.protocol.settings import ListSettings, MembershipSettings

CARD = card_of("carol")
# A death that is told of whom we hold alive is doubted at first: this is about what it is then, evidence.
BELIEVING = MembershipSettings(lists=ListSettings(doubt_deaths=False))


def believed(*statements: tuple[int, int]) -> tuple[str, int]:
    """What a machine that knows carol believes after hearing (incarnation, state) in this order."""
    lab = Lab("bob", "carol", settings=BELIEVING)
    for at, (incarnation, state) in enumerate(statements):
        lab.gossip(update_of(lab.cards["carol"], incarnation, state), now=0.001 * (at + 1))
    member = lab.machine.member(lab.cards["carol"].peer)
    assert member is not None
    return member.state, member.incarnation


@pytest.mark.parametrize(
    ("before", "heard", "overrides"),
    [
        # {Alive, i} overrides {Suspect, j} and {Alive, j} for i > j.
        ((3, SUSPECT), (4, ALIVE), True),
        ((3, SUSPECT), (3, ALIVE), False),
        ((3, SUSPECT), (2, ALIVE), False),
        ((3, ALIVE), (4, ALIVE), True),
        ((3, ALIVE), (3, ALIVE), False),
        ((3, ALIVE), (2, ALIVE), False),
        # {Suspect, i} overrides {Suspect, j} for i > j, and {Alive, j} for i >= j.
        ((3, SUSPECT), (4, SUSPECT), True),
        ((3, SUSPECT), (3, SUSPECT), False),
        ((3, SUSPECT), (2, SUSPECT), False),
        ((3, ALIVE), (4, SUSPECT), True),
        ((3, ALIVE), (3, SUSPECT), True),
        ((3, ALIVE), (2, SUSPECT), False),
        # {Confirm, i} overrides {Alive, j} and {Suspect, j}: here, for i >= j only.
        ((3, ALIVE), (3, DEAD), True),
        ((3, SUSPECT), (3, DEAD), True),
        ((3, ALIVE), (4, DEAD), True),
        ((3, SUSPECT), (4, DEAD), True),
        ((3, ALIVE), (2, DEAD), False),
        ((3, SUSPECT), (2, DEAD), False),
        # Nothing old brings back the dead; a refutation does.
        ((3, DEAD), (3, ALIVE), False),
        ((3, DEAD), (3, SUSPECT), False),
        ((3, DEAD), (2, ALIVE), False),
        ((3, DEAD), (4, ALIVE), True),
        # Leaving is like death, and more.
        ((3, ALIVE), (3, LEFT), True),
        ((3, DEAD), (3, LEFT), True),
        ((3, LEFT), (3, DEAD), False),
        ((3, LEFT), (3, ALIVE), False),
        ((3, LEFT), (4, ALIVE), True),
    ],
)
def test_override(before: tuple[int, int], heard: tuple[int, int], overrides: bool) -> None:
    winner = heard if overrides else before
    assert believed(before, heard) == (STATE_NAMES[winner[1]], winner[0])


def test_the_table_above_is_the_order_of_incarnation_and_state() -> None:
    statements = list(product(range(3), range(4)))
    for (i, a), (j, b) in product(statements, statements):
        assert Standing(CARD, i, a).is_overridden_by(CARD.boot, j, b) == ((j, b) > (i, a))


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=n, max_size=n)
    ),
    st.randoms(use_true_random=False),
)
def test_the_same_evidence_in_any_order_and_number_gives_one_view(
    statements: list[tuple[int, int]], rng: object
) -> None:
    shuffled = statements * 2
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert believed(*statements) == believed(*shuffled)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.integers(0, 2)), max_size=8))
def test_cards_in_any_order_give_one_view(said: list[tuple[str, int, int]]) -> None:
    def view(order: list[tuple[str, int, int]]) -> object:
        lab = Lab("bob")
        for at, (name, boot, version) in enumerate(order):
            lab.meet(card_of(name, boot=boot, version=version), 0.001 * at)
        return lab.machine.state_digest, lab.machine.members()

    assert view(said) == view(said[::-1])


def test_updates_come_back_as_they_were_packed_and_unknown_states_are_passed_over() -> None:
    packed = update_of(CARD, 7, SUSPECT, b"eve.") + update_of(CARD, 1, 9)
    assert read_updates(packed) == [(CARD.key, 1000, 7, SUSPECT, b"eve.")]
