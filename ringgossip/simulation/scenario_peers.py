"""Who is in a story? Groups of peers that are alike, or the hosts of the users' own cluster file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ringgossip.config.blocks import Bandwidth, Budget, Keep
from ringgossip.config.rules import ClusterRules
from ringgossip.config.words import KINDS, ROLES, STATES, STRATEGIES
from ringgossip.identity.names import check_node_name
from ringgossip.protocol.rule_settings import RuleSettings, rules_of
from ringgossip.simulation import scenario_words as check
from ringgossip.simulation.dialects import DIALECTS
from ringgossip.simulation.disk import DiskTimes
from ringgossip.simulation.scenario import Group
from ringgossip.simulation.world import PeerSpec


def _name(value: Any) -> str:
    return check_node_name(check.text(value))


_TIME = check.number(0, 60)
PEER: dict[str, check.Check] = {
    "name": _name, "count": check.whole(1, 10_000), "role": check.one_of(ROLES), "ephemeral": check.truth,
    "provider": check.text, "storage_group": check.text, "accepts": check.truth, "udp_blocked": check.truth,
    "up": check.rate, "down": check.rate, "want": check.kinds, "receive": check.kinds,
    "region": check.text, "max_concurrent": check.whole(1, 1000),
    "version": check.one_of(DIALECTS), "stranger": check.truth, "certified": check.truth,
    "state": check.one_of(STATES), "strategy": check.one_of(STRATEGIES),
    "keep_newest": check.whole(0, 10**6), "send_limit": check.rate, "receive_limit": check.rate,
    "day_budget": check.size,
    "disk_capacity": check.size, "disk_sync": _TIME, "disk_rate": check.rate,
}  # fmt: skip


def group_of(said: dict[str, Any], copies: int) -> Group:
    """Return the group that checked keys mean."""
    rest = dict(said)
    named = "name" in rest and "count" not in rest
    count = rest.pop("count", 1)
    disk = {"capacity": rest.pop("disk_capacity", None)}
    if "disk_sync" in rest:
        disk["sync"] = rest.pop("disk_sync")
    if "disk_rate" in rest:
        disk["bytes_per_second"] = rest.pop("disk_rate")
    given: dict[str, Any] = {}
    for key in ("want", "receive", "state", "strategy"):
        if key in rest:
            given[key] = rest.pop(key)
    if "keep_newest" in rest:
        newest = rest.pop("keep_newest")
        given["keep"] = tuple(Keep(kind=kind, newest=newest) for kind in KINDS)
    given["bandwidth"] = Bandwidth(
        send_bytes_per_second=rest.pop("send_limit", None),
        receive_bytes_per_second=rest.pop("receive_limit", None),
    )
    given["budget"] = Budget(send_bytes_per_day=rest.pop("day_budget", None))
    rules = RuleSettings(copies=copies, **given)
    name = rest.pop("name", None) or ("stranger" if rest.get("stranger") else rest.get("role", "peer"))
    return Group(count, PeerSpec(name, disk=DiskTimes(**disk), rules=rules, **rest), named)


def excluding(
    groups: tuple[Group, ...], exclude: tuple[tuple[str, tuple[str, ...]], ...] | None
) -> tuple[Group, ...]:
    """Return the groups, each of which has these nodes in its `exclude:`."""
    if not exclude:
        return groups
    return tuple(
        replace(group, spec=replace(group.spec, rules=replace(group.spec.rules, exclude=exclude)))
        for group in groups
    )


# What hosts of a cluster file do all day, if nobody says more: a story around the file.
_DAY = """
story: ordinary_day
about: An ordinary day of a cluster, in minutes.
peers: {{cluster_file: {file}}}
seeds: {{accepts: true}}
copies: {copies}
network: {{latency: {{regions: {{near: 0.01, far: 0.06, jitter: 0.5}}}}, loss: 0.005}}
starting: 5
safety: 180
liveness: {{within: 180}}
promises: {{eventually: {{L1: 120, L2: 90, L3: 170, quiet: 180}}}}
workload:
"""
_WORK = {
    "selfplay": "  - publish: {by: {role: selfplay}, kind: games, name: selfplay.db, size: 300 KB, at: 10, "
    "every: 60, until: 170, changed: 0.3, spread: 30}\n",
    "training": "  - publish: {by: {role: training}, kind: models, name: best.pth, size: 2 MB, at: 20, "
    "every: 80, until: 170, spread: 20}\n",
}


def ordinary_day(path: Path, rules: ClusterRules) -> str:
    """Return a story for a cluster file, as YAML."""
    roles = [host.role for host in rules.hosts.values() if host.state == "ready"]
    copies = max(0, min(rules.replication_target, len(roles) - 1))
    work = [lines for role, lines in _WORK.items() if role in roles]
    return _DAY.format(file=json.dumps(path.name), copies=copies) + ("".join(work) or "  []\n")


def cluster_groups(path: Path, alive: int | None = None) -> tuple[Group, ...]:
    """Return the ready hosts of a `distributed_hosts.yaml`, at most `alive`, each with what the file says.

    Raises `ConfigError`.
    """
    from ringgossip.config.hosts_file import read_hosts_file
    from ringgossip.config.loading import host_config
    from ringgossip.config.yaml_nodes import read_document

    document = read_document(path)
    groups = []
    for host in read_hosts_file(path, document).hosts.values():
        if host.state != "ready":
            continue
        # The very settings with which `peer --config` runs there.
        config = host_config(path, document, host.name)
        spec = PeerSpec(
            host.name,
            role=config.role,
            ephemeral=config.ephemeral,
            provider=host.provider,
            storage_group=config.storage_group,
            accepts=host.reachable,
            up=host.bandwidth,
            down=host.bandwidth,
            max_concurrent=config.max_concurrent_syncs,
            rules=rules_of(config),
        )
        groups.append(Group(1, spec, named=True))
    return tuple(groups[:alive])
