"""Is a file taken as published only if everything agrees? Each point alone makes it be looked into."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from artifacts import Origin, manifest_of

from ringgossip.config import ShareFolder
from ringgossip.content.record import ArtifactKey
from ringgossip.runtime.published import published_already
from ringgossip.runtime.storage.disk import Signature
from ringgossip.runtime.storage.ledger import PublishedRow

ORIGIN, MANIFEST = Origin(), manifest_of(1)
FOLDER = Path("/shared")
LOOK = Signature(1, 2, 3, 4)
RECORD: dict[str, Any] = {"metadata": {"board_type": "hex8", "entries": 5}}


class Index:
    async def call(self, job: Any) -> Any:
        return job()


async def names(
    look: Signature = LOOK, root: bytes = MANIFEST.root, serves: bool = True, **record: Any
) -> list[str]:
    row = PublishedRow(LOOK, root, {"entries": 5})
    store: Any = SimpleNamespace(
        published_sources=lambda kind, folder: {"a.pth": row},
        serves=lambda record, path, signature: serves and path == FOLDER / "a.pth",
    )
    signed = ORIGIN.record(MANIFEST, "a.pth", "models", **{**RECORD, **record})
    catalog: Any = {ArtifactKey("models", "alice", "a.pth"): signed}
    share = ShareFolder(kind="models", folder=FOLDER, metadata={"board_type": "hex8"})
    index: Any = Index()
    return await published_already(store, catalog, "alice", index, share, {"a.pth": look, "b.pth": look})


@pytest.mark.trio
async def test_what_lies_as_it_was_published_is_published_and_whatever_differs_is_not() -> None:
    assert await names() == ["a.pth"]
    assert await names(look=Signature(1, 2, 9, 4)) == []
    assert await names(root=manifest_of(1, "other").root) == []
    assert await names(metadata={"board_type": "square8", "entries": 5}) == []
    assert await names(withdrawn=True) == []
    assert await names(serves=False) == []
