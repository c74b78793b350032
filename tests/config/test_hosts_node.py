"""Does one host of the users' file become the node.yaml that it means, and does running from either agree?"""

from pathlib import Path
from typing import Any

import pytest

from ringgossip.config import PeerConfig, load_config
from ringgossip.config.hosts_file import read_hosts_file
from ringgossip.config.hosts_node import node_yaml, rules_for
from ringgossip.errors import ConfigError
from ringgossip.identity.names import Address

CLUSTER = """\
auto_sync:
  strategy: auto
  interval_seconds: 45
  max_concurrent_syncs: 8
  bandwidth_limit_mbps: 80
  host_bandwidth_overrides:
    vast-thin-*: 5
    vast-*: 40
  exclude_hosts: [proxy-1]
  min_games_to_sync: 25
sync_routing:
  max_disk_usage_percent: 75
  replication_target: 2
  excluded_hosts:
    - {name: vultr-1, receive_models: true}
  priority_hosts: [runpod-h100]
  allowed_external_storage:
    - {host: mac-1, path: /Volumes/Big, receive_games: true, receive_npz: true}
hosts:
  runpod-h100: {tailscale_ip: 100.64.0.1, ssh_host: 203.0.113.5, role: gpu_training, bandwidth_mbps: 200}
  vast-thin-1: {ssh_host: ssh5.vast.ai, role: gpu_selfplay, is_ephemeral: true, nat_blocked: true}
  mac-1: {tailscale_ip: 100.64.0.9, role: coordinator, use_external_storage: true}
  mac-2: {role: coordinator, use_external_storage: true, nat_blocked: true}
  lambda-1: {tailscale_ip: 100.64.0.11, role: nn_training, storage_type: nfs}
  lambda-2: {tailscale_ip: 100.64.0.12, storage_type: nfs}
  vultr-1: {tailscale_ip: 100.64.0.13, status: offline}
  proxy-1: {ssh_host: 198.51.100.7, role: proxy}
  deaf-1: {skip_sync_receive: true, nat_blocked: true}
  hetzner-1: {nat_blocked: true}
"""
NODES = ["runpod-h100", "vast-thin-1", "mac-1", "mac-2", "lambda-1", "lambda-2", "vultr-1", "proxy-1",
         "deaf-1", "hetzner-1"]  # fmt: skip


def run_from(
    tmp_path: Path, node: str, text: str = CLUSTER, environment: dict[str, str] | None = None
) -> PeerConfig:
    """Load the users' file unchanged, as `peer --config distributed_hosts.yaml --node NODE` does."""
    path = tmp_path / "distributed_hosts.yaml"
    path.write_text(text)
    around = {"RINGGOSSIP_CLUSTER": "ringrift"} | (environment or {})
    return load_config(path, around, node=node, data="/d", credentials="/c")


def imported(tmp_path: Path, node: str, text: str = CLUSTER) -> str:
    path = tmp_path / "distributed_hosts.yaml"
    path.write_text(text)
    return node_yaml(rules_for(read_hosts_file(path), node), "ringrift", "/d", "/c")


@pytest.mark.parametrize("node", NODES)
def test_what_is_printed_is_what_runs(tmp_path: Path, node: str) -> None:
    printed = tmp_path / "node.yaml"
    printed.write_text(imported(tmp_path, node))
    assert load_config(printed, {}) == run_from(tmp_path, node)


@pytest.mark.parametrize(
    ("node", "facts"),
    [
        ("runpod-h100", {"role": "training", "ephemeral": False, "state": "ready", "provider": "runpod"}),
        ("vast-thin-1", {"role": "selfplay", "ephemeral": True, "advertise": ()}),
        ("mac-1", {"role": "coordinator", "receive": ("games", "npz")}),
        ("mac-2", {"role": "coordinator", "receive": None}),
        ("lambda-1", {"role": "training", "storage_group": "nfs-lambda"}),
        ("lambda-2", {"role": "selfplay", "storage_group": "nfs-lambda"}),
        ("vultr-1", {"state": "offline"}),
        ("deaf-1", {"receive": ()}),
        ("proxy-1", {"role": "proxy"}),
    ],
)
def test_a_host_is_what_the_file_says(tmp_path: Path, node: str, facts: dict[str, Any]) -> None:
    config = run_from(tmp_path, node)
    assert {key: getattr(config, key) for key in facts} == facts


def test_the_rules_for_everybody_stand_in_every_node(tmp_path: Path) -> None:
    for node in NODES:
        config = run_from(tmp_path, node)
        assert config.exclude == (("vultr-1", ("games", "npz")), ("proxy-1", ("games", "models", "npz")))
        assert (config.copies, config.min_games_to_sync, config.interval_seconds) == (2, 25, 45)
        assert config.priority_nodes == ("runpod-h100",)
        assert (config.disk.stop_percent, config.disk.resume_percent, config.disk.floor_percent) == (
            75,
            60,
            15,
        )


def test_seeds_are_the_ready_hosts_that_can_be_reached_tailscale_first(tmp_path: Path) -> None:
    hosts = [str(seed) for seed in run_from(tmp_path, "lambda-1").seeds]
    assert hosts == [
        "100.64.0.1:7946",
        "203.0.113.5:7946",
        "100.64.0.9:7946",
        "100.64.0.12:7946",
        "198.51.100.7:7946",
    ]


def test_a_host_tells_others_the_addresses_of_the_file(tmp_path: Path) -> None:
    assert run_from(tmp_path, "runpod-h100").advertise == (
        Address("100.64.0.1", 7946),
        Address("203.0.113.5", 7946),
    )


@pytest.mark.parametrize(
    ("node", "rate", "origin"),
    [
        ("runpod-h100", 200e6, "distributed_hosts.yaml:20"),  # its own
        ("vast-thin-1", 5e6, "distributed_hosts.yaml:6"),  # the first glob
        ("hetzner-1", 25e6, "it is the limit of its provider"),
        ("lambda-1", 80e6, "distributed_hosts.yaml:5"),
    ],
)
def test_a_node_is_limited_in_total_as_others_are_with_it(
    tmp_path: Path, node: str, rate: float, origin: str
) -> None:
    config = run_from(tmp_path, node)
    assert config.bandwidth.send_bytes_per_second == config.bandwidth.receive_bytes_per_second == rate
    if "yaml" in origin:
        assert config.origin("bandwidth.send_bytes_per_second") == origin
    assert config.bandwidth.globs == (("vast-thin-*", 5e6), ("vast-*", 40e6))
    assert config.bandwidth.hosts == (("runpod-h100", 200e6),)
    assert dict(config.bandwidth.providers)["hetzner"] == 25e6


def test_every_value_says_which_line_it_comes_from(tmp_path: Path) -> None:
    config = run_from(tmp_path, "lambda-1")
    assert config.origin("interval_seconds") == "distributed_hosts.yaml:3"
    assert config.origin("role") == "distributed_hosts.yaml:24"
    assert config.origin("disk.floor_percent") == "the default of distributed_hosts.yaml"
    assert config.origin("gossip_interval_seconds") == "default"
    assert config.origin("data") == "the command line"


def test_the_file_wins_over_the_environment_and_that_over_the_files_defaults(tmp_path: Path) -> None:
    environment = {
        "RINGRIFT_DATA_SYNC_INTERVAL": "7",
        "RINGRIFT_SYNC_TIMEOUT": "8",
        "RINGGOSSIP_SEEDS": "a:1",
    }
    config = run_from(tmp_path, "lambda-1", environment=environment)
    assert (config.interval_seconds, config.sync_timeout_seconds) == (45, 8)
    assert config.origin("sync_timeout_seconds") == "environment RINGRIFT_SYNC_TIMEOUT"


def test_a_switched_off_auto_sync_leaves_only_what_is_asked_for(tmp_path: Path) -> None:
    config = run_from(tmp_path, "a", "auto_sync: {enabled: false}\nhosts: {a: {role: training}}\n")
    assert (config.want, config.copies) == ((), 0)


def test_an_exclusion_is_told_to_win_over_external_storage(tmp_path: Path) -> None:
    text = (
        "auto_sync: {exclude_hosts: [m]}\n"
        "sync_routing: {allowed_external_storage: [{host: m, receive_games: true}]}\n"
        "hosts: {m: {is_coordinator: true}}\n"
    )
    assert "m is excluded from games all the same" in imported(tmp_path, "m", text)


def test_a_disk_that_is_not_to_be_used_receives_nothing(tmp_path: Path) -> None:
    text = (
        "sync_routing: {allowed_external_storage: [{host: m, receive_games: true}]}\n"
        "hosts: {m: {is_coordinator: true, use_external_storage: false}}\n"
    )
    assert run_from(tmp_path, "m", text).receive is None


def test_keys_without_a_meaning_are_named_in_the_text_and_in_the_settings(tmp_path: Path) -> None:
    text = "hosts:\n  a: {ssh_user: root}\nvoters: [a]\n"
    assert imported(tmp_path, "a", text).splitlines()[-2:] == [
        "# notice: line 2: hosts.a.ssh_user: means nothing here: peers link to each other without ssh",
        "# notice: line 3: voters: means nothing here",
    ]
    config = run_from(tmp_path, "a", text)
    assert config.notices[1] == "distributed_hosts.yaml: line 3: voters: means nothing here"


def test_a_host_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        run_from(tmp_path, "lamda-1")
    assert str(refusal.value) == (
        "distributed_hosts.yaml: hosts: there is no host 'lamda-1'; did you mean 'lambda-1'?"
    )


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "--node NAME (or set RINGGOSSIP_NODE)"),
        ({"node": "lambda-1"}, "--data DIR (or set RINGGOSSIP_DATA)"),
        ({"node": "lambda-1", "data": "/d"}, "--credentials DIR (or set RINGGOSSIP_CREDENTIALS)"),
    ],
)
def test_what_the_file_cannot_say_is_asked_for(tmp_path: Path, given: dict[str, str], missing: str) -> None:
    path = tmp_path / "distributed_hosts.yaml"
    path.write_text(CLUSTER)
    with pytest.raises(ConfigError) as refusal:
        load_config(path, {}, **given)  # type: ignore[arg-type]
    assert str(refusal.value) == f"{path}: this file describes a cluster, so say beside it {missing}"


def test_a_bad_variable_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^environment RINGGOSSIP_PATIENCE: patience: must be a number"):
        run_from(tmp_path, "lambda-1", environment={"RINGGOSSIP_PATIENCE": "long"})


def test_the_command_line_wins_over_a_node_yaml(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_text("cluster: c\nnode: a\ndata: /x\n")
    config = load_config(path, {}, data="/y")
    assert (config.data, config.origin("data")) == (Path("/y"), "the command line")
