import hashlib
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from games import add_games, create_games_db

from ringgossip.content.kinds import games
from ringgossip.content.kinds.games import (
    check_arrival,
    check_sqlite_integrity,
    is_database_safe_to_sync,
    verify_game_count,
)


def beside(path: Path) -> dict[str, tuple[int, str]]:
    """What lies in the folder, with times and contents."""
    return {
        entry.name: (entry.stat().st_mtime_ns, hashlib.sha256(entry.read_bytes()).hexdigest())
        for entry in path.parent.iterdir()
    }


def times(path: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of what lies in the folder; reading it would drop the locks of this process."""
    return {entry.name: (entry.stat().st_size, entry.stat().st_mtime_ns) for entry in path.parent.iterdir()}


@pytest.fixture(params=["wal", "delete"])
def closed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database of 4 games, one of them unfinished, that nobody has open."""
    path = tmp_path / "games.db"
    database = create_games_db(path, request.param)
    add_games(database, 3, random.Random(1))
    add_games(database, 1, random.Random(2), completed=False)
    database.close()
    return path


def test_the_three_checks_say_yes_to_a_database_at_rest_and_leave_no_trace(closed: Path) -> None:
    before = beside(closed)
    assert check_sqlite_integrity(closed)
    assert is_database_safe_to_sync(closed)
    assert verify_game_count(closed, 4).counts == games.GameCounts(4, 3)
    assert beside(closed) == before


def test_a_wrong_count_is_told_with_both_numbers(closed: Path) -> None:
    verdict = verify_game_count(closed, 5)
    assert not verdict
    assert verdict.reason == "4 games, 5 expected"


def test_a_damaged_page_fails_the_integrity_check(closed: Path) -> None:
    content = bytearray(closed.read_bytes())
    content[8192:8292] = bytes(100)
    closed.write_bytes(content)
    assert not check_sqlite_integrity(closed)


def test_what_is_no_database_fails_every_check_with_a_reason(tmp_path: Path) -> None:
    text = tmp_path / "games.db"
    text.write_text("no database " * 100)
    for path, reason in ((text, "not a database"), (tmp_path / "missing.db", "no such file")):
        for verdict in (
            check_sqlite_integrity(path),
            is_database_safe_to_sync(path),
            verify_game_count(path, 0),
        ):
            assert not verdict
            assert reason in verdict.reason


def test_an_open_wal_database_may_be_checked_but_not_copied_and_keeps_its_sidecars(
    tmp_path: Path,
) -> None:
    path = tmp_path / "games.db"
    with create_games_db(path, "wal") as writer:
        add_games(writer, 7, random.Random(1))
        before = times(path)
        assert "-wal" in is_database_safe_to_sync(path).reason
        assert check_sqlite_integrity(path)
        assert verify_game_count(path, 7)
        assert times(path) == before
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert "may be open" in is_database_safe_to_sync(path).reason
    writer.close()
    assert is_database_safe_to_sync(path)


def test_a_transaction_under_way_must_not_be_copied(tmp_path: Path) -> None:
    path = tmp_path / "games.db"
    writer = create_games_db(path, "delete")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO schema_metadata VALUES ('a', 'b')")
    assert "-journal" in is_database_safe_to_sync(path).reason
    writer.execute("COMMIT")
    assert is_database_safe_to_sync(path)
    writer.close()


def test_checking_a_database_that_this_process_has_locked_keeps_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "games.db"
    writer = create_games_db(path, "delete")
    writer.execute("BEGIN EXCLUSIVE")
    is_database_safe_to_sync(path)
    # Not a fork: SQLite in a child would remember our lock instead of asking the system.
    thief = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN EXCLUSIVE')"
    stolen = subprocess.run([sys.executable, "-c", thief, str(path)], capture_output=True, check=False)
    assert b"database is locked" in stolen.stderr
    writer.execute("COMMIT")
    writer.close()


def test_a_mark_of_older_writers_counts_until_it_is_stale(closed: Path) -> None:
    mark = closed.with_name("games.db.writing")
    mark.touch()
    assert "says that it is being written" in is_database_safe_to_sync(closed).reason
    os.utime(mark, (1, 1))
    assert is_database_safe_to_sync(closed)


def test_a_wal_without_its_index_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "games.db"
    writer = create_games_db(path, "wal")
    add_games(writer, 1, random.Random(1))
    copy = tmp_path / "copy" / "games.db"
    copy.parent.mkdir()
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    writer.close()
    before = beside(copy)
    assert "publish it" in check_sqlite_integrity(copy).reason
    assert beside(copy) == before


def test_another_schema_has_no_count_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE moves (id)")
    verdict = verify_game_count(path, 0)
    assert not verdict
    assert "no table 'games'" in verdict.reason
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE games (id)")
    verdict = verify_game_count(path, 0)
    assert verdict
    assert verdict.counts.completed is None
    assert "game_status" in verdict.counts.note


def test_facts_name_only_what_was_counted() -> None:
    assert games.inspection_of(games.GameCounts(4, 3)).facts == {"games_total": 4, "games_completed": 3}
    assert games.inspection_of(games.GameCounts(None, None, "why")).warnings == ("why",)


def test_an_arrived_replica_must_be_whole_and_in_rollback_mode(tmp_path: Path) -> None:
    path = tmp_path / "games.db"
    create_games_db(path, "delete").close()
    assert check_arrival(path) is None
    whole = path.read_bytes()
    for content, reason in (
        (whole[:50], "does not begin"),
        (whole[:-1], "pages"),
        (whole[:18] + b"\2\2" + whole[20:], "sidecars"),
        (whole[:16] + b"\0\3" + whole[18:], "page size"),
    ):
        path.write_bytes(content)
        assert reason in str(check_arrival(path))
