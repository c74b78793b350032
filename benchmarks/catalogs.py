#!/usr/bin/env python3
"""What does it cost to find where two large catalogs differ? The table of targets.md, section 2.

Two digests of n keys differ in d of them: a third only here, a third only there,
a third with different values on both sides. One walk, as two peers do it, through
msgpack; bytes are those of all payloads in both directions, the bound is
d * (32 + 32). CPU counts both sides. Exits 1 when the walk did not find exactly
the differences, or when a target is missed (times only without --quick).

    python benchmarks/catalogs.py            n = 1,000,000
    python benchmarks/catalogs.py --quick    n = 100,000: a self-check of a few seconds
"""

import argparse
import random
import sys
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import msgpack

from ringgossip.content.digest import Digest
from ringgossip.content.walk import Payload, Walk, answer

DIFFERENCES = (1, 100, 10_000)
ENTRY_BYTES = 64


@dataclass(frozen=True, slots=True)
class Row:
    differences: int
    bytes_moved: int
    messages: int
    cpu: float
    exact: bool

    @property
    def ratio(self) -> float:
        return self.bytes_moved / (self.differences * ENTRY_BYTES)

    @property
    def allowed(self) -> int:
        return 4 * self.differences * ENTRY_BYTES + 4096

    @property
    def round_trips(self) -> int:
        return (self.messages + 1) // 2


def load(count: int, rng: random.Random) -> tuple[Digest, list[tuple[bytes, bytes]]]:
    """Return a digest of `count` random entries, and the entries."""
    digest = Digest()
    entries = [(rng.randbytes(32), rng.randbytes(32)) for _ in range(count)]
    for key, value in entries:
        digest.insert(key, value)
    return digest, entries


def measure_walk(
    here: Digest, there: Digest, entries: Sequence[tuple[bytes, bytes]], differences: int, rng: random.Random
) -> Row:
    """Make two equal digests differ, walk, check what was found, and make them equal again."""
    only_here = {(rng.randbytes(32), rng.randbytes(32)) for _ in range(differences // 3)}
    only_there = {(rng.randbytes(32), rng.randbytes(32)) for _ in range((differences + 1) // 3)}
    changed = rng.sample(entries, differences - len(only_here) - len(only_there))
    newer = {(key, rng.randbytes(32)) for key, _ in changed}
    for key, value in only_here:
        here.insert(key, value)
    for key, value in only_there | newer:
        there.insert(key, value)
    # What is measured is the walk, not the hashing that the insertions put off.
    assert here.root != there.root

    began = time.process_time()
    walk = Walk(here)
    to_there: list[Payload] = walk.open(rng.getrandbits(8))
    bytes_moved = messages = 0
    found_here: list[tuple[bytes, bytes]] = []
    found_there: list[tuple[bytes, bytes]] = []
    while to_there:
        messages += 1
        to_here: list[Payload] = []
        for packed in map(msgpack.packb, to_there):
            bytes_moved += len(packed)
            step = answer(there, Payload(*msgpack.unpackb(packed)))
            to_here += step.replies
            found_there += step.theirs
        messages += bool(to_here)
        to_there = []
        for packed in map(msgpack.packb, to_here):
            bytes_moved += len(packed)
            step = walk.receive(Payload(*msgpack.unpackb(packed)))
            to_there += step.replies
            found_here += step.theirs
    cpu = time.process_time() - began

    exact = sorted(found_here) == sorted(only_there | newer) and sorted(found_there) == sorted(
        only_here | set(changed)
    )
    for key, _ in only_here:
        here.remove(key)
    for key, _ in only_there:
        there.remove(key)
    for key, value in changed:
        there.insert(key, value)
    return Row(differences, bytes_moved, messages, cpu, exact and here.root == there.root)


def measure_insert(digest: Digest, rng: random.Random) -> float:
    """Return microseconds for one insertion and the new root, median of 2,000; they are taken out again."""
    took = []
    for _ in range(2000):
        key, value = rng.randbytes(32), rng.randbytes(32)
        began = time.perf_counter()
        digest.insert(key, value)
        _ = digest.root
        took.append(time.perf_counter() - began)
        digest.remove(key)
    return median(took) * 1e6


def measure_memory(count: int, rng: random.Random) -> float:
    """Return the bytes of memory a key takes in a digest of `count` keys."""
    tracemalloc.start()
    digest = Digest()
    for _ in range(count):
        digest.insert(rng.randbytes(32), rng.randbytes(32))
    _ = digest.root
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 keys, and no verdict about times")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    count = 100_000 if arguments.quick else 1_000_000
    rng = random.Random(arguments.seed)

    here, entries = load(count, rng)
    there = Digest()
    for key, value in rng.sample(entries, len(entries)):
        there.insert(key, value)
    failures = [] if here.whole_root == there.whole_root else ["equal sets have different roots"]

    print(f"two digests of {count:,} keys\n")
    print(f"{'d':>7} {'bytes':>10} {'allowed':>10} {'of bound':>9} {'trips':>6} {'CPU ms':>8} {'exact':>6}")
    for differences in DIFFERENCES:
        rows = [measure_walk(here, there, entries, differences, rng) for _ in range(3)]
        worst = max(rows, key=lambda row: row.bytes_moved)
        trips = max(row.round_trips for row in rows)
        cpu = median(row.cpu for row in rows) * 1000
        exact = all(row.exact for row in rows)
        print(
            f"{differences:>7,} {worst.bytes_moved:>10,} {worst.allowed:>10,} {worst.ratio:>9.2f} {trips:>6} "
            f"{cpu:>8.1f} {'yes' if exact else 'NO':>6}"
        )
        if not exact:
            failures.append(f"d = {differences:,}: the walk did not find exactly the differences")
        if worst.bytes_moved > worst.allowed:
            failures.append(f"d = {differences:,}: {worst.bytes_moved:,} bytes, allowed {worst.allowed:,}")
        if trips > 6:
            failures.append(f"d = {differences:,}: {trips} round trips, allowed 6")
        if differences == 100 and cpu > 50 and not arguments.quick:
            failures.append(f"d = 100: {cpu:.1f} ms of CPU, allowed 50")

    insert = measure_insert(here, rng)
    memory = measure_memory(count, rng)
    print(f"\ninsert one and take the root   {insert:7.1f} us       (allowed 100)")
    print(f"memory a key                   {memory:7.1f} bytes    (allowed 250)")
    if insert > 100 and not arguments.quick:
        failures.append(f"an insertion takes {insert:.1f} us, allowed 100")
    if memory > 250:
        failures.append(f"a key takes {memory:.1f} bytes, allowed 250")
    for failure in failures:
        print(f"MISSED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
