"""Real peers on loopback for benchmarks, and what the kernel says they cost.

Every peer is a `ringgossip peer` process of its own; they are ended by their
process ids. CPU seconds count a peer and its snapshot helper.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ringgossip.client import Client, connect
from ringgossip.errors import RinggossipError

_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    """Return a process and its children, and theirs."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its living children so far."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            total += sum(int(field) for field in _stat(one)[11:15])
    return total / _TICKS


def peak_bytes(pid: int) -> int:
    """Return the largest resident size that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


class RunningPeer:
    """One `ringgossip peer` process."""

    def __init__(self, name: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.data = folder / name
        self.process = process
        self.client: Client = connect(self.data)
        self.answered = time.monotonic()

    def cpu(self) -> float:
        return cpu_seconds(self.process.pid)

    def peak(self) -> int:
        return peak_bytes(self.process.pid)

    def wait_complete(self, kind: str, origin: str, name: str, sequence: int, timeout: float) -> Path:
        """Return the path of a verified copy; raise `TimedOut` when it does not come."""
        artifact = self.client.wait_for(kind, name, origin=origin, newer_than=sequence - 1, timeout=timeout)
        assert artifact.path is not None
        return Path(artifact.path)


@contextlib.contextmanager
def cluster(
    folder: Path,
    count: int,
    extra: str = "",
    only_first: str = "",
    again: bool = False,
    statuses: Sequence[str] = (),
) -> Iterator[list[RunningPeer]]:
    """Run `count` peers that know each other; `extra` is added to every node.yaml, `only_first` to one.

    `again`: those that ran in this folder before, on what they left. `statuses`: `status:` of each.
    """
    command = [sys.executable, "-m", "ringgossip"]
    ca = folder / "authority"
    if not again:
        subprocess.run([*command, "init", ca, "--cluster", "bench"], check=True, stdout=subprocess.DEVNULL)
    ports = [free_port() for _ in range(count)]
    processes: list[subprocess.Popen[bytes]] = []
    peers: list[RunningPeer] = []
    try:
        for number, port in enumerate(ports):
            name = f"node-{number}"
            credentials = folder / f"{name}-credentials"
            if not again:
                subprocess.run(
                    [*command, "enroll", ca, "--node", name, "-o", credentials],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            config = folder / f"{name}.yaml"
            config.write_text(
                f"cluster: bench\nnode: {name}\ndata: {folder / name}\ncredentials: {credentials}\n"
                f"listen: 127.0.0.1:{port}\nseeds: ['127.0.0.1:{ports[0]}']\n"
                f"want: [games, models, npz]\n{extra}"
                + (only_first if number == 0 else "")
                + (f"status: {statuses[number]}\n" if statuses else "")
            )
            log = (folder / f"{name}.log").open("wb")
            processes.append(subprocess.Popen([*command, "peer", "--config", config], stdout=log, stderr=log))
            log.close()
        for number, process in enumerate(processes):
            peers.append(_connect(f"node-{number}", folder, process))
        wait_until(lambda: all(_alive(peer) == count for peer in peers), 60.0, "the peers to see each other")
        # Links are opened in the first seconds; a measurement starts with them open, as in a running cluster.
        time.sleep(3.0)
        yield peers
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _alive(peer: RunningPeer) -> int:
    return sum(member["state"] == "alive" for member in peer.client.members())


def _connect(name: str, folder: Path, process: subprocess.Popen[bytes]) -> RunningPeer:
    deadline = time.monotonic() + 60.0  # 10 s at load 13 (measured)
    while True:
        try:
            return RunningPeer(name, folder, process)
        except RinggossipError:
            if process.poll() is not None or time.monotonic() > deadline:
                log = (folder / f"{name}.log").read_text()
                raise SystemExit(f"{name} did not start:\n{log}") from None
            time.sleep(0.05)


def wait_until(true: Callable[[], bool], timeout: float, what: str) -> float:
    """Wait for something; return the seconds it took."""
    start = time.monotonic()
    while not true():
        if time.monotonic() - start > timeout:
            raise SystemExit(f"waited {timeout:.0f} s for {what}")
        time.sleep(0.01)
    return time.monotonic() - start


def random_file(path: Path, size: int) -> None:
    """Write incompressible bytes and sync them."""
    with path.open("wb") as file:
        left = size
        while left:
            block = os.urandom(min(left, 2**24))
            file.write(block)
            left -= len(block)
        os.fsync(file.fileno())


@contextlib.contextmanager
def scratch(where: str | None) -> Iterator[Path]:
    """Make a temporary folder, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="ringgossip-bench-", dir=where))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under their heads, the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = []
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
