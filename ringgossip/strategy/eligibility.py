"""May this peer receive this kind? Yes, or No with its reason.

The receiver asks before it reserves, the sender before it pushes; the reason
travels to the other side as its code. Reasons that stay come before those that
pass, so that `explain` names what a person would have to change.

Eligible is not wanted: see `wanting`. Source: reference, "Node Eligibility";
field notes, section 1 (disk, coordinator SKIP) and incident 7.
"""

from collections.abc import Iterable, Mapping

from ringgossip.config.blocks import DiskRules
from ringgossip.frozen import frozen
from ringgossip.strategy.candidates import Candidate, DiskUse

# What a code means when nothing but the code is known: it came over the wire.
CODES = {
    "coordinator": "a coordinator receives nothing unless its `receive:` says so",
    "excluded": "it is excluded from this kind of data",
    "status": "it is not ready",
    "kind": "its `receive:` does not name this kind of data",
    "disk": "its disk is too full",
    "storage_group": "it shares a disk with a node that has the file",
    "evicted": "its `keep:` rules let it go, and nobody there asked for it since",
    "not_wanted": "nobody there asked for it, and other nodes hold enough copies",
    "withdrawn": "its origin withdrew it",
    "retired": "the cluster's authority retired the node that published it",
}


@frozen
class Yes:
    """It may. True as a condition."""

    def __bool__(self) -> bool:
        return True


@frozen
class No:
    """It may not. `code` is a word of `CODES` for scripts, `sentence` is for people. False as a condition."""

    code: str
    sentence: str

    def __bool__(self) -> bool:
        return False


Verdict = Yes | No
YES = Yes()
_USUAL = DiskRules()


def disk_stops(stopped: bool, disk: DiskUse | None, rules: DiskRules) -> bool:
    """Return whether a disk that was (not) `stopped` stops games and npz now.

    A full share stops only when little is free as well, and a floor stops by
    itself. Once stopped it goes on at `resume_percent`, or when twice of what
    `min_free_bytes` demands is free: else a large disk that was cleaned to 65 %
    would wait for ever. An unknown disk never stops.
    """
    if disk is None:
        return False
    if (
        (disk.share * 100 > rules.stop_percent and disk.free < rules.min_free_bytes)
        or (1 - disk.share) * 100 < rules.floor_percent
        or disk.free < rules.floor_bytes
    ):
        return True
    relaxed = disk.share * 100 <= rules.resume_percent or disk.free >= 2 * rules.min_free_bytes
    return stopped and not relaxed


def taken(peer: Candidate) -> tuple[str, ...] | None:
    """Return the kinds that its settings let a peer be given; None: they do not say.

    A coordinator that wants a kind in so many words takes it too.
    """
    return peer.want if peer.role == "coordinator" and peer.receive is None else peer.receive


def may_receive(peer: Candidate, kind: str, rules: DiskRules = _USUAL) -> Verdict:
    """Judge a peer by itself. What its card refuses is believed, and so is what it does not refuse.

    `rules` are for ourselves: they stand in our settings, and only what follows from them is told.
    """
    if peer.refuses is not None:
        code = peer.refuses.get(kind)
        if code is None:
            return YES
        return No(code, f"{peer.name}: {CODES.get(code, 'it refuses this kind of data')}")
    takes = taken(peer)
    if peer.role == "coordinator" and (takes is None or kind not in takes):
        return No("coordinator", f"{peer.name} is a coordinator and its `receive:` does not name {kind}")
    if kind in peer.excluded:
        return No("excluded", f"{peer.name} is excluded from {kind}")
    if peer.state != "ready":
        return No("status", f"{peer.name} is {peer.state}, not ready")
    if takes is not None and kind not in takes:
        return No("kind", f"`receive:` of {peer.name} does not name {kind}")
    return _disk_allows(peer, kind, rules)


def _disk_allows(peer: Candidate, kind: str, rules: DiskRules) -> Verdict:
    disk = peer.disk
    if disk is None:
        return YES
    if disk.free < rules.floor_bytes:
        return No(
            "disk",
            f"only {disk.free} bytes are free on the disk of {peer.name}, less than its floor of "
            f"{rules.floor_bytes}",
        )
    # Checkpoints are small, and a node without the newest one works in vain.
    if kind != "models" and peer.disk_stopped:
        return No(
            "disk",
            f"the disk of {peer.name} is {disk.share * 100:.0f} % full with {disk.free} bytes free; "
            f"it receives again at {rules.resume_percent:g} %",
        )
    return YES


def may_push(sender: Candidate, receiver: Candidate, kind: str) -> Verdict:
    """Judge whether `sender` should push this kind to `receiver`: what it may receive, from us."""
    verdict = may_receive(receiver, kind)
    if verdict and sender.storage_group is not None and sender.storage_group == receiver.storage_group:
        return No(
            "storage_group",
            f"{receiver.name} reads the disk of {sender.name} (storage group {sender.storage_group})",
        )
    return verdict


def refusals(me: Candidate, kinds: Iterable[str], rules: DiskRules) -> Mapping[str, str]:
    """Return kind -> code of what we refuse, as our card tells it."""
    verdicts = ((kind, may_receive(me, kind, rules)) for kind in kinds)
    return {kind: verdict.code for kind, verdict in verdicts if isinstance(verdict, No)}
