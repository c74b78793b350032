#!/usr/bin/env python3
"""One incompressible file from A to B: cp, an rsync daemon, and ours. Table A of targets.md.

"Ours" is from the call of `publish` to a copy that is verified, synced and
visible at B, over TLS. CPU seconds are those of both ends. All tools run in
turn in one run, because the machine is shared; compare ratios, not seconds.
What a tool wrote leaves memory before the next one starts: a virtual machine
whose page cache grows pays 2.4 s/GiB to its host, whoever writes (measured).

Where our CPU seconds go, for 1 GiB on 2 cores of an EPYC without AVX-512, by `perf` and
the threads' clocks (load 2-3; 4.9 in all then, 3.9 at best, beside 2.4 to 2.5 of rsync + fsync):

    publication                  0.55  hash 0.42, read 0.13
    A, the thread that sends     1.4   hash 0.4, seal 0.3, to the socket 0.35, read 0.15, Python 0.2
    B, the thread that receives  2.0   hash 0.4, open 0.3, from the socket 0.3, write 0.5, Python 0.2
    the two loops                0.9   some 240 calls of Python for each chunk at either end, from cold caches
    B, fdatasync and index       0.1

Bytes are cheap while one core has them: handed from thread to thread all this took 5.7 to 7.8.
Chunks of 2 and 4 MiB have less Python and took more (4.2 and 4.5 beside 3.9). Since then the file
has its blocks from its beginning (`fallocate`); a quiet machine took 4.2 beside 2.5. What would still
help: fewer turns of the loops. Three hashes, seal and open alone are 1.8 s here.

    python benchmarks/one_file.py               2 GiB, 3 rounds
    python benchmarks/one_file.py --quick       64 MiB, 1 round: a self-check
    python benchmarks/one_file.py --no-compare  ours alone, for profiling
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from _cluster import RunningPeer, cluster, cpu_seconds, free_port, random_file, scratch, table

Sample = tuple[float, float, float]  # wall seconds, CPU seconds, peak bytes


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def copy_and_sync(source: Path, target: Path) -> Sample:
    start, cpu = time.monotonic(), children_cpu()
    subprocess.run(["cp", "--reflink=never", source, target], check=True)
    subprocess.run(["sync", target], check=True)
    return time.monotonic() - start, children_cpu() - cpu, 0.0


def rsync_daemon(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    config = folder / "rsyncd.conf"
    config.write_text(
        f"port = {port}\naddress = 127.0.0.1\nuse chroot = no\n[files]\npath = {folder}\nread only = yes\n"
        f"uid = {os.getuid()}\ngid = {os.getgid()}\n"
    )
    process = subprocess.Popen(["rsync", "--daemon", "--no-detach", f"--config={config}"])
    time.sleep(0.3)
    return process, f"rsync://127.0.0.1:{port}/files/"


def rsync_and_sync(daemon: subprocess.Popen[bytes], url: str, source: Path, target: Path) -> Sample:
    # The daemon serves each client in a child that is reaped when it ends: its time is in cutime.
    start, cpu, served = time.monotonic(), children_cpu(), cpu_seconds(daemon.pid)
    subprocess.run(["rsync", "-W", "--fsync", url + source.name, target], check=True)
    wall = time.monotonic() - start
    time.sleep(0.1)
    return wall, children_cpu() - cpu + cpu_seconds(daemon.pid) - served, 0.0


def ours(peers: list[RunningPeer], source: Path, number: int) -> Sample:
    start, cpu = time.monotonic(), sum(peer.cpu() for peer in peers)
    name = f"file-{number}.pth"
    peers[0].client.publish("models", source, name=name, timeout=600)
    copy = peers[1].wait_complete("models", "node-0", name, 1, 600)
    wall = time.monotonic() - start
    cpu = sum(peer.cpu() for peer in peers) - cpu
    subprocess.run(["cmp", source, copy], check=True)
    with copy.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return wall, cpu, float(max(peer.peak() for peer in peers))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-compare", action="store_true")
    parser.add_argument("--mib", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--folder", help="where to work; default: the temporary folder")
    options = parser.parse_args()
    size = (options.mib or (64 if options.quick else 2048)) * 2**20
    rounds = options.rounds or (1 if options.quick else 3)
    samples: dict[str, list[Sample]] = {}

    def run(tool: str, action: Callable[[], Sample], target: Path | None = None) -> None:
        samples.setdefault(tool, []).append(action())
        print(f"  {tool}: {samples[tool][-1][0]:.2f} s", file=sys.stderr)
        if target is not None:
            target.unlink()

    with scratch(options.folder) as folder, cluster(folder, 2) as peers:
        source, target = folder / "source.pth", folder / "copy"
        random_file(source, size)
        with_rsync = not options.no_compare and shutil.which("rsync") is not None
        daemon, url = rsync_daemon(folder) if with_rsync else (None, "")
        try:
            for number in range(rounds):
                if not options.no_compare:
                    run("cp + fsync", lambda: copy_and_sync(source, target), target)
                if daemon is not None:
                    run("rsync + fsync", lambda: rsync_and_sync(daemon, url, source, target), target)
                # A content is pulled once; new bytes at the front make it a new one.
                with source.open("r+b") as file:
                    for place in range(0, size, 2**20):
                        os.pwrite(file.fileno(), os.urandom(16), place)
                    os.fsync(file.fileno())
                run("ours (TLS, verified, fsync)", partial(ours, peers, source, number))
        finally:
            if daemon is not None:
                daemon.terminate()
                daemon.wait()
    rows = []
    base = samples.get("rsync + fsync")
    for tool, runs in samples.items():
        wall, cpu = median(run[0] for run in runs), median(run[1] for run in runs)
        ratio = "" if base is None else f"{wall / median(run[0] for run in base):.2f}"
        cpu_ratio = "" if base is None else f"{cpu / median(run[1] for run in base):.2f}"
        peak = max(run[2] for run in runs)
        rows.append(
            [
                tool,
                f"{wall:.2f}",
                ratio,
                f"{cpu:.2f}",
                cpu_ratio,
                f"{peak / 1e6:.0f}" if peak else "",
                f"{size / wall / 1e6:.0f}",
            ]
        )
    head = ["tool", "wall s", "of rsync", "CPU s", "of rsync", "peak MB", "MB/s"]
    print(f"One file of {size / 2**20:.0f} MiB from A to B, {rounds} round(s), medians")
    print(table(head, rows))
    print("target: wall and CPU at most 1.5 (aim 1.0 and 1.2) of rsync + fsync, peak at most 120 MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
