"""What did users decide about single artifacts here? Asked for, or evicted; remembered over a restart.

How urgently it was asked for, and how often our disk refused it, stand beside.
What was asked for counts as wanted whatever the role says, for as long as it is
listed. What was evicted is not pulled again in that version or an older one,
unless copies fall short or somebody asks.
"""

from collections.abc import Iterable

from ringgossip.config.words import PRIORITIES
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.protocol.core import Effect, Notice, Remember

ASKED = "asked"
EVICTED = "evicted"
EXPECTED = "expected"  # asked for before anybody published it; the origin may be empty: anybody's
URGENCY = "priority"  # its place in `PRIORITIES`, plus one
TRIES = "tries"  # how often our disk refused it; `Pulling` writes it

# As many as one origin may have artifacts: a peer that offers more is not believed.
_MOST = 200_000
# Evictions are our own doing. One that is forgotten is pulled again, evicted, and pushes out the next one:
# as many as receipts know versions.
_MOST_EVICTED = 2_000_000


class Marks:
    """A table for each mark, artifact -> number."""

    def __init__(self, restored: Iterable[tuple[ArtifactKey, str, int]] = ()) -> None:
        self._tables: dict[str, dict[ArtifactKey, int]] = {
            mark: {} for mark in (ASKED, EVICTED, EXPECTED, URGENCY, TRIES)
        }
        for key, mark, sequence in restored:
            if mark in self._tables:
                self._tables[mark][key] = sequence

    def table(self, mark: str) -> list[tuple[ArtifactKey, int]]:
        """Return everything with this mark."""
        return list(self._tables[mark].items())

    def is_evicted(self, record: Record) -> bool:
        """Tell whether this version, or a later one, left this store by its rules."""
        return self._tables[EVICTED].get(record.key, 0) >= record.sequence

    def ask(self, record: Record, priority: str = "normal") -> list[Effect | Notice]:
        """Somebody asks for this or a later version: an earlier eviction counts no more."""
        place = PRIORITIES.index(priority) + 1
        urgency = [] if priority == "normal" else self._put(URGENCY, record.key, place)
        return [*self._put(ASKED, record.key, record.sequence), *urgency, *self._forget(EVICTED, record.key)]

    def expect(self, key: ArtifactKey, sequence: int) -> list[Effect | Notice]:
        """Somebody asks for what nobody has published in this version; an empty origin is anybody."""
        return self._put(EXPECTED, key, sequence)

    def met(self, record: Record) -> tuple[bool, list[Effect | Notice]]:
        """It was published: tell whether it was expected, and expect it no more."""
        table, out = self._tables[EXPECTED], list[Effect | Notice]()
        for key in (record.key, record.key._replace(origin="")) if table else ():
            if 0 < table.get(key, 0) <= record.sequence:
                out += self._forget(EXPECTED, key)
        return bool(out), out

    def asked(self) -> list[tuple[ArtifactKey, int, str]]:
        """Return what was asked for: artifact, sequence, priority."""
        urgency, normal = self._tables[URGENCY], PRIORITIES.index("normal") + 1
        return [
            (key, sequence, PRIORITIES[(urgency.get(key, normal) - 1) % len(PRIORITIES)])
            for key, sequence in self._tables[ASKED].items()
        ]

    def evict(self, record: Record) -> list[Effect | Notice]:
        """It leaves: an earlier question was answered."""
        return [*self._put(EVICTED, record.key, record.sequence), *self._forget_asked(record.key)]

    def forget_eviction(self, key: ArtifactKey) -> list[Effect | Notice]:
        """Copies fell short: it may come back."""
        return self._forget(EVICTED, key)

    def forget(self, key: ArtifactKey) -> list[Effect | Notice]:
        """The artifact is no longer listed, or its copies fell short."""
        return [*self._forget_asked(key), *self._forget(EVICTED, key)]

    def _forget_asked(self, key: ArtifactKey) -> list[Effect | Notice]:
        return [*self._forget(ASKED, key), *self._forget(URGENCY, key)]

    def _put(self, mark: str, key: ArtifactKey, sequence: int) -> list[Effect | Notice]:
        table = self._tables[mark]
        if table.get(key, 0) >= sequence:
            return []
        # The oldest, which was answered long ago, goes: a full table must not make every new mark vain.
        most = _MOST_EVICTED if mark == EVICTED else _MOST
        oldest = next(iter(table)) if key not in table and len(table) >= most else None
        out = [] if oldest is None else self._forget(mark, oldest)
        table[key] = sequence
        return [*out, Remember(key, mark, sequence)]

    def _forget(self, mark: str, key: ArtifactKey) -> list[Effect | Notice]:
        if self._tables[mark].pop(key, None) is None:
            return []
        return [Remember(key, mark, 0)]
