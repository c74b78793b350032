"""A disk that fills up is told in one line, and the store goes on when there is room again.

The disk is a real one of a few MiB: tmpfs, mounted in a mount namespace of a forked child.
"""

import ctypes
import errno
import os
import sqlite3
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from stores import MIB, content, fill, manifest_of, publish, receive, record_of

from ringgossip.errors import StoreError
from ringgossip.runtime.storage.disk import set_room_aside
from ringgossip.runtime.storage.store import NoRoom, Store
from ringgossip.service.place import bound_socket

_NEW_NAMESPACE = 0x20000
_PRIVATE = 1 << 18 | 1 << 14
_NOT_ALLOWED = 77


def on_small_disk(where: Path, size: int, play: Callable[[Path], None]) -> None:
    """Run `play` in a child for which `where` is a disk of `size` bytes; fail as it fails."""
    where.mkdir()
    report = where.parent / "report"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if (
                libc.unshare(_NEW_NAMESPACE)
                or libc.mount(b"none", b"/", None, _PRIVATE, None)
                or libc.mount(b"tmpfs", bytes(where), b"tmpfs", 0, f"size={size}".encode())
            ):
                code = _NOT_ALLOWED
            else:
                play(where)
                code = 0
        except BaseException:
            report.write_text(traceback.format_exc())
        finally:
            sys.stdout.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == _NOT_ALLOWED:
        pytest.skip("this user may not mount a tmpfs in a namespace of its own")
    assert code == 0, report.read_text() if report.exists() else f"exit {code}"


def test_a_full_disk_stops_a_transfer_that_goes_on_when_there_is_room(tmp_path: Path) -> None:
    def play(disk: Path) -> None:
        told: list[str] = []
        with Store.open(disk / "data", min_free_bytes=0, on_trouble=told.append) as store:
            small, _ = receive(store, content(MIB), "small.bin")
            data = content(8 * MIB, seed=1)
            manifest = manifest_of(data)
            record = record_of(manifest, "large.bin")
            store.reserve(record)
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(8 * MIB))  # after the promise, by somebody who knows of none
            with pytest.raises(NoRoom, match="the disk is full") as refused:
                store.begin_partial(record, manifest)
            assert "\n" not in str(refused.value)
            store.abandon(record.root, keep=True)
            with pytest.raises(NoRoom):
                store.reserve(record)
            assert bytes(store.read_chunk(small.root, 0)) == content(MIB)
            ballast.unlink()
            store.reserve(record)
            store.begin_partial(record, manifest)
            with pytest.raises(OSError), ballast.open("wb") as greedy:
                greedy.write(bytes(8 * MIB))  # the room is taken, although nothing was written yet
            for index in range(8):
                chunk = memoryview(data)[index * MIB : (index + 1) * MIB]
                assert store.verify_and_write(record.root, index, chunk, manifest.chunk_hash(index))
            ballast.unlink()  # the index needs some too
            assert store.finalise(record).read_bytes() == data

    on_small_disk(tmp_path / "disk", 16 * MIB, play)


def test_of_too_little_room_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_ext4(fd: int, *_: object) -> int:
        os.posix_fallocate(fd, 0, MIB)
        ctypes.set_errno(errno.ENOSPC)
        return -1

    monkeypatch.setattr("ringgossip.runtime.storage.disk._libc", SimpleNamespace(fallocate=as_ext4))
    with (tmp_path / "partial").open("wb") as file:
        with pytest.raises(OSError, match="No space"):
            set_room_aside(file.fileno(), 2 * MIB)
        found = os.fstat(file.fileno())
    assert (found.st_size, found.st_blocks) == (0, 0)


def test_an_index_that_cannot_grow_says_so_and_keeps_what_it_had(tmp_path: Path) -> None:
    def play(disk: Path) -> None:
        with Store.open(disk / "data", min_free_bytes=0) as store:
            for number in range(50):
                store.persist(record_of(manifest_of(b"x"), f"n{number}"))
            room = os.statvfs(disk)
            (disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize))
            with pytest.raises(StoreError, match="disk is full"):
                for number in range(50, 3000):
                    store.persist(record_of(manifest_of(b"x"), f"n{number}"))
            (disk / "ballast").unlink()
            store.persist(record_of(manifest_of(b"x"), "last"))
        with Store.open(disk / "data") as store:
            names = {record.name for record in store.restored.records}
            assert {f"n{number}" for number in range(50)} | {"last"} <= names

    on_small_disk(tmp_path / "disk", 8 * MIB, play)


def test_on_a_full_disk_a_store_opens_and_says_what_it_cannot_do(tmp_path: Path) -> None:
    def play(disk: Path) -> None:
        with Store.open(disk / "data", min_free_bytes=0) as store:
            record, _ = receive(store, content(MIB))
        room = os.statvfs(disk)
        (disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize))
        (disk / "data" / "lock").write_bytes(b"")
        with Store.open(disk / "data", min_free_bytes=0) as store:
            assert bytes(store.read_chunk(record.root, 0)) == content(MIB)
            with pytest.raises(StoreError, match="disk is full"):
                for number in range(3000):
                    store.persist(record_of(manifest_of(b"x"), f"n{number}"))
        with pytest.raises(StoreError, match="free some space"), bound_socket(disk / "data"):
            pass
        assert not [path for path in (disk / "data").iterdir() if "sock" in path.name]

    on_small_disk(tmp_path / "disk", 8 * MIB, play)


def test_a_snapshot_without_room_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    source = tmp_path / "games.db"
    with closing(sqlite3.connect(source)) as database:
        database.execute("CREATE TABLE games(body)")
        database.execute("INSERT INTO games VALUES(zeroblob(12000000))")
        database.commit()

    def play(disk: Path) -> None:
        with Store.open(disk / "data", min_free_bytes=0) as store:
            with pytest.raises(NoRoom, match="no room for"):
                publish(store, source, "games")
            assert not list((store.data / "snapshots").iterdir())

    on_small_disk(tmp_path / "disk", 8 * MIB, play)


def test_what_nobody_fills_makes_room_for_what_is_fetched_now(tmp_path: Path) -> None:
    def play(disk: Path) -> None:
        data = content(4 * MIB)
        idle = record_of(manifest_of(data), "idle.bin")
        with Store.open(disk / "data", min_free_bytes=0) as first:
            fill(first, idle, manifest_of(data), data, only=[0, 1, 2])
        with Store.open(disk / "data", min_free_bytes=0) as second:
            second.reserve(record_of(manifest_of(b"x"), "large.bin", size=14 * MIB, root=bytes(32)))
            assert not list((disk / "data/partial").iterdir())
            with pytest.raises(NoRoom):
                second.reserve(idle)

    on_small_disk(tmp_path / "disk", 16 * MIB, play)
