"""What did users decide about single artifacts here? Asked for, or evicted; remembered over a restart.

What was asked for counts as wanted whatever the role says, for as long as it is
listed. What was evicted is not pulled again in that version or an older one,
unless copies fall short or somebody asks.
"""

from collections.abc import Iterable

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.protocol.core import Effect, Notice, Remember

ASKED = "asked"
EVICTED = "evicted"

# As many as one origin may have artifacts: a peer that offers more is not believed.
_MOST = 200_000


class Marks:
    """Two tables, artifact -> sequence."""

    def __init__(self, restored: Iterable[tuple[ArtifactKey, str, int]] = ()) -> None:
        self._tables: dict[str, dict[ArtifactKey, int]] = {ASKED: {}, EVICTED: {}}
        for key, mark, sequence in restored:
            if mark in self._tables:
                self._tables[mark][key] = sequence

    def table(self, mark: str) -> list[tuple[ArtifactKey, int]]:
        """Return everything with this mark."""
        return list(self._tables[mark].items())

    def is_evicted(self, record: Record) -> bool:
        """Tell whether this version, or a later one, left this store by its rules."""
        return self._tables[EVICTED].get(record.key, 0) >= record.sequence

    def ask(self, record: Record) -> list[Effect | Notice]:
        """Somebody asks for this or a later version: an earlier eviction counts no more."""
        return [*self._put(ASKED, record.key, record.sequence), *self._forget(EVICTED, record.key)]

    def evict(self, record: Record) -> list[Effect | Notice]:
        """It leaves: an earlier question was answered."""
        return [*self._put(EVICTED, record.key, record.sequence), *self._forget(ASKED, record.key)]

    def forget_eviction(self, key: ArtifactKey) -> list[Effect | Notice]:
        """Copies fell short: it may come back."""
        return self._forget(EVICTED, key)

    def forget(self, key: ArtifactKey) -> list[Effect | Notice]:
        """The artifact is no longer listed, or its copies fell short."""
        return [*self._forget(ASKED, key), *self._forget(EVICTED, key)]

    def _put(self, mark: str, key: ArtifactKey, sequence: int) -> list[Effect | Notice]:
        table = self._tables[mark]
        if table.get(key, 0) >= sequence or (key not in table and len(table) >= _MOST):
            return []
        table[key] = sequence
        return [Remember(key, mark, sequence)]

    def _forget(self, mark: str, key: ArtifactKey) -> list[Effect | Notice]:
        if self._tables[mark].pop(key, None) is None:
            return []
        return [Remember(key, mark, 0)]
