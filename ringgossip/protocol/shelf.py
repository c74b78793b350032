"""What do we hold, right now? The one table that serving, transfer and receipts share.

Roots are content: several versions, names or origins may have the same one.
"""

from dataclasses import dataclass, field

from ringgossip.content.record import Record
from ringgossip.strategy.order import ChunkSet


@dataclass(slots=True)
class Shelf:
    """Complete roots with the records that name them, and the chunks here of roots being pulled."""

    _complete: dict[bytes, list[Record]] = field(default_factory=dict)
    partial: dict[bytes, tuple[Record, ChunkSet]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """A verified, visible copy of this version is here."""
        records = self._complete.setdefault(record.root, [])
        if record not in records:
            records.append(record)
        self.partial.pop(record.root, None)

    def remove(self, record: Record) -> None:
        """This version is no longer here."""
        records = self._complete.get(record.root)
        if records and record in records:
            records.remove(record)
            if not records:
                del self._complete[record.root]

    def holds(self, record: Record) -> bool:
        """Tell whether this very version is complete here."""
        return record in self._complete.get(record.root, ())

    def holds_content(self, record: Record) -> bool:
        """Tell whether another version of the same artifact with the same content is here."""
        return any(
            (held.key, held.size, held.chunk_size) == (record.key, record.size, record.chunk_size)
            for held in self._complete.get(record.root, ())
        )

    def complete(self, root: bytes) -> Record | None:
        """Return some record whose complete content has this root."""
        records = self._complete.get(root)
        return records[0] if records else None

    def with_content(self, root: bytes) -> list[Record]:
        """Return every version held that has this root."""
        return list(self._complete.get(root, ()))

    def versions(self) -> list[Record]:
        """Return every version held, in the order in which they came."""
        return [record for records in self._complete.values() for record in records]

    def available(self, root: bytes) -> tuple[Record, ChunkSet | None] | None:
        """Return a record with this root and the chunks here: None for all; None if it is unknown here."""
        whole = self.complete(root)
        if whole is not None:
            return whole, None
        return self.partial.get(root)
