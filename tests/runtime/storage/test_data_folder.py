"""What happens on a data folder that is not fit for us? One line says what to do; nothing is touched."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from stores import MIB, content, manifest_of, read_all, receive

from ringgossip.errors import StoreError
from ringgossip.runtime.storage.store import Store


def refusal(folder: Path) -> str:
    """Return the one line with which a folder is refused."""
    with pytest.raises(StoreError) as refused:
        Store.open(folder)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("place", ["replicas/mine.txt", "partial/half.part", "snapshots/a/b.db", "damaged/x"])
def test_what_somebody_keeps_under_a_name_of_ours_is_left_alone(tmp_path: Path, place: str) -> None:
    mine = tmp_path / place
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    before = everything(tmp_path)
    assert f"{place.split('/')[0]} was not made by ringgossip: choose another `data:`" in refusal(tmp_path)
    assert everything(tmp_path) == before


def test_somebody_elses_database_is_neither_moved_nor_opened(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "index.db")) as theirs:
        theirs.execute("CREATE TABLE users(name)")
        theirs.commit()
    before = everything(tmp_path)
    assert "index.db was not made by ringgossip" in refusal(tmp_path)
    assert everything(tmp_path) == before


def test_other_files_beside_ours_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "node.yaml").write_text("cluster: ringrift")
    Store.open(tmp_path).close()
    Store.open(tmp_path).close()
    assert (tmp_path / "node.yaml").read_text() == "cluster: ringrift"


def test_a_store_that_lost_its_lock_is_a_store(tmp_path: Path) -> None:
    data = content(MIB)
    with Store.open(tmp_path / "old") as store:
        record, _ = receive(store, data)
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "lock").unlink()
    with Store.open(tmp_path / "new") as store:
        assert read_all(store, record) == data


def test_a_copy_of_a_folder_in_use_is_a_store_without_its_lock(tmp_path: Path) -> None:
    data = content(MIB)
    with Store.open(tmp_path / "old") as store:
        record, _ = receive(store, data)
        number = store.restored.store
        shutil.copytree(tmp_path / "old", tmp_path / "new", ignore=shutil.ignore_patterns("lock"))
    with Store.open(tmp_path / "new") as store:
        assert store.restored.store == number
        # Its files have other inodes: they are read again, and nothing is fetched.
        manifest = manifest_of(data)
        store.begin_partial(record, manifest)
        assert [copied for copied, _ in store.copy_local(record.root)] == [1]
        assert store.finalise(record).read_bytes() == data


def test_a_copy_without_an_index_is_told_what_is_missing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "old") as store:
        receive(store, content(MIB))
    shutil.copytree(tmp_path / "old", tmp_path / "new", ignore=shutil.ignore_patterns("lock", "index.db*"))
    assert "its `lock`, or its `index.db` and `index.db-wal`, are missing: copy them too" in refusal(
        tmp_path / "new"
    )


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert f"{tmp_path / 'file'} is no folder: move it away" in refusal(tmp_path / "file")
    assert "lies below what is no folder" in refusal(tmp_path / "file" / "below")


def test_an_index_of_a_later_program_is_left_as_it_is(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "index.db")) as index:
        index.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
        index.commit()
    assert "has format 99, this program reads 1: use the program that wrote it" in refusal(tmp_path)
    assert "has format 99" in refusal(tmp_path)
