"""Of a large live database only what changed is kept; every version stays whole for whoever asks."""

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from games import large_games
from stores import flip, publish, read_all, record_of

from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record
from ringgossip.runtime.storage.disk import ChunkChanged, ChunkMissing
from ringgossip.runtime.storage.store import Store
from ringgossip.runtime.storage.thinning import thin_superseded

KILLS = 8
GAMES = 60


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return large_games(tmp_path / "games.db", GAMES)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], Store]:
    return lambda: Store.open(tmp_path / "data", changes_from=0)


@pytest.fixture
def store(opened: Callable[[], Store]) -> Iterator[Store]:
    with opened() as one:
        yield one


def commit(source: Path, *numbers: int) -> None:
    with closing(sqlite3.connect(source)) as database:
        for number in numbers:
            database.execute("UPDATE games SET body = randomblob(40000) WHERE game_id = ?", (number,))
        database.commit()


def snapshots(store: Store) -> list[int]:
    """The bytes that the files of all snapshots take, the smallest first."""
    return sorted(path.stat().st_blocks * 512 for path in (store.data / "snapshots").iterdir())


def published(store: Store, source: Path) -> tuple[Record, Path]:
    """Publish the first version; return it and where it lies, whole."""
    first = publish(store, source, "games")
    path = store.path_of(first)
    assert path is not None
    return first, path


def assert_whole(store: Store, record: Record, tmp_path: Path) -> None:
    """What is served under a record is its content, and a whole database."""
    body = read_all(store, record)
    copy = tmp_path / "copy.db"
    copy.write_bytes(body)
    with closing(sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM games").fetchone() == (record.metadata["games_total"],)
    manifest = store._holdings.manifests.get(record.root)
    assert manifest is not None and manifest.root == record.root


def test_only_changed_chunks_are_kept_and_every_version_is_served_whole(
    store: Store, source: Path, tmp_path: Path
) -> None:
    first = publish(store, source, "games")
    assert store.path_of(first) is not None
    whole = snapshots(store)[-1]
    commit(source, 7)
    second = publish(store, source, "games", sequence=2)
    commit(source, 30)
    third = publish(store, source, "games", sequence=3)
    assert snapshots(store)[-1] == whole and sum(snapshots(store)) < 1.4 * whole
    # It is no file that could be opened, and says so.
    assert store.path_of(third) is None
    bodies = [read_all(store, record) for record in (first, second, third)]
    assert len(set(bodies)) == 3
    for record in (first, second, third):
        assert_whole(store, record, tmp_path)


def test_what_a_version_leans_on_stays_until_nothing_does(store: Store, source: Path, tmp_path: Path) -> None:
    first = publish(store, source, "games")
    commit(source, 7)
    second = publish(store, source, "games", sequence=2)
    assert store.drop(first)
    assert_whole(store, second, tmp_path)
    assert thin_superseded(store._holdings) == 0
    commit(source, 8)
    third = publish(store, source, "games", sequence=3)
    assert store.drop(second)
    assert_whole(store, third, tmp_path)
    assert len(snapshots(store)) == 2
    # So much that it is kept whole: the next one's base.
    commit(source, *range(GAMES - 10))
    fourth = publish(store, source, "games", sequence=4)
    assert store.path_of(fourth) is not None
    assert_whole(store, third, tmp_path)
    assert store.drop(third)
    assert len(snapshots(store)) == 1
    with pytest.raises(ChunkMissing):
        store.pages(first.root, [(0, 0)])
    commit(source, 9)
    fifth = publish(store, source, "games", sequence=5)
    assert store.drop(fourth)
    assert_whole(store, fifth, tmp_path)


def test_a_version_that_waits_for_its_signature_keeps_its_base(
    store: Store, source: Path, tmp_path: Path
) -> None:
    first = publish(store, source, "games")
    commit(source, 7)
    prepared = store.prepare("games", source, "games.db")
    assert store.drop(first)
    record = record_of(
        Manifest(0, prepared.chunk_size, b""),
        "games.db",
        2,
        kind="games",
        size=prepared.size,
        root=prepared.root,
        metadata=prepared.metadata,
        store=store.restored.store,
    )
    store.persist(record)
    assert_whole(store, record, tmp_path)
    commit(source, 8)
    other = store.prepare("games", source, "games.db")
    assert len(snapshots(store)) == 3
    assert store.drop(record)
    store.discard(other)
    assert snapshots(store) == []


def test_without_a_commit_the_changes_are_not_taken_again(store: Store, source: Path) -> None:
    publish(store, source, "games")
    commit(source, 7)
    second = publish(store, source, "games", sequence=2)
    again = store.prepare("games", source, "games.db")
    assert not again.read and again.root == second.root
    store.discard(again)
    assert len(snapshots(store)) == 2
    assert publish(store, source, "games", sequence=3).root == second.root
    assert store.drop(second) and len(snapshots(store)) == 2


def test_changes_and_what_they_lean_on_survive_restarts(
    opened: Callable[[], Store], source: Path, tmp_path: Path
) -> None:
    with opened() as store:
        publish(store, source, "games")
        commit(source, 7)
        record = publish(store, source, "games", sequence=2)
    for sequence in (3, 4):
        with opened() as store:
            assert store.restored.holdings == (record,) and not store.restored.paths
            assert len(snapshots(store)) == 2
            assert_whole(store, record, tmp_path)
            commit(source, sequence)
            record = publish(store, source, "games", sequence=sequence)
            assert store.path_of(record) is None
            assert_whole(store, record, tmp_path)


def test_a_base_that_is_the_copy_of_another_name_outlives_what_leaned_on_it(
    opened: Callable[[], Store], source: Path, tmp_path: Path
) -> None:
    with opened() as store:
        base = publish(store, source, "games", "whole", sequence=5)
        commit(source, 7)
        changes = publish(store, source, "games", "changes", sequence=1)
        assert store.path_of(changes) is None
    # Its row comes after that of what leans on it.
    with opened() as store:
        assert store.drop(changes)
        assert_whole(store, base, tmp_path)
    with opened() as store:
        assert store.restored.holdings == (base,)


def test_a_damaged_base_withdraws_what_leans_on_it(
    opened: Callable[[], Store], source: Path, tmp_path: Path
) -> None:
    with opened() as store:
        first, path = published(store, source)
        commit(source, 1)
        second = publish(store, source, "games", sequence=2)
        store.drop(first)
    flip(path, second.size - 100_000)
    lost: list[Record] = []
    with Store.open(
        tmp_path / "data", changes_from=0, on_lost=lambda record, _: lost.append(record)
    ) as store:
        assert store.restored.holdings == (second,)
        with pytest.raises(ChunkChanged, match="not what was signed"):
            read_all(store, second)
        assert lost == [second]
        assert snapshots(store) == []
        # The source is as it was: what was lost is published again.
        assert_whole(store, publish(store, source, "games", sequence=3), tmp_path)


@pytest.mark.parametrize("touched", [Path.unlink, Path.touch])
def test_a_base_that_went_or_was_touched_between_two_starts_withdraws_what_leaned_on_it(
    opened: Callable[[], Store], source: Path, touched: Callable[[Path], None]
) -> None:
    with opened() as store:
        _, path = published(store, source)
        commit(source, 1)
        publish(store, source, "games", sequence=2)
    touched(path)
    with opened() as store:
        assert store.restored.holdings == () and snapshots(store) == []


def work(data: Path, source: Path, log: int, seed: int) -> None:
    """Commit, publish and drop what is old, until somebody kills us."""
    rng = random.Random(seed)
    with Store.open(data, changes_from=0) as store:
        held = list(store.restored.holdings)
        sequence = max((record.sequence for record in store.restored.records), default=0)
        while True:
            commit(source, *(rng.randrange(GAMES) for _ in range(rng.choice((1, 1, 2, 50)))))
            sequence += 1
            held.append(publish(store, source, "games", sequence=sequence))
            os.write(log, f"{sequence}\n".encode())
            while len(held) > 1 + rng.randrange(3):
                store.drop(held.pop(0))


def test_killed_at_any_instant_a_peer_still_serves_what_it_published_last(
    opened: Callable[[], Store], source: Path, tmp_path: Path
) -> None:
    rng = random.Random(7)
    log = tmp_path / "log"
    log.touch()
    leant = 0
    for _ in range(KILLS):
        before = log.stat().st_size
        child = os.fork()
        if child == 0:
            try:
                work(tmp_path / "data", source, os.open(log, os.O_WRONLY | os.O_APPEND), rng.getrandbits(32))
            finally:
                os._exit(1)
        deadline = time.monotonic() + 20
        while log.stat().st_size < before + 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.2)
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        promised = int(log.read_text().split()[-1])
        with opened() as store:
            (record,) = store.restored.holdings
            assert record.sequence >= promised
            assert_whole(store, record, tmp_path)
            leans = store.path_of(record) is None
            assert len(snapshots(store)) == 1 + leans
            leant += leans
    assert leant
