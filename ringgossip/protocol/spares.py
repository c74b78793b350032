"""Whom else do we ask for a chunk that somebody is to send anyway? In a swarm, a few; the first byte decides.

While many pull the same file, what we asked of one holder may wait behind all
the others' wishes, and somebody else gets that chunk meanwhile and is idle. So
a chunk whose first byte is not here is asked of a few more holders, and taken
back from all others as soon as its first byte is here. Holders keep a choice of
what to send, and whoever can send, sends.

These asks are in no account (they are `late` from the start): a chunk comes once.
Holders that send the same chunk at the same time waste it: if that happens
often, since messages are slow against chunks, nothing more is asked this way.
"""

from collections.abc import Iterable

from ringgossip.protocol.core import LINK, Draw, Effect, Notice, Send
from ringgossip.protocol.pull import ALL, Pull
from ringgossip.protocol.sources import Ask, Source
from ringgossip.strategy.order import pick, set_of, without
from ringgossip.wire.messages import CancelChunks

Out = list[Effect | Notice]

MOST = 16  # chunks asked of one holder in this way; below what holders look at when they choose
COPIES = 12  # holders asked for one chunk, beside the first
_SLOW_CHUNK = 0.05  # seconds; what comes quicker than that needs no help


def apply(pull: Pull, source: Source, now: float) -> bool:
    """Tell whether chunks are asked of several in this pull: it is a swarm, this source slow, waste small."""
    if not pull.partial_holders or source.rank(now) != (0, 0) or pull.doubled > 4 + len(pull.have) // 8:
        return False
    return not source.rate or pull.record.chunk_size / source.rate >= _SLOW_CHUNK


def choose(pull: Pull, source: Source, now: float, rng: Draw) -> list[int]:
    """Return chunks to ask of this source too."""
    if not apply(pull, source, now):
        return []
    room = MOST - sum(len(ask.late) for ask in source.asks.values())
    holding = pull.holders.get(source.peer, 0)
    if room <= 0 or not holding:
        return []
    mine = 0
    for ask in source.asks.values():
        if ask.root == pull.root and not ask.pages:
            mine |= set_of(ask.waiting) | set_of(ask.late)
    waited = set_of(
        index
        for index in pull.asked
        if (holding == ALL or holding >> index & 1)
        and index not in pull.arriving
        and pull.spares.get(index, 0) < COPIES
    )
    return pick(pull.availability.rarest(without(waited, mine)), pull.count, room, rng)


def claim(pull: Pull, source: Source, ask: Ask, index: int, sources: Iterable[Source]) -> Out:
    """The first byte of a chunk is here: from now on it is this source's; the others need not send it."""
    doubled = index in pull.arriving
    pull.doubled += doubled
    pull.arriving.add(index)
    if pull.spares.pop(index, None) is None:
        return []
    out: Out = []
    still = 0
    for other in sources:
        for theirs in list(other.asks.values()):
            if theirs is ask or theirs.root != ask.root or theirs.pages or index in theirs.begun:
                still += theirs is not ask and index in theirs.waiting and index in theirs.begun
                continue
            if index in theirs.waiting or index in theirs.late:
                other.answered(theirs, index)
                out.append(Send(other.peer, CancelChunks(theirs.request, (index,)), LINK))
    source.claim(ask, index)
    pull.claimed(index, 1 + still)
    return out
