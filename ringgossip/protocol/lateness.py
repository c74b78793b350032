"""What do others owe us for too long? One walk over all that is asked for, for all idle sources of a round.

A chunk is *queued* until the first byte of it comes, then it has *begun*. Which of both is late, and after
how long, is for `asking` to say: this only finds them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ringgossip.protocol.core import NEVER
from ringgossip.protocol.pull import ALL, Pull
from ringgossip.protocol.sources import Source


@dataclass(slots=True)
class Lateness:
    """What is late of one pull, in one round of asking."""

    overdue: dict[int, None]  # nobody has begun these
    slow: dict[int, float]  # somebody has, since then
    due: float  # when the next one becomes late

    def of(self, holding: int, late: Iterable[int]) -> list[int]:
        """Return those of `late` that a source with these chunks could send."""
        return list(late) if holding == ALL else [index for index in late if holding >> index & 1]

    def take(self, indices: list[int]) -> list[int]:
        """These are asked of one more: of the next one, after the next look."""
        for index in indices:
            self.overdue.pop(index, None)
            self.slow.pop(index, None)
        return indices


def look_for_late(
    pull: Pull, sources: Iterable[Source], now: float, pause: float, patience: float, asked_of: int
) -> Lateness:
    """Find what is late: queued for `pause`, of fewer than `asked_of`; begun for `patience`, of one."""
    begun, queued = dict[int, float](), dict[int, float]()
    for source in sources:
        for ask in source.asks.values():
            if ask.root == pull.root and not ask.pages:
                for index in ask.waiting:
                    at = ask.begun.get(index)
                    (queued if at is None else begun)[index] = ask.asked_at if at is None else at
    asked, due = pull.asked, NEVER
    overdue, slow = dict[int, None](), dict[int, float]()
    for index, asked_at in queued.items():
        if index not in begun and asked.get(index, 0) < asked_of:
            due = min(due, asked_at + pause)
            if now >= asked_at + pause:
                overdue[index] = None
    for index, at in begun.items():
        if asked.get(index) == 1:
            due = min(due, at + patience)
            if now >= at + patience:
                slow[index] = at
    return Lateness(overdue, slow, due)
