"""How does what a peer says look as JSON? The shapes that scripts rely on, in one place.

The command line, the control socket and HTTP all speak these. Keys may be
added; none is renamed. Artifacts, receipts and health have theirs where they
are made (`runtime.shapes`). Source: design section 9.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ringgossip.protocol.explaining import Explanation
from ringgossip.protocol.membership import Member
from ringgossip.protocol.views import TransferView


def member_shape(member: Member, breakers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return one member; `boot` and `incarnation` tell restarts from refutations.

    `breakers`: of those routes to it that failed and have not worked since, how they are.
    """
    facts = member.facts
    return {
        "name": member.name,
        "state": member.state,
        "role": facts.role,
        "addresses": [str(address) for address in facts.addresses],
        "ephemeral": facts.ephemeral,
        "provider": facts.provider,
        "storage_group": facts.storage_group,
        "disk_used": facts.disk_used,
        "disk_free": facts.disk_free,
        "refuses": dict(facts.refuses),
        "wants": None if facts.wants is None else list(facts.wants),
        "status": facts.state,
        "training": facts.training,
        "software": facts.software,
        "id": member.peer.hex(),
        "boot": member.boot,
        "incarnation": member.incarnation,
        "breakers": dict(breakers or {}),
    }


def explanation_shape(answer: Explanation) -> dict[str, Any]:
    """Return why a node has, lacks or will get an artifact; `limit` is in bytes a second."""
    return {**asdict(answer), "holders": list(answer.holders)}


def transfer_shape(transfer: TransferView) -> dict[str, Any]:
    """Return one transfer; `from` are those who serve it, `done` and `total` are bytes."""
    return {
        "artifact": transfer.artifact,
        "sequence": transfer.sequence,
        "phase": transfer.phase,
        "from": list(transfer.sources),
        "done": transfer.done,
        "total": transfer.total,
        "bytes_per_second": transfer.bytes_per_second,
        "seconds": transfer.seconds,
    }
