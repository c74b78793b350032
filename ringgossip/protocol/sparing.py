"""Which of the chunks that a source has are better asked of others? Slow ones and seeds are spared.

Who misbehaved or is slow is asked only for what nobody better has. A whole holder is asked only for what
no other puller has yet, while those that do are at work: otherwise, where processors and not lines are
what is short, seed and pullers send alike and the seed gives a third more copies than it need (measured).
"""

from collections.abc import Mapping

from ringgossip.identity import PeerId
from ringgossip.protocol.pull import ALL, Pull
from ringgossip.protocol.sources import Source
from ringgossip.strategy.order import without

_CLEARLY = 1.5  # times as fast as a puller: whose line is that much wider gives more than one copy
_LATELY = 1.0  # seconds: who has brought nothing for so long may hang, or is slow, and the seed helps


def leave_to_better(
    candidates: int, pull: Pull, source: Source, sources: Mapping[PeerId, Source], now: float
) -> int:
    """Return what nobody better has, if this source misbehaved or is slow."""
    mine = source.rank(now)
    if mine == (0, 0) or not candidates:
        return candidates
    for peer, holding in pull.holders.items():
        other = sources[peer]
        if other.rank(now) < mine and other.may_be_asked(now):
            candidates = 0 if holding == ALL else without(candidates, holding)
    return candidates


def leave_to_pullers(
    candidates: int, pull: Pull, source: Source, sources: Mapping[PeerId, Source], now: float
) -> int:
    """Return what no puller at work has, if this whole holder brings hardly more than one of them.

    It is asked once to see what it brings: else one slow puller with many chunks could keep us from it.
    """
    if not source.rate and not source.outstanding:
        return candidates
    theirs, rate, count = 0, 0.0, 0
    for peer, holding in pull.holders.items():
        other = sources[peer]
        at_work = other.outstanding and now < other.last_progress + _LATELY
        if holding > 0 and at_work and other.may_be_asked(now):
            theirs |= holding
            rate, count = rate + other.rate, count + 1
    return candidates if source.rate * count > _CLEARLY * rate else without(candidates, theirs)
