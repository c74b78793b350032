"""Snapshots of databases that real writer processes fill meanwhile, in both journal modes."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from games import read_committed, start_writer, stop

from ringgossip.content.chunking import hash_stream
from ringgossip.content.kinds.games import check_arrival, check_sqlite_integrity, verify_game_count
from ringgossip.errors import PeerGone, SnapshotPostponed, StoreError
from ringgossip.runtime.storage import snapshot_bulk
from ringgossip.runtime.storage.disk import copy_range
from ringgossip.runtime.storage.snapshots import BULK_FROM, SnapshotHelper, SnapshotPacer, SnapshotTaken

CHUNK = 65536


def changed_chunks(old: SnapshotTaken, new: SnapshotTaken) -> int:
    held = {old.hashes[at : at + 32] for at in range(0, len(old.hashes), 32)}
    return sum(new.hashes[at : at + 32] not in held for at in range(0, len(new.hashes), 32))


@pytest.mark.parametrize("bulk_from", [0, BULK_FROM], ids=["by the kernel", "page by page"])
@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_every_snapshot_beside_a_writer_is_whole_and_holds_a_state_that_was_committed(
    helper: SnapshotHelper, tmp_path: Path, journal_mode: str, bulk_from: int
) -> None:
    source, log = tmp_path / "live" / "games.db", tmp_path / "log"
    source.parent.mkdir()
    writer = start_writer(source, log, journal_mode)
    try:
        taken = []
        for number in range(12):
            target = tmp_path / f"snapshot{number}"
            taken.append(helper.snapshot(source, target, chunk_size=CHUNK, bulk_from=bulk_from))
            assert taken[-1].writer_stall < 1.0
            assert (taken[-1].writer_stall == 0.0) == (journal_mode == "wal")
        assert writer.poll() is None
        names = {entry.name for entry in source.parent.iterdir()}
        assert names <= {"games.db", "games.db-wal", "games.db-shm", "games.db-journal"}
    finally:
        stop(writer)
    with sqlite3.connect(source) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == (journal_mode,)
        # A commit that the kill let through, but not the writer's note of it.
        row = database.execute("SELECT count(*), sum(game_status <> 'active') FROM games").fetchone()
    database.close()
    committed = {*read_committed(log), row}
    for number, snapshot in enumerate(taken):
        target = tmp_path / f"snapshot{number}"
        assert (snapshot.games_total, snapshot.games_completed) in committed
        assert check_arrival(target) is None
        assert check_sqlite_integrity(target)
        assert verify_game_count(target, snapshot.games_total or -1)
        assert target.stat().st_size == snapshot.size
        with target.open("rb", buffering=0) as file:
            assert hash_stream(file, snapshot.size, CHUNK) == snapshot.hashes
        assert not list(tmp_path.glob(f"snapshot{number}-*"))
    assert taken[0].games_total != taken[-1].games_total


def test_no_checkpoint_under_a_copy_by_the_kernel_tears_it(helper: SnapshotHelper, tmp_path: Path) -> None:
    source = tmp_path / "games.db"
    rng = random.Random(1)
    stopped = threading.Event()
    with sqlite3.connect(source) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE games (id INTEGER PRIMARY KEY, balance INTEGER, body BLOB)")
        made.executemany("INSERT INTO games VALUES (?, 0, zeroblob(3000))", ((row,) for row in range(4000)))
    made.close()

    def write() -> None:
        writer = sqlite3.connect(source, isolation_level=None, timeout=30)
        for pragma in ("synchronous=OFF", "cache_size=5", "wal_autocheckpoint=50"):
            writer.execute(f"PRAGMA {pragma}")
        while not stopped.is_set():
            writer.execute("BEGIN")
            # Pages all over the file: in a torn copy the balances would not agree.
            for amount in (1, -1) * 50:
                writer.execute(
                    "UPDATE games SET balance = balance + ?, body = randomblob(3000) WHERE id = ?",
                    (amount, rng.randrange(4000)),
                )
            writer.execute("COMMIT")
            writer.execute(f"PRAGMA wal_checkpoint({rng.choice(['PASSIVE', 'RESTART', 'TRUNCATE'])})")
        writer.close()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        taken = [
            helper.snapshot(source, tmp_path / f"copy{number}", chunk_size=CHUNK, bulk_from=0)
            for number in range(20)
        ]
    finally:
        stopped.set()
        writing.join()
    for number in range(len(taken)):
        with sqlite3.connect(f"file:{tmp_path / f'copy{number}'}?mode=ro", uri=True) as copy:
            assert copy.execute("SELECT sum(balance) FROM games").fetchone() == (0,)
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        copy.close()
    assert len({one.hashes for one in taken}) > 10


def test_a_snapshot_says_what_it_found_and_where(helper: SnapshotHelper, tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = start_writer(tmp_path / "games.db", log, "wal")
    stop(writer)
    taken = helper.snapshot(tmp_path / "games.db", tmp_path / "one", chunk_size=CHUNK)
    assert (taken.journal_mode, taken.check_note, taken.count_note) == ("wal", "ok", "")
    assert taken.inspection().warnings == ()
    assert taken.inspection().facts == {
        "games_total": taken.games_total,
        "games_completed": taken.games_completed,
    }
    assert helper.fingerprint(tmp_path / "games.db") == taken.source_signature
    large = helper.snapshot(tmp_path / "games.db", tmp_path / "two", chunk_size=CHUNK, check_up_to=100)
    assert "not checked" in large.inspection().warnings[0]


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_unchanged_databases_give_the_same_bytes_and_changed_ones_few_new_chunks(
    helper: SnapshotHelper, tmp_path: Path, journal_mode: str
) -> None:
    source = tmp_path / "games.db"
    with sqlite3.connect(source, isolation_level=None) as database:
        database.execute(f"PRAGMA journal_mode={journal_mode}")
        database.execute("CREATE TABLE games (id INTEGER PRIMARY KEY, b BLOB)")
        database.execute("BEGIN")
        database.executemany("INSERT INTO games (b) VALUES (randomblob(?))", [(4000,)] * 1000)
        database.execute("COMMIT")
        first = helper.snapshot(source, tmp_path / "first", chunk_size=CHUNK)
        again = helper.snapshot(source, tmp_path / "again", chunk_size=CHUNK)
        database.execute("UPDATE games SET b = randomblob(4000) WHERE id = 500")
        changed = helper.snapshot(source, tmp_path / "changed", chunk_size=CHUNK)
    database.close()
    assert first.hashes == again.hashes
    assert first.source_signature == again.source_signature
    assert len(first.hashes) // 32 > 60
    # The page, and the first one with its change counter.
    assert 1 <= changed_chunks(first, changed) <= 3
    assert changed.source_signature != first.source_signature


@pytest.mark.parametrize("journal_mode", ["wal", "delete", "persist", "truncate"])
def test_a_fingerprint_changes_with_every_commit_however_quick_and_small(
    helper: SnapshotHelper, tmp_path: Path, journal_mode: str
) -> None:
    source = tmp_path / "games.db"
    with sqlite3.connect(source, isolation_level=None) as database:
        database.execute(f"PRAGMA journal_mode={journal_mode}")
        database.execute("CREATE TABLE games (id INTEGER PRIMARY KEY, n)")
        database.execute("INSERT INTO games VALUES (1, 0)")
        seen = {helper.fingerprint(source)}
        for n in range(200):
            database.execute("UPDATE games SET n = ?", (n + 1,))
            seen.add(helper.fingerprint(source))
        assert len(seen) == 201
        assert helper.fingerprint(source) == helper.fingerprint(source)
    database.close()


def test_the_helper_is_small_starts_at_the_first_question_and_serves_many_threads(tmp_path: Path) -> None:
    with SnapshotHelper() as helper:
        assert helper.pid is None
        sources = [tmp_path / f"{n}.db" for n in range(8)]
        for n, source in enumerate(sources):
            with sqlite3.connect(source) as database:
                database.execute("CREATE TABLE games (id)")
                database.executemany("INSERT INTO games VALUES (?)", [(i,) for i in range(n)])
            database.close()
        with ThreadPoolExecutor(8) as threads:
            taken = list(
                threads.map(lambda s: helper.snapshot(s, s.with_suffix(".copy"), chunk_size=CHUNK), sources)
            )
        assert [snapshot.games_total for snapshot in taken] == list(range(8))
        status = Path(f"/proc/{helper.pid}/status").read_text()
        assert int(status.split("VmRSS:")[1].split()[0]) < 40_000
    assert helper.pid is None
    with pytest.raises(PeerGone):
        helper.fingerprint(sources[0])


def test_a_helper_that_dies_is_started_again(tmp_path: Path) -> None:
    source = tmp_path / "games.db"
    sqlite3.connect(source).execute("CREATE TABLE games (id)").connection.close()
    with SnapshotHelper() as helper:
        before, first = helper.fingerprint(source), helper.pid
        assert helper._process is not None
        helper._process.kill()
        assert helper.fingerprint(source) == before
        assert helper.pid not in (None, first)


def test_a_helper_whose_peer_was_killed_in_the_middle_of_work_ends_without_a_word() -> None:
    helper = subprocess.Popen(
        [sys.executable, "-m", "ringgossip.runtime.storage.snapshot_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert helper.stdin is not None and helper.stdout is not None and helper.stderr is not None
    helper.stdout.close()
    helper.stdin.write(b"{}\n")
    helper.stdin.flush()
    with helper.stderr, helper.stdin:
        assert helper.wait(30) == 0
        assert helper.stderr.read() == b""


def test_a_helper_that_cannot_start_is_a_clear_error(tmp_path: Path) -> None:
    with (
        SnapshotHelper(python="/nonexistent/python") as helper,
        pytest.raises(StoreError, match="cannot be started"),
    ):
        helper.fingerprint(tmp_path / "games.db")
    for python, reason in (("/nonexistent/python", "cannot be started"), ("/bin/false", "died twice")):
        with SnapshotHelper(python) as helper, pytest.raises(StoreError, match=reason):
            helper.fingerprint(tmp_path / "games.db")


def test_a_source_that_does_not_answer_is_given_up_and_others_go_on(tmp_path: Path) -> None:
    source = tmp_path / "games.db"
    with closing(sqlite3.connect(source)) as database:
        database.execute("CREATE TABLE games (id)")
    with SnapshotHelper(hangs_after=0.5) as helper:
        before = helper.fingerprint(source)
        hung = helper.pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)  # as a file server that went away would leave it
        with pytest.raises(StoreError, match=r"games.db could not be read in .* does not answer"):
            helper.snapshot(source, tmp_path / "copy", chunk_size=CHUNK)
        assert not Path(f"/proc/{hung}").exists()
        assert helper.fingerprint(source) == before and helper.pid != hung


def test_a_source_that_does_not_answer_any_more_is_given_up_in_the_middle_of_a_copy(tmp_path: Path) -> None:
    source, hanging = tmp_path / "games.db", tmp_path / "hanging"
    with closing(sqlite3.connect(source)) as database:
        database.execute("CREATE TABLE games (id)")
    # What was copied is brought to the disk all the while: that is no sign of the source.
    hanging.write_text(
        f"""#!{sys.executable}
import time
from ringgossip.runtime.storage import snapshot_process
snapshot_process.SYNC_SECONDS = 1e-4
snapshot_process.copy_database = lambda *_: time.sleep(5)
snapshot_process.main()
"""
    )
    hanging.chmod(0o755)
    with (
        SnapshotHelper(str(hanging), hangs_after=1.0) as helper,
        pytest.raises(StoreError, match="does not answer"),
    ):
        helper.snapshot(source, tmp_path / "copy", chunk_size=CHUNK)
    assert not (tmp_path / "copy").exists()


def test_a_helper_that_hangs_keeps_no_peer_from_ending(tmp_path: Path) -> None:
    source = tmp_path / "games.db"
    with closing(sqlite3.connect(source)) as database:
        database.execute("CREATE TABLE games (id)")
    helper, failures = SnapshotHelper(), list[BaseException]()
    helper.fingerprint(source)
    assert helper.pid is not None
    os.kill(helper.pid, signal.SIGSTOP)

    def ask() -> None:
        try:
            helper.fingerprint(source)
        except PeerGone as gone:
            failures.append(gone)

    thread = threading.Thread(target=ask)
    thread.start()
    helper.close()
    thread.join(10.0)
    assert not thread.is_alive() and len(failures) == 1


def test_closing_ends_a_copy_under_way_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "games.db"
    with sqlite3.connect(source) as database:
        database.execute("CREATE TABLE games (b BLOB)")
        database.execute("PRAGMA synchronous=OFF")
        database.execute("INSERT INTO games VALUES (zeroblob(200000000))")
    database.close()
    helper = SnapshotHelper()
    helper.fingerprint(source)
    failures: list[BaseException] = []

    def snapshot() -> None:
        try:
            helper.snapshot(source, tmp_path / "copy", chunk_size=CHUNK)
        except PeerGone as gone:
            failures.append(gone)

    thread = threading.Thread(target=snapshot)
    thread.start()
    while not (tmp_path / "copy").exists():
        time.sleep(0.001)
    began = time.monotonic()
    helper.close()
    thread.join()
    assert time.monotonic() - began < 1.0
    assert len(failures) == 1
    assert not (tmp_path / "copy").exists()


def test_snapshots_take_at_most_a_tenth_of_the_time() -> None:
    pacer = SnapshotPacer()
    assert pacer.allowed(now=0.0)
    busy, now = 0.0, 0.0
    for seconds in (1.0, 30.0, 0.2, 5.0):
        while not pacer.allowed(now):
            now += 0.01
        now, busy = now + seconds, busy + seconds
        pacer.finished(now, seconds)
        assert not pacer.allowed(now + 8.9 * seconds)
    assert not pacer.allowed(10 * busy - 0.02)


def test_a_wal_that_is_begun_anew_under_the_copy_is_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wal, copy = tmp_path / "g.db-wal", tmp_path / "copy-wal"
    wal.write_bytes(b"first generation".ljust(4096, b"1"))
    restarts = 1

    def restarted_meanwhile(source: int, *arguments: int) -> None:
        nonlocal restarts
        copy_range(source, *arguments)
        if restarts:
            restarts -= 1
            wal.write_bytes(f"generation {restarts}".encode().ljust(512, b"2"))

    monkeypatch.setattr(snapshot_bulk, "copy_range", restarted_meanwhile)
    with wal.open("rb"):  # as SQLite has it
        assert snapshot_bulk.copy_wal(wal, copy)
        assert copy.read_bytes() == wal.read_bytes()
        restarts = 1000
        with pytest.raises(SnapshotPostponed, match="tried again"):
            snapshot_bulk.copy_wal(wal, copy)
