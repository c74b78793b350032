"""We cannot take all that is offered: whom do we take from next?

What is most urgent comes first, whoever has it. Of what is equally urgent the
sources share our line as the drain urgency of what we pull from them: twice the
weight, twice the bytes. A source that waits is never more than one request
behind its share, so none starves, and one that had nothing to give has saved
nothing up.

Sources: start-time fair queueing (Goyal, Vin, Cheng 1996); reference, "Priority Scoring".
"""

from collections.abc import Sequence

from ringgossip.protocol.core import NEVER
from ringgossip.protocol.pull import ALL, Phase, Pull
from ringgossip.protocol.sources import Source

_MERCY = -1  # goes before every rank


class Downlink:
    """How far everybody has come, in bytes divided by their weights."""

    def __init__(self) -> None:
        self._reached = 0.0  # where the one whose turn it was last stood

    def in_turn(self, ready: Sequence[Source], pulls: Sequence[Pull], now: float) -> list[Source]:
        """Return who may be asked, the first first. `pulls` are in the order in which each gives them."""
        places: list[tuple[tuple[int, int], float, float, Source]] = []
        overtaken = len(pulls) > 1 and pulls[0].rank > pulls[1].rank
        for source in ready:
            pull = next((pull for pull in pulls if _gives(source, pull)), None)
            rank = NEVER if pull is None else _MERCY if overtaken and pull is pulls[0] else pull.rank
            if pull is not None:
                source.taken = max(source.taken, self._reached)
            places.append((source.rank(now), rank, source.taken, source))
        places.sort(key=lambda place: place[:3])
        if places and places[0][1] < NEVER:
            self._reached = places[0][2]
        return [source for *_, source in places]

    def asked(self, source: Source, pull: Pull, amount: int) -> None:
        """So many bytes of a pull were asked of a source."""
        source.taken += amount / pull.urgency


def _gives(source: Source, pull: Pull) -> bool:
    """Tell whether a source has something of a pull that nobody owes us."""
    holding = pull.holders.get(source.peer)
    if holding is None or pull.phase is Phase.MANIFEST:
        return holding is not None
    return pull.phase is Phase.PULLING and bool(pull.needed if holding == ALL else pull.needed & holding)
