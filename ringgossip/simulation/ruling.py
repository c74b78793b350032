"""What do users change while a made world runs? A peer's role and state, how full its disk is, the day.

The verbs of the rules, beside those of `world`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ringgossip.protocol.peer_core import CoreSettings
from ringgossip.simulation.kernel import VERB
from ringgossip.strategy.candidates import DiskUse

if TYPE_CHECKING:
    from ringgossip.simulation.world import PeerSpec, World


def settings_of(common: CoreSettings, spec: "PeerSpec") -> CoreSettings:
    """Return the settings of one peer: what its own configuration says of rules and limits."""
    rules, limits = spec.rules, spec.rules.bandwidth
    send, receive = limits.send_bytes_per_second, limits.receive_bytes_per_second
    serving = replace(common.serving, send_bytes_per_second=send) if send else common.serving
    transfer = replace(common.transfer, receive_bytes_per_second=receive) if receive else common.transfer
    if spec.max_concurrent is not None:
        transfer = replace(transfer, active=spec.max_concurrent)
    return replace(common, rules=rules, serving=serving, transfer=transfer)


def fill(world: "World", index: int, share: float, free: int) -> None:
    """Let a peer see that this share of its disk is used, and so many bytes are free."""
    node = world.nodes[index]
    use = world.disk_uses[index] = DiskUse(round(free * share / (1 - share)), free)
    world.kernel.note(index, VERB, 0, "fill")
    if node.core is not None:
        node.give(VERB, 0, node.core.disk_changed, use)


def change(
    world: "World",
    index: int,
    *,
    role: str | None = None,
    state: str | None = None,
    ephemeral: bool | None = None,
    send_limit: float | None = None,
) -> None:
    """Let a peer read its configuration again, in which these were changed."""
    spec, node = world.specs[index], world.nodes[index]
    rules = spec.rules if state is None else replace(spec.rules, state=state)
    if send_limit is not None:
        rules = replace(rules, bandwidth=replace(rules.bandwidth, send_bytes_per_second=send_limit))
    world.specs[index] = replace(
        spec,
        rules=rules,
        role=spec.role if role is None else role,
        ephemeral=spec.ephemeral if ephemeral is None else ephemeral,
    )
    world.kernel.note(index, VERB, 0, "change")
    if node.core is not None:
        node.give(VERB, 0, node.core.change_facts, world.facts_of(index))
        node.give(VERB, 0, node.core.change_rules, rules)


def new_day(world: "World", day: int) -> None:
    """Let everybody see another day: byte budgets begin anew."""
    world.day = day
    for node in world.nodes:
        world.kernel.note(node.index, VERB, day, "day")
        if node.core is not None:
            node.give(VERB, 0, node.core.day_changed, day)
