"""`ringgossip config import`: is the users' cluster file turned into a node.yaml that runs?"""

import json
from pathlib import Path

import pytest

from ringgossip.cli import main

Captured = pytest.CaptureFixture[str]

HOSTS = """\
auto_sync: {interval_seconds: 45}
hosts:
  gpu-1: {tailscale_ip: 100.64.0.1, role: gpu_training, ssh_user: root}
  gpu-2: {tailscale_ip: 100.64.0.2}
"""


@pytest.fixture
def hosts(tmp_path: Path) -> str:
    path = tmp_path / "distributed_hosts.yaml"
    path.write_text(HOSTS)
    return str(path)


def test_what_is_printed_is_a_configuration_of_that_node(
    tmp_path: Path, hosts: str, capsys: Captured
) -> None:
    assert main(["config", "import", hosts, "--node", "gpu-1"]) == 0
    printed = capsys.readouterr()
    assert "hosts.gpu-1.ssh_user: means nothing here" in printed.out
    assert "notices at the end: 1" in printed.err
    assert "cluster, data, credentials: not in distributed_hosts.yaml" in printed.err
    (tmp_path / "node.yaml").write_text(printed.out)
    assert main(["config", "check", "--config", str(tmp_path / "node.yaml")]) == 0
    assert "good, for node gpu-1 of cluster ringrift" in capsys.readouterr().out


def test_the_cluster_is_that_of_the_credentials(tmp_path: Path, hosts: str, capsys: Captured) -> None:
    ca, there = str(tmp_path / "ca"), str(tmp_path / "gpu-1")
    assert main(["init", ca, "--cluster", "other"]) == 0
    assert main(["enroll", ca, "--node", "gpu-1", "-o", there]) == 0
    capsys.readouterr()
    beside = ["--node", "gpu-1", "--credentials", there, "--data", "/d"]
    assert main(["config", "import", hosts, *beside, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["node_yaml"].splitlines()[1].startswith("cluster: other ")
    assert told["examples"] == []
    assert told["notices"] == [
        "distributed_hosts.yaml: line 3: hosts.gpu-1.ssh_user: means nothing here: peers link to each other "
        "without ssh"
    ]
    assert main(["config", "--config", hosts, *beside, "--origin", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["config"]["cluster"], shown["config"]["role"]) == ("other", "training")
    assert shown["origins"]["interval_seconds"] == "distributed_hosts.yaml:1"
    assert shown["origins"]["cluster"] == "the certificate"


def test_a_node_must_be_named(hosts: str, capsys: Captured) -> None:
    assert main(["config", "import", hosts]) == 2
    assert "--node NAME" in capsys.readouterr().err
    assert main(["config", "import", hosts, "--node", "gpu-9"]) == 2
    assert "there is no host 'gpu-9'" in capsys.readouterr().err
