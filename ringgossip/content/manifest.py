"""Which chunks make up this content, and how does a stranger prove it page by page?

The hashes of the chunks, 32 bytes each and joined, are cut into pages of 1024
(32 KiB, level 0); the hashes of those pages into pages again (level 1), and so
on until one page is left, the top. Every page but the top is identified by the
hash of its bytes. The top page is identified by the root itself:

    root = hash("root", size, chunk size, bytes of the top page)

so the root binds the size and the chunk size, a single page from a stranger can
be checked against it at once, and no other hash has to travel. An empty file
has one empty top page and therefore a root too.

A builder fetches from the top down and asks only for pages it can already
verify; a page whose hash an older version had too needs no fetching.
Source: Merkle 1987; design section 4.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ringgossip.content.chunking import check_chunk_size, chunk_count
from ringgossip.content.hashing import HASH_BYTES, ChunkHash, RootHash, hash_tagged

HASHES_PER_PAGE: Final = 1024
PAGE_BYTES: Final = HASHES_PER_PAGE * HASH_BYTES

_PAGE_CONTEXT: Final = "ringgossip manifest page"
_ROOT_CONTEXT: Final = "ringgossip manifest root"


@dataclass(frozen=True, slots=True)
class PageId:
    """A page and what it must hash to: for the top page, the root of the manifest."""

    level: int
    index: int
    hash: bytes


def level_lengths(size: int, chunk_size: int) -> tuple[int, ...]:
    """Return how many hashes each level holds, level 0 (the chunks) first; the last fits one page."""
    lengths = [chunk_count(size, chunk_size)]
    while lengths[-1] > HASHES_PER_PAGE:
        lengths.append(-(-lengths[-1] // HASHES_PER_PAGE))
    return tuple(lengths)


def page_hash(page: bytes) -> bytes:
    """Return the hash that identifies a page below the top."""
    return hash_tagged(_PAGE_CONTEXT, page)


def root_hash(size: int, chunk_size: int, top_page: bytes) -> RootHash:
    """Return the root of a manifest: it binds size, chunk size and, through the top page, every chunk."""
    return RootHash(hash_tagged(_ROOT_CONTEXT, size.to_bytes(8), chunk_size.to_bytes(4), top_page))


def _page_length(lengths: tuple[int, ...], level: int, index: int) -> int:
    """Return the bytes in a page, 0 where there is no such page (or the page of an empty file)."""
    if not (0 <= level < len(lengths) and index >= 0):
        return 0
    return max(0, min(HASHES_PER_PAGE, lengths[level] - index * HASHES_PER_PAGE)) * HASH_BYTES


class Manifest:
    """The chunk hashes of one content; upper levels and root are computed when first asked for."""

    __slots__ = ("_lengths", "_levels", "_root", "chunk_size", "hashes", "size")

    def __init__(self, size: int, chunk_size: int, hashes: bytes) -> None:
        """Take the flat hashes of all chunks; raise `ValueError` when there are not exactly as many."""
        check_chunk_size(chunk_size)
        if size < 0 or len(hashes) != chunk_count(size, chunk_size) * HASH_BYTES:
            raise ValueError(f"{len(hashes)} bytes of hashes do not fit a size of {size}")
        self.size = size
        self.chunk_size = chunk_size
        self.hashes = bytes(hashes)
        self._lengths = level_lengths(size, chunk_size)
        self._levels = [self.hashes]
        self._root: RootHash | None = None

    @property
    def chunk_count(self) -> int:
        return self._lengths[0]

    @property
    def level_count(self) -> int:
        return len(self._lengths)

    @property
    def root(self) -> RootHash:
        """The identity of the content."""
        if self._root is None:
            self._root = root_hash(self.size, self.chunk_size, self.page(len(self._lengths) - 1, 0))
        return self._root

    def chunk_hash(self, index: int) -> ChunkHash:
        """Return the hash of chunk `index`; raise `IndexError` where there is none."""
        if not 0 <= index < self._lengths[0]:
            raise IndexError(f"chunk {index} of {self._lengths[0]}")
        return ChunkHash(self.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES])

    def page(self, level: int, index: int) -> bytes:
        """Return a page, at most 32 KiB; raise `IndexError` where there is none."""
        length = _page_length(self._lengths, level, index)
        if not length and (level, index, self.size) != (0, 0, 0):
            raise IndexError(f"no page {index} on level {level}")
        while len(self._levels) <= level:
            below = self._levels[-1]
            self._levels.append(
                b"".join(page_hash(below[at : at + PAGE_BYTES]) for at in range(0, len(below), PAGE_BYTES))
            )
        return self._levels[level][index * PAGE_BYTES : index * PAGE_BYTES + length]

    def pages_by_hash(self) -> dict[bytes, tuple[int, int]]:
        """Return (level, index) of every page below the top, by its hash."""
        found: dict[bytes, tuple[int, int]] = {}
        for above in range(1, len(self._lengths)):
            self.page(above, 0)  # Computes the level.
            hashes = self._levels[above]
            for index in range(self._lengths[above]):
                found[hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]] = (above - 1, index)
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Manifest):
            return NotImplemented
        return (self.size, self.chunk_size, self.hashes) == (other.size, other.chunk_size, other.hashes)

    def __hash__(self) -> int:
        return hash(self.root)

    def __repr__(self) -> str:
        return f"Manifest({self.size} bytes, {self.chunk_count} chunks of {self.chunk_size})"


class ManifestBuilder:
    """Collects a manifest from pages of strangers, each verified before it is kept.

    Memory grows only with verified pages, so a false size costs nothing.
    """

    __slots__ = ("_chunk_pages", "_lengths", "_missing", "_wanted", "chunk_size", "root", "size")

    def __init__(self, root: bytes, size: int, chunk_size: int) -> None:
        """Take what the signed record says; raise `UsageError` for a bad chunk size."""
        check_chunk_size(chunk_size)
        self.root = root
        self.size = size
        self.chunk_size = chunk_size
        self._lengths = level_lengths(size, chunk_size)
        self._chunk_pages: dict[int, bytes] = {}
        # Pages we can verify and do not have, in the order in which they became known.
        self._wanted: dict[tuple[int, int], bytes] = {(len(self._lengths) - 1, 0): root}
        self._missing = max(1, -(-self._lengths[0] // HASHES_PER_PAGE))
        if size == 0:
            self.add(0, 0, b"")

    @property
    def complete(self) -> bool:
        return self._missing == 0

    @property
    def begun(self) -> bool:
        """Whether the top page is here: it proves that size and chunk size are those of this root."""
        return (len(self._lengths) - 1, 0) not in self._wanted

    def wanted(self, limit: int, asked: Collection[tuple[int, int]] = ()) -> list[PageId]:
        """Return up to `limit` pages to ask for next, without those (level, index) in `asked`.

        Upper pages come first; the pages below one are known once it was added.
        """
        open_pages = ((place, hash_) for place, hash_ in self._wanted.items() if place not in asked)
        return [PageId(level, index, hash_) for (level, index), hash_ in islice(open_pages, limit)]

    def add(self, level: int, index: int, data: bytes) -> bool:
        """Take a page if it is wanted and verifies; return whether it was taken."""
        expected = self._wanted.get((level, index))
        if expected is None or len(data) != _page_length(self._lengths, level, index):
            return False
        if level == len(self._lengths) - 1:
            verified = root_hash(self.size, self.chunk_size, data) == expected
        else:
            verified = page_hash(data) == expected
        if not verified:
            return False
        del self._wanted[level, index]
        if level == 0:
            self._chunk_pages[index] = bytes(data)
            self._missing -= 1
            return True
        for offset in range(len(data) // HASH_BYTES):
            hash_ = bytes(data[offset * HASH_BYTES : (offset + 1) * HASH_BYTES])
            self._wanted[level - 1, index * HASHES_PER_PAGE + offset] = hash_
        return True

    def reuse(self, held: Manifest) -> int:
        """Take every wanted page that an older version has too, wherever it lies; return how many.

        Call it again after a page above level 0 was added.
        """
        places = held.pages_by_hash()
        taken = 0
        progress = True
        while progress:
            progress = False
            for (level, index), hash_ in list(self._wanted.items()):
                place = places.get(hash_)
                if place is not None and self.add(level, index, held.page(*place)):
                    taken += 1
                    progress = True
        return taken

    def build(self) -> Manifest:
        """Return the manifest; raise `ValueError` while pages are missing."""
        if self._missing:
            raise ValueError(f"{self._missing} pages of the manifest are missing")
        hashes = b"".join(self._chunk_pages[index] for index in range(len(self._chunk_pages)))
        return Manifest(self.size, self.chunk_size, hashes)
