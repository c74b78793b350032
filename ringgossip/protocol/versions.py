"""Which version follows which here: what is kept when a newer one becomes visible.

A superseded version is dropped once nobody pulls it, unless the newer one was lost
meanwhile: then the old one is all there is. A version that does not
follow from its predecessor (another store made it, or it has fewer completed
games, or fewer games where none is told to be completed) does not replace it:
the predecessor stays, pinned, under `name@sequence`.
"""

from collections.abc import Callable

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.protocol.core import NEVER, Drop, Effect, Notice
from ringgossip.protocol.shelf import Shelf

MOST_SUPERSEDED = 2
_LOOK = 5.0


class Versions:
    """The machine that lets old versions go."""

    def __init__(self, shelf: Shelf, is_pulled: Callable[[bytes], bool]) -> None:
        self._shelf = shelf
        self._is_pulled = is_pulled
        self._visible: dict[ArtifactKey, Record] = {}
        self._superseded: dict[ArtifactKey, list[Record]] = {}
        self._alone: dict[ArtifactKey, None] = {}  # of these, the newer one was lost
        self._look_at = NEVER

    def restore(self, holdings: tuple[Record, ...]) -> None:
        """What the store held when the peer started: the newest of a key is visible, others are pinned.

        (A version that was only kept because somebody pulled it when we stopped
        cannot be told from a pinned one here: the store drops it.)
        """
        for record in holdings:
            self._shelf.add(record)
            known = self._visible.get(record.key)
            if known is None or known.sequence < record.sequence:
                self._visible[record.key] = record

    def visible(self, key: ArtifactKey) -> Record | None:
        """Return the newest whole version here."""
        return self._visible.get(key)

    def all_visible(self) -> list[Record]:
        """Return the newest whole version of every artifact here."""
        return list(self._visible.values())

    def shrinks(self, record: Record) -> str | None:
        """Return why this version does not follow from the visible one, or None if it does."""
        before = self._visible.get(record.key)
        if before is None or before.root == record.root:
            return None
        if before.store != record.store:
            return "another store of its origin made it"
        # All games count where a database does not tell which are completed.
        for fact, games in (("games_completed", "completed games"), ("games_total", "games")):
            had, has = before.metadata.get(fact), record.metadata.get(fact)
            if not isinstance(had, int):
                continue
            if isinstance(has, int) and has >= had:
                return None
            return f"it has {has if isinstance(has, int) else 'an unknown number of'} {games}, not {had}"
        return None

    def became_visible(self, record: Record, pinned: bool, now: float) -> Record | None:
        """A whole version is here; the one before it is superseded, or pinned.

        Returns the one that it took the place of: of two records with one sequence
        (their origin equivocated) only one is kept, under the same path.
        """
        before = self._visible.get(record.key)
        self._shelf.add(record)
        if before == record:
            return None
        if before is not None and before.sequence > record.sequence:
            # It took longer than a newer one: it is superseded already.
            self._supersede(record, now)
            return None
        self._visible[record.key] = record
        if record.key in self._alone:
            del self._alone[record.key]
            self._look_at = now
        if before is not None and before.sequence == record.sequence:
            self._shelf.remove(before)
            return before
        if before is not None and not pinned:
            self._supersede(before, now)
        return None

    def _supersede(self, record: Record, now: float) -> None:
        self._superseded.setdefault(record.key, []).append(record)
        self._look_at = now

    def lost(self, record: Record, *, let_go: bool = False) -> None:
        """The copy is damaged or gone; or we let it go, and older ones with it."""
        key = record.key
        self._shelf.remove(record)
        superseded = self._superseded.get(key, [])
        if record in superseded:
            superseded.remove(record)
            if not superseded:
                del self._superseded[key]
                self._alone.pop(key, None)
        if self._visible.get(key) == record:
            del self._visible[key]
            if superseded and not let_go:
                self._alone[key] = None

    def drop_unpulled(self, now: float) -> tuple[list[Effect | Notice], list[Record]]:
        """Drop superseded versions that nobody pulls; return effects and what is no longer held."""
        if now < self._look_at:
            return [], []
        self._look_at = NEVER
        gone: list[Record] = []
        for key, versions in list(self._superseded.items()):
            if key in self._alone:
                continue
            keep = [record for record in versions if self._is_pulled(record.root)][-MOST_SUPERSEDED:]
            gone += [record for record in versions if record not in keep]
            if keep:
                self._superseded[key] = keep
                self._look_at = now + _LOOK
            else:
                del self._superseded[key]
        for record in gone:
            self._shelf.remove(record)
        return [Drop(record) for record in gone], gone

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        return self._look_at
