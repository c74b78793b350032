"""What of a configuration that was read again holds at once, and what only after a restart?"""

from dataclasses import fields, replace

from ringgossip.config import PeerConfig

# Everything that is a rule, a limit or a word about ourselves.
AT_ONCE = (
    "role",
    "state",
    "ephemeral",
    "provider",
    "storage_group",
    "advertise",
    "patience",
    "strategy",
    "want",
    "receive",
    "copies",
    "copies_per_kind",
    "exclude",
    "keep",
    "priority_nodes",
    "min_games_to_sync",
    "disk",
    "interval_seconds",
    "ephemeral_interval_seconds",
    "sync_timeout_seconds",
    "drain_seconds",
    "bandwidth",
    "budget",
)
_SILENT = ("origins", "notices")


def taken_over(old: PeerConfig, new: PeerConfig) -> tuple[PeerConfig, tuple[str, ...], tuple[str, ...]]:
    """Return the configuration that holds from now on, the keys that changed, and those that wait.

    What waits for a restart keeps its old value.
    """
    changed = [
        entry.name
        for entry in fields(PeerConfig)
        if entry.name not in _SILENT and getattr(old, entry.name) != getattr(new, entry.name)
    ]
    now = {key: getattr(new, key) for key in changed if key in AT_ONCE}
    held = replace(old, **now, origins=new.origins, notices=new.notices)
    return held, tuple(now), tuple(key for key in changed if key not in AT_ONCE)
