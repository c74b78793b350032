import math

import pytest

from ringgossip.content.kinds import KINDS, normalise_kind
from ringgossip.content.kinds.metadata import (
    BOARDS,
    config_key_of,
    describe,
    make_config_key,
    parse_config_key,
)
from ringgossip.errors import UsageError


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("games", "games"),
        ("game", "games"),
        ("model", "models"),
        ("checkpoint", "models"),
        ("Checkpoints ", "models"),
        ("npz", "npz"),
    ],
)
def test_the_words_people_use_mean_a_kind(word: str, kind: str) -> None:
    assert normalise_kind(word) == kind


def test_a_misspelt_kind_is_refused_with_the_word_that_was_meant() -> None:
    with pytest.raises(UsageError, match="did you mean 'games'"):
        normalise_kind("gmaes")
    with pytest.raises(UsageError, match="use one of games"):
        normalise_kind("zzzzzzz")


def test_chunks_of_games_hold_whole_pages_of_every_size_and_only_games_are_live() -> None:
    assert KINDS["games"].chunk_size == 65536
    assert [kind.name for kind in KINDS.values() if kind.live] == ["games"]
    assert all((kind.inspect_source is None) == kind.live for kind in KINDS.values())


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("players", [2, 3, 4])
def test_a_config_key_says_its_board_and_players_and_back(board: str, players: int) -> None:
    assert parse_config_key(make_config_key(board, players)) == (board, players)


@pytest.mark.parametrize(
    "key", ["hex8", "hex8_2", "hex8_5p", "hex8_1p", "hex9_2p", "_2p", "hex8_2p\n", "hex8_²p", ""]
)
def test_what_is_no_config_key_is_refused(key: str) -> None:
    with pytest.raises(UsageError):
        parse_config_key(key)
    assert config_key_of({"board_type": key, "num_players": 2}) in (None, "hex8_2p")


def test_an_author_may_say_nothing_or_everything() -> None:
    assert describe() == {}
    told = {"board_type": "hex8", "num_players": 2, "quality": 1.0}
    assert describe("hex8", 2, 1) == told
    assert describe(quality=1, config_key="hex8_2p") == told
    assert config_key_of(told) == "hex8_2p"


def test_a_config_key_must_not_contradict_the_rest() -> None:
    with pytest.raises(UsageError, match="contradicts"):
        describe("square8", None, None, "hex8_2p")


@pytest.mark.parametrize("quality", [-0.1, 1.1, math.nan, math.inf, True, "1"])
def test_a_quality_outside_0_to_1_is_refused(quality: float) -> None:
    with pytest.raises(UsageError, match="use 0 to 1"):
        describe(quality=quality)


@pytest.mark.parametrize("players", [1, 5, True, 2.0, "2"])
def test_impossible_numbers_of_players_are_refused(players: int) -> None:
    with pytest.raises(UsageError, match="use 2, 3 or 4"):
        describe(num_players=players)


def test_a_misspelt_board_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(UsageError, match="did you mean 'square19'"):
        describe(board_type="sqare19")


@pytest.mark.parametrize(
    "metadata", [{}, {"board_type": 3, "num_players": 2}, {"board_type": "hex8", "num_players": "2"}]
)
def test_foreign_metadata_without_a_config_key_has_none(metadata: dict[str, object]) -> None:
    assert config_key_of(metadata) is None
