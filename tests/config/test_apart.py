"""A configuration that is read in a child is the same, and so is what is said of a bad one."""

import subprocess
import sys
from pathlib import Path

import pytest

from ringgossip.config import load_config
from ringgossip.config.apart import load_config_apart
from ringgossip.errors import ConfigError

GOOD = """cluster: ringrift
node: vast-1
data: data
credentials: credentials
seeds: ["a.example:7946"]
share:
  - {kind: models, folder: /srv/models, match: "*.pth"}
bandwidth: {send_bytes_per_second: 5000000}
"""


def test_a_child_reads_what_we_would_read(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(GOOD)
    assert load_config_apart(path, node="vast-2") == load_config(path, node="vast-2")


def test_what_is_wrong_is_said_as_ever(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(GOOD + "rolle: training\n")
    with pytest.raises(ConfigError) as apart:
        load_config_apart(path)
    with pytest.raises(ConfigError) as here:
        load_config(path)
    assert str(apart.value) == str(here.value)
    assert capfd.readouterr() == ("", "")


def test_what_reads_it_is_not_loaded_here(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(GOOD)
    program = (
        "import sys; from pathlib import Path; from ringgossip.config.apart import load_config_apart;"
        f"load_config_apart(Path({str(path)!r})); print(sorted({{'pydantic', 'yaml'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
