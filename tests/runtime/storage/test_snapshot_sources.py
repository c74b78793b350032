"""Sources nobody tidied up: writers killed at work, lost sidecars, locks, damage. None is ever changed."""

import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from games import add_games, create_games_db, stop

from ringgossip.content.kinds.games import check_arrival, check_sqlite_integrity
from ringgossip.errors import ArtifactRefused, SnapshotPostponed, StoreError
from ringgossip.runtime.storage.snapshots import SnapshotHelper, SnapshotTaken

CHUNK = 65536
PROJECT = Path(__file__).parents[3]

# Commits 20 games, then stays in the middle of a transaction that is already partly in the files.
HANGING_WRITER = """
    import random, sys, time
    from pathlib import Path
    from ringgossip.cli.demo_games import add_games, create_games_db
    database = create_games_db(Path(sys.argv[1]), sys.argv[2])
    database.execute("PRAGMA cache_size=5")
    add_games(database, 20, random.Random(1))
    database.execute("BEGIN")
    database.execute("UPDATE game_moves SET move_json = 'uncommitted', policy = randomblob(60)")
    print("ready", flush=True)
    time.sleep(60)
"""

State = dict[str, tuple[int, int, int, str]]


def state(folder: Path) -> State:
    """Everything a reader could change: names, sizes, times, inodes and bytes."""
    return {
        entry.name: (
            entry.stat().st_size,
            entry.stat().st_mtime_ns,
            entry.stat().st_ino,
            hashlib.sha256(entry.read_bytes()).hexdigest(),
        )
        for entry in folder.iterdir()
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "live").mkdir()
    return tmp_path / "live" / "games.db"


def start_hanging_writer(
    source: Path, journal_mode: str, program: str = HANGING_WRITER
) -> "subprocess.Popen[str]":
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(source), journal_mode],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def snapshot(helper: SnapshotHelper, source: Path, name: str = "copy", **options: float) -> SnapshotTaken:
    """Take one each way, and prove that it is whole and that its source did not notice."""
    before = state(source.parent)
    target = source.parents[1] / name
    for bulk_from in (0, 1 << 40):
        target.unlink(missing_ok=True)
        taken = helper.snapshot(source, target, chunk_size=CHUNK, bulk_from=bulk_from, **options)  # type: ignore[arg-type]
        assert state(source.parent) == before
        assert check_arrival(target) is None
        assert check_sqlite_integrity(target)
    assert {entry.name for entry in target.parent.iterdir()} <= {"live", "copy", "again"}
    return taken


def test_a_writer_amid_a_wal_transaction_is_not_noticed(helper: SnapshotHelper, source: Path) -> None:
    writer = start_hanging_writer(source, "wal")
    try:
        assert snapshot(helper, source).games_total == 20
    finally:
        stop(writer)


@pytest.mark.parametrize("journal_mode", ["wal", "delete", "persist", "truncate"])
def test_a_database_whose_writer_was_killed_at_work_gives_its_last_commit(
    helper: SnapshotHelper, source: Path, journal_mode: str
) -> None:
    stop(start_hanging_writer(source, journal_mode))
    beside = source.with_name("games.db-wal" if journal_mode == "wal" else "games.db-journal")
    assert beside.stat().st_size > 1000
    taken = snapshot(helper, source)
    assert taken.games_total == 20
    assert taken.journal_mode == ("wal" if journal_mode == "wal" else "rollback")
    assert snapshot(helper, source, "again").hashes == taken.hashes
    with sqlite3.connect(source.parents[1] / "copy") as database:
        uncommitted = database.execute("SELECT count(*) FROM game_moves WHERE move_json = 'uncommitted'")
        assert uncommitted.fetchone() == (0,)
    database.close()


def test_a_wal_that_lost_its_index_is_recovered_in_our_copy(helper: SnapshotHelper, source: Path) -> None:
    stop(start_hanging_writer(source, "wal"))
    source.with_name("games.db-shm").unlink()
    assert snapshot(helper, source).games_total == 20


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_a_closed_database_gets_no_sidecars(helper: SnapshotHelper, source: Path, journal_mode: str) -> None:
    database = create_games_db(source, journal_mode)
    add_games(database, 5, random.Random(1))
    database.close()
    assert snapshot(helper, source).games_total == 5
    assert [entry.name for entry in source.parent.iterdir()] == ["games.db"]


def test_sidecars_that_a_reader_left_behind_stay(helper: SnapshotHelper, source: Path) -> None:
    database = create_games_db(source, "wal")
    add_games(database, 5, random.Random(1))
    database.close()
    reader = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    reader.execute("SELECT count(*) FROM games").fetchone()
    reader.close()
    assert source.with_name("games.db-shm").exists()
    assert snapshot(helper, source).games_total == 5


def test_strange_names_are_no_options(helper: SnapshotHelper, source: Path) -> None:
    odd = source.with_name("100% games?mode=rwc#é\udcff.db")
    with sqlite3.connect(os.fsencode(odd)) as database:
        database.execute("CREATE TABLE games (id)")
    database.close()
    assert snapshot(helper, odd).games_total == 0


@pytest.mark.parametrize(
    ("journal_mode", "program"),
    [
        # Beside a WAL, BEGIN EXCLUSIVE locks no reader out.
        ("delete", "BEGIN EXCLUSIVE"),
        ("delete", "PRAGMA locking_mode=EXCLUSIVE"),
        ("wal", "PRAGMA locking_mode=EXCLUSIVE"),
    ],
)
def test_a_database_that_is_locked_is_postponed_and_said_to_be_locked(
    helper: SnapshotHelper, source: Path, journal_mode: str, program: str
) -> None:
    create_games_db(source, journal_mode).close()
    writer = start_hanging_writer(
        source,
        program,
        """
        import sqlite3, sys, time
        database = sqlite3.connect(sys.argv[1], isolation_level=None)
        database.execute(sys.argv[2])
        database.execute("INSERT INTO schema_metadata VALUES ('a', 'b')")
        print("ready", flush=True)
        time.sleep(60)
        """,
    )
    try:
        with pytest.raises(SnapshotPostponed, match="locked by another program"):
            snapshot(helper, source, lock_timeout=0.2)
        assert not (source.parents[1] / "copy").exists()
    finally:
        stop(writer)


def test_a_snapshot_that_would_block_a_rollback_writer_too_long_is_given_up_early(
    helper: SnapshotHelper, source: Path
) -> None:
    with sqlite3.connect(source) as database:
        database.execute("PRAGMA synchronous=OFF")
        database.execute("CREATE TABLE games (b BLOB)")
        database.execute("INSERT INTO games VALUES (zeroblob(60000000))")
    database.close()
    for bulk_from in (0, 1 << 40):
        with pytest.raises(
            SnapshotPostponed, match=r"0\.005 s are allowed: switch it to PRAGMA journal_mode=WAL"
        ):
            helper.snapshot(
                source, source.parents[1] / "copy", chunk_size=CHUNK, max_stall=0.005, bulk_from=bulk_from
            )
        assert not (source.parents[1] / "copy").exists()
    assert 0.0 < snapshot(helper, source).writer_stall < 2.0


def test_damage_is_refused_with_what_is_damaged(helper: SnapshotHelper, source: Path) -> None:
    database = create_games_db(source, "delete")
    add_games(database, 50, random.Random(1))
    database.close()
    whole = source.read_bytes()
    damages = {
        "is damaged": whole[:4096] + bytes(8192) + whole[12288:],
        "is damaged: database disk image is malformed": whole[: len(whole) // 2],
        "no SQLite database": b"x" * len(whole),
        "is empty": b"",
    }
    for reason, content in damages.items():
        source.write_bytes(content)
        with pytest.raises(ArtifactRefused, match=reason):
            helper.snapshot(source, source.parents[1] / "copy", chunk_size=CHUNK)
        assert not (source.parents[1] / "copy").exists()
    with pytest.raises(ArtifactRefused, match="No such file"):
        helper.fingerprint(source.with_name("missing.db"))


def test_another_schema_is_copied_uncounted(helper: SnapshotHelper, source: Path) -> None:
    with sqlite3.connect(source) as database:
        database.execute("CREATE TABLE other (id)")
    database.close()
    taken = snapshot(helper, source)
    assert (taken.games_total, taken.games_completed) == (None, None)
    assert "no table 'games'" in taken.count_note


def test_an_existing_file_is_never_overwritten(helper: SnapshotHelper, source: Path) -> None:
    create_games_db(source).close()
    target = source.parents[1] / "copy"
    target.write_text("a user's")
    with pytest.raises(StoreError, match="File exists"):
        helper.snapshot(source, target, chunk_size=CHUNK)
    assert target.read_text() == "a user's"


@pytest.mark.skipif(
    shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root to become nobody"
)
def test_what_we_may_not_read_is_refused_and_a_folder_we_may_not_write_is_enough(tmp_path: Path) -> None:
    # pytest's folder is private; only what is under /tmp directly can be reached by nobody.
    folder = Path(f"/tmp/ringgossip-test-{os.getpid()}")
    python = Path(sys.executable)
    program = f'#!/bin/sh\nexec setpriv --reuid=65534 --clear-groups {python} "$@"\n'
    as_nobody = tmp_path / "python-as-nobody"
    as_nobody.write_text(program)
    as_nobody.chmod(0o755)
    if subprocess.run([as_nobody, "-c", "import blake3"], capture_output=True).returncode != 0:
        pytest.skip("nobody may not read this Python's packages: its folder is private")
    try:
        (folder / "live").mkdir(parents=True)
        folder.chmod(0o777)
        source = folder / "live" / "games.db"
        for journal_mode in ("wal", "delete"):
            stop(start_hanging_writer(source, journal_mode))
            with SnapshotHelper(python=str(as_nobody)) as helper:
                assert snapshot(helper, source, "copy").games_total == 20
                (folder / "copy").unlink()
                source.chmod(0o600)
                with pytest.raises(ArtifactRefused, match="Permission denied"):
                    helper.snapshot(source, folder / "copy", chunk_size=CHUNK)
            for entry in (folder / "live").iterdir():
                entry.unlink()
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_holds_nobody_up(source: Path, suffix: str) -> None:
    pipe = Path(f"{source}{suffix}")
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    # Should it wait for ever, then with the helper, and not with this test.
    with SnapshotHelper() as one, ThreadPoolExecutor(1) as caller:
        refused = caller.submit(one.fingerprint, source)
        try:
            with pytest.raises(ArtifactRefused, match="no regular file"):
                refused.result(timeout=10)
        finally:
            one.close()
