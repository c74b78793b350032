"""Game databases for tests, and the writer process that the demo runs too."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from ringgossip.cli.demo_games import (
    add_games,
    count_committed,
    create_games_db,
    finish_games,
    read_committed,
)

__all__ = [
    "add_games",
    "count_committed",
    "create_games_db",
    "finish_games",
    "large_games",
    "read_committed",
    "start_writer",
    "stop",
]


def start_writer(
    path: Path, log: Path, journal_mode: str, *, seconds: float = 30.0, pause: float = 0.005, moves: int = 12
) -> "subprocess.Popen[str]":
    """Start the writer program on `path` and return when its first commit is in `log`."""
    writer = subprocess.Popen(
        [
            *(sys.executable, "-m", "ringgossip.cli.demo_games", str(path), "--log", str(log)),
            *("--journal-mode", journal_mode, "--seconds", str(seconds)),
            *("--pause", str(pause), "--moves", str(moves)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20.0
    while not read_committed(log):
        if writer.poll() is not None or time.monotonic() > deadline:
            stop(writer)
            raise AssertionError("the writer did not commit anything")
        time.sleep(0.01)
    return writer


def large_games(path: Path, count: int) -> Path:
    """Make a WAL database with so many completed games of 40 KB each; nobody has it open."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE games(game_id INTEGER PRIMARY KEY, game_status TEXT, body BLOB)")
        database.executemany(
            "INSERT INTO games VALUES(?, 'completed', randomblob(40000))",
            ((number,) for number in range(count)),
        )
        database.commit()
    return path


def stop(process: "subprocess.Popen[str]") -> None:
    """Kill `process` as kill -9 does, and collect it."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
