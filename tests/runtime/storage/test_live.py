"""Live databases: snapshots that share what did not change."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from games import large_games
from stores import fill, publish, read_all, record_of

from ringgossip.runtime.storage.publishing import Publishing
from ringgossip.runtime.storage.store import Store
from ringgossip.runtime.storage.thinning import thin_superseded


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return large_games(tmp_path / "games.db", 40)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data") as opened:
        yield opened


def commit(source: Path, number: int) -> None:
    with closing(sqlite3.connect(source)) as database:
        database.execute("UPDATE games SET body = randomblob(40000) WHERE game_id = ?", (number,))
        database.commit()


def test_a_live_database_is_shared_as_a_snapshot(store: Store, source: Path) -> None:
    record = publish(store, source, "games")
    assert record.metadata == {"games_total": 40, "games_completed": 40}
    path = store.path_of(record)
    assert path is not None and path.parent == store.data / "snapshots"
    assert path.read_bytes()[18:20] == b"\1\1"
    assert read_all(store, record) == path.read_bytes()


def test_without_a_commit_no_snapshot_is_taken(store: Store, source: Path) -> None:
    record = publish(store, source, "games")
    again = store.prepare("games", source, "games.db")
    assert not again.read and again.root == record.root and dict(again.metadata) == record.metadata
    store.discard(again)
    assert len(list((store.data / "snapshots").iterdir())) == 1


def test_an_old_snapshot_keeps_only_what_differs_and_is_still_served_whole(
    store: Store, source: Path
) -> None:
    old = publish(store, source, "games")
    old_path = store.path_of(old)
    assert old_path is not None
    body = old_path.read_bytes()
    commit(source, 7)
    middle = publish(store, source, "games", sequence=2)
    commit(source, 8)
    new = publish(store, source, "games", sequence=3)
    assert thin_superseded(store._holdings) == 2 and thin_superseded(store._holdings) == 0
    kept = [path.stat().st_blocks * 512 for path in (store.data / "snapshots").iterdir()]
    assert sorted(kept)[1] < len(body) / 2
    assert read_all(store, old) == body
    # The middle one goes while the oldest, which reads through it, is still pulled.
    store.drop(middle)
    assert read_all(store, old) == body
    store.drop(old)
    assert len(list((store.data / "snapshots").iterdir())) == 1
    assert len(read_all(store, new)) == new.size


def test_a_restart_clears_old_snapshots(tmp_path: Path, source: Path) -> None:
    with Store.open(tmp_path / "data") as store:
        publish(store, source, "games")
        commit(source, 1)
        new = publish(store, source, "games", sequence=2)
        commit(source, 2)
        store.prepare("games", source, "games.db")
        assert len(list((store.data / "snapshots").iterdir())) == 3
    with Store.open(tmp_path / "data") as store:
        assert store.restored.holdings == (new,)
        assert len(list((store.data / "snapshots").iterdir())) == 1
        assert len(read_all(store, new)) == new.size


def test_another_peer_fetches_only_what_changed(store: Store, source: Path, tmp_path: Path) -> None:
    with Store.open(tmp_path / "other") as other:
        fetched = []
        for sequence in (1, 2):
            record = publish(store, source, "games", sequence=sequence)
            manifest = store._holdings.manifests.get(record.root)
            assert manifest is not None
            fetched.append(fill(other, record, manifest, read_all(store, record)))
            path = other.finalise(record)
            commit(source, 20)
        assert len(fetched[0]) == manifest.chunk_count and 0 < len(fetched[1]) < 5
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert record_of(manifest, kind="games").root == record.root


def test_a_snapshot_that_is_let_go_while_another_publication_takes_it_stays(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.prepare("games", source, "games.db")
    held = Publishing._held

    def meanwhile(*given: Any) -> Any:
        place = held(*given)
        store.discard(first)  # in another thread, between the look and the moment it is written down
        return place

    monkeypatch.setattr(Publishing, "_held", meanwhile)
    second = store.prepare("games", source, "again.db")
    assert not second.read and len(list((store.data / "snapshots").iterdir())) == 1
    store.discard(second)
    assert not list((store.data / "snapshots").iterdir())
