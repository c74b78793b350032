"""What happens to my cluster if ...? A cluster file is a story, a question is a fault or a task more."""

from pathlib import Path

import pytest

from ringgossip.cli.simulate_one import _text
from ringgossip.errors import ConfigError
from ringgossip.simulation.plans import as_data
from ringgossip.simulation.running import run_story
from ringgossip.simulation.saving import story_text
from ringgossip.simulation.scenario import Publish, Terminate
from ringgossip.simulation.scenario_schema import read_story, suppose

HOSTS = """
sync_routing: {replication_target: 1}
hosts:
  gpu-1: {ssh_host: 10.0.0.1, role: gpu_selfplay, bandwidth_mbps: 50, status: ready}
  gpu-2: {ssh_host: 10.0.0.2, role: gpu_selfplay, bandwidth_mbps: 50, status: ready, nat_blocked: true}
  gpu-3: {ssh_host: 10.0.0.3, role: gpu_selfplay, is_ephemeral: true, status: ready, nat_blocked: true}
  big-1: {ssh_host: 10.0.0.4, role: nn_training_primary, bandwidth_mbps: 100, status: ready}
  boss: {ssh_host: 10.0.0.5, role: coordinator, status: ready}
  old: {ssh_host: 10.0.0.6, role: gpu_selfplay, status: retired}
"""


def hosts_of(tmp_path: Path, text: str = HOSTS) -> Path:
    path = tmp_path / "distributed_hosts.yaml"
    path.write_text(text)
    return path


def test_a_cluster_file_is_an_ordinary_day_of_its_hosts(tmp_path: Path) -> None:
    story = read_story(hosts_of(tmp_path))
    assert story.names == ["gpu-1", "gpu-2", "gpu-3", "big-1", "boss"] and story.seeds == (0, 3, 4)
    assert [(task.kind, task.by) for task in story.tasks if isinstance(task, Publish)] == [
        ("games", {"role": "selfplay"}), ("models", {"role": "training"}),
    ]  # fmt: skip
    assert story.carrier == "pieces" and story.specs[0].up == 50e6
    only = read_story(hosts_of(tmp_path, "hosts: {a: {ssh_host: 10.0.0.1, role: coordinator}}\n"))
    assert only.names == ["a"] and only.tasks == ()
    with pytest.raises(ConfigError, match=r"distributed_hosts\.yaml:2:23: hosts\.a\.bandwidth_mbps: "):
        read_story(hosts_of(tmp_path, "hosts:\n  a: {bandwidth_mbps: much}\n"))


@pytest.mark.parametrize(
    ("host", "why"),
    [("status: retired", "is ready"), ("status: ready, nat_blocked: true", "that is ready can be dialled")],
)
def test_a_cluster_file_of_which_nobody_can_be_found_is_one_line_of_that_file(
    tmp_path: Path, host: str, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_story(hosts_of(tmp_path, f"hosts:\n  a: {{ssh_host: 10.0.0.1, role: coordinator, {host}}}\n"))
    assert str(caught.value).endswith(f"hosts.yaml:2:3: hosts: none {why}: there is no day to tell")


def test_what_is_asked_is_added_to_a_story_when_all_is_well(tmp_path: Path) -> None:
    story = suppose(read_story(hosts_of(tmp_path)), "power_cut: {peers: {accepts: false, share: 0.5}}")
    [cut] = story.plan()
    assert as_data(cut) == {"power_cut": {"at": 60.0, "peers": [1]}}
    story = suppose(story, "terminate: {peers: {ephemeral: true}, at: 70}")
    assert isinstance(story.tasks[-1], Terminate) and story.peers_of(story.tasks[-1].peers) == [2]
    assert story.about.endswith("share: 0.5}}? What if terminate: {peers: {ephemeral: true}, at: 70}?")
    saved = tmp_path / "saved.yaml"
    saved.write_text(story_text(hosts_of(tmp_path), story.plan(), story, 3, "L1"))
    again = read_story(saved)
    assert (again.tasks, again.plan(), again.groups) == (story.tasks, story.plan(), story.groups)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("crsh: {peer: 1}", "--if:1:1: crsh: is no fault or task; did you mean 'crash'?"),
        ("crash: {peer: gpu-9}", "--if:1:9: crash.peer: there is no peer 'gpu-9'; did you mean 'gpu-3'?"),
        ("crash: {peer: 1, at: 500}", "--if:1:22: faults[0].crash.at: 500 s is after the safety"),
        ("terminate: {peers: {rol: x}}", "--if:1:20: workload[0].terminate.peers: 'rol' is none of role, "),
        ("terminate: {peers: {role: x}}", "--if:1:20: workload[0].terminate.peers: role: 'x' is none of "),
        (
            "partition: {group: {provider: moon}}",
            "--if:1:13: partition.group: names nobody in this story: provider is gpu or big or boss here",
        ),
        (
            "terminate: {peers: {storage_group: nfs}}",
            "--if:1:20: workload[0].terminate.peers: names nobody in this story: nobody has a storage_group",
        ),
        ("partition: {group: {share: 1}}", "--if:1:13: partition.group: must say of whom"),
        ("crash", "--if:1:1: workload[0]: must be one word and its keys"),
        ("crash: {", "--if:1:9: is not valid YAML"),
    ],
)
def test_what_cannot_be_asked_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        suppose(read_story(hosts_of(tmp_path)), text)
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
    alone = read_story(hosts_of(tmp_path, "hosts: {a: {ssh_host: 10.0.0.1, role: coordinator}}\n"))
    with pytest.raises(ConfigError, match="names nobody in this story: ephemeral is false here"):
        suppose(alone, "terminate: {peers: {ephemeral: true}}")


def story_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "story.yaml"
    path.write_text(text)
    return path


def test_a_fault_of_one_peer_may_name_many_and_happens_to_each(tmp_path: Path) -> None:
    text = "peers: [{count: 3, name: a, storage_group: nfs}, {count: 3, name: b, accepts: false}]\nfaults:\n"
    text += "  - disk_trouble: {at: 2, peer: {storage_group: nfs}}\n"
    text += "  - partition: {at: 3, group: {accepts: false}}\n"
    text += "  - thin_line: {at: 4, peer: 1}\n  - pause: {at: 5, peer: [5, a-1]}\n"
    text += "  - ring_cut: {at: 6}\n  - power_cut: {at: 7, peers: b-1}\n"
    story = read_story(story_of(tmp_path, text))
    assert [as_data(fault) for fault in story.plan()][:4] == [
        *({"disk_trouble": {"at": 2.0, "peer": peer}} for peer in (0, 1, 2)),
        {"partition": {"at": 3.0, "group": [3, 4, 5]}},
    ]
    assert [as_data(fault) for fault in story.plan()][5:] == [
        {"pause": {"at": 5.0, "peer": 5}}, {"pause": {"at": 5.0, "peer": 1}}, {"ring_cut": {"at": 6.0}},
        {"power_cut": {"at": 7.0, "peers": [4]}},
    ]  # fmt: skip
    assert story.carrier == "pieces", "a thin line is a queue"


def test_the_answer_names_what_is_gone_lost_and_too_few(tmp_path: Path) -> None:
    text = (
        "peers: [{count: 4, name: gpu, role: selfplay, up: 100 kbit/s}]\ncopies: 2\nworkload:\n"
        "  - publish: {by: gpu-0, kind: games, name: a.db, size: 10 KB, at: 3}\n"
        "  - publish: {by: gpu-1, kind: games, name: b.db, size: 10 KB, at: 3, every: 5.9, until: 9}\n"
        "  - terminate: {peers: [gpu-1, gpu-2], at: 9}\n  - terminate: {peers: gpu-3, at: 15}\nsafety: 16\n"
    )
    story = read_story(story_of(tmp_path, text))
    run = run_story(story, 1)
    left = run.outcome
    assert left is not None and left.gone == ("gpu-1", "gpu-2", "gpu-3")
    [(name, why)] = left.lost.items()
    assert name == "games/gpu-1/b.db"
    assert why.startswith("version 2 of gpu-1 is gone with who had it; version 1 is at ")
    assert left.short == {} and left.whole == 1 and left.full == ()
    said = _text(run, story, "").splitlines()
    assert said[-1] == "Every promise held, and yet artifacts are lost (1) or have too few copies (0)."
    assert "  gone      3 of 4 nodes: gpu-1, gpu-2, gpu-3" in said


def test_what_to_do_is_said_of_each_promise_that_broke(tmp_path: Path) -> None:
    text = "peers: 3\nfaults:\n  - partition: {at: 4, group: [1], seconds: null}\nsafety: 30\n"
    text += "promises: {eventually: {L2: 0.25}, limits: {suspicions: 0}}\n"
    story = read_story(story_of(tmp_path, text))
    said = _text(run_story(story, 1), story, "").splitlines()
    assert any(line.startswith("  L2        some do not see each other") for line in said)
    assert any(line.startswith("  suspicions the figure is above the limit") for line in said)
    assert said[-1] == "This failed: see BROKEN above."


def test_the_answer_names_who_is_full_and_what_took_longest(tmp_path: Path) -> None:
    text = (
        "peers: [{count: 3, name: gpu, want: all}, {name: slow, want: all, down: 80 kbit/s}]\ncopies: 3\n"
        "workload:\n  - publish: {by: 0, kind: games, name: a.db, size: 100 KB, at: 5}\n"
        "  - fill: {peers: gpu-1, used: 0.99, free: 1 MB, at: 2}\nsafety: 20\n"
    )
    left = run_story(read_story(story_of(tmp_path, text)), 1).outcome
    assert left is not None and left.full == ("gpu-1",)
    assert left.slowest.startswith("games/gpu-0/a.db, published at 5 s, reached slow after 1")
    [(name, why)] = left.as_dict()["short"].items()
    assert name == "games/gpu-0/a.db" and why == "version 1 has 2 of 3 copies; it is at gpu-0, gpu-2, slow"


def test_simulated_hosts_keep_every_rule_of_the_cluster_file(tmp_path: Path) -> None:
    text = HOSTS.replace("replication_target: 1", "replication_target: 2, max_disk_usage_percent: 80")
    text += "auto_sync: {max_concurrent_syncs: 2, min_games_to_sync: 7, "
    text += "host_bandwidth_overrides: {gpu-3: 3}}\n"
    by_name = {spec.name: spec for spec in read_story(hosts_of(tmp_path, text)).specs}
    spot, boss = by_name["gpu-3"], by_name["boss"]
    assert spot.max_concurrent == 2 and spot.rules.bandwidth.send_bytes_per_second == 3e6
    assert (spot.rules.copies, spot.rules.min_games, spot.rules.disk.stop_percent) == (2, 7, 80)
    assert dict(boss.rules.bandwidth.globs) == {"gpu-3": 3e6}, "and what others give it"


def test_what_a_stranger_publishes_is_nobodys_and_not_lost(tmp_path: Path) -> None:
    text = "peers: [{count: 2, name: a}, {name: foreign, stranger: true}]\nsafety: 6\nworkload:\n"
    text += "  - publish: {by: foreign, kind: games, name: x.db, size: 10 KB, at: 3}\n"
    left = run_story(read_story(story_of(tmp_path, text)), 1).outcome
    assert left is not None and (left.lost, left.short, left.whole) == ({}, {}, 0)
