"""What changed is gathered from a live database itself: base and changes together are one committed state."""

import random
import sqlite3
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from ringgossip.content.chunking import hash_stream
from ringgossip.runtime.storage.snapshot_changes import Commit, Gathering, _copy_wal, changed_chunks
from ringgossip.runtime.storage.snapshot_source import _same_commit, copy_database
from ringgossip.runtime.storage.snapshots import SnapshotHelper, SnapshotTaken

CHUNK = 65536
ROWS = 3000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "live" / "games.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE games (id INTEGER PRIMARY KEY, balance INTEGER, body BLOB)")
        made.execute("BEGIN")
        made.executemany("INSERT INTO games VALUES (?, 0, zeroblob(3000))", ((row,) for row in range(ROWS)))
        made.execute("COMMIT")
    return path


def take(helper: SnapshotHelper, source: Path, target: Path, base: bytes = b"") -> SnapshotTaken:
    return helper.snapshot(source, target, chunk_size=CHUNK, bulk_from=0, check_up_to=0, base=base)


def composed(target: Path, base: Path, taken: SnapshotTaken, under: SnapshotTaken) -> Path:
    """Put the changes into a copy of their base, as whoever reads a version sees it."""
    if not taken.only_changes:
        return target
    whole = target.with_suffix(".whole")
    whole.write_bytes(base.read_bytes())
    with whole.open("r+b") as file, target.open("rb") as changes:
        file.truncate(taken.size)
        for index in changed_chunks(taken.hashes, under.hashes):
            changes.seek(index * CHUNK)
            file.seek(index * CHUNK)
            file.write(changes.read(min(CHUNK, taken.size - index * CHUNK)))
    return whole


def assert_one_state(whole: Path, taken: SnapshotTaken) -> None:
    assert whole.stat().st_size == taken.size
    with whole.open("rb", buffering=0) as file:
        assert hash_stream(file, taken.size, CHUNK) == taken.hashes
    assert whole.read_bytes()[18:20] == b"\1\1"
    with closing(sqlite3.connect(f"file:{whole}?mode=ro", uri=True)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        count, total = copy.execute("SELECT count(*), sum(balance) FROM games").fetchone()
    # Games are counted at the live database, and it is this very state.
    assert (total, count) == (0, taken.games_total)


def write(source: Path, seed: int, stopped: threading.Event, failures: list[BaseException]) -> None:
    """Commit all over the file, grow it, shrink it, and bring its WAL in, in every way there is."""
    rng = random.Random(seed)
    row = ROWS * seed
    try:
        with closing(sqlite3.connect(source, isolation_level=None, timeout=30)) as writer:
            for pragma in ("synchronous=OFF", "cache_size=5", "wal_autocheckpoint=50"):
                writer.execute(f"PRAGMA {pragma}")
            while not stopped.is_set():
                writer.execute("BEGIN IMMEDIATE")
                for amount in (1, -1) * 10:
                    writer.execute(
                        "UPDATE games SET balance = balance + ?, body = randomblob(3000) WHERE id = ?",
                        (amount, rng.randrange(ROWS)),
                    )
                row += 1
                writer.execute("INSERT INTO games VALUES (?, 0, randomblob(3000))", (row,))
                if rng.random() < 0.1:
                    writer.execute("DELETE FROM games WHERE id > ? AND id % 3 = 0", (ROWS,))
                writer.execute("COMMIT")
                if rng.random() < 0.3:
                    how = rng.choice(["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
                    writer.execute(f"PRAGMA wal_checkpoint({how})")
                if rng.random() < 0.02:
                    writer.execute("VACUUM")
    except BaseException as failure:
        failures.append(failure)


def test_beside_writers_checkpoints_and_vacuums_no_state_is_torn(
    helper: SnapshotHelper, source: Path, tmp_path: Path
) -> None:
    stopped = threading.Event()
    failures: list[BaseException] = []
    writers = [threading.Thread(target=write, args=(source, seed, stopped, failures)) for seed in (1, 2)]
    base = tmp_path / "base"
    under = take(helper, source, base)
    for writer in writers:
        writer.start()
    try:
        taken = [take(helper, source, tmp_path / f"copy{n}", under.hashes) for n in range(25)]
    finally:
        stopped.set()
        for writer in writers:
            writer.join()
    assert not failures
    for number, one in enumerate(taken):
        assert_one_state(composed(tmp_path / f"copy{number}", base, one, under), one)
        assert one.writer_stall == 0.0
    assert len({one.hashes for one in taken}) > 10
    assert {entry.name for entry in tmp_path.iterdir() if "-" in entry.name} == set()


def test_of_few_changes_only_these_are_written_and_the_source_is_as_it_was(
    helper: SnapshotHelper, source: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(source, isolation_level=None)) as database:
        database.execute("PRAGMA wal_autocheckpoint=0")
        under = take(helper, source, tmp_path / "base")
        for number in range(3):
            database.execute("UPDATE games SET body = randomblob(3000) WHERE id = ?", (number * 1000,))
            if number == 1:
                database.execute("PRAGMA wal_checkpoint(FULL)")
            before = {
                entry.name: (entry.stat().st_mtime_ns, entry.read_bytes())
                for entry in source.parent.iterdir()
            }
            one = take(helper, source, tmp_path / f"copy{number}", under.hashes)
            assert one.only_changes and len(changed_chunks(one.hashes, under.hashes)) <= 2 * (number + 1)
            assert (tmp_path / f"copy{number}").stat().st_blocks * 512 <= 2 * (number + 1) * CHUNK + 8192
            assert_one_state(composed(tmp_path / f"copy{number}", tmp_path / "base", one, under), one)
            assert before == {
                entry.name: (entry.stat().st_mtime_ns, entry.read_bytes())
                for entry in source.parent.iterdir()
            }


@pytest.mark.parametrize("what", ["grown", "shrunk", "most of it"])
def test_a_database_that_grew_shrank_or_changed_much_is_taken_too(
    helper: SnapshotHelper, source: Path, tmp_path: Path, what: str
) -> None:
    with closing(sqlite3.connect(source, isolation_level=None)) as database:
        under = take(helper, source, tmp_path / "base")
        database.execute("PRAGMA wal_autocheckpoint=0")
        if what == "grown":
            database.executemany(
                "INSERT INTO games VALUES (?, 0, randomblob(3000))", ((9000 + n,) for n in range(99))
            )
        elif what == "shrunk":
            database.execute("DELETE FROM games WHERE id > 2500")
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("DELETE FROM games WHERE id > 2400")
            database.execute("PRAGMA incremental_vacuum")
        else:
            database.execute("UPDATE games SET body = randomblob(3000)")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        one = take(helper, source, tmp_path / "copy", under.hashes)
        assert one.only_changes == (what != "most of it")
        assert_one_state(composed(tmp_path / "copy", tmp_path / "base", one, under), one)


def test_a_database_that_was_only_read_since_it_was_opened_is_taken_as_it_is(
    helper: SnapshotHelper, source: Path, tmp_path: Path
) -> None:
    under = take(helper, source, tmp_path / "base")
    with closing(sqlite3.connect(source, isolation_level=None)) as database:
        database.execute("UPDATE games SET body = randomblob(3000) WHERE id = 7")
    with closing(sqlite3.connect(source, isolation_level=None)) as database:
        # Its WAL is empty, and so its index says nothing of pages yet.
        database.execute("SELECT count(*) FROM games").fetchone()
        assert Path(f"{source}-shm").exists() and not Path(f"{source}-wal").stat().st_size
        one = take(helper, source, tmp_path / "copy", under.hashes)
        assert one.only_changes and one.size == source.stat().st_size
        assert_one_state(composed(tmp_path / "copy", tmp_path / "base", one, under), one)


def test_the_index_of_a_wal_that_nobody_has_open_is_not_believed(
    helper: SnapshotHelper, source: Path, tmp_path: Path
) -> None:
    under = take(helper, source, tmp_path / "base")
    left = {}
    with closing(sqlite3.connect(source, isolation_level=None)) as database:
        database.execute("INSERT INTO games VALUES (8000, 0, NULL)")
        left["-shm"] = Path(f"{source}-shm").read_bytes()
        database.execute("PRAGMA wal_checkpoint(RESTART)")
        database.execute("INSERT INTO games VALUES (8001, 0, NULL)")
        left[""], left["-wal"] = source.read_bytes(), Path(f"{source}-wal").read_bytes()
    # As a power cut leaves it, or who copies them one after the other: it speaks of the WAL before.
    for suffix, content in left.items():
        Path(f"{source}{suffix}").write_bytes(content)
    one = take(helper, source, tmp_path / "copy", under.hashes)
    assert one.only_changes and one.games_total == ROWS + 2
    assert_one_state(composed(tmp_path / "copy", tmp_path / "base", one, under), one)


@pytest.mark.parametrize("how", ["rollback mode", "closed"])
def test_where_it_cannot_be_gathered_a_whole_copy_is_made_and_only_changes_are_kept(
    helper: SnapshotHelper, source: Path, tmp_path: Path, how: str
) -> None:
    under = take(helper, source, tmp_path / "base")
    with closing(sqlite3.connect(source, isolation_level=None)) as database:
        if how == "rollback mode":
            database.execute("PRAGMA journal_mode=DELETE")
        database.execute("UPDATE games SET body = randomblob(3000) WHERE id = 7")
    one = take(helper, source, tmp_path / "copy", under.hashes)
    assert one.only_changes and (tmp_path / "copy").stat().st_blocks * 512 < one.size / 4
    assert_one_state(composed(tmp_path / "copy", tmp_path / "base", one, under), one)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["base", "copy", "copy.whole", "live"]


def test_the_commit_that_is_copied_is_the_one_that_the_transaction_sees(source: Path) -> None:
    class Overtaken(sqlite3.Connection):
        """Somebody commits just when it has begun to read, twice."""

        commits = 2

        def execute(self, statement: str, *arguments: object) -> sqlite3.Cursor:  # type: ignore[override]
            found = super().execute(statement, *arguments)
            if statement.startswith("SELECT") and self.commits:
                self.commits -= 1
                writer.execute("INSERT INTO games VALUES (?, 0, NULL)", (9000 + self.commits,))
            return found

    with ExitStack() as stack:
        writer = stack.enter_context(closing(sqlite3.connect(source, isolation_level=None)))
        writer.execute("INSERT INTO games VALUES (8000, 0, NULL)")
        shm = stack.enter_context(Path(f"{source}-shm").open("rb", buffering=0))
        reader = sqlite3.connect(source, isolation_level=None, factory=Overtaken)
        stack.enter_context(closing(reader))
        reader.execute("BEGIN")
        commit = _same_commit(source, reader, shm)
        assert reader.commits == 0
        assert commit is not None and commit == Commit.read(shm.fileno())
        assert reader.execute("SELECT count(*) FROM games").fetchone() == (ROWS + 3,)
        # One that is overtaken each time cannot tell.
        reader.commits = 1000
        assert _same_commit(source, reader, shm) is None


def test_a_wal_that_was_begun_anew_is_not_brought_in(source: Path, tmp_path: Path) -> None:
    beside = tmp_path / "copy-wal"
    with ExitStack() as stack:
        writer = stack.enter_context(closing(sqlite3.connect(source, isolation_level=None)))
        writer.execute("INSERT INTO games VALUES (8000, 0, NULL)")
        shm = stack.enter_context(Path(f"{source}-shm").open("rb", buffering=0))
        commit = Commit.read(shm.fileno())
        assert commit is not None and commit.frames
        wal = Path(f"{source}-wal")
        assert _copy_wal(wal, beside, commit) and beside.stat().st_size == commit.wal_bytes
        writer.execute("PRAGMA wal_checkpoint(RESTART)")
        writer.execute("INSERT INTO games VALUES (8001, 0, NULL)")
        assert not _copy_wal(wal, beside, commit) and not beside.exists()


WRITERS = """
import sqlite3, sys
for balance, path in enumerate(sys.argv[1:]):
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE IF NOT EXISTS games (id INTEGER PRIMARY KEY, balance INTEGER, body BLOB)")
    writer.execute("INSERT INTO games VALUES (100000, ?, zeroblob(90000))", (balance,))
    globals()[path] = writer
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("gathered", [False, True])
def test_a_folder_that_is_swapped_away_while_sqlite_opens_it_is_looked_at_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gathered: bool
) -> None:
    other, aside, target = tmp_path / "other", tmp_path / "aside", tmp_path / "copy"
    other.mkdir()
    target.touch()
    looks = []
    real = sqlite3.connect

    def connect(name: object, **options: Any) -> sqlite3.Connection:
        if "mode=ro" not in str(name):
            return real(str(name), **options)
        looks.append(name)
        if len(looks) > 1:
            return real(str(name), **options)
        source.parent.rename(aside)
        other.rename(source.parent)
        reader = real(str(name), **options)
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        source.parent.rename(other)
        aside.rename(source.parent)
        return reader

    monkeypatch.setattr(sqlite3, "connect", connect)
    # In a process of their own: what tells the two files apart is which one this process has open.
    command = [sys.executable, "-c", WRITERS, other / source.name, source]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writers:
        assert writers.stdout is not None and writers.stdout.readline() == "ready\n"
        gathering = Gathering(b"", CHUNK, lambda _: None) if gathered else None
        copied = copy_database(source, target, 1.0, 1.0, 0, gathering)
        writers.communicate()
    assert len(looks) == 2 and copied.gathered == gathered
    with closing(real(target)) as copy:
        assert copy.execute("SELECT balance FROM games WHERE id = 100000").fetchone() == (1,)
