"""Real peers for tests: each its own process, started as a user would start it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ringgossip
from ringgossip.client import Client
from ringgossip.identity.authority import create_cluster, enroll

CLUSTER = "ringrift"


def make_cluster(folder: Path, *names: str) -> None:
    """Write an authority and the credentials of every name: `folder/name`."""
    create_cluster(folder / "authority", CLUSTER)
    for name in names:
        enroll(folder / "authority", name, folder / name)


def write_config(folder: Path, name: str, **more: Any) -> Path:
    """Write node.yaml of a node of `make_cluster`; keys may be given or overruled."""
    keys = {
        "cluster": CLUSTER,
        "node": name,
        "data": str(folder / f"{name}-data"),
        "credentials": str(folder / name),
        "listen": "127.0.0.1:0",
        "gossip_interval_seconds": 1.0,
        "want": ["games", "models", "npz"],
        **more,
    }
    path = folder / f"{name}.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items()))
    return path


def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Return the first true answer; fail when none comes in time."""
    end = time.monotonic() + seconds
    while True:
        answer = true()
        if answer:
            return answer
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.02)


class PeerProcess:
    """`ringgossip peer` as a process; what it prints goes to files."""

    def __init__(self, config: Path, *options: str) -> None:
        self.config = config
        self.out = config.with_suffix(".out")
        self.err = config.with_suffix(".err")
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ringgossip", "peer", "--config", str(config), *options],
                stdout=out,
                stderr=err,
                env=os.environ | {"PYTHONPATH": str(Path(ringgossip.__file__).parent.parent)},
            )

    def ready(self) -> "PeerProcess":
        """Wait for its first line."""
        until(lambda: "\n" in self.out.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.err.read_text()
        return self

    @property
    def address(self) -> str:
        line = self.out.read_text().splitlines()[0]
        return str(json.loads(line)["address"]) if line.startswith("{") else line.split()[3].rstrip(",")

    @property
    def data(self) -> Path:
        return self.config.with_name(f"{self.config.stem}-data")

    @property
    def client(self) -> Client:
        return Client(self.data)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def end(self, seconds: float = 30.0) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it without a goodbye."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
