"""Is the users' cluster file read as it is: every key, with its line, and nothing guessed?"""

from pathlib import Path

import pytest

from ringgossip.config.hosts_file import is_hosts_file, read_hosts_file
from ringgossip.config.hosts_keys import AUTO_SYNC, HOST, HOST_SILENT, SYNC_ROUTING
from ringgossip.config.rules import ClusterRules, ExternalStorage
from ringgossip.errors import ConfigError
from ringgossip.identity.names import Address

# The example of the reference, word for word.
REFERENCE = """\
auto_sync:
  enabled: true
  interval_seconds: 60
  gossip_interval_seconds: 15
  max_concurrent_syncs: 12
  bandwidth_limit_mbps: 100
  host_bandwidth_overrides:
    runpod-*: 100
    nebius-*: 100

sync_routing:
  priority_hosts:
    - runpod-h100
    - nebius-h100-1
"""


def read(tmp_path: Path, text: str) -> ClusterRules:
    path = tmp_path / "hosts.yaml"
    path.write_text(text)
    return read_hosts_file(path)


def notices(rules: ClusterRules) -> list[str]:
    return [str(notice) for notice in rules.notices]


def test_the_example_of_the_reference_is_read(tmp_path: Path) -> None:
    rules = read(tmp_path, REFERENCE)
    assert (rules.interval_seconds, rules.gossip_interval_seconds) == (60, 15)
    assert rules.bandwidth_overrides == (("runpod-*", 100e6), ("nebius-*", 100e6))
    assert rules.priority_hosts == ("runpod-h100", "nebius-h100-1")
    assert rules.lines["bandwidth_overrides"] == 7


def test_what_an_empty_section_leaves_open_is_the_default_of_the_notes(tmp_path: Path) -> None:
    rules = read(tmp_path, "hosts:\n")
    assert (rules.enabled, rules.strategy, rules.max_concurrent_syncs) == (True, "auto", 12)
    assert (rules.interval_seconds, rules.gossip_interval_seconds, rules.bandwidth_limit) == (60, 15, 100e6)
    assert (rules.min_games_to_sync, rules.skip_shared_disks, rules.replication_target) == (10, True, 3)
    percents = (rules.max_disk_usage_percent, rules.target_disk_usage_percent, rules.min_free_disk_percent)
    assert percents == (70, 60, 15)


KEYS = {
    "auto_sync": "enabled strategy interval_seconds gossip_interval_seconds max_concurrent_syncs "
    "skip_nfs_sync bandwidth_limit_mbps host_bandwidth_overrides exclude_hosts min_games_to_sync",
    "sync_routing": "max_disk_usage_percent target target_disk_usage_percent min_free_disk_percent "
    "replication_target excluded_hosts priority_hosts allowed_external_storage",
    "hosts": "ssh_host ssh_port ssh_user ssh_key tailscale_ip role status bandwidth_mbps is_ephemeral "
    "storage_type nat_blocked is_container socks5_port selfplay_enabled training_enabled p2p_enabled "
    "skip_sync_receive is_coordinator use_external_storage storage_paths data_server_port",
}


def test_every_key_of_the_field_notes_is_known() -> None:
    assert set(AUTO_SYNC) == set(KEYS["auto_sync"].split())
    assert set(SYNC_ROUTING) == set(KEYS["sync_routing"].split())
    assert set(HOST) | set(HOST_SILENT) == set(KEYS["hosts"].split())


@pytest.mark.parametrize(
    ("word", "role"),
    [
        ("gpu_training_primary", "training"),
        ("training", "training"),
        ("coordinator", "coordinator"),
        ("gpu_selfplay", "selfplay"),
        ("cpu_selfplay", "selfplay"),
        ("backbone", "backbone"),
        ("proxy", "proxy"),
    ],
)
def test_roles_are_ours_afterwards(tmp_path: Path, word: str, role: str) -> None:
    rules = read(tmp_path, f"hosts:\n  a: {{role: {word}}}\n")
    assert (rules.hosts["a"].role, rules.notices) == (role, ())


def test_a_host_says_where_it_is_and_how_it_can_be_used(tmp_path: Path) -> None:
    text = (
        "hosts:\n"
        "  gpu-1: {tailscale_ip: 100.64.0.1, ssh_host: root@box.example, bandwidth_mbps: 25, "
        "is_ephemeral: yes}\n"
        "  gpu-2: {ssh_host: 'fd00::2', nat_blocked: true, skip_sync_receive: true, status: offline}\n"
        "  gpu-3: {is_coordinator: true, role: gpu_selfplay, p2p_enabled: false}\n"
        "  gpu-4:\n"
    )
    hosts = read(tmp_path, text).hosts
    one, two, three, four = hosts.values()
    assert one.addresses == (Address("100.64.0.1", 7946), Address("box.example", 7946))
    assert (one.bandwidth, one.ephemeral, one.reachable, one.receives) == (25e6, True, True, True)
    assert two.addresses == (Address("fd00::2", 7946),)
    assert (two.reachable, two.receives, two.state) == (False, False, "offline")
    assert (three.role, three.reachable) == ("coordinator", False)
    assert (four.role, four.state, four.provider) == ("selfplay", "ready", "gpu")


def test_an_excluded_host_takes_only_what_its_entry_lets_through(tmp_path: Path) -> None:
    text = (
        "auto_sync: {exclude_hosts: [c]}\n"
        "sync_routing:\n"
        "  excluded_hosts:\n"
        "    - a\n"
        "    - {name: b, receive_models: true, receive_npz: false}\n"
        "    - {name: c, receive_games: true}\n"
        "hosts: {a: , b: , c: }\n"
    )
    assert read(tmp_path, text).excluded == {
        "a": ("games", "models", "npz"),
        "b": ("games", "npz"),
        "c": ("games", "models", "npz"),  # "never" wins
    }


def test_external_storage_names_kinds(tmp_path: Path) -> None:
    text = "sync_routing:\n  allowed_external_storage: [{host: mac, path: /Volumes/B, receive_games: true}]\n"
    rules = read(tmp_path, text)
    assert rules.external_storage == (ExternalStorage("mac", ("games",)),)
    assert notices(rules)[0].startswith(
        "line 2: sync_routing.allowed_external_storage[0].path: means nothing"
    )


NFS = (
    "hosts:\n"
    "  lambda-1: {storage_type: nfs, storage_paths: {games: /nfs/games}}\n"
    "  lambda-2: {storage_type: NFS, storage_paths: {games: /nfs/games}}\n"
    "  lambda-3: {storage_type: nfs, storage_paths: {games: /other}}\n"
    "  vast-1: {storage_type: nfs, storage_paths: {games: /nfs/games}}\n"
    "  lambda-4: {storage_type: local}\n"
)


def test_hosts_share_a_disk_if_provider_type_and_paths_say_so(tmp_path: Path) -> None:
    rules = read(tmp_path, NFS)
    groups = {name: rules.storage_group(name) for name in rules.hosts}
    assert groups["lambda-1"] == groups["lambda-2"] is not None
    assert len({groups["lambda-1"], groups["lambda-3"], groups["vast-1"]}) == 3
    assert groups["lambda-4"] is None


def test_no_disk_is_shared_where_the_file_does_not_skip_shared_disks(tmp_path: Path) -> None:
    rules = read(tmp_path, NFS + "auto_sync: {skip_nfs_sync: false}\n")
    assert rules.storage_group("lambda-1") is None


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        ("elo: {k: 32}", "line 2: elo: means nothing here"),
        ("auto_snyc: {}", "line 2: auto_snyc: means nothing here; did you mean 'auto_sync'?"),
        (
            "auto_sync: {interval_secs: 3}",
            "line 2: auto_sync.interval_secs: means nothing here; did you mean 'interval_seconds'?",
        ),
        (
            "hosts: {a: {socks5_port: 1, colour: red}, b: {socks5_port: 2}}",
            "line 2: hosts.*.socks5_port: means nothing here: peers link to each other without a proxy "
            "(at 2 hosts)",
        ),
        ("hosts: {a: {colour: red}}", "line 2: hosts.a.colour: means nothing here"),
        (
            "sync_routing: {excluded_hosts: [b, {name: a, recieve_games: true}]}\nhosts: {a: {}}",
            "line 2: sync_routing.excluded_hosts[1].recieve_games: means nothing here; did you mean "
            "'receive_games'?",
        ),
        ("hosts: {a: {rol: x}}", "line 2: hosts.a.rol: means nothing here: did you mean 'role'?"),
        (
            "hosts: {a: {role: juggler}}",
            "line 2: hosts.a.role: 'juggler' is no role here: the node counts as selfplay",
        ),
        (
            "hosts: {a: {status: active}}",
            "line 2: hosts.a.status: 'active' is none of ready, offline, retired, terminated, archived, "
            "setup, suspended: the node receives nothing",
        ),
        (
            "hosts: {a: {storage_type: tape}}",
            "line 2: hosts.a.storage_type: 'tape' is unknown: the node shares its disk with nobody",
        ),
        (
            "sync_routing: {priority_hosts: [b]}",
            "line 2: sync_routing.priority_hosts: 'b' is no host of this file",
        ),
    ],
)
def test_what_means_nothing_here_is_a_notice_and_no_error(tmp_path: Path, text: str, notice: str) -> None:
    assert notice in notices(read(tmp_path, f"# users' file\n{text}\n"))


def test_a_host_whose_name_no_node_can_have_is_left_out(tmp_path: Path) -> None:
    rules = read(tmp_path, "auto_sync: {exclude_hosts: ['../a']}\nhosts: {'../a': {}, b: {}}\n")
    assert (list(rules.hosts), rules.excluded) == (["b"], {})
    assert any("left out: '../a' is no node name" in notice for notice in notices(rules))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("auto_sync: {interval_seconds: often}",
         "1:31: auto_sync.interval_seconds: must be a number from 0.1 to 2.592e+06, not 'often'"),
        ("auto_sync: {enabled: 1}", "1:22: auto_sync.enabled: must be true or false, not 1"),
        ("auto_sync: {strategy: push}",
         "1:23: auto_sync.strategy: 'push' is none of hybrid, ephemeral, broadcast, auto"),
        ("auto_sync: {host_bandwidth_overrides: {a-*: -1}}",
         "1:39: auto_sync.host_bandwidth_overrides: must be a number from 0.001 to 1e+06, not -1"),
        ("auto_sync: [1]", "1:12: auto_sync: must be a block of keys and values"),
        ("hosts: {a: {bandwidth_mbps: fast}}",
         "1:29: hosts.a.bandwidth_mbps: must be a number from 0.001 to 1e+06, not 'fast'"),
        ("hosts: {a: 3}", "1:12: hosts.a: must be a block of keys and values"),
        ("hosts: {a: {}, a: {}}", "1:16: hosts.a: stands here a second time (first on line 1); keep one"),
        ("sync_routing: {excluded_hosts: [{receive_games: true}]}",
         "1:32: sync_routing.excluded_hosts: each entry needs a `name`"),
        ("sync_routing: {excluded_hosts: [{name: a, receive_games: maybe}]}",
         "1:32: sync_routing.excluded_hosts: must be true or false, not 'maybe'"),
        ("sync_routing: {max_disk_usage_percent: 50}",
         "1:15: sync_routing: resumes at 60 % but stops above 50 %: nothing could resume"),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_named_with_its_place(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, text)
    assert str(refusal.value) == f"{tmp_path}/hosts.yaml:{complaint}"


def test_all_that_makes_no_sense_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, "auto_sync: {enabled: 1, strategy: x}\nhosts: {a: {role: 7}}\n")
    assert len(str(refusal.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("value", "is_one"),
    [({"hosts": {}}, True), ({"auto_sync": {}}, True), ({"node": "a", "hosts": 1}, False), ({}, False),
     (None, False), ([], False)],
)  # fmt: skip
def test_a_cluster_file_is_told_from_a_node_yaml(value: object, is_one: bool) -> None:
    assert is_hosts_file(value) is is_one
