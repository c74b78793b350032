"""What may an author say about an artifact, and what is its config key?

`board_type`, `num_players` and `quality` are told by the author; the config key
`{board_type}_{num_players}p` is derived from the first two and never stored.

The boards are a closed list, because a misspelt board would silently make a
configuration of its own that nobody trains; a new board is one word below. This
is checked where an artifact is published, never when a record is admitted: what
one peer admits every peer admits, whatever its version.
Source: field notes, section 1 (config key).
"""

import difflib
import math
import re
from collections.abc import Mapping

from ringgossip.errors import UsageError

BOARDS = ("hex8", "square8", "square19", "hexagonal")
PLAYERS = (2, 3, 4)

# A metadata value; the record limits the whole to 512 packed bytes.
Value = str | int | float

_CONFIG_KEY = re.compile(r"([a-z0-9]{1,32})_([0-9])p\Z", re.ASCII)


def check_board_type(board_type: str) -> str:
    """Return `board_type` if it is a board we know, else raise `UsageError`."""
    if board_type not in BOARDS:
        raise UsageError(f"{board_type!r} is no board{did_you_mean(str(board_type), BOARDS)}")
    return board_type


def check_num_players(num_players: int) -> int:
    """Return `num_players` if it is 2, 3 or 4, else raise `UsageError`."""
    if isinstance(num_players, bool) or not isinstance(num_players, int) or num_players not in PLAYERS:
        raise UsageError(f"{num_players!r} players is not possible: use 2, 3 or 4")
    return num_players


def check_quality(quality: float) -> float:
    """Return `quality` as a float if it lies in 0..1, else raise `UsageError`."""
    if isinstance(quality, bool) or not isinstance(quality, int | float) or not math.isfinite(quality):
        raise UsageError(f"quality {quality!r} is no number: use 0 to 1")
    if not 0.0 <= quality <= 1.0:
        raise UsageError(f"quality {quality!r} is out of range: use 0 to 1")
    return float(quality)


def describe(
    board_type: str | None = None,
    num_players: int | None = None,
    quality: float | None = None,
    config_key: str | None = None,
) -> dict[str, Value]:
    """Return the metadata an author gives, checked; what is None is left out.

    A `config_key` stands for a board and a number of players and must not
    contradict them. Raises `UsageError`.
    """
    if config_key is not None:
        board, players = parse_config_key(config_key)
        if board_type not in (None, board) or num_players not in (None, players):
            raise UsageError(
                f"config key {config_key!r} contradicts board {board_type!r} or {num_players!r} players: "
                "give only one of them"
            )
        board_type, num_players = board, players
    told: dict[str, Value] = {}
    if board_type is not None:
        told["board_type"] = check_board_type(board_type)
    if num_players is not None:
        told["num_players"] = check_num_players(num_players)
    if quality is not None:
        told["quality"] = check_quality(quality)
    return told


def make_config_key(board_type: str, num_players: int) -> str:
    """Return for example `hex8_2p`. Raises `UsageError` for no board or an odd number of players."""
    return f"{check_board_type(board_type)}_{check_num_players(num_players)}p"


def parse_config_key(config_key: str) -> tuple[str, int]:
    """Return the board and the number of players of, for example, `hex8_2p`; else raise `UsageError`."""
    match = _CONFIG_KEY.match(config_key)
    if not match:
        raise UsageError(f"{config_key!r} is no config key: write BOARD_Np, for example hex8_2p")
    return check_board_type(match[1]), check_num_players(int(match[2]))


def config_key_of(metadata: Mapping[str, object]) -> str | None:
    """Return the config key of somebody's metadata, or None if it names none we know. Never raises."""
    board, players = metadata.get("board_type"), metadata.get("num_players")
    if not isinstance(board, str) or not isinstance(players, int):
        return None
    try:
        return make_config_key(board, players)
    except UsageError:
        return None


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """Return the end of an error line: the closest of `known`, or all of them."""
    close = difflib.get_close_matches(word[:64].lower(), known, n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else f": use one of {', '.join(known)}"
