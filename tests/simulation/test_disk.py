"""A simulated store: what lasts, what a crash takes, what is refused."""

from random import Random

import pytest

from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record, make_record
from ringgossip.simulation.content import changed_content, new_content
from ringgossip.simulation.disk import Disk, DiskTimes
from ringgossip.simulation.notary import Authority

ORIGIN = Authority("test").enroll("origin")
KIB = 1024


def record_of(manifest: Manifest, sequence: int = 1, name: str = "a.pth") -> Record:
    return make_record(
        kind="models", origin="origin", name=name, sequence=sequence, stamp=1, store=bytes(8),
        size=manifest.size, chunk_size=manifest.chunk_size, root=manifest.root, metadata={},
        signer=ORIGIN.certificate.peer_id,
        cluster="test", sign=ORIGIN.sign,
    )  # fmt: skip


def content(label: str = "x", chunks: int = 8) -> Manifest:
    return new_content(label, chunks * 64 * KIB, 64 * KIB)


def filled(disk: Disk, manifest: Manifest, sequence: int = 1) -> Record:
    """Pull a whole file."""
    record = record_of(manifest, sequence)
    assert disk.reserve(record) is None
    disk.begin(record, manifest)
    for index in range(manifest.chunk_count):
        assert disk.write(record.root, index) is None
    assert disk.finalise(record, keep_predecessor=False) == ("replicas/models/origin/a.pth", "")
    return record


def test_a_store_is_born_once_and_remembers_its_holdings() -> None:
    disk = Disk(DiskTimes())
    restored = disk.open(Random(1))
    assert restored.fresh and len(restored.store) == 8
    record = filled(disk, content())
    again = disk.open(Random(2))
    assert (again.fresh, again.store, again.holdings) == (False, restored.store, (record,))
    assert again.paths == {(*record.key, 1): "replicas/models/origin/a.pth"}


def test_a_file_that_is_not_whole_does_not_become_visible() -> None:
    disk = Disk(DiskTimes())
    manifest = content()
    record = record_of(manifest)
    disk.begin(record, manifest)
    disk.write(record.root, 3)
    assert disk.finalise(record, keep_predecessor=False) == (None, "the file is not whole")
    assert not disk.holdings


def test_synced_chunks_survive_a_crash_and_some_others_do_not() -> None:
    kept = []
    for seed in range(40):
        disk = Disk(DiskTimes())
        manifest = content()
        record = record_of(manifest)
        disk.begin(record, manifest)
        for index in range(4):
            disk.write(record.root, index)
        disk.sync()
        for index in range(4, 8):
            disk.write(record.root, index)
        assert disk.unsynced
        disk.crash(Random(seed), lose_unsynced=True)
        have, copying = disk.begin(record, manifest)
        assert have & 0b1111 == 0b1111 and not copying
        kept.append((have >> 4).bit_count())
    assert min(kept) == 0 and max(kept) == 4


def test_a_torn_chunk_is_there_and_false_until_it_is_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, manifest = Disk(DiskTimes()), content()
    record = record_of(manifest)
    disk.begin(record, manifest)
    for index in range(8):
        disk.write(record.root, index)
    hashes_again = Disk._hash_again
    monkeypatch.setattr(Disk, "_hash_again", lambda disk: None)
    disk.tearing = True
    disk.crash(Random(1), lose_unsynced=True)
    torn = sum(1 << index for _, index in disk.damaged)
    assert 0 < torn < 0xFF and disk.partials[record.root].have == 0xFF
    hashes_again(disk)
    assert disk.partials[record.root].have == 0xFF & ~torn and not disk.damaged


def test_a_disk_that_lies_has_synced_nothing() -> None:
    disk, manifest = Disk(DiskTimes()), content()
    record = record_of(manifest)
    disk.lying = True
    disk.begin(record, manifest)
    for index in range(8):
        disk.write(record.root, index)
    disk.sync()
    assert disk.unsynced and disk.partials[record.root].synced == 0
    disk.put_record(record, ours=False)
    disk.crash(Random(3), lose_unsynced=True)
    assert disk.partials[record.root].have != 0xFF and not disk.lying


def test_a_killed_process_loses_nothing_that_the_system_has() -> None:
    disk = Disk(DiskTimes())
    manifest = content()
    record = record_of(manifest)
    disk.begin(record, manifest)
    disk.write(record.root, 5)
    disk.put_record(record, ours=False)
    disk.crash(Random(1), lose_unsynced=False)
    assert disk.begin(record, manifest)[0] == 1 << 5
    assert record.key in disk.records


def test_a_crash_takes_the_latest_entries_of_the_index_first() -> None:
    found = set()
    for seed in range(40):
        disk = Disk(DiskTimes())
        records = [record_of(content(str(i)), name=f"{i}.pth") for i in range(4)]
        for record in records:
            disk.put_record(record, ours=False)
        disk.crash(Random(seed), lose_unsynced=True)
        assert list(disk.records) == [record.key for record in records[: len(disk.records)]]
        found.add(len(disk.records))
    assert found == {0, 1, 2, 3, 4}


def test_our_own_record_is_synced_and_its_content_held_at_once() -> None:
    disk = Disk(DiskTimes())
    manifest = content()
    disk.stage(manifest, "/user/a.pth", of_user=True)
    record = record_of(manifest)
    disk.put_record(record, ours=True)
    disk.crash(Random(1), lose_unsynced=True)
    assert disk.records[record.key] == record
    assert disk.holds(record.key, 1) and disk.belongs_to_user(record.root)
    assert disk.user_files == {"/user/a.pth": manifest.root}


def test_chunks_of_another_version_are_copied_rather_than_fetched() -> None:
    disk = Disk(DiskTimes())
    old = content()
    filled(disk, old)
    new = changed_content(old, "next", old.size, 0.4, Random(3))
    record = record_of(new, 2)
    have, copying = disk.begin(record, new)
    same = [i for i in range(8) if new.chunk_hash(i) == old.chunk_hash(i)]
    assert have == 0 and copying == sum(1 << i for i in same) and 0 < len(same) < 8
    disk.damaged[old.root, same[0]] = bytes(32)
    copied, failed = disk.copy(record.root, copying)
    assert (copied, failed) == (copying & ~(1 << same[0]), 1 << same[0])


def test_a_newer_version_takes_the_path_and_the_old_one_stays_until_dropped() -> None:
    disk = Disk(DiskTimes())
    first, second = filled(disk, content("1"), 1), filled(disk, content("2"), 2)
    paths = {held.record.sequence: held.path for held in disk.holdings.values()}
    assert paths == {1: "replicas/models/origin/a.pth@1", 2: "replicas/models/origin/a.pth"}
    assert disk.read(first.root, 0) is not None
    disk.drop(first)
    assert disk.read(first.root, 0) is None
    assert disk.read(second.root, 0) == content("2").chunk_hash(0)
    assert disk.holds(first.key, 1) and disk.newest(first.key) == 2


def test_dropping_never_touches_the_users_file() -> None:
    disk = Disk(DiskTimes())
    for sequence in (1, 2):
        manifest = content(str(sequence))
        disk.stage(manifest, f"/user/{sequence}", of_user=True)
        disk.put_record(record_of(manifest, sequence), ours=True)
    disk.drop(record_of(content("1"), 1))
    disk.wipe()
    assert set(disk.user_files) == {"/user/1", "/user/2"}


def test_space_is_refused_when_the_disk_is_full_and_given_back() -> None:
    disk = Disk(DiskTimes(capacity=1024 * KIB))
    first, second = record_of(content("1")), record_of(content("2"), name="b.pth")
    third = record_of(content("3"), name="c.pth")
    assert disk.reserve(first) is None and disk.reserve(second) is None
    assert disk.reserve(third) == "no space left on the disk"
    disk.abandon(second.root, keep=False)
    assert disk.reserve(third) is None


@pytest.mark.parametrize("trouble", ["no space left on the disk", "input/output error"])
def test_a_disk_in_trouble_refuses_every_write_and_loses_nothing(trouble: str) -> None:
    disk = Disk(DiskTimes())
    manifest = content()
    record = record_of(manifest)
    disk.begin(record, manifest)
    disk.write(record.root, 0)
    disk.trouble = trouble
    assert disk.reserve(record) == disk.write(record.root, 1) == disk.finalise(record, False)[1] == trouble
    disk.trouble = None
    assert disk.begin(record, manifest)[0] == 1


def test_a_rotten_chunk_is_read_as_something_else() -> None:
    disk = Disk(DiskTimes())
    manifest = content()
    record = filled(disk, manifest)
    disk.damaged[record.root, 2] = b"r" * 32
    assert disk.read(record.root, 2) == b"r" * 32
    assert disk.read(record.root, 1) == manifest.chunk_hash(1)
    assert disk.lose_root(record.root) == [record]
    assert disk.read(record.root, 1) is None and not disk.holds(record.key, 1)
