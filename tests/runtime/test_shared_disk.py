"""What another node put on a disk we share: is it proven before it is shown, and never believed?"""

import os
from pathlib import Path

import pytest
from stores import MIB, content, manifest_of, record_of

from ringgossip.content.record import Record
from ringgossip.errors import StoreError
from ringgossip.runtime.shared_disk import SharedDisk, mount_of

DATA = content(2 * MIB + 17)
PLACE = "node-1/replicas/net.bin"


@pytest.fixture
def record() -> Record:
    return record_of(manifest_of(DATA))


@pytest.fixture
def disk(tmp_path: Path) -> SharedDisk:
    """A disk with one good file; `outside` lies beside it."""
    (tmp_path / "mnt" / "node-1" / "replicas").mkdir(parents=True)
    (tmp_path / "mnt" / PLACE).write_bytes(DATA)
    (tmp_path / "outside").write_bytes(DATA)
    return SharedDisk(tmp_path / "mnt", tmp_path / "data")


def why_not(disk: SharedDisk, record: Record, place: str = PLACE) -> str:
    with pytest.raises(StoreError) as caught:
        disk.look(record, place)
    return str(caught.value)


def test_a_whole_file_is_found_where_the_disk_is_mounted_here(
    disk: SharedDisk, record: Record, tmp_path: Path
) -> None:
    path = tmp_path / "mnt" / PLACE
    assert disk.look(record, PLACE) == path
    assert disk.place_of(path) == PLACE
    assert disk.place_of(tmp_path / "outside") == "" == disk.place_of(None)


def test_a_file_with_one_wrong_byte_or_another_size_is_refused(
    disk: SharedDisk, record: Record, tmp_path: Path
) -> None:
    path = tmp_path / "mnt" / PLACE
    assert disk.look(record, PLACE) == path
    path.write_bytes(DATA[:-1] + b"!")
    assert "damaged, or was replaced" in why_not(disk, record)
    path.write_bytes(DATA[:-1])
    assert "its size or kind is another" in why_not(disk, record)
    path.unlink()
    assert "cannot be read" in why_not(disk, record)


def test_a_place_never_leaves_the_shared_disk(disk: SharedDisk, record: Record, tmp_path: Path) -> None:
    for place in ("../outside", str(tmp_path / "outside"), "node-1/../../outside", "a\0b"):
        assert "leaves the shared disk" in why_not(disk, record, place)


def test_what_is_no_file_holds_nobody_up(disk: SharedDisk, record: Record, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mnt" / "pipe")
    for place in ("pipe", "node-1"):
        assert "its size or kind is another" in why_not(disk, record, place)


def test_a_file_that_was_proven_is_not_read_again(
    disk: SharedDisk, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.look(record, PLACE)
    monkeypatch.setattr("ringgossip.runtime.shared_disk.hash_stream", None)
    assert disk.look(record, PLACE) == tmp_path / "mnt" / PLACE


def test_without_a_folder_it_is_the_mount_that_the_data_lies_on(tmp_path: Path) -> None:
    assert mount_of(tmp_path).is_mount() and mount_of(Path("/proc/self")) == Path("/proc")
