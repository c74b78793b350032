"""Which keys of `distributed_hosts.yaml` mean something here, and what may each be?

One table per section: key of the file, field of `ClusterRules`, and a function
that returns the value in our units or raises `ValueError`.

Source: field notes, section 4.
"""

from collections.abc import Callable
from typing import Any

from ringgossip.config.rules import ExternalStorage
from ringgossip.config.words import KINDS, STRATEGIES

# The file says mbps and means megabytes a second.
MEGABYTE = 1e6

RECEIVES = tuple(f"receive_{kind}" for kind in KINDS)
SECTIONS = ("auto_sync", "sync_routing", "hosts")

Check = Callable[[Any], Any]


# --- what a value may be: each returns it in our units, or raises `ValueError` ------------


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be text, not {value!r}")
    return value.strip()


def _between(least: float, most: float, whole: bool = False) -> Check:
    def check(value: Any) -> Any:
        good = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not good or not least <= value <= most:
            what = "whole number" if whole else "number"
            raise ValueError(f"must be a {what} from {least:g} to {most:g}, not {value!r}")
        return value

    return check


def _seconds(value: Any) -> float:
    return float(_between(0.1, 30 * 86400)(value))


def _rate(value: Any) -> float:
    return float(_between(0.001, 1e6)(value)) * MEGABYTE


def _strategy(value: Any) -> str:
    if value not in STRATEGIES:
        raise ValueError(f"{value!r} is none of {', '.join(STRATEGIES)}")
    return str(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("must be a list of host names, for example [gpu-1, gpu-2]")
    return tuple(dict.fromkeys(value))


def _rates(value: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, dict):
        raise ValueError("must be names and MB/s, for example {runpod-*: 100}")
    return tuple((name, _rate(mbps)) for name, mbps in value.items())


def _excluded(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, list):
        raise ValueError("must be a list of host names or {name, receive_games, ...}")
    return dict((entry, KINDS) if isinstance(entry, str) else _barred(entry) for entry in value)


def _barred(entry: Any) -> tuple[str, tuple[str, ...]]:
    name, allowed = _entry(entry, "name")
    return name, tuple(kind for kind in KINDS if kind not in allowed)


def _external(value: Any) -> tuple[ExternalStorage, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of {host, path, receive_games, ...}")
    return tuple(ExternalStorage(*_entry(entry, "host")) for entry in value)


def _entry(entry: Any, name: str) -> tuple[str, tuple[str, ...]]:
    """Return a name and the kinds whose `receive_...` is true; a kind that is not named is not received."""
    if not isinstance(entry, dict) or not isinstance(entry.get(name), str):
        raise ValueError(f"each entry needs a `{name}`")
    return entry[name], tuple(kind for kind in KINDS if _switch(entry.get(f"receive_{kind}", False)))


def _paths(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("must be kinds and folders, for example {games: /data/games}")
    return {str(kind): str(folder) for kind, folder in value.items()}


# --- which keys there are -------------------------------------------------------------------

# Key in the file -> field of `ClusterRules`, and what it may be.
AUTO_SYNC: dict[str, tuple[str, Check]] = {
    "enabled": ("enabled", _switch),
    "strategy": ("strategy", _strategy),
    "interval_seconds": ("interval_seconds", _seconds),
    "gossip_interval_seconds": ("gossip_interval_seconds", _seconds),
    "max_concurrent_syncs": ("max_concurrent_syncs", _between(1, 1000, whole=True)),
    "bandwidth_limit_mbps": ("bandwidth_limit", _rate),
    "host_bandwidth_overrides": ("bandwidth_overrides", _rates),
    "exclude_hosts": ("exclude_hosts", _names),
    "min_games_to_sync": ("min_games_to_sync", _between(0, 10**9, whole=True)),
    "skip_nfs_sync": ("skip_shared_disks", _switch),
}
SYNC_ROUTING: dict[str, tuple[str, Check]] = {
    "max_disk_usage_percent": ("max_disk_usage_percent", _between(1, 100)),
    "target_disk_usage_percent": ("target_disk_usage_percent", _between(1, 100)),
    "target": ("target_disk_usage_percent", _between(1, 100)),
    "min_free_disk_percent": ("min_free_disk_percent", _between(0, 99)),
    "replication_target": ("replication_target", _between(0, 1000, whole=True)),
    "excluded_hosts": ("excluded_hosts", _excluded),
    "priority_hosts": ("priority_hosts", _names),
    "allowed_external_storage": ("external_storage", _external),
}
HOST: dict[str, Check] = {
    "ssh_host": _text,
    "tailscale_ip": _text,
    "role": _text,
    "status": _text,
    "bandwidth_mbps": _rate,
    "is_ephemeral": _switch,
    "storage_type": _text,
    "nat_blocked": _switch,
    "p2p_enabled": _switch,
    "skip_sync_receive": _switch,
    "is_coordinator": _switch,
    "use_external_storage": _switch,
    "storage_paths": _paths,
}
# Keys of the file that we know and have no use for.
HOST_SILENT = {
    "ssh_port": "peers link to each other without ssh",
    "ssh_user": "peers link to each other without ssh",
    "ssh_key": "peers link to each other without ssh",
    "is_container": "a peer that can only dial out serves as well",
    "socks5_port": "peers link to each other without a proxy",
    "selfplay_enabled": "the role says what a node takes",
    "training_enabled": "the role says what a node takes",
    "data_server_port": "chunks travel over the peer port",
}
