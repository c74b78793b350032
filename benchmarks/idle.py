#!/usr/bin/env python3
"""What does a peer cost that has nothing to do? Memory, CPU and packets. targets.md, 3 and 4.

python benchmarks/idle.py            10 peers, 30 seconds
python benchmarks/idle.py --quick    3 peers, 5 seconds: a self-check

3.0 ms of CPU a second are twice the 1.5 that a member may cost by targets.md, 3 (0.5 % of a core, its
section 4, are met). They are some four turns of the loop a second, each 0.5 ms in ten peers of one process
and more in a process that wakes from cold caches: two datagrams, the probe, and 0.8 in all for links to
look after (0.2), books of holders compared (0.4, until they calm down), links watched (0.13) and catalogs
compared (0.06).
Three turns, those of SWIM itself, are the floor of this shape.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median

from _cluster import cluster, family, scratch, table


def resident_bytes(pid: int) -> int:
    total = 0
    for one in family(pid):
        for line in Path(f"/proc/{one}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", type=int)
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    count = options.peers or (3 if options.quick else 10)
    seconds = options.seconds or (5.0 if options.quick else 30.0)
    with scratch(None) as folder, cluster(folder, count) as peers:
        time.sleep(2.0 if options.quick else 10.0)
        before = [(peer.cpu(), peer.client.status()["counters"]) for peer in peers]
        start = time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - start
        rows = []
        for peer, (cpu, counters) in zip(peers, before):
            now = peer.client.status()["counters"]
            rows.append(
                (
                    resident_bytes(peer.process.pid) / 2**20,
                    100 * (peer.cpu() - cpu) / passed,
                    (now["datagrams_sent"] - counters["datagrams_sent"]) / passed,
                    (now["datagram_bytes_sent"] - counters["datagram_bytes_sent"]) / passed,
                )
            )
    middle = [median(row[column] for row in rows) for column in range(4)]
    worst = [max(row[column] for row in rows) for column in range(4)]
    print(f"{count} idle peers, {passed:.0f} s")
    print(
        table(
            ["a peer", "resident MiB", "% of a core", "datagrams/s", "bytes/s"],
            [
                [name, *(f"{value:.2f}" for value in values)]
                for name, values in (("median", middle), ("worst", worst))
            ],
        )
    )
    print("target: at most 60 MiB, 0.5 %, 3 datagrams/s and 400 bytes/s")
    # The packets are the protocol's own, so they do not depend on the machine.
    return int(middle[2] > 6.0 or middle[2] == 0.0)


if __name__ == "__main__":
    sys.exit(main())
