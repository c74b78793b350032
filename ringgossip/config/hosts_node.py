"""What does a `distributed_hosts.yaml` mean for one node? The keys of node.yaml, each with its line.

Printed by `ringgossip config import`, and read directly by
`ringgossip peer --config distributed_hosts.yaml --node NAME`: both take the
same list of settings, so what is printed is what runs.

Source: field notes, sections 1 and 4; reference, "Bandwidth Allocation".
"""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringgossip.config.blocks import Bandwidth
from ringgossip.config.limits import peer_limit
from ringgossip.config.rules import ClusterRules, HostRules, Notice
from ringgossip.config.words import KINDS
from ringgossip.errors import ConfigError

# MB/s; from the reference, which says that they belong to this file.
PROVIDERS = {"runpod": 100, "nebius": 100, "vast": 50, "vultr": 75, "hetzner": 25}


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of node.yaml. `line` of the users' file; None: it does not say so, `why` tells who does."""

    key: str  # dotted for blocks
    value: Any  # as YAML holds it
    line: int | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class NodeRules:
    """What the file means for one node."""

    node: str
    file: str
    settings: tuple[Setting, ...]
    notices: tuple[Notice, ...]


def rules_for(rules: ClusterRules, node: str) -> NodeRules:
    """Return the settings of `node`. Raises `ConfigError` if it is no host of the file."""
    host = rules.hosts.get(node)
    if host is None:
        close = difflib.get_close_matches(node, rules.hosts, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{rules.file}: hosts: there is no host {node!r}{hint}")
    writer = _Writer(rules, host)
    writer.write()
    return NodeRules(node, rules.file, tuple(writer.settings), tuple(writer.notices))


class _Writer:
    """Collects the settings of one host, in the order of node.yaml."""

    def __init__(self, rules: ClusterRules, host: HostRules) -> None:
        self._rules = rules
        self._host = host
        self.settings: list[Setting] = []
        self.notices = list(rules.notices)

    def write(self) -> None:
        rules, host = self._rules, self._host
        self._add("node", host.name, None, "as asked")
        self._of_host("role", host.role, "is_coordinator", "role")
        self._of_host("state", host.state, "status")
        self._of_host("ephemeral", host.ephemeral, "is_ephemeral")
        group = rules.storage_group(host.name)
        if group is not None:
            self._of_host("storage_group", group, "storage_type")
        if host.reachable and host.addresses:
            self._of_host("advertise", [str(each) for each in host.addresses], "tailscale_ip", "ssh_host")
        self._add("seeds", self._seeds(), rules.lines.get("hosts"), "the ready hosts of the file")
        self._said("strategy", "strategy", rules.strategy)
        self._what_it_takes()
        if rules.enabled:
            self._said("copies", "replication_target", rules.replication_target)
        if rules.excluded:
            self._add("exclude", {name: list(kinds) for name, kinds in rules.excluded.items() if kinds},
                      self._line("excluded_hosts", "exclude_hosts"))  # fmt: skip
        self._said("priority_nodes", "priority_hosts", list(rules.priority_hosts))
        self._said("min_games_to_sync", "min_games_to_sync", rules.min_games_to_sync)
        self._said("disk.stop_percent", "max_disk_usage_percent", rules.max_disk_usage_percent)
        self._said("disk.resume_percent", "target_disk_usage_percent", rules.target_disk_usage_percent)
        self._usual("disk.floor_percent", "min_free_disk_percent", rules.min_free_disk_percent)
        self._said("interval_seconds", "interval_seconds", rules.interval_seconds)
        self._said("gossip_interval_seconds", "gossip_interval_seconds", rules.gossip_interval_seconds)
        self._said("max_concurrent_syncs", "max_concurrent_syncs", rules.max_concurrent_syncs)
        self._bandwidth()

    def _what_it_takes(self) -> None:
        rules, host = self._rules, self._host
        if not rules.enabled:
            line = rules.lines.get("enabled")
            self._add("want", [], line, "auto_sync.enabled is false: only what is asked for")
            self._add("copies", 0, line, "auto_sync.enabled is false")
        if not host.receives:
            self._of_host("receive", [], "skip_sync_receive")
            return
        allowed = {entry.host: entry.kinds for entry in rules.external_storage}
        if host.role != "coordinator":
            return
        if host.name in allowed and host.external_storage is not False:
            kinds = allowed[host.name]
            self._add("receive", list(kinds), rules.lines.get("external_storage"), "its external storage")
            barred = [kind for kind in kinds if kind in rules.excluded.get(host.name, ())]
            if barred:
                self._tell("external_storage", "sync_routing.allowed_external_storage",
                           f"{host.name} is excluded from {', '.join(barred)} all the same")  # fmt: skip
        elif host.external_storage:
            key = f"hosts.{host.name}.use_external_storage"
            self._tell(key, key, "allows nothing without an entry in sync_routing.allowed_external_storage")

    def _seeds(self) -> list[str]:
        others = (each for each in self._rules.hosts.values() if each.name != self._host.name)
        ready = [each for each in others if each.state == "ready" and each.reachable]
        return [str(address) for each in ready for address in each.addresses][:1000]

    def _bandwidth(self) -> None:
        rules, host = self._rules, self._host
        limits = Bandwidth(
            hosts=tuple((each.name, each.bandwidth) for each in rules.hosts.values() if each.bandwidth),
            globs=rules.bandwidth_overrides,
            providers=tuple((name, mbps * 1e6) for name, mbps in PROVIDERS.items()),
            peer_bytes_per_second=rules.bandwidth_limit,
        )
        own = peer_limit(host.name, host.provider, limits)
        line = rules.lines.get(
            {
                "bandwidth.hosts": f"hosts.{host.name}.bandwidth_mbps",
                "bandwidth.globs": "bandwidth_overrides",
                "bandwidth.peer_bytes_per_second": "bandwidth_limit",
            }.get(own.key, "")
        )
        self._add("bandwidth.send_bytes_per_second", own.rate, line, own.rule)
        self._add("bandwidth.receive_bytes_per_second", own.rate, line, own.rule)
        if limits.hosts:
            first = next(f"hosts.{name}.bandwidth_mbps" for name, _ in limits.hosts)
            self._add("bandwidth.hosts", dict(limits.hosts), rules.lines.get(first))
        if limits.globs:
            self._add("bandwidth.globs", dict(limits.globs), rules.lines.get("bandwidth_overrides"))
        self._add("bandwidth.providers", dict(limits.providers), None, "the reference's table")
        self._usual("bandwidth.peer_bytes_per_second", "bandwidth_limit", rules.bandwidth_limit)

    # --- adding --------------------------------------------------------------------------

    def _line(self, *keys: str) -> int | None:
        return next((self._rules.lines[key] for key in keys if key in self._rules.lines), None)

    def _add(self, key: str, value: Any, line: int | None, why: str = "") -> None:
        self.settings.append(Setting(key, value, line, why))

    def _of_host(self, key: str, value: Any, *theirs: str) -> None:
        line = self._line(*(f"hosts.{self._host.name}.{each}" for each in theirs))
        if line is not None:
            self._add(key, value, line)

    def _said(self, key: str, field: str, value: Any) -> None:
        """Add what the file says; where it is silent, our default is the file's too."""
        if field in self._rules.lines:
            self._add(key, value, self._rules.lines[field])

    def _usual(self, key: str, field: str, value: Any) -> None:
        """Add what the file says, or its default, which is not ours."""
        line = self._rules.lines.get(field)
        self._add(key, value, line, "" if line is not None else f"the default of {self._rules.file}")

    def _tell(self, field: str, key: str, text: str) -> None:
        self.notices.append(Notice(self._rules.lines.get(field, 1), key, text))


# --- as text -----------------------------------------------------------------------------

_BARE = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*\Z")
_GUESSED = frozenset({"yes", "no", "true", "false", "on", "off", "null"})


def node_yaml(node: NodeRules, cluster: str, data: Path | str, credentials: Path | str) -> str:
    """Return the text of the node.yaml; what the file cannot say stands in its first lines."""
    lines = [f"# {node.file} as node {node.node} understands it. Bytes and seconds are the units."]
    for key, value, why in (
        ("cluster", cluster, "as given to `ringgossip init`"),
        ("data", str(data), "replicas and the index; not in the users' file"),
        ("credentials", str(credentials), "what `ringgossip enroll` wrote"),
    ):
        lines.append(f"{key}: {_flow(value)}  # {why}")
    block = ""
    for setting in node.settings:
        top, _, inner = setting.key.partition(".")
        if inner and block != top:
            lines.append(f"{top}:")
        block = top
        lines += _entry(f"  {inner}" if inner else top, setting, node.file)
    for notice in node.notices:
        lines.append(f"# notice: {notice}")
    return "\n".join(lines) + "\n"


def _entry(key: str, setting: Setting, file: str) -> Iterable[str]:
    where = setting.why if setting.line is None else f"{file}:{setting.line}"
    if setting.line is not None and setting.why:
        where += f", {setting.why}"
    text, comment = _flow(setting.value), f"  # {where}"
    if len(key) + len(text) < 90 or not isinstance(setting.value, list | dict):
        return [f"{key}: {text}{comment}"]
    inside = "  " + " " * (len(key) - len(key.lstrip()))
    if isinstance(setting.value, dict):
        return [f"{key}:{comment}"] + [f"{inside}{_flow(k)}: {_flow(v)}" for k, v in setting.value.items()]
    return [f"{key}:{comment}"] + [f"{inside}- {_flow(entry)}" for entry in setting.value]


def _flow(value: Any) -> str:
    """Return a value as it stands on one line of YAML."""
    if isinstance(value, str):
        return value if _BARE.match(value) and value.lower() not in _GUESSED else json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        if tuple(value) == KINDS:
            return "all"
        return "[" + ", ".join(_flow(entry) for entry in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if float(value).is_integer() else repr(value)
