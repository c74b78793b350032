"""A disk that fails: nothing is believed that it may have lost, and nothing is left behind."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from games import create_games_db
from stores import MIB, content, fill, manifest_of, publish, read_all, receive, record_of

from ringgossip.errors import StoreError
from ringgossip.runtime.storage import holdings, reuse, scrub
from ringgossip.runtime.storage.disk import read_at
from ringgossip.runtime.storage.index import explain
from ringgossip.runtime.storage.store import Store


def failing_once(call, number: int):  # type: ignore[no-untyped-def]
    """Return `call` with its first use failing."""
    failures = [OSError(number, os.strerror(number))]

    def once(*arguments):  # type: ignore[no-untyped-def]
        if failures:
            raise failures.pop()
        return call(*arguments)

    return once


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_what_a_failed_sync_may_have_lost_is_fetched_again_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    # Linux tells of a failed write once, and forgets the pages: the next sync succeeds without them.
    data = content(4 * MIB)
    manifest = manifest_of(data)
    record = record_of(manifest)
    with Store.open(tmp_path / "data") as store:
        fill(store, record, manifest, data, only=[0, 1])
        store.abandon(record.root, keep=True)
        assert fill(store, record, manifest, data) == [2, 3]
        monkeypatch.setattr("os.fsync", failing_once(os.fsync, number))
        with pytest.raises(StoreError, match=r"cannot be synced|full"):
            store.finalise(record, False)
        with pytest.raises(StoreError, match="could not be synced"):
            store.finalise(record, False)
        store.abandon(record.root, keep=True)
        assert store.path_of(record) is None
        assert fill(store, record, manifest, data) == [2, 3]
        assert store.finalise(record, False).read_bytes() == data


def test_the_scrubber_moves_a_copy_aside_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    lost: list[str] = []
    with Store.open(
        tmp_path / "data", on_trouble=told.append, on_lost=lambda record, _: lost.append(record.name)
    ) as store:
        receive(store, content(MIB), "net.bin")
        monkeypatch.setattr(scrub, "read_at", failing_once(scrub.read_at, errno.EIO))
        [damaged] = store.scrub_next(MIB).damaged
        assert "I/O error" in damaged and lost == ["net.bin"] and told == [damaged]


def test_a_version_that_could_not_be_begun_keeps_what_it_had_and_costs_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content(4 * MIB)
    manifest = manifest_of(data)
    record = record_of(manifest)
    with Store.open(tmp_path / "data") as store:
        older = content(2 * MIB, seed=1)
        fill(store, record_of(manifest_of(older)), manifest_of(older), older, only=[0])
        store.abandon(manifest_of(older).root, keep=True)
        fill(store, record_of(manifest, sequence=2), manifest, data, only=[0, 1])
        store.abandon(record.root, keep=True)
        before = open_descriptors()
        for _ in range(5):
            monkeypatch.setattr(reuse.Reuse, "_by_hash", failing_once(lambda *_: None, errno.EIO))
            with pytest.raises((OSError, StoreError)):
                store.begin_partial(record_of(manifest, sequence=2), manifest)
        assert open_descriptors() == before
        record = record_of(manifest, sequence=2)
        assert fill(store, record, manifest, data) == [2, 3]
        store.finalise(record, False)
        assert read_all(store, record) == data


def test_a_version_given_up_while_chunks_are_copied_is_no_trouble_of_the_disk(tmp_path: Path) -> None:
    with Store.open(tmp_path / "data") as store:
        old = content(80 * MIB)
        receive(store, old)
        new = content(MIB, seed=1) + old[MIB:]
        manifest = manifest_of(new)
        record = record_of(manifest, sequence=2)
        store.reserve(record)
        store.begin_partial(record, manifest)
        copying = store.copy_local(record.root)
        next(copying)
        store.abandon(record.root, keep=False)
        assert list(copying) == []


def test_a_users_file_that_cannot_be_read_for_now_is_no_fault_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever watches over a folder tries again only what is not to blame itself.
    path = tmp_path / "net.bin"
    path.write_bytes(content(MIB))
    with Store.open(tmp_path / "data") as store:
        monkeypatch.setattr("os.readv", failing_once(os.readv, errno.ESTALE))
        with pytest.raises(StoreError, match="cannot be read now"):
            store.prepare("models", path, "net.bin")
        assert store.prepare("models", path, "net.bin").size == MIB


def test_a_users_file_that_cannot_be_read_once_is_not_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It does not change: whoever watches over its folder would never publish it again.
    path, lost, trouble = tmp_path / "net.bin", [], []
    path.write_bytes(content(MIB))
    monkeypatch.setattr("ringgossip.runtime.storage.publishing.clone", lambda *_: False)
    with Store.open(
        tmp_path / "data", on_lost=lambda *told: lost.append(told), on_trouble=trouble.append
    ) as store:
        record = publish(store, path)
        for _ in range(3):
            monkeypatch.setattr(holdings, "read_at", failing_once(read_at, errno.EIO))
            with pytest.raises(StoreError, match="I/O error"):
                store.read_chunk(record.root, 0)
        assert len(trouble) == 1
        assert read_all(store, record) == content(MIB) and not lost


def test_a_snapshot_that_the_index_cannot_note_does_not_stay_on_the_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_games_db(tmp_path / "games.db")
    full = sqlite3.OperationalError("database or disk is full")
    with Store.open(tmp_path / "data") as store:
        monkeypatch.setattr(
            "ringgossip.runtime.storage.holdings.ManifestCache.store", lambda *_: _raise(explain(full))
        )
        with pytest.raises(StoreError):
            store.prepare("games", tmp_path / "games.db", "games.db")
        assert not list((tmp_path / "data" / "snapshots").iterdir())


@pytest.mark.parametrize("table", ["records", "sqlite_autoindex_pages_1"])
def test_an_index_too_large_to_be_checked_is_rebuilt_when_damage_is_met_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setattr("ringgossip.runtime.storage.index._CHECK_UP_TO", 0)
    path, told = tmp_path / "data" / "index.db", []
    with Store.open(tmp_path / "data") as store:
        receive(store, content(MIB))
        born = store.restored.store
    with closing(sqlite3.connect(path)) as database:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        [(page,)] = database.execute(query, (table,)).fetchall()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    if table != "records":
        # Nothing that a start reads: it is met later, and the start after that knows.
        with Store.open(tmp_path / "data") as store, pytest.raises(StoreError, match="restart the peer"):
            store.find_pages([(0, 0, bytes(32))])
    with Store.open(tmp_path / "data", on_trouble=told.append) as store:
        [damaged] = told
        assert "moved to" in damaged and store.restored.store != born and not store.restored.records
    with Store.open(tmp_path / "data", on_trouble=told.append):
        assert len(told) == 1


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "owner and mode"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ESTALE, "mount"),
        (errno.EIO, "kernel log"),
    ],
)
def test_a_start_that_the_disk_refuses_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    with Store.open(tmp_path / "data"):
        pass
    left, unlink = tmp_path / "data" / "partial" / "left by a crash", Path.unlink
    left.touch()
    refused = failing_once(unlink, number)
    monkeypatch.setattr(
        Path, "unlink", lambda path, missing_ok=False: (refused if path == left else unlink)(path, missing_ok)
    )
    with pytest.raises(StoreError, match=remedy) as told:
        Store.open(tmp_path / "data")
    assert "\n" not in str(told.value)
    with Store.open(tmp_path / "data"):
        assert not list((tmp_path / "data" / "partial").iterdir())


def _raise(problem: Exception) -> None:
    raise problem
