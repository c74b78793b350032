"""What does pulling ask of the rules and breakers? A few questions; without answers everything goes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ringgossip.content.record import Record
from ringgossip.identity import PeerId
from ringgossip.protocol.core import NEVER
from ringgossip.strategy.eligibility import YES, Verdict
from ringgossip.strategy.weights import KIND_RANK


def _no_limit(peer: PeerId) -> float | None:
    return None


def _may(record: Record) -> Verdict:
    return YES


def _by_kind(record: Record) -> int:
    return KIND_RANK.get(record.kind, 1)


def _normal(record: Record) -> str:
    return "normal"


def _free(peer: PeerId, now: float) -> float:
    return -NEVER


def _nothing(peer: PeerId, now: float) -> None:
    pass


def _no(peer: PeerId) -> bool:
    return False


def _alike(record: Record, holders: Iterable[PeerId], now: float) -> float:
    return 1.0


@dataclass(frozen=True, slots=True)
class Guide:
    """The questions."""

    limit_of: Callable[[PeerId], float | None] = _no_limit  # bytes a second that one peer may send us
    may_receive: Callable[[Record], Verdict] = _may  # asked before space is reserved
    rank: Callable[[Record], int] = _by_kind  # smaller goes first
    priority: Callable[[Record], str] = _normal  # the word that our requests carry
    held_until: Callable[[PeerId, float], float] = _free  # nothing is asked of a peer until then
    tried: Callable[[PeerId, float], None] = _nothing  # a request leaves now
    troubled: Callable[[PeerId], bool] = _no  # requests came to nothing lately: an answer is news
    suspected: Callable[[PeerId], bool] = _no  # somebody says it is down: it is asked last, not refused
    urgency: Callable[[Record, Iterable[PeerId], float], float] = _alike  # of what these hold: a weight
