"""Peers as the rules see them, named in one word."""

from typing import Any

from ringgossip.content.hashing import hash_bytes
from ringgossip.identity import PeerId
from ringgossip.strategy.candidates import Candidate, DiskUse

GB = 10**9


def peer(name: str, **facts: Any) -> Candidate:
    """A peer of this name; its id follows from the name."""
    return Candidate(name, PeerId(hash_bytes(name.encode())[:16]), **facts)


def disk(percent: float, total: int = 1000 * GB) -> DiskUse:
    """A disk of which so much is used."""
    used = round(total * percent / 100)
    return DiskUse(used, total - used)
