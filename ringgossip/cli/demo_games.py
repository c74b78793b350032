"""What does a self-play program's game database look like, and what does its writer do?

The schema, in the shape of the field notes (section 3), and a program that
commits small transactions until it is told to stop; the demo and the tests run
the same one:

    python -m ringgossip.cli.demo_games games.db --journal-mode wal --log counts.log

After every commit it appends `TOTAL COMPLETED` to the log, so that whoever holds
a copy can prove that its count is one that was committed.
"""

import argparse
import json
import os
import random
import sqlite3
import time
import uuid
from pathlib import Path

SCHEMA = """
CREATE TABLE games (
    game_id TEXT PRIMARY KEY, board_type TEXT NOT NULL, num_players INTEGER NOT NULL,
    created_at TEXT NOT NULL, completed_at TEXT, game_status TEXT NOT NULL, winner INTEGER,
    total_moves INTEGER NOT NULL, quality_score REAL, parity_status TEXT);
CREATE TABLE game_players (
    game_id TEXT NOT NULL REFERENCES games(game_id) ON DELETE CASCADE,
    player_number INTEGER NOT NULL, player_type TEXT NOT NULL, PRIMARY KEY (game_id, player_number));
CREATE TABLE game_initial_state (
    game_id TEXT PRIMARY KEY REFERENCES games(game_id) ON DELETE CASCADE, state_json TEXT NOT NULL);
CREATE TABLE game_moves (
    game_id TEXT NOT NULL REFERENCES games(game_id) ON DELETE CASCADE,
    move_number INTEGER NOT NULL, player INTEGER NOT NULL, move_json TEXT NOT NULL, policy BLOB,
    PRIMARY KEY (game_id, move_number));
CREATE TABLE schema_metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE INDEX games_by_config ON games(board_type, num_players);
CREATE INDEX games_by_status ON games(game_status);
CREATE INDEX games_by_quality ON games(quality_score);
CREATE TRIGGER completed_games_have_moves BEFORE INSERT ON games
WHEN NEW.game_status IN ('completed', 'finished')
    AND (SELECT count(*) FROM game_moves WHERE game_id = NEW.game_id) < 5
BEGIN SELECT RAISE(ABORT, 'a completed game has at least 5 moves'); END;
INSERT INTO schema_metadata VALUES ('schema_version', '9');
"""


def create_games_db(path: Path, journal_mode: str = "wal") -> sqlite3.Connection:
    """Create the database at `path`, or open it, and return a connection without implicit transactions.

    `journal_mode` is SQLite's word: `wal` or `delete`.
    """
    database = sqlite3.connect(path, timeout=30.0, isolation_level=None)
    database.execute(f"PRAGMA journal_mode={journal_mode}")
    database.execute("PRAGMA foreign_keys=ON")
    if database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'games'").fetchone() is None:
        database.executescript(f"BEGIN; {SCHEMA} COMMIT;")
    return database


def add_games(
    database: sqlite3.Connection, n: int, rng: random.Random, moves: int = 30, completed: bool = True
) -> list[str]:
    """Commit `n` games of `moves` moves, about 5 KB each at 30, in one transaction; return their ids."""
    ids = []
    database.execute("BEGIN IMMEDIATE")
    # Moves go first, because of the trigger; so foreign keys wait for the commit.
    database.execute("PRAGMA defer_foreign_keys=ON")
    for _ in range(n):
        game = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        ids.append(game)
        database.executemany(
            "INSERT INTO game_moves VALUES (?, ?, ?, ?, ?)",
            [(game, number, number % 2, _move(rng), rng.randbytes(48)) for number in range(moves)],
        )
        database.execute(
            "INSERT INTO games VALUES (?, 'hex8', 2, '2000-01-01', NULL, ?, ?, ?, ?, NULL)",
            (game, "completed" if completed else "active", rng.randrange(2), moves, rng.random()),
        )
        database.executemany(
            "INSERT INTO game_players VALUES (?, ?, 'ai')", [(game, player) for player in range(2)]
        )
        database.execute("INSERT INTO game_initial_state VALUES (?, ?)", (game, _move(rng)))
    database.execute("COMMIT")
    return ids


def finish_games(database: sqlite3.Connection) -> None:
    """Commit that every game under way is completed."""
    database.execute("UPDATE games SET game_status = 'finished' WHERE game_status = 'active'")


def count_committed(database: sqlite3.Connection) -> tuple[int, int]:
    """Return how many games there are, and how many of them are completed."""
    row = database.execute(
        "SELECT count(*), coalesce(sum(game_status IN ('completed', 'finished')), 0) FROM games"
    ).fetchone()
    return int(row[0]), int(row[1])


def read_committed(log: Path) -> list[tuple[int, int]]:
    """Return the counts in a writer's log, in their order; an unfinished last line is left out."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return [(int(total), int(completed)) for total, completed in (line.split() for line in lines)]


def _log(descriptor: int, database: sqlite3.Connection) -> None:
    total, completed = count_committed(database)
    os.write(descriptor, f"{total} {completed}\n".encode())


def _move(rng: random.Random) -> str:
    return json.dumps({"from": rng.getrandbits(24), "to": rng.getrandbits(24), "value": rng.random()})


def write_games(
    database: sqlite3.Connection, log: Path, rng: random.Random, seconds: float, pause: float, moves: int
) -> float:
    """Commit games for `seconds`; return the longest time that one round of commits took.

    A round: two completed games, one unfinished, and sometimes the unfinished become finished.
    """
    longest = 0.0
    end = time.monotonic() + seconds
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        while time.monotonic() < end:
            began = time.monotonic()
            add_games(database, 2, rng, moves)
            _log(descriptor, database)
            add_games(database, 1, rng, moves, completed=False)
            _log(descriptor, database)
            if rng.random() < 0.2:
                finish_games(database)
                _log(descriptor, database)
            longest = max(longest, time.monotonic() - began)
            time.sleep(pause)
    finally:
        os.close(descriptor)
    return longest


def main(arguments: list[str] | None = None) -> None:
    """Run the writer; prints one JSON line at the end: its counts and its longest round in seconds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    parser.add_argument("--journal-mode", choices=("wal", "delete"), default="wal")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between rounds")
    parser.add_argument("--moves", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    database = create_games_db(options.path, options.journal_mode)
    longest = write_games(
        database, options.log, random.Random(options.seed), options.seconds, options.pause, options.moves
    )
    total, completed = count_committed(database)
    database.close()
    print(json.dumps({"total": total, "completed": completed, "longest_round": longest}))


if __name__ == "__main__":
    main()
