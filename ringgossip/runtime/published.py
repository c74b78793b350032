"""Which files of a shared folder are published already, just as they lie there?

Asked at the first look: after a restart, 20,000 unchanged files are compared
with what the index remembers in one question, and none is opened. Whatever
does not agree in every point is published as any other file, which finds out.
"""

from collections.abc import Mapping

import trio

from ringgossip.config import ShareFolder
from ringgossip.content.catalog import Catalog
from ringgossip.content.record import ArtifactKey
from ringgossip.runtime.storage.store import Store
from ringgossip.runtime.workers import Workers

_TURN = 256  # files until other tasks get their turn


async def published_already(
    store: Store,
    catalog: Catalog,
    origin: str,
    index: Workers,
    share: ShareFolder,
    found: Mapping[str, tuple[int, ...]],
) -> list[str]:
    """Return the names in `found` (size, mtime, ctime, inode) whose newest record says what lies there."""
    folder = share.folder.absolute()
    sources = await index.call(lambda: store.published_sources(share.kind, folder))
    names = []
    for number, (name, look) in enumerate(found.items() if sources else ()):
        if number % _TURN == _TURN - 1:
            await trio.lowlevel.checkpoint()
        source = sources.get(name)
        record = catalog.get(ArtifactKey(share.kind, origin, name))
        if (
            source is not None
            and record is not None
            and not record.withdrawn
            and source.signature == look
            and source.root == record.root
            and record.metadata == {**share.metadata, **source.facts}
            and store.serves(record, folder / name, source.signature)
        ):
            names.append(name)
    return names
