"""Which manifests does the index keep, and on what does a sparse copy lean in it?"""

import sqlite3
from pathlib import Path

from artifacts import manifest_of

from ringgossip.runtime.storage import ledger, manifests
from ringgossip.runtime.storage.disk import Signature
from ringgossip.runtime.storage.ledger import ChangesRow
from ringgossip.runtime.storage.store import Store

BASE, OTHER, NEWER = (manifest_of(5, name) for name in ("base", "other", "newer"))


def leans(on: bytes) -> ChangesRow:
    return ChangesRow(NEWER.root, b"\x01", on, "/data/whole", Signature(1, 2, 3, 4))


def test_the_manifest_of_what_a_sparse_copy_leans_on_stays_as_long_as_that(tmp_path: Path) -> None:
    def work(database: sqlite3.Connection) -> None:
        manifests.put(database, BASE)
        ledger.put_changes(database, leans(BASE.root))
        manifests.drop(database, BASE.root)
        assert manifests.get(database, BASE.root) == BASE
        manifests.drop_unused(database)
        assert manifests.get(database, BASE.root) == BASE
        database.execute("DELETE FROM changes")
        manifests.drop_unused(database)
        assert not manifests.has(database, BASE.root)

    with Store.open(tmp_path) as store:
        store._index.ask(work)


def test_of_one_content_only_the_last_word_counts_on_what_it_leans(tmp_path: Path) -> None:
    def work(database: sqlite3.Connection) -> None:
        ledger.put_changes(database, leans(OTHER.root))
        ledger.put_changes(database, leans(BASE.root))
        assert ledger.changes(database) == {NEWER.root: leans(BASE.root)}
        assert database.execute("SELECT count(*) FROM changes").fetchone() == (1,)

    with Store.open(tmp_path) as store:
        store._index.ask(work)
