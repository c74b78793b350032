#!/usr/bin/env python3
"""A peer with 20,000 small files in a shared folder starts again: how long, and does it read them?

"Answers" is when its control socket does. What it read is the kernel's `rchar`
of the process until it has looked through its folder again: modules and index,
and none of the files if all is well (issue "First light", point 6).

Measured at load 3: published in 225 s (7 ms of CPU a file, in a straight line);
started again it answered after 16 s, of which 6.5 s CPU, and had read 68 MB where
the files have 328 MB.

    python benchmarks/restart.py           20,000 files of 16 KiB
    python benchmarks/restart.py --quick   100 files: a self-check
"""

import argparse
import os
import sys
import time
from pathlib import Path

from _cluster import RunningPeer, cluster, scratch, table

SIZE = 16384


def bytes_read(peer: RunningPeer) -> int:
    """Return how many bytes a process has read so far, from wherever."""
    lines = Path(f"/proc/{peer.process.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--files", type=int)
    options = parser.parse_args()
    files = options.files or (100 if options.quick else 20_000)
    with scratch(None) as folder:
        shared = folder / "shared"
        shared.mkdir()
        for number in range(files):
            (shared / f"{number}.pth").write_bytes(os.urandom(SIZE))
        share = f"share:\n  - {{kind: models, folder: {shared}, match: '*.pth', settle_seconds: 1}}\n"
        start = time.monotonic()
        with cluster(folder, 1, share) as (peer,):
            # To ask for 20,000 artifacts takes the peer seconds: seldom.
            while len(peer.client.artifacts("models")) < files:
                time.sleep(0.5 if options.quick else 10.0)
            first = time.monotonic() - start
        start = time.monotonic()
        with cluster(folder, 1, share, again=True) as (peer,):
            answers, cpu = peer.answered - start, peer.cpu()
            # Long enough to look through the folder, and to publish what seems to be new.
            time.sleep(2.0 if options.quick else 90.0)
            read, peak = bytes_read(peer), peer.peak()
            newest = max(artifact.sequence for artifact in peer.client.artifacts("models"))
    print(f"{files} files of {SIZE} bytes in a shared folder")
    head = ["published s", "answers again s", "CPU s by then", "read MB", "files MB", "peak MB"]
    row = [first, answers, cpu, read / 1e6, files * SIZE / 1e6, peak / 1e6]
    print(table(head, [[f"{value:.1f}" for value in row]]))
    if newest != 1:
        print("unchanged files were published again", file=sys.stderr)
        return 1
    if not options.quick and read > files * SIZE / 2:
        print("the files were read again", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
