"""How do five real peers come to run on this machine, and how do they end?

Each is its own process, started as a user would start it, on a port of
127.0.0.1 that the kernel chooses; what it prints goes into files. Whatever
happens, none of them outlives the demo: every process is ended by its id.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import ringgossip
from ringgossip.client import Client
from ringgossip.errors import OperationFailed, PeerGone, RinggossipError

if TYPE_CHECKING:
    from collections.abc import Callable

CLUSTER = "demo"
_READY_SECONDS = 20.0
_POLL = 0.02


def wait_until(true: "Callable[[], bool]", seconds: float, pause: float = _POLL) -> bool:
    """Ask again and again until `true` says so or the time is over; return its last word."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= end:
            return False
        time.sleep(pause)
    return True


def _environment() -> dict[str, str]:
    """Return ours, completed so that a child finds this very package."""
    here = str(Path(ringgossip.__file__).parent.parent)
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}


@dataclass(slots=True)
class Node:
    """One peer process and the files around it."""

    name: str
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    address: str = ""
    starts: int = 0
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.data)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process; `wait_ready` tells when it can be spoken to."""
        self.starts += 1
        with self._output().open("wb") as out, (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ringgossip", "peer", "--config", self.folder / "node.yaml", "--json"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=_environment(),
            )

    def wait_ready(self) -> None:
        """Wait for its first line, which names its address. Raises `OperationFailed` with what it said."""
        if not wait_until(lambda: bool(self._first_line()) or not self.running, _READY_SECONDS):
            raise OperationFailed(
                f"{self.name} was not ready after {_READY_SECONDS:g} s: see its log with --keep DIR"
            )
        line = self._first_line()
        if not line:
            said = (self.folder / "log").read_text(errors="replace").strip().splitlines()
            raise OperationFailed(f"{self.name} ended at once: {said[-1] if said else 'it said nothing'}")
        self.address = json.loads(line)["address"]

    def _output(self) -> Path:
        return self.folder / f"events-{self.starts}.jsonl"

    def _first_line(self) -> str:
        text = self._output().read_text(errors="replace")
        return text.partition("\n")[0] if "\n" in text else ""

    def kill(self) -> None:
        """End it as a power failure would."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def leave(self) -> None:
        """Ask it to say goodbye and end."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)

    def ended(self, seconds: float) -> int | None:
        """Return its exit code, or None if it still runs after `seconds`."""
        if self.process is None:
            return None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def received(self) -> int:
        """Return how many bytes of chunks this process has received; 0 if it is not there."""
        try:
            return int(self.client.status()["counters"].get("chunk_bytes_received", 0))
        except RinggossipError:
            return 0

    def pulled(self, name: str) -> tuple[int, int] | None:
        """Return (done, total) bytes of the transfer of an artifact, or None when there is none."""
        try:
            transfers: list[dict[str, Any]] = self.client.transfers()
        except PeerGone:
            return None
        for entry in transfers:
            if entry["artifact"].endswith("/" + name):
                return entry["done"], entry["total"]
        return None


class Cluster:
    """All of them; a context manager that ends every process it started."""

    def __init__(self, folder: Path, peers: int) -> None:
        self.folder = folder
        self.nodes = [Node(f"node-{number}", folder / f"node-{number}") for number in range(1, peers + 1)]
        self.others: list[subprocess.Popen[bytes]] = []

    def enroll(self) -> None:
        """Make the cluster and everybody's credentials, as `init` and `enroll` do."""
        from ringgossip.identity.authority import create_cluster, enroll

        create_cluster(self.folder / "authority", CLUSTER)
        for node in self.nodes:
            enroll(self.folder / "authority", node.name, node.folder / "credentials")

    def start(self) -> None:
        """Start the first peer, then the others with the first as their seed."""
        first, *others = self.nodes
        self._configure(first, [])
        first.start()
        first.wait_ready()
        for node in others:
            self._configure(node, [first.address])
            node.start()
        for node in others:
            node.wait_ready()

    def _configure(self, node: Node, seeds: list[str]) -> None:
        lines = {
            "cluster": CLUSTER,
            "node": node.name,
            "role": "training",
            "data": str(node.data),
            "credentials": str(node.folder / "credentials"),
            "listen": "127.0.0.1:0",
            "seeds": seeds,
            # Somebody's laptop is nearly full: five small peers find room there.
            "disk": {"stop_percent": 100, "resume_percent": 99, "floor_bytes": 0},
        }
        # JSON is YAML.
        (node.folder / "node.yaml").write_text(
            "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())
        )

    def know_each_other(self) -> bool:
        """Tell whether every peer sees every other one alive."""
        names = {node.name for node in self.nodes}
        try:
            views = [node.client.members() for node in self.nodes]
        except RinggossipError:
            return False
        return all({entry["name"] for entry in view if entry["state"] == "alive"} == names for view in views)

    def run(self, module: str, *arguments: object) -> "subprocess.Popen[bytes]":
        """Start another process that must not outlive the demo."""
        with (self.folder / f"{module.rpartition('.')[2]}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
            )
        self.others.append(process)
        return process

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes = [node.process for node in self.nodes if node.process is not None] + self.others
        for process in processes:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
        for process in processes:
            process.wait()
