"""Publishing, receiving and serving with two stores and no network."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stores import MIB, bits, content, fill, flip, manifest_of, publish, read_all, receive, record_of

from ringgossip.errors import ArtifactRefused, StoreError, UsageError
from ringgossip.runtime.storage.disk import Handle
from ringgossip.runtime.storage.places import Place
from ringgossip.runtime.storage.store import ChunkChanged, ChunkMissing, NoRoom, Store


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, told: list[str]) -> Iterator[Store]:
    with Store.open(tmp_path / "data", on_trouble=told.append) as opened:
        yield opened


# --- the store itself ----------------------------------------------------------------------


def test_a_store_is_private_and_born_with_an_id_of_its_own(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a" / "deep") as one, Store.open(tmp_path / "b") as other:
        assert one.data.stat().st_mode & 0o777 == 0o700
        assert len(one.restored.store) == 8 and one.restored.store != other.restored.store
        assert one.restored.fresh
        number = one.restored.store
    with Store.open(tmp_path / "a" / "deep") as again:
        assert again.restored.store == number


def test_a_second_process_is_told_who_has_the_store(store: Store) -> None:
    code = (
        "import sys, pathlib; from ringgossip.runtime.storage.store import Store; "
        "Store.open(pathlib.Path(sys.argv[1]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(store.data)], capture_output=True, text=True, timeout=30
    )
    assert ran.returncode and f"in use by process {os.getpid()}" in ran.stderr
    with pytest.raises(StoreError, match="in use"):
        Store.open(store.data)


def test_boots_only_go_up_even_when_the_clock_goes_back(tmp_path: Path) -> None:
    with Store.open(tmp_path) as first:
        assert first.next_boot(1_000_000) == 1_000_000
    with Store.open(tmp_path) as second:
        assert second.next_boot(500) == 1_000_001
        assert second.next_boot(2_000_000) == 2_000_000


def test_records_and_certificates_come_back(tmp_path: Path) -> None:
    records = [record_of(manifest_of(b"x"), f"n{number}") for number in range(5)]
    with Store.open(tmp_path) as first:
        first.persist(records[0])
        first.persist_batch(records[1:])
        first.persist_batch((), (b"der",))
        first.persist(record_of(manifest_of(b"y"), "n0", 2))
    with Store.open(tmp_path) as second:
        assert sorted((record.name, record.sequence) for record in second.restored.records) == [
            ("n0", 2), ("n1", 1), ("n2", 1), ("n3", 1), ("n4", 1),
        ]  # fmt: skip
        assert second.restored.certificates == (b"der",)
        assert second.restored.holdings == ()


def test_who_signs_thousands_of_records_for_one_sequence_fills_no_index(tmp_path: Path) -> None:
    # Each with a smaller hash than the one before, so that the catalog takes them all, one after the other.
    records = [record_of(manifest_of(content(10, seed)), sequence=3) for seed in range(50)]
    records.sort(key=lambda record: record.hash, reverse=True)
    with Store.open(tmp_path / "data") as store:
        store.persist(record_of(manifest_of(b"older"), sequence=2))
        for record in records:
            store.persist(record)
    with Store.open(tmp_path / "data") as store:
        assert sorted(store.restored.records, key=lambda record: record.hash) == records[:-3:-1]


def test_what_is_opened_while_it_goes_does_not_stay_open(tmp_path: Path, monkeypatch) -> None:
    # A file that is deleted and open keeps its room on the disk.
    with Store.open(tmp_path / "data") as store:
        record, _ = receive(store, content(MIB))
        opened = Place.open

        def open_while_it_goes(place: Place) -> Handle:
            handle = opened(place)
            store.drop(record)
            return handle

        before = len(list(Path("/proc/self/fd").iterdir()))
        monkeypatch.setattr(Place, "open", open_while_it_goes)
        with pytest.raises(ChunkMissing):
            store.read_chunk(record.root, 0)
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_damaged_index_is_moved_aside_and_replicas_are_proven_again_without_fetching(
    tmp_path: Path, told: list[str]
) -> None:
    data = content(3 * MIB + 5)
    with Store.open(tmp_path) as first:
        record, path = receive(first, data)
        number = first.restored.store
    (tmp_path / "index.db").write_bytes((tmp_path / "index.db").read_bytes()[:5000])
    with Store.open(tmp_path, on_trouble=told.append) as second:
        assert "is damaged" in told[0]
        assert second.restored.store != number and second.restored.fresh and not second.restored.holdings
        assert list((tmp_path / "damaged").iterdir())
        assert path.read_bytes() == data
        assert fill(second, record, manifest_of(data), data) == []
        assert second.finalise(record) == path
        assert path.read_bytes() == data and len(told) == 1


def test_two_replicas_of_one_content_are_both_good_when_the_index_is_lost(
    tmp_path: Path, told: list[str]
) -> None:
    data = content(3 * MIB + 5)
    with Store.open(tmp_path) as first:
        paths = [receive(first, data, name)[1] for name in ("a.bin", "b.bin")]
    (tmp_path / "index.db").unlink()
    with Store.open(tmp_path, on_trouble=told.append) as second:
        for name, path in zip(("a.bin", "b.bin"), paths, strict=True):
            record = record_of(manifest_of(data), name)
            assert fill(second, record, manifest_of(data), data) == []
            assert second.finalise(record) == path
        assert told == [] and list((tmp_path / "damaged").iterdir()) == []


def test_a_file_of_the_same_length_where_a_replica_belongs_is_moved_aside_still(
    store: Store, told: list[str]
) -> None:
    data = content(2 * MIB + 5)
    _, path = receive(store, data, "a.bin")
    other = path.with_name("b.bin")
    other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    receive(store, data, "b.bin")
    assert other.read_bytes() == data
    assert len(told) == 1 and "was unknown to the index: moved to" in told[0]


def test_rubbish_instead_of_an_index_is_moved_aside_too(tmp_path: Path, told: list[str]) -> None:
    Store.open(tmp_path).close()
    (tmp_path / "index.db").write_bytes(b"no database" * 1000)
    with Store.open(tmp_path, on_trouble=told.append):
        assert (tmp_path / "damaged" / "index.db").read_bytes().startswith(b"no database")
    [line] = told
    assert "is damaged (file is not a database): moved to" in line


# --- publishing ------------------------------------------------------------------------------


def test_a_users_file_is_served_where_it_lies_and_never_touched(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(content(2 * MIB + 17))
    before = path.stat()
    record = publish(store, path)
    assert read_all(store, record) == content(2 * MIB + 17)
    assert store.path_of(record) == path
    assert path.stat()[:9] == before[:9] and path.stat().st_ctime_ns == before.st_ctime_ns
    store.drop(record)
    assert path.exists()


def test_an_unchanged_file_is_not_read_again_not_even_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(content(MIB))
    with Store.open(tmp_path / "data") as first:
        record = publish(first, path)
        assert not first.prepare("models", path, "net.bin").read
    with Store.open(tmp_path / "data") as second:
        assert second.restored.holdings == (record,) and not second.restored.fresh
        assert second.restored.paths[("models", "alice", "net.bin", 1)] == str(path)
        assert not second.prepare("models", path, "net.bin").read
        stat = path.stat()
        path.write_bytes(content(MIB, seed=1))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert second.prepare("models", path, "net.bin").root != record.root


def test_the_same_bytes_in_a_new_file_keep_their_version(tmp_path: Path) -> None:
    path, other = tmp_path / "net.bin", tmp_path / "new"
    path.write_bytes(content(MIB))
    with Store.open(tmp_path / "data") as first:
        record = publish(first, path)
        other.write_bytes(content(MIB))
        other.rename(path)
        first.discard(first.prepare("models", path, "net.bin"))
    with Store.open(tmp_path / "data") as second:
        assert second.restored.holdings == (record,)


def test_a_file_that_is_renamed_over_is_served_to_the_end(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(content(2 * MIB))
    record = publish(store, path)
    (tmp_path / "new").write_bytes(content(2 * MIB, seed=1))
    (tmp_path / "new").rename(path)
    newer = publish(store, path, sequence=2)
    assert read_all(store, record) == content(2 * MIB)
    assert read_all(store, newer) == content(2 * MIB, seed=1)
    assert store.drop(record)
    with pytest.raises(ChunkMissing):
        store.read_chunk(record.root, 0)


def test_a_file_changed_in_place_is_withdrawn_before_a_wrong_byte_leaves(tmp_path: Path) -> None:
    path, lost = tmp_path / "net.bin", []
    trouble: list[str] = []
    path.write_bytes(content(2 * MIB))
    with Store.open(
        tmp_path / "data",
        on_trouble=trouble.append,
        on_lost=lambda record, reason: lost.append((record, reason)),
    ) as store:
        record = publish(store, path)
        with path.open("r+b") as file:
            file.seek(MIB + 3)
            file.write(b"rewritten")
        assert bytes(store.read_chunk(record.root, 0)) == content(2 * MIB)[:MIB]
        with pytest.raises(ChunkChanged):
            store.read_chunk(record.root, 1)
        assert lost[0][0] == record and "chunk 1" in lost[0][1]
        assert not trouble, "a user changed their file: no disk is ill for that"
        with pytest.raises(ChunkMissing):
            store.read_chunk(record.root, 0)
        assert path.stat().st_size == 2 * MIB


def test_what_is_no_whole_file_is_refused(store: Store, tmp_path: Path) -> None:
    for name, data in (("empty.pth", b""), ("torn.pth", b"PK\x03\x04" + bytes(1000))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ArtifactRefused):
            store.prepare("models", tmp_path / name, name)
    with pytest.raises(ArtifactRefused):
        store.prepare("models", tmp_path, "folder")
    with pytest.raises(ArtifactRefused):
        store.prepare("models", tmp_path / "missing", "missing")
    with pytest.raises(UsageError):
        store.prepare("models", tmp_path / "empty.pth", "../empty.pth")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactRefused):
        store.prepare("npz", tmp_path / "pipe", "pipe")


@pytest.mark.parametrize("how", ["grows", "same size", "renamed over"])
def test_a_file_that_changes_while_it_is_hashed_is_refused(store: Store, tmp_path: Path, how: str) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(content(3 * MIB))

    def meddle(phase: str, done: int, total: int) -> None:
        if done == 2 * MIB and how == "renamed over":
            (tmp_path / "new").write_bytes(content(3 * MIB))
            (tmp_path / "new").rename(path)
        elif done == 2 * MIB:
            with path.open("r+b") as file:
                file.seek(0, os.SEEK_END if how == "grows" else os.SEEK_SET)
                file.write(b"more")

    with pytest.raises(ArtifactRefused, match="changed while it was read"):
        store.prepare("models", path, "net.bin", progress=meddle)
    assert store.prepare("models", path, "net.bin").read


def test_a_users_file_that_changed_while_we_were_away_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(content(MIB))
    with Store.open(tmp_path / "data") as first:
        publish(first, path)
    stat = path.stat()
    flip(path, 5)
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    with Store.open(tmp_path / "data") as second:
        assert second.restored.holdings == () and len(second.restored.records) == 1


def test_changed_metadata_alone_moves_no_file(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        _, path = receive(store, content(MIB))
        newer = record_of(manifest_of(content(MIB)), sequence=2, metadata={"quality": 0.9})
        inode = path.stat().st_ino
        assert store.finalise(newer) == path and path.stat().st_ino == inode
    with Store.open(tmp_path) as store:
        assert store.restored.holdings == (newer,)


# --- receiving ---------------------------------------------------------------------------------


def test_a_version_is_visible_only_when_it_is_whole(store: Store) -> None:
    data = content(3 * MIB + 1)
    manifest = manifest_of(data)
    record = record_of(manifest)
    fill(store, record, manifest, data, only=[0, 2])
    path = store.data / "replicas/models/alice/net.bin"
    with pytest.raises(StoreError, match="not complete"):
        store.finalise(record)
    assert not path.exists()
    assert bytes(store.read_chunk(record.root, 2)) == data[2 * MIB : 3 * MIB]
    with pytest.raises(ChunkMissing):
        store.read_chunk(record.root, 1)
    for index in (1, 3):
        chunk = memoryview(data)[index * MIB : (index + 1) * MIB]
        assert store.verify_and_write(record.root, index, chunk, manifest.chunk_hash(index))
    assert store.finalise(record) == path
    assert path.read_bytes() == data and not list((store.data / "partial").iterdir())


def test_a_chunk_that_comes_twice_is_written_once(store: Store) -> None:
    # The second may come while the version is made visible: its times are noted, and looked at by a restart.
    data = content(2 * MIB)
    manifest = manifest_of(data)
    record = record_of(manifest)
    fill(store, record, manifest, data)
    part = store.data / "partial" / f"{record.root.hex()}.part"
    before = part.stat().st_mtime_ns
    assert store.verify_and_write(record.root, 0, memoryview(data)[:MIB], manifest.chunk_hash(0))
    assert part.stat().st_mtime_ns == before


def test_a_wrong_chunk_is_never_stored(store: Store) -> None:
    data = content(2 * MIB)
    manifest = manifest_of(data)
    record = record_of(manifest)
    store.reserve(record)
    store.begin_partial(record, manifest)
    wrong = memoryview(content(MIB, seed=9))
    right = memoryview(data)[:MIB]
    assert not store.verify_and_write(record.root, 0, wrong, manifest.chunk_hash(0))
    assert not store.verify_and_write(record.root, 1, right, manifest.chunk_hash(0))
    assert not store.verify_and_write(record.root, 0, right[:-1], manifest.chunk_hash(0))
    assert not store.verify_and_write(record.root, 2, right, manifest.chunk_hash(0))
    with pytest.raises(ChunkMissing):
        store.read_chunk(record.root, 0)


def test_an_interrupted_transfer_goes_on_where_it_was(tmp_path: Path) -> None:
    data = content(5 * MIB)
    manifest = manifest_of(data)
    record = record_of(manifest)
    with Store.open(tmp_path) as first:
        fill(first, record, manifest, data, only=[0, 3])
    with Store.open(tmp_path) as second:
        assert second.reserve(record) == manifest
        assert second.begin_partial(record, manifest) == (0b01001, 0)
        second.abandon(record.root, keep=True)
        assert second.begin_partial(record, manifest) == (0b01001, 0)
        second.abandon(record.root, keep=False)
        assert not list((tmp_path / "partial").iterdir())
        assert second.begin_partial(record, manifest) == (0, 0)


def test_chunks_that_lie_anywhere_in_the_store_are_not_fetched(store: Store) -> None:
    old = content(8 * MIB + 100)
    receive(store, old)
    moved = old[4 * MIB : 6 * MIB] + content(MIB, seed=2) + old[3 * MIB :]
    manifest = manifest_of(moved)
    record = record_of(manifest, "other.bin", origin="bob")
    assert fill(store, record, manifest, moved) == [2]
    assert store.finalise(record).read_bytes() == moved


def test_of_a_new_version_only_changed_chunks_and_pages_are_missing(store: Store) -> None:
    size = 1500 * 4096
    old = bytearray(content(size))
    receive(store, bytes(old), kind="models", chunk_size=4096)
    old[1300 * 4096 + 5] ^= 1
    manifest = manifest_of(bytes(old), 4096)
    record = record_of(manifest, sequence=2)
    pages = [(0, 0, manifest.page(1, 0)[:32]), (0, 1, manifest.page(1, 0)[32:])]
    assert store.find_pages(pages) == {manifest.page(1, 0)[:32]: manifest.page(0, 0)}
    assert fill(store, record, manifest, bytes(old)) == [1300]
    assert store.finalise(record).read_bytes() == bytes(old)
    assert store.pages(record.root, [(1, 0), (0, 1)]) == [manifest.page(1, 0), manifest.page(0, 1)]
    with pytest.raises(ChunkMissing):
        store.pages(record.root, [(0, 2)])


def test_a_damaged_source_of_copies_gives_no_wrong_chunk(tmp_path: Path) -> None:
    data = content(4 * MIB)
    with Store.open(tmp_path) as first:
        _, path = receive(first, data)
    flip(path, MIB + 7)
    with Store.open(tmp_path) as second:
        manifest = manifest_of(data)
        record = record_of(manifest, "copy.bin")
        assert fill(second, record, manifest, data) == [1]
        assert second.finalise(record).read_bytes() == data


def test_what_was_visible_stays_readable_until_it_is_dropped(store: Store) -> None:
    old, _ = receive(store, content(MIB))
    new, path = receive(store, content(MIB, seed=1), sequence=2)
    assert path.read_bytes() == content(MIB, seed=1)
    kept = path.with_name("net.bin@1")
    assert kept.read_bytes() == content(MIB) and read_all(store, old) == content(MIB)
    assert store.drop(old) and not kept.exists() and path.exists()
    assert read_all(store, new) == content(MIB, seed=1)


def test_a_pinned_predecessor_is_never_dropped_also_not_by_a_restart(tmp_path: Path) -> None:
    with Store.open(tmp_path) as first:
        old, _ = receive(first, content(MIB))
        receive(first, content(MIB, seed=1), sequence=2, keep_predecessor=True)
        third, path = receive(first, content(MIB, seed=2), sequence=3)
        assert not first.drop(old)
    with Store.open(tmp_path) as second:
        assert sorted(record.sequence for record in second.restored.holdings) == [1, 3]
        assert (path.with_name("net.bin@1")).read_bytes() == content(MIB)
        assert not path.with_name("net.bin@2").exists()
        assert read_all(second, third) == content(MIB, seed=2)


def test_a_content_that_was_kept_and_is_the_newest_again_has_the_visible_name(tmp_path: Path) -> None:
    # A database that was lost, and is published again as it was.
    whole, fewer = content(2 * MIB, seed=1), content(MIB, seed=2)
    with Store.open(tmp_path / "data") as store:
        _, path = receive(store, whole)
        shrunk, _ = receive(store, fewer, sequence=2, keep_predecessor=True)
        manifest = manifest_of(whole)
        again = record_of(manifest, sequence=3)
        fill(store, again, manifest, whole)
        assert store.finalise(again, False) == path == store.path_of(again)
        assert path.read_bytes() == whole and read_all(store, shrunk) == fewer
    with Store.open(tmp_path / "data") as store:
        assert store.path_of(again) == path and not store.path_of(shrunk)
        assert [entry.name for entry in path.parent.iterdir()] == ["net.bin"]
        assert path.read_bytes() == whole


def test_an_older_version_that_took_longer_does_not_replace_a_newer_one(store: Store) -> None:
    _, path = receive(store, content(MIB, seed=2), sequence=2)
    old, kept = receive(store, content(MIB, seed=1), sequence=1)
    assert path.read_bytes() == content(MIB, seed=2)
    assert kept == path.with_name("net.bin@1") and read_all(store, old) == content(MIB, seed=1)


def test_what_is_not_what_its_kind_demands_stays_invisible(store: Store) -> None:
    with pytest.raises(ArtifactRefused, match="SQLite"):
        receive(store, content(65536), "games.db", kind="games", chunk_size=65536)
    assert not (store.data / "replicas/games/alice/games.db").exists()


def test_an_empty_npz_is_rejected_and_an_empty_transfer_has_no_chunks(store: Store) -> None:
    manifest = manifest_of(b"")
    record = record_of(manifest, kind="npz")
    store.reserve(record)
    assert store.begin_partial(record, manifest) == (0, 0)
    with pytest.raises(ArtifactRefused):
        store.finalise(record)


def test_something_unknown_in_the_way_is_moved_aside_not_overwritten(store: Store, told: list[str]) -> None:
    path = store.data / "replicas/models/alice/net.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"somebody put this here")
    _, shown = receive(store, content(MIB))
    assert shown == path and path.read_bytes() == content(MIB)
    assert [file.read_bytes() for file in (store.data / "damaged").iterdir()] == [b"somebody put this here"]
    assert len(told) == 1


# --- space ------------------------------------------------------------------------------------------


def test_promised_space_is_not_promised_twice(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    with Store.open(tmp_path / "data", min_free_bytes=free - 900 * MIB) as store:
        first = record_of(manifest_of(content(MIB)), "a", size=400 * MIB)
        second = record_of(manifest_of(content(MIB)), "b", size=700 * MIB, root=bytes(32))
        store.reserve(first)
        with pytest.raises(NoRoom, match="no room for"):
            store.reserve(second)
        store.abandon(first.root, keep=False)
        store.reserve(second)


def test_the_floor_of_free_space_is_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path, min_free_bytes=2**60) as store, pytest.raises(NoRoom):
        store.reserve(record_of(manifest_of(b"x")))


# --- damage --------------------------------------------------------------------------------------------


def test_a_damaged_replica_is_moved_aside_when_it_is_read(tmp_path: Path, told: list[str]) -> None:
    lost = []
    with Store.open(tmp_path) as first:
        record, path = receive(first, content(2 * MIB))
    flip(path, MIB + 1)
    with Store.open(tmp_path, on_trouble=told.append, on_lost=lambda *what: lost.append(what)) as second:
        assert second.restored.holdings == (record,)
        assert bytes(second.read_chunk(record.root, 0)) == content(2 * MIB)[:MIB]
        with pytest.raises(ChunkChanged):
            second.read_chunk(record.root, 1)
        assert not path.exists() and len(list((tmp_path / "damaged").iterdir())) == 1
        assert lost[0][0] == record and "moved to" in told[0]
        assert fill(second, record, manifest_of(content(2 * MIB)), content(2 * MIB)) == [0, 1]
        assert second.finalise(record).read_bytes() == content(2 * MIB)


def test_a_damaged_manifest_is_told_and_takes_no_good_file_for_a_damaged_one(tmp_path: Path) -> None:
    with Store.open(tmp_path) as first:
        record, path = receive(first, content(3 * MIB))
        first._index.ask(lambda database: database.execute("UPDATE pages SET data = zeroblob(length(data))"))
    with Store.open(tmp_path) as second:
        with pytest.raises(StoreError, match=r"index.db is damaged: the manifest of .* is not what"):
            second.read_chunk(record.root, 1)
        assert second.scrub_next(MIB).damaged == ()
        assert path.read_bytes() == content(3 * MIB) and not list((tmp_path / "damaged").iterdir())


def test_a_round_of_scrubbing_passes_over_what_went_meanwhile(store: Store) -> None:
    records = [receive(store, content(2 * MIB, seed=seed), f"{seed}.bin")[0] for seed in range(4)]
    store.scrub_next(MIB)
    for record in records[:3]:
        assert store.drop(record)
    read = 0
    while not (scrubbed := store.scrub_next(MIB)).round_done:
        read += scrubbed.length
    assert read + scrubbed.length <= 2 * MIB


def test_a_slow_scrub_finds_what_nobody_reads(store: Store) -> None:
    _, good = receive(store, content(3 * MIB))
    _, bad = receive(store, content(3 * MIB, seed=1), "bad.bin")
    flip(bad, 2 * MIB + 9)
    found, rounds, calls = [], 0, 0
    while rounds < 2 and calls < 50:
        scrubbed = store.scrub_next(MIB)
        assert scrubbed.length <= MIB
        found += scrubbed.damaged
        rounds += scrubbed.round_done
        calls += 1
    assert len(found) == 1 and "bad.bin" in found[0]
    assert good.exists() and not bad.exists() and calls >= 6


def test_a_replica_that_vanished_is_no_longer_held(tmp_path: Path) -> None:
    with Store.open(tmp_path) as first:
        _, path = receive(first, content(MIB))
    path.unlink()
    with Store.open(tmp_path) as second:
        assert second.restored.holdings == () and len(second.restored.records) == 1


def test_the_scrubber_says_of_a_replica_removed_by_hand_that_it_is_gone(store: Store) -> None:
    _, path = receive(store, content(MIB))
    store._holdings.files.close()
    path.unlink()
    [found] = store.scrub_next(MIB).damaged
    assert found == f"{path} is gone; it is pulled again from whoever has it"


def test_bit_sets_of_the_protocol_are_integers() -> None:
    assert bits(0b1011) == [0, 1, 3]


def test_of_two_contents_signed_for_one_sequence_one_stays(store: Store) -> None:
    first, _ = receive(store, content(MIB, seed=1))
    second, path = receive(store, content(MIB, seed=2))
    assert path.read_bytes() == content(MIB, seed=2)
    assert [file.name for file in path.parent.iterdir()] == ["net.bin"]
    with pytest.raises(ChunkMissing):
        store.read_chunk(first.root, 0)
    assert read_all(store, second) == content(MIB, seed=2)


def test_several_threads_fill_and_read_one_version_at_once(store: Store) -> None:
    data = content(200 * 4096 + 9)
    manifest = manifest_of(data, 4096)
    record = record_of(manifest)
    store.reserve(record)
    store.begin_partial(record, manifest)

    def bring(index: int) -> bytes:
        chunk = memoryview(data)[index * 4096 : (index + 1) * 4096]
        assert store.verify_and_write(record.root, index, chunk, manifest.chunk_hash(index))
        return bytes(store.read_chunk(record.root, index))

    with ThreadPoolExecutor(8) as crew:
        assert b"".join(crew.map(bring, range(manifest.chunk_count))) == data
    assert store.finalise(record).read_bytes() == data


@pytest.mark.parametrize("name", ["net\udcff.bin", "net\0.bin"])
def test_a_path_that_the_index_cannot_keep_is_refused_in_one_printable_line(
    tmp_path: Path, name: str
) -> None:
    with Store.open(tmp_path / "data") as store, pytest.raises(ArtifactRefused) as refused:
        store.prepare("models", tmp_path / name, "net.bin", {})
    assert str(refused.value).isprintable()
