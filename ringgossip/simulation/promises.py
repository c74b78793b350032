"""Which promises may a story make, and in which words? Always, eventually, sometimes, and limits.

`always` is checked whatever a story says: after every step what that touched,
every half second what needs a look at everything. A story may add the optional
ones. `eventually` begins when faults have stopped. `sometimes` says
what must be seen at least once in a batch of seeds, so that a story that never
gets where it wants to go fails. `limits` bound what is measured.
"""

from ringgossip import events
from ringgossip.simulation.plans import FAULTS

ALWAYS = {
    "S1": "a replica is visible only whole",
    "S2": "nothing a user made is changed, moved or deleted",
    "S3": "sequences never go back, and what one peer admits every peer admits",
    "S4": "nobody is sent what it did not ask for, or receives what a rule refuses it",
    "S5": "bytes in flight, tables and rates stay within their limits",
    "S6": "a receipt counts verified, synced, renamed copies",
    "S7": "no stranger learns a name, changes a view or costs much",
    "no_resurrection": "whoever is gone does not come back in anybody's view",
    "monotone_incarnations": "what is believed of a member never goes back",
}
OPTIONAL = {"no_false_death": "nobody who runs and can be reached is declared dead"}

EVENTUALLY = {
    "L1": "all hold the same catalog, and each what it wants",
    "L2": "every view is the set of those that run",
    "L3": "everything has its copies, and its origin knows",
    "quiet": "traffic is back to idle",
    "target": "everything has the copies that are wanted, wherever somebody may hold one",
    "placed": "nobody holds what it does not want",
}

_TOO_FEW = "too few copies: want fewer (`replication_target`, `copies`), or let more nodes receive that kind"
# What to do about a promise that broke. What is not named here no cluster may do, whatever happens to it.
_ADVICE = {
    "L1": "some lack data that somebody has: is a line too thin or a disk full, or the time too short?",
    "L2": "some do not see each other: can they reach a seed, and can one of each two be dialled?",
    "L3": _TOO_FEW,
    "target": _TOO_FEW,
    "placed": "somebody holds what a rule says is not for it: did a role or a rule change after it came?",
    "quiet": "something is still being moved or tried: too much for the lines, or a peer is not found?",
    "no_false_death": "a node that runs was given up: is it paused for longer than its patience?",
}


def advice_on(name: str, kind: str) -> str:
    """Return what to do about a promise that broke."""
    if kind == "limit":
        return "the figure is above the limit that the story sets: raise it, or see the measures below"
    return _ADVICE.get(name, "a bug of ringgossip, whatever happened to the cluster: please report it")


# Beside the names of events, what a counter of any peer, or the world, shows.
SEEN = {
    "chunk_refused": "a chunk with false bytes came and was refused",
    "resumed_transfer": "a transfer went on where an earlier one had stopped",
    "packet_refused": "a packet from outside was refused",
    "rule_broken": "a member broke a rule of the protocol, and it was counted",
    "copied_from_third": "a chunk came from somebody who is not its origin",
}
EVENT_NAMES = tuple(
    name
    for name, value in vars(events).items()
    if isinstance(value, type) and issubclass(value, events.Event) and not name.startswith("_")
)
SOMETIMES = (*SEEN, *EVENT_NAMES, *FAULTS)

MEASURES = {
    "settle_seconds": "from the end of faults until L1 and L2 held",
    "events": "events of the kernel",
    "virtual_seconds": "how long the run was",
    "chunk_bytes": "bytes of chunks that were received",
    "useful_bytes": "bytes of the copies that were completed",
    "overhead": "chunk bytes beyond the useful ones, as a share of these",
    "datagram_bytes": "bytes of datagrams that were sent",
    "datagrams_per_peer_second": "datagrams each peer sent a second",
    "suspicions": "how often a member was suspected",
    "false_suspicions": "how often one was suspected that ran and could be reached",
    "false_deaths": "how often one was declared dead that ran and could be reached",
    "deaths_across_walls": "how often one was declared dead that ran, behind a partition or a cut way",
    "copies": "copies that were completed",
    "copy_seconds_median": "from publishing to a copy, the middle one",
    "copy_seconds_90": "nine of ten copies were there by then",
    "copy_seconds_last": "the slowest copy",
    "bound_ratio": "the slowest spread, over the least time the lines allow",
    "syncs_failed": "calls of sync that did not bring everything where it should be",
    "sync_seconds_urgent": "the slowest call of sync of high or critical priority",
    "asked_missing": "what a sync asked for by name and its target does not hold in the end",
    "errands_left": "what absent nodes are still to be told to pull",
    "pulls_at_a_time": "the most artifacts that one peer was pulling at the same time",
    "training_ratio": "time to copy at peers that train, over that of the others: medians",
    "drain_ratio": "time to copy of what ephemeral nodes published, over that of the others: medians",
    "copies_lost_with_machines": "publications of which no copy was left when their machine went",
}
