"""How is what we publish spread? hybrid, ephemeral, broadcast and skip, each a row of numbers.

`auto` chooses a row by the kind of node and the kind of data, and is asked
again whenever either changes: nothing here is remembered. Every plan rests on
the same gossip; a plan only says who is told first, how often we look again,
and how many copies must exist elsewhere before a publication counts as safe.

Source: reference, "Sync Strategies" (the AUTO table); field notes, section 1.
"""

from dataclasses import dataclass, replace

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Plan:
    """One row. `interval` in seconds, `copies` beside our own."""

    name: str
    fanout: int  # peers that are linked and told at once
    interval: float  # main cycle: what is below its copies is offered again
    copies: int  # write-through: urgent until so many others hold it
    persistent_first: bool  # ephemeral peers are told only when no other is left
    everyone: bool  # every eligible peer is told at once, whatever `fanout` says


PLANS = {
    plan.name: plan
    for plan in (
        #    name         fanout  interval  copies  persistent_first  everyone
        Plan("hybrid", 3, 60.0, 0, False, False),
        # Two copies: one more machine may vanish in the same minute.
        Plan("ephemeral", 3, 30.0, 2, True, False),
        Plan("broadcast", 3, 60.0, 0, False, True),
        Plan("skip", 0, NEVER, 0, False, False),
    )
}

# Node type -> kind -> plan.
AUTO = {
    "ephemeral": {"games": "ephemeral", "models": "broadcast", "npz": "ephemeral"},
    "training": {"games": "hybrid", "models": "broadcast", "npz": "hybrid"},
    "coordinator": {"games": "skip", "models": "skip", "npz": "skip"},
    # Not in the reference's table, where hybrid is the default and models are broadcast everywhere.
    "other": {"games": "hybrid", "models": "broadcast", "npz": "hybrid"},
}


def node_type(role: str, ephemeral: bool, priority: bool = False) -> str:
    """Return the row of `AUTO` for a node: what it may lose counts more than what it does."""
    if role == "coordinator":
        return "coordinator"
    if ephemeral:
        return "ephemeral"
    return "training" if "training" in role or priority else "other"


def plan_for(
    strategy: str,
    kind: str,
    role: str,
    *,
    ephemeral: bool = False,
    priority: bool = False,
    receive: tuple[str, ...] | None = None,
    interval: float = PLANS["hybrid"].interval,
    ephemeral_interval: float = PLANS["ephemeral"].interval,
) -> Plan:
    """Return the plan of a node for one kind, with the intervals that its settings say.

    `strategy` is a plan's name, or `auto`. A coordinator that takes a kind
    (`receive`) is no longer skipped for it.
    """
    name = strategy
    if strategy == "auto":
        kind_of_node = node_type(role, ephemeral, priority)
        if kind_of_node == "coordinator" and receive is not None and kind in receive:
            kind_of_node = "other"
        name = AUTO[kind_of_node].get(kind, "hybrid")
    plan = PLANS[name]
    if plan.interval == NEVER:
        return plan
    return replace(plan, interval=min(interval, ephemeral_interval) if name == "ephemeral" else interval)


def is_pushed(kind: str, games: int | None, min_games: int) -> bool:
    """Tell whether a publication is worth telling anybody at once; otherwise gossip brings it in time.

    `games` is the number of completed games in it; None: unknown, and no reason to wait.
    """
    return kind != "games" or games is None or games >= min_games
