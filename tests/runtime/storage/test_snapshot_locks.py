"""A host program keeps its locks while we copy its database, and no helper outlives its peer."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from games import add_games, count_committed, create_games_db

from ringgossip.content.kinds.games import verify_game_count
from ringgossip.runtime.storage.snapshots import SnapshotHelper

CHUNK = 65536
PROJECT = Path(__file__).parents[3]

THIEF = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as problem:
    sys.exit(7 if "locked" in str(problem) else 1)
"""


def another_process_can_lock(path: Path) -> bool:
    code = subprocess.run([sys.executable, "-c", THIEF, str(path)], check=False).returncode
    assert code in (0, 7)
    return code == 0


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_a_host_in_the_middle_of_a_transaction_keeps_its_lock_and_can_commit(
    tmp_path: Path, journal_mode: str
) -> None:
    path = tmp_path / "games.db"
    host = create_games_db(path, journal_mode)
    add_games(host, 3, random.Random(1))
    host.execute("BEGIN IMMEDIATE")
    host.execute("INSERT INTO schema_metadata VALUES ('half', 'done')")
    with SnapshotHelper() as helper:
        taken = helper.snapshot(path, tmp_path / "copy", chunk_size=CHUNK)
        helper.fingerprint(path)
        assert not another_process_can_lock(path)
    assert not another_process_can_lock(path)
    host.execute("COMMIT")
    assert another_process_can_lock(path)
    assert taken.games_total == 3
    with sqlite3.connect(tmp_path / "copy") as copy:
        assert copy.execute("SELECT count(*) FROM schema_metadata WHERE key = 'half'").fetchone() == (0,)
    copy.close()
    assert count_committed(host) == (3, 3)
    host.close()


def test_opening_the_file_in_the_hosts_own_process_would_have_lost_the_lock(tmp_path: Path) -> None:
    """The trap itself: were this to fail, the helper process would not be needed."""
    path = tmp_path / "games.db"
    host = create_games_db(path, "delete")
    host.execute("BEGIN IMMEDIATE")
    assert not another_process_can_lock(path)
    path.read_bytes()
    assert another_process_can_lock(path)
    host.close()


def test_a_host_that_closes_its_database_later_finds_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "games.db"
    host = create_games_db(path, "wal")
    add_games(host, 3, random.Random(1))
    with SnapshotHelper() as helper:
        helper.snapshot(path, tmp_path / "one", chunk_size=CHUNK)
        add_games(host, 4, random.Random(2))
        host.close()
        assert not path.with_name("games.db-wal").exists()
        assert helper.snapshot(path, tmp_path / "two", chunk_size=CHUNK).games_total == 7
    assert verify_game_count(path, 7)


@pytest.mark.parametrize("busy", [False, True])
def test_the_helper_ends_when_its_peer_is_killed_even_amid_a_copy(tmp_path: Path, busy: bool) -> None:
    path = tmp_path / "games.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA synchronous=OFF")
        database.execute("CREATE TABLE games (b BLOB)")
        database.execute("INSERT INTO games VALUES (zeroblob(100000000))")
    database.close()
    program = """
        import sys
        from pathlib import Path
        from ringgossip.runtime.storage.snapshots import SnapshotHelper
        helper, source = SnapshotHelper(), Path(sys.argv[1])
        helper.fingerprint(source)
        print(helper.pid, flush=True)
        while True:
            target = source.with_name("copy")
            helper.snapshot(source, target, chunk_size=65536) if sys.argv[2] == "True" else input()
            target.unlink()
    """
    peer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path), str(busy)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PROJECT,
        text=True,
    )
    assert peer.stdout is not None
    helper = int(peer.stdout.readline())
    deadline = time.monotonic() + 10.0
    while busy and not (tmp_path / "copy").exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    peer.kill()
    peer.communicate()
    while running(helper):
        assert time.monotonic() < deadline, "the helper outlived its peer"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_a_service_manager_or_ctrl_c_sends_to_the_whole_group_is_not_for_the_helper(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "games.db"
    create_games_db(path).close()
    with SnapshotHelper() as helper:
        before, pid = helper.fingerprint(path), helper.pid
        assert pid is not None
        os.kill(pid, number)
        assert helper.fingerprint(path) == before
        assert helper.pid == pid


def running(pid: int) -> bool:
    try:
        # Nobody may have collected it yet: a zombie has ended.
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
