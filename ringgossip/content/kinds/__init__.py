"""Which kinds of artifact are there, and what must each say and check about its own bytes?

A new kind is a module with its two checks and one row of `KINDS`.

A source is inspected once, where it is published, as thoroughly as its kind
allows; what arrives was proven chunk by chunk against the signed root, so only
its structure is looked at. No check unpickles, and none needs memory that grows
with the file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ringgossip.content.kinds import games, models, npz
from ringgossip.content.kinds.metadata import did_you_mean
from ringgossip.content.kinds.sources import Inspection
from ringgossip.errors import UsageError

__all__ = ["KINDS", "Inspection", "Kind", "normalise_kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of artifact. Sizes in bytes."""

    name: str
    aliases: tuple[str, ...]
    # Goes into every record, so that a later version may choose another one.
    chunk_size: int
    # Its files are written while they are published: only ever read through a snapshot.
    live: bool
    # Whole check of a file that nobody writes any more; None for live kinds.
    # Raises `ArtifactRefused`.
    inspect_source: Callable[[Path], Inspection] | None
    # Returns the reason why a file that has arrived must not become visible, or None.
    check_arrival: Callable[[Path], str | None]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            # 64 KiB is a multiple of every page size of SQLite.
            Kind("games", ("game",), 64 << 10, True, None, games.check_arrival),
            Kind(
                "models",
                ("model", "checkpoint", "checkpoints"),
                1 << 20,
                False,
                models.inspect_source,
                models.check_arrival,
            ),
            Kind("npz", (), 1 << 20, False, npz.inspect_source, npz.check_arrival),
        )
    }
)

_WORDS = {word: kind.name for kind in KINDS.values() for word in (kind.name, *kind.aliases)}


def normalise_kind(word: str) -> str:
    """Return the kind that `word` means (`checkpoint` means `models`), else raise `UsageError`."""
    try:
        return _WORDS[word.strip().lower()]
    except KeyError:
        raise UsageError(f"{word!r} is no kind of artifact{did_you_mean(word, tuple(_WORDS))}") from None
