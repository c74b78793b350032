"""Does a file, completed by the environment and the defaults, become the right settings?"""

import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ringgossip.config import PeerConfig, load_config
from ringgossip.errors import ConfigError
from ringgossip.identity.names import Address

# The example of design section 9, word for word.
EXAMPLE = """\
cluster: ringrift
node: vast-12345
role: selfplay                 # selfplay | training | coordinator
ephemeral: true
provider: vast                 # else the name's prefix
storage_group: null            # peers with the same value share a disk (NFS)
data: /data/ringgossip
credentials: /etc/ringgossip   # what `enroll` wrote
listen: 0.0.0.0:7946
advertise: ["203.0.113.7:40123"]
seeds: ["a.example:7946"]
strategy: auto                 # hybrid | ephemeral | broadcast | auto
share:                         # folders whose finished files are published
  - {kind: models, folder: /srv/models, match: "*.pth"}
status: 127.0.0.1:8790         # null: none
chunks: null                   # 0.0.0.0:8770: serve chunks over HTTPS too
bandwidth: {send_bytes_per_second: null, receive_bytes_per_second: null}   # null: no limit
want: null                     # [games, models, npz]: overrides the role's row
"""

SMALL = "cluster: ringrift\nnode: gpu-1\ndata: /d\ncredentials: /c\n"


def load(tmp_path: Path, text: str, environment: Mapping[str, str] | None = None) -> PeerConfig:
    path = tmp_path / "node.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environment or {})


def test_the_example_of_the_design_is_accepted_word_for_word(tmp_path: Path) -> None:
    config = load(tmp_path, EXAMPLE)
    assert (config.cluster, config.node, config.role, config.ephemeral) == (
        "ringrift",
        "vast-12345",
        "selfplay",
        True,
    )
    assert config.listen == Address("0.0.0.0", 7946)
    assert config.advertise == (Address("203.0.113.7", 40123),)
    assert config.seeds == (Address("a.example", 7946),)
    assert config.status == Address("127.0.0.1", 8790)
    assert config.chunks is None
    assert config.want is None
    assert config.bandwidth.send_bytes_per_second is None
    [share] = config.share
    assert (share.kind, share.folder, share.match) == ("models", Path("/srv/models"), "*.pth")


def test_what_nobody_said_is_the_default_and_says_so(tmp_path: Path) -> None:
    config = load(tmp_path, SMALL)
    assert config.memory.in_flight_bytes == 64 * 1024 * 1024
    assert config.origin("memory.in_flight_bytes") == "default"
    assert config.origin("listen") == "default"
    assert config.origin("node") == "node.yaml:2"


def test_the_provider_is_the_prefix_of_the_name_unless_it_is_written(tmp_path: Path) -> None:
    assert load(tmp_path, SMALL).provider == "gpu"
    assert load(tmp_path, SMALL + "provider: lambda\n").provider == "lambda"


def test_yaml_wins_over_the_environment_and_that_over_the_default(tmp_path: Path) -> None:
    environment = {"RINGGOSSIP_DATA": "/elsewhere", "RINGRIFT_DATA_SYNC_INTERVAL": "120"}
    config = load(tmp_path, SMALL, environment)
    assert (config.data, config.origin("data")) == (Path("/d"), "node.yaml:3")
    assert config.interval_seconds == 120
    assert config.origin("interval_seconds") == "environment RINGRIFT_DATA_SYNC_INTERVAL"
    config = load(tmp_path, SMALL + "interval_seconds: 30\n", environment)
    assert (config.interval_seconds, config.origin("interval_seconds")) == (30, "node.yaml:5")


def test_our_prefix_wins_over_the_one_of_the_reference(tmp_path: Path) -> None:
    environment = {"RINGRIFT_NODE_ID": "theirs", "RINGGOSSIP_NODE_ID": "ours"}
    config = load(tmp_path, "cluster: c\ndata: /d\n", environment)
    assert (config.node, config.origin("node")) == ("ours", "environment RINGGOSSIP_NODE_ID")


def test_a_container_is_told_its_addresses_by_the_environment(tmp_path: Path) -> None:
    environment = {
        "RINGGOSSIP_ADVERTISE": "203.0.113.7:40123, [2001:db8::1]:7",
        "RINGGOSSIP_EPHEMERAL": "yes",
    }
    config = load(tmp_path, SMALL, environment)
    assert config.advertise == (Address("203.0.113.7", 40123), Address("2001:db8::1", 7))
    assert config.ephemeral is True


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("RINGGOSSIP_SEED", "sets nothing; did you mean RINGGOSSIP_SEEDS?"),
        ("RINGRIFT_DATA_SYNC_INTERVALL", "sets nothing; did you mean RINGRIFT_DATA_SYNC_INTERVAL?"),
        ("RINGGOSSIP_BANDWIDTH", "sets nothing; write `bandwidth:` in node.yaml"),
    ],
)
def test_a_misspelt_variable_is_named_and_is_no_error(tmp_path: Path, variable: str, said: str) -> None:
    assert load(tmp_path, SMALL, {variable: "1"}).notices == (f"environment {variable}: {said}",)


@pytest.mark.parametrize("variable", ["RINGRIFT_AI_MODEL", "RINGGOSSIP_CONFIG", "RINGGOSSIP_NODE_ID", "SEED"])
def test_a_variable_that_others_read_is_not_named(tmp_path: Path, variable: str) -> None:
    assert load(tmp_path, SMALL, {variable: "1"}).notices == ()


def test_an_empty_variable_sets_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, SMALL, {"RINGGOSSIP_PATIENCE": " "}).patience == 15.0


def test_a_null_in_the_file_switches_off_what_the_environment_switched_on(tmp_path: Path) -> None:
    environment = {"RINGGOSSIP_STATUS": "127.0.0.1:1"}
    assert load(tmp_path, SMALL, environment).status == Address("127.0.0.1", 1)
    config = load(tmp_path, SMALL + "status: null\n", environment)
    assert (config.status, config.origin("status")) == (None, "node.yaml:5")


def test_an_emptied_list_means_the_default(tmp_path: Path) -> None:
    config = load(tmp_path, SMALL + "seeds:\n#  - a:1\n")
    assert (config.seeds, config.origin("seeds")) == ((), "default")


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = "cluster: c\nnode: a\ndata: store\nshare: [{kind: model, folder: ../m, match: '*.pth'}]\n"
    config = load(tmp_path, text)
    assert config.data == tmp_path / "store"
    assert config.share[0].folder == tmp_path / "../m"
    assert config.credentials == tmp_path


def test_a_relative_path_of_the_environment_is_relative_to_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load(tmp_path, "cluster: c\nnode: a\n", {"RINGGOSSIP_DATA": "store"})
    assert config.data == elsewhere / "store"


def test_words_in_use_for_kinds_become_the_plural(tmp_path: Path) -> None:
    config = load(tmp_path, SMALL + "want: [game, checkpoint, model]\nreceive: all\n")
    assert config.want == ("games", "models")
    assert config.receive == ("games", "models", "npz")


def test_sizes_are_bytes_and_may_carry_a_unit(tmp_path: Path) -> None:
    text = SMALL + "memory: {in_flight_bytes: 16 MiB}\nbandwidth: {send_bytes_per_second: 1e6}\n"
    config = load(tmp_path, text)
    assert config.memory.in_flight_bytes == 16 * 1024 * 1024
    assert config.bandwidth.send_bytes_per_second == 1_000_000
    assert config.origin("bandwidth.send_bytes_per_second") == "node.yaml:6"
    assert config.origin("bandwidth.receive_bytes_per_second") == "default"


def test_any_free_port_may_be_asked_for_where_we_listen(tmp_path: Path) -> None:
    assert load(tmp_path, SMALL + "listen: 127.0.0.1:0\n").listen == Address("127.0.0.1", 0)


def test_metadata_of_a_shared_folder_keeps_its_types(tmp_path: Path) -> None:
    text = (
        SMALL
        + "share:\n- kind: games\n  folder: g\n  metadata: {board_type: hex8, num_players: 2, quality: 0.5}\n"
    )
    [share] = load(tmp_path, text).share
    assert share.metadata == {"board_type": "hex8", "num_players": 2, "quality": 0.5}


RULES = """\
state: setup
copies: 3
copies_per_kind: {models: 5}
exclude: {coordinator-2: all, gpu-3: [game]}
priority_nodes: [gpu-9]
disk: {stop_percent: 80, min_free_bytes: 20 GB}
keep: [{kind: model, newest: 4, bytes: 2 GiB}]
bandwidth: {globs: {vast-1*: 5 MB/s, vast-*: 50 MB/s}, providers: {hetzner: 25e6}}
budget: {send_bytes_per_day: 1 GB}
termination: {file: going.down, every_seconds: 1}
"""


def test_the_rules_of_who_gets_what_are_read_from_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, SMALL + RULES)
    assert config.state == "setup"
    assert (config.copies_of("models"), config.copies_of("games")) == (5, 3)
    assert config.exclude == (("coordinator-2", ("games", "models", "npz")), ("gpu-3", ("games",)))
    assert config.priority_nodes == ("gpu-9",)
    assert (config.disk.stop_percent, config.disk.resume_percent) == (80, 60)
    assert config.disk.min_free_bytes == 20 * 10**9
    [keep] = config.keep
    assert (keep.kind, keep.newest, keep.bytes, keep.seconds) == ("models", 4, 2 * 2**30, None)
    assert config.bandwidth.globs == (("vast-1*", 5e6), ("vast-*", 50e6))  # the order of the file
    assert config.bandwidth.providers == (("hetzner", 25e6),)
    assert config.budget.send_bytes_per_day == 10**9
    assert config.termination.file == tmp_path / "going.down"
    assert config.origin("disk.stop_percent") == "node.yaml:10"
    assert config.origin("disk.floor_bytes") == "default"
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize("prefix", ["RINGRIFT_", "RINGGOSSIP_"])
@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("DATA_SYNC_INTERVAL", "120", "interval_seconds", 120),
        ("FAST_SYNC_INTERVAL", "20", "ephemeral_interval_seconds", 20),
        ("SYNC_TIMEOUT", "100", "sync_timeout_seconds", 100),
        ("MIN_SYNC_INTERVAL", "3.5", "min_interval_seconds", 3.5),
        ("AUTO_SYNC_MAX_CONCURRENT", "6", "max_concurrent_syncs", 6),
        ("SYNC_BATCH_SIZE", "5", "batch_size", 5),
        ("SYNC_PARALLEL", "2", "parallel", 2),
        ("NODE_ID", "gpu-2", "node", "gpu-2"),
    ],
)
def test_every_variable_of_the_reference_is_read_under_both_prefixes(
    tmp_path: Path, prefix: str, variable: str, text: str, key: str, value: object
) -> None:
    without = "\n".join(line for line in SMALL.splitlines() if not line.startswith(key))
    config = load(tmp_path, without, {prefix + variable: text})
    assert getattr(config, key) == value
    assert config.origin(key) == f"environment {prefix}{variable}"


def test_settings_travel_to_a_helper_process(tmp_path: Path) -> None:
    config = load(tmp_path, EXAMPLE)
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_key_that_does_nothing_yet_says_so_and_who_set_it(tmp_path: Path) -> None:
    said = "is not built yet: chunks travel over the peer port"
    assert load(tmp_path, SMALL + "chunks: 0.0.0.0:8770\n").notices == (f"node.yaml:5: chunks: {said}",)
    around = {"RINGGOSSIP_CHUNKS": "0.0.0.0:8770"}
    config = load(tmp_path, SMALL, around)
    assert config.notices == (f"environment RINGGOSSIP_CHUNKS: chunks: {said}",)
    assert replace(config, copies=1).notices == config.notices
    assert load(tmp_path, SMALL).notices == ()


def test_a_program_can_make_the_settings_without_a_file() -> None:
    config = PeerConfig(cluster="c", node="gpu-7", data=Path("/d"), credentials=Path("/c"))
    assert config.provider == "gpu"
    assert config.origin("node") == "the program"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"node": "../etc"}, "no node name"),
        ({"cluster": ""}, "no cluster name"),
        ({"role": "trainer"}, "role: 'trainer'"),
        ({"strategy": "push"}, "strategy: 'push'"),
        ({"patience": 61.0}, "patience"),
        ({"want": ("game",)}, "'game' is no kind"),
    ],
)
def test_a_program_is_told_at_once_what_no_peer_could_run_with(
    changes: dict[str, object], complaint: str
) -> None:
    good: dict[str, object] = {"cluster": "c", "node": "a", "data": Path("/d"), "credentials": Path("/c")}
    with pytest.raises(ValueError, match=complaint):
        PeerConfig(**{**good, **changes})  # type: ignore[arg-type]


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read: No such file or directory\Z"):
        load_config(tmp_path / "nothing.yaml", {})


def test_settings_need_neither_pyyaml_nor_pydantic() -> None:
    code = "import sys, ringgossip.config; sys.exit(bool({'yaml', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
