"""Which limit holds for the exchange with one node? Its own, a glob's, its provider's, or everybody's.

Source: field notes, section 1 (bandwidth).
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from ringgossip.config.blocks import Bandwidth


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit and the rule it comes from. `rate` in bytes a second, each direction; None: no limit."""

    rate: float | None
    key: str  # of node.yaml
    rule: str  # a sentence


def peer_limit(name: str, provider: str, bandwidth: Bandwidth) -> Limit:
    """Return what we may exchange with the node `name`. `provider` is what its card says."""
    for host, rate in bandwidth.hosts:
        if host == name:
            return Limit(rate, "bandwidth.hosts", "its own limit")
    for pattern, rate in bandwidth.globs:
        if fnmatchcase(name, pattern):
            return Limit(rate, "bandwidth.globs", f"it matches {pattern!r}")
    for who, rate in bandwidth.providers:
        # The words of a provider differ in case between files and names.
        if who.lower() == provider.lower():
            return Limit(rate, "bandwidth.providers", f"the limit of provider {who}")
    key = "bandwidth.peer_bytes_per_second"
    rate_of_all = bandwidth.peer_bytes_per_second
    return Limit(rate_of_all, key, "no limit" if rate_of_all is None else "the limit for everybody")
