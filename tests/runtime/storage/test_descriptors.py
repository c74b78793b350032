"""What goes wrong again and again must not cost a descriptor each time."""

import errno
import os
from pathlib import Path

import pytest
from stores import manifest_of, record_of

from ringgossip.errors import StoreError
from ringgossip.runtime.storage.store import Store


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_partial_file_that_is_not_ours_is_refused_and_closed(tmp_path: Path) -> None:
    with Store.open(tmp_path / "data") as store:
        manifest = manifest_of(b"weights" * 1000)
        record = record_of(manifest)
        part = tmp_path / "data" / "partial" / f"{record.root.hex()}.part"
        part.write_bytes(b"")
        os.link(part, tmp_path / "second name")
        before = open_descriptors()
        for _ in range(20):
            with pytest.raises(StoreError, match="no file of ours"):
                store.begin_partial(record, manifest)
        assert open_descriptors() == before


def test_a_clone_without_room_is_refused_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: int, target: int) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ringgossip.runtime.storage.publishing.clone", full)
    source = tmp_path / "net.bin"
    source.write_bytes(b"weights" * 1000)
    with Store.open(tmp_path / "data") as store:
        before = open_descriptors()
        for _ in range(20):
            with pytest.raises(StoreError, match="disk is full"):
                store.prepare("models", source, "net.bin", {})
        assert open_descriptors() == before
        assert not list((tmp_path / "data" / "published").iterdir())
