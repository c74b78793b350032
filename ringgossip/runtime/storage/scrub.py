"""Are the copies that lie on our disk still what they were? Read them again, slowly, one after the other.

Disks forget without telling. What fails is moved aside and told, so that it is
pulled again from those who still have it.
Source: field notes, incident 18.
"""

import errno
from dataclasses import dataclass
from threading import Lock

from ringgossip.content.chunking import chunk_count, chunk_length
from ringgossip.errors import StoreError
from ringgossip.runtime.storage.disk import ChunkChanged, read_at, trouble
from ringgossip.runtime.storage.holdings import Holdings
from ringgossip.runtime.storage.places import Place, PlaceKind


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What one call read, in bytes, what it found damaged, and whether it came round to the start."""

    length: int
    damaged: tuple[str, ...]
    round_done: bool


class Scrubber:
    """Goes round all files of ours that were there when the round began. One call at a time."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._ahead: list[Place] = []  # of this round, the next one last
        self._chunk = 0
        self._lock = Lock()

    def scrub(self, budget: int) -> Scrubbed:
        """Read at most `budget` bytes, and one chunk at least if there is one."""
        with self._lock:
            length = 0
            damaged: list[str] = []
            if not self._ahead:
                self._ahead = [
                    place for place in self._holdings.all_places() if place.kind is not PlaceKind.USER
                ]
            while self._ahead:
                place = self._ahead[-1]
                if place in self._holdings.places(place.root):  # else it went, or was moved, meanwhile
                    length += self._scrub_place(place, budget - length, damaged)
                    if length >= budget:
                        return Scrubbed(length, tuple(damaged), False)
                self._ahead.pop()
                self._chunk = 0
            return Scrubbed(length, tuple(damaged), True)

    def _scrub_place(self, place: Place, budget: int, damaged: list[str]) -> int:
        chunks = chunk_count(place.size, place.chunk_size)
        buffer = memoryview(bytearray(min(place.chunk_size, max(1, place.size))))
        length = 0
        while self._chunk < chunks:
            index = self._chunk
            self._chunk += 1
            if place.own is not None and index not in place.own:
                continue
            view = buffer[: chunk_length(index, place.size, place.chunk_size)]
            try:
                if not self._is_whole(place, index, view):
                    self._holdings.lose(
                        place, f"{place.path} is damaged: chunk {index} is not what was signed"
                    )
            except ChunkChanged as problem:
                damaged.append(str(problem))
                self._chunk = chunks
            except StoreError:
                self._chunk = chunks
            length += len(view)
            if length >= budget:
                break
        return length

    def _is_whole(self, place: Place, index: int, view: memoryview) -> bool:
        try:
            with self._holdings.files.get(place) as fd:
                got = read_at(fd, view, index * place.chunk_size)
        except FileNotFoundError:
            self._holdings.lose(place, f"{place.path} is gone; it is pulled again from whoever has it")
            raise
        except OSError as problem:
            reason = trouble(problem, f"{place.path} cannot be read")
            if problem.errno == errno.EIO:
                self._holdings.lose(place, str(reason))
            raise reason from None
        return got == len(view) and self._holdings.matches(place.root, index, view)
