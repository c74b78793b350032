"""A restart looks at every file and reads none."""

import time
from pathlib import Path

from stores import manifest_of, record_of

from ringgossip.runtime.storage import ledger, manifests
from ringgossip.runtime.storage.disk import Signature
from ringgossip.runtime.storage.store import Store

FILES = 20_000


def test_a_restart_with_20_000_unchanged_files_hashes_none_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    with Store.open(tmp_path / "data") as store:
        number = store.restored.store
        rows = []
        for place in range(FILES):
            path = folder / f"{place}.bin"
            path.touch()
            # The index says another content than the file has: who hashed it would notice.
            manifest = manifest_of(b"%d" % place)
            signature = Signature.of(path.stat())
            record = record_of(manifest, path.name, store=number)
            source = ledger.SourceRow(signature.pack(), manifest.root, {}, ())
            rows.append((manifest, ledger.HoldingRow(record, "user", str(path), signature, False), source))

        def write(database: "manifests.sqlite3.Connection") -> None:
            for manifest, row, source in rows:
                manifests.put(database, manifest)
                ledger.put_holding(database, row)
                ledger.put_source(database, "models", row.path, source)

        store._index.ask(write)
    started = time.monotonic()
    with Store.open(tmp_path / "data") as store:
        opened = time.monotonic() - started
        assert len(store.restored.holdings) == FILES
        for manifest, row, _ in rows[::20]:
            prepared = store.prepare("models", Path(row.path), row.record.name)
            assert not prepared.read and prepared.root == manifest.root
            store.discard(prepared)
        assert len(store._holdings.files) <= 256
    assert opened < 10, f"{opened:.1f} s"  # 1 s on a quiet machine.
