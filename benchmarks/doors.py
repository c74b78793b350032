#!/usr/bin/env python3
"""What do the doors cost: `--help`, importing the client, a call of it? targets.md, section 4.

Each figure is the best of several, taken in turn with a bare interpreter's:
other processes only ever make one slower.

python benchmarks/doors.py            20 rounds
python benchmarks/doors.py --quick    3 rounds: a self-check
"""

import argparse
import subprocess
import sys
import time

from _cluster import cluster, scratch, table

IMPORT = """
import time
began = time.perf_counter()
import {modules}
seconds = time.perf_counter() - began
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, peak)
"""


def start_seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, timeout=60)
    return time.perf_counter() - began


def import_cost(modules: str) -> tuple[float, float]:
    """Return seconds, and the peak of the process in MiB."""
    command = [sys.executable, "-c", IMPORT.format(modules=modules)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    seconds, kib = done.stdout.split()
    return float(seconds), int(kib) / 1024


def call_seconds(rounds: int) -> float:
    """Return the seconds of one call of a client to an idle peer."""
    with scratch(None) as folder, cluster(folder, 1) as [peer]:
        best = float("inf")
        for _ in range(rounds):
            began = time.perf_counter()
            for _ in range(50):
                peer.client.transfers()
            best = min(best, (time.perf_counter() - began) / 50)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    rounds = 3 if parser.parse_args().quick else 20
    starts = [
        (start_seconds("-c", "pass"), start_seconds("-m", "ringgossip", "--help")) for _ in range(rounds)
    ]
    bare, help_ = (min(pair[side] for pair in starts) for side in (0, 1))
    imports = [(import_cost("ringgossip.client"), import_cost("json, socket")) for _ in range(rounds)]
    ours, needed = (min(pair[side] for pair in imports) for side in (0, 1))
    call = call_seconds(rounds)
    rows = [
        ["ringgossip --help", f"{1000 * help_:.0f} ms", f"{help_ / bare:.1f} of a bare interpreter", "6"],
        ["import ringgossip.client", f"{1000 * ours[0]:.1f} ms",
         f"{ours[0] / needed[0]:.1f} of json and socket", "30 ms"],
        ["the process then", f"{ours[1]:.1f} MiB", f"{ours[1] / needed[1]:.2f} of json and socket", "18 MiB"],
        ["a call to a running peer", f"{1000 * call:.3f} ms", "", "0.3 ms"],
    ]  # fmt: skip
    print(table(["door", "measured", "ratio", "at most"], rows))
    # Memory does not depend on what else the machine does.
    return int(ours[1] > 2 * 18)


if __name__ == "__main__":
    sys.exit(main())
