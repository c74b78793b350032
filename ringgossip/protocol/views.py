"""What may be seen of a peer from outside: frozen copies, never live objects."""

from collections.abc import Mapping
from dataclasses import dataclass

from ringgossip.content.record import Record, Scalar


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """One artifact as our catalog and our books know it; `holders` are node names, ourselves included."""

    record: Record
    complete: bool
    holders: tuple[str, ...]
    unlisted: str = ""  # why it is not listed: withdrawn, retired
    path: str | None = None  # where a member that shares our disk put it, if we have no copy of our own
    via: str = ""  # that member

    @property
    def metadata(self) -> Mapping[str, Scalar]:
        """What the kind says of the content."""
        return self.record.metadata


@dataclass(frozen=True, slots=True)
class TransferView:
    """One transfer under way; sizes in bytes, rate in bytes a second, `seconds` until the last progress."""

    artifact: str
    sequence: int
    phase: str
    sources: tuple[str, ...]
    done: int
    total: int
    bytes_per_second: float
    seconds: float


@dataclass(frozen=True, slots=True)
class ReceiptView:
    """Who has confirmed a verified, synced copy of this or a later version (ourselves not counted)."""

    record: Record
    holders: tuple[str, ...]
