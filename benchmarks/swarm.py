#!/usr/bin/env python3
"""One file from one node to many: does the swarm carry it, or the seed alone? Tables C and D of targets.md.

C: 512 MiB to four peers, no limits: bounded by the CPU of this machine.
D: 256 MiB to eight peers, every upload capped at 20 MB/s. The fluid bound is
   max(F / u, N F / (u + N u)) (Mundinger, Weber, Weiss 2008): no scheme is faster.

    python benchmarks/swarm.py            C, then D
    python benchmarks/swarm.py --quick    D with 16 MiB and three peers: a self-check
"""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _cluster import RunningPeer, cluster, random_file, scratch, table


def spread(folder: Path, count: int, size: int, cap: int | None) -> tuple[float, float]:
    """Return the seconds until the last of `count` has its copy, and how many copies the seed sent."""
    extra = "" if cap is None else f"bandwidth: {{send_bytes_per_second: {cap}}}\n"
    folder.mkdir()
    with cluster(folder, count + 1, extra) as peers:
        source = folder / "source.pth"
        random_file(source, size)
        receivers = peers[1:]

        def complete(peer: RunningPeer) -> float:
            peer.wait_complete("models", "node-0", "source.pth", 1, 900)
            return time.monotonic()

        with ThreadPoolExecutor(count) as pool:
            waiting = [pool.submit(complete, peer) for peer in receivers]
            receipt = peers[0].client.publish("models", source)
            start = time.monotonic()
            del receipt
            last = max(future.result() for future in waiting)
        sent = peers[0].client.status()["counters"]["chunk_bytes_sent"]
        return last - start, sent / size


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", help="where to work; default: the temporary folder")
    options = parser.parse_args()
    cap = 20_000_000
    runs: list[tuple[str, int, int, int | None]] = (
        [("D, small", 3, 16 * 2**20, cap)]
        if options.quick
        else [("C", 4, 512 * 2**20, None), ("D", 8, 256 * 2**20, cap)]
    )
    rows, failed = [], False
    with scratch(options.folder) as folder:
        for name, count, size, limit in runs:
            seconds, copies = spread(folder / name[0], count, size, limit)
            bound = 0.0 if limit is None else max(size / limit, count * size / (limit + count * limit))
            rows.append(
                [
                    name,
                    str(count),
                    f"{size / 2**20:.0f}",
                    f"{seconds:.2f}",
                    f"{seconds / bound:.2f}" if bound else "",
                    f"{copies:.2f}",
                ]
            )
            # Faster than the bound means that the limit does not limit.
            failed = failed or (bound > 0 and seconds < 0.9 * bound)
    print(table(["", "receivers", "MiB", "last copy, s", "of the bound", "copies from seed"], rows))
    print("target: C at most 4 s and 1.3 copies from the seed; D at most 1.3 of the bound and 1.2 copies")
    if failed:
        print("faster than the upload limit allows", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
