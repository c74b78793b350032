"""What users decided about single artifacts is still known after a restart, also in an older store."""

import sqlite3
from pathlib import Path

from ringgossip.content.record import ArtifactKey
from ringgossip.runtime.storage.store import Store

KEY = ArtifactKey("games", "alice", "games.db")
OTHER = ArtifactKey("npz", "bob", "x.npz")


def test_marks_outlive_the_process_and_can_be_forgotten(tmp_path: Path) -> None:
    with Store.open(tmp_path / "data") as store:
        store.remember(KEY, "asked", 3)
        store.remember(OTHER, "evicted", 1)
        store.remember(OTHER, "evicted", 0)
    with Store.open(tmp_path / "data") as store:
        assert store.restored.marks == ((KEY, "asked", 3),)


def test_an_index_from_before_there_were_marks_gets_their_table(tmp_path: Path) -> None:
    Store.open(tmp_path / "data").close()
    database = sqlite3.connect(tmp_path / "data" / "index.db")
    database.execute("DROP TABLE marks")
    database.commit()
    database.close()
    with Store.open(tmp_path / "data") as store:
        store.remember(KEY, "asked", 1)
        assert store.restored.marks == ()
