"""Clusters of real peers for tests: each peer its own process, started, killed and asked as a user would.

Every cluster has its own authority, ports and loopback host, so that several
can run on one machine. Whatever a test does, `Cluster.close` ends every process
by its id, and says what no log may ever contain.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import ringgossip
from ringgossip.client import Artifact, Client
from ringgossip.identity.authority import create_cluster, enroll

CLUSTER = "ringrift"
# The machine may be shared with others: long, and polled, so that a fast one is fast.
PATIENCE = 90.0
_POLL = 0.02

Program = tuple[str, ...]
_PEER: Program = ("-m", "ringgossip")

_T = TypeVar("_T")

# Every cluster that runs: their logs are shown when a test fails.
running: list["Cluster"] = []


def until(true: Callable[[], _T], what: str, seconds: float = PATIENCE) -> _T:
    """Return the first true answer; fail with `what` was waited for when none comes in time."""
    end = time.monotonic() + seconds
    while True:
        answer = true()
        if answer:
            return answer
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(_POLL)


def each(
    nodes: Iterable["Node"], true: Callable[["Node"], object], what: str, seconds: float = PATIENCE
) -> None:
    """Wait until it is true of every node, `seconds` for each."""
    for node in nodes:
        until(partial(true, node), f"{node.name} {what}", seconds)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(ringgossip.__file__).parent.parent)}


_given: set[tuple[str, int]] = set()


def free_port(host: str) -> int:
    """Return a port that nobody uses on `host`, or was told to, below those the kernel gives to clients."""
    while True:
        port = random.randrange(12_000, 32_000)
        if (host, port) in _given:
            continue  # whoever got it may not have begun yet
        try:
            with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
                tcp.bind((host, port))
                udp.bind((host, port))
                _given.add((host, port))
                return port
        except OSError:
            continue


class Node:
    """One node: its configuration, its process when it runs, and what all its processes have said."""

    def __init__(self, folder: Path, name: str, address: str, keys: dict[str, Any]) -> None:
        self.name = name
        self.folder = folder
        self.address = address
        self.data = folder / f"{name}-data"
        self.keys = keys
        self.process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._client: Client | None = None

    # --- its life ---------------------------------------------------------------------

    def start(self, *, wait: bool = True, program: Program = _PEER, **keys: Any) -> "Node":
        """Start its process and wait until it is ready; `keys` overrule node.yaml from now on."""
        assert not self.alive, f"{self.name} runs already"
        self.keys.update(keys)
        self.address = self.keys["listen"]
        config = self.folder / f"{self.name}.yaml"
        config.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in self.keys.items()))
        self._starts += 1
        with self._log("out").open("wb") as out, self._log("err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *program, "peer", "--config", str(config), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=_environment(),
            )
        return self.ready() if wait else self

    def ready(self) -> "Node":
        """Wait until it answers."""
        until(lambda: b"\n" in self._log("out").read_bytes() or not self.alive, f"{self.name} to be ready")
        assert self.alive, f"{self.name} ended at its start: {self._log('err').read_text()}"
        return self

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut of one process would; returns when it is gone."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()

    def end(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; return its exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask it to leave; return how many seconds that took."""
        began = time.monotonic()
        self.send(number)
        code = self.end()
        assert code == 0, f"{self.name} left with {code}"
        return time.monotonic() - began

    # --- what it says ------------------------------------------------------------------

    def _log(self, stream: str) -> Path:
        return self.folder / f"{self.name}.{self._starts}.{stream}"

    @property
    def lines(self) -> list[str]:
        """The log lines of its present process, and of the last one when it does not run."""
        return self._log("err").read_text(errors="replace").splitlines()

    def events(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        """Return the events of this kind with these fields that its present process told."""
        found = []
        for line in self._log("out").read_text().split("\n")[:-1]:
            event = json.loads(line)
            if event["event"] == kind and all(event[name] == value for name, value in fields.items()):
                found.append(event)
        return found

    def story(self, stream: str) -> str:
        """Return what all its processes wrote on `out` or `err`, the last of it when it is long."""
        parts = []
        for number in range(1, self._starts + 1):
            text = (self.folder / f"{self.name}.{number}.{stream}").read_text(errors="replace")
            parts.append(f"[start {number}]\n{text[-8000:]}")
        return "".join(parts)

    # --- asking it -----------------------------------------------------------------------

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.data)
        return self._client

    def counter(self, name: str) -> int:
        """Return one of its counters since its start; 0 while nothing was counted."""
        return int(self.client.status()["counters"].get(name, 0))

    def catalog(self) -> dict[str, Artifact]:
        """Return every artifact it knows, by kind/origin/name."""
        return {artifact.text: artifact for artifact in self.client.artifacts()}

    def holds(self, artifact: Artifact) -> bool:
        """Tell whether a verified copy of its own of this or a later version is visible."""
        mine = self.catalog().get(artifact.text)
        return mine is not None and mine.complete and not mine.via and mine.sequence >= artifact.sequence

    def states(self) -> dict[str, str]:
        """Return what it believes of every member."""
        return {member["name"]: member["state"] for member in self.client.members()}

    def sees(self, names: Iterable[str]) -> bool:
        """Tell whether all of these are alive to it."""
        states = self.states()
        return all(states.get(name) == "alive" for name in names)


class Cluster:
    """An authority and its nodes below one folder."""

    def __init__(self, folder: Path, name: str = CLUSTER) -> None:
        self.folder = folder
        self.name = name
        self.authority = folder / "authority"
        create_cluster(self.authority, name)
        self.host = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.1"
        self.nodes: dict[str, Node] = {}
        self.others: list[subprocess.Popen[Any]] = []
        running.append(self)

    def node(self, name: str, **keys: Any) -> Node:
        """Enroll a node; its seed is the first one. `keys` go to its node.yaml."""
        address = f"{self.host}:{free_port(self.host)}"
        seeds = [next(iter(self.nodes.values())).address] if self.nodes else [address]
        written = {
            "cluster": self.name,
            "node": name,
            "data": str(self.folder / f"{name}-data"),
            "credentials": str(enroll(self.authority, name, self.folder / name)),
            "listen": address,
            "seeds": seeds,
            # The default makes tests that need a comparison wait for it.
            "gossip_interval_seconds": 2.0,
            # These tests are about copies, not about who takes what.
            "want": ["games", "models", "npz"],
            **keys,
        }
        node = Node(self.folder, name, written["listen"], written)
        self.nodes[name] = node
        return node

    def start(self, count: int, **keys: Any) -> list[Node]:
        """Start `count` peers and wait until each is alive to all."""
        nodes = [self.node(f"node-{number}", **keys) for number in range(1, count + 1)]
        for node in nodes:
            node.start(wait=False)
        for node in nodes:
            node.ready()
        self.meet(*nodes)
        return nodes

    def meet(self, *nodes: Node) -> None:
        """Wait until each of these is alive to all of them."""
        names = [node.name for node in nodes]
        each(nodes, lambda node: node.sees(names), f"to see {names}")

    def publish(self, node: Node, kind: str, path: Path) -> "subprocess.Popen[bytes]":
        """Begin `ringgossip publish` in a process of its own, which ends with the cluster."""
        command = [sys.executable, "-m", "ringgossip", "publish", kind, str(path), "--data", str(node.data)]
        self.others.append(
            subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment()
            )
        )
        return self.others[-1]

    def close(self) -> list[str]:
        """Kill everything; return the lines of logs that only a bug of ours can have written."""
        try:
            for process in self.others:
                if process.poll() is None:
                    process.kill()
                process.wait()
            for node in self.nodes.values():
                node.kill()
        finally:
            running.remove(self)
        return [
            f"{node.name}: {line}"
            for node in self.nodes.values()
            for line in node.story("err").splitlines()
            if "Traceback" in line or "a bug of ringgossip" in line
        ]


def everywhere(nodes: Iterable[Node], artifact: Artifact, seconds: float = PATIENCE) -> None:
    """Wait until all of these hold a verified copy of this or a later version."""
    each(nodes, lambda node: node.holds(artifact), f"to hold {artifact.text}@{artifact.sequence}", seconds)
