#!/usr/bin/env python3
"""How fast is the simulator, and how large does it grow? Each row in a process of its own.

python benchmarks/simulator.py            the sizes of the targets: minutes
python benchmarks/simulator.py --quick    small ones, for a look whether everything runs: seconds
python benchmarks/simulator.py --only stories

Measured in full size on 2 cores with nothing else to do: real codec 5.8 to 6.3 CPU s (5.3 to 7.1
for the code of a day before, in turns: this host's caches are shared), 99 MB; sized wire 14.8, 244 MB;
self-play 43 beside 53 for that code, 515,000 events, 71 MB; small stories 3.1 to 3.3 a second; the suite 86 s
for 228 seeds. `flash_crowd.yaml`, a thousand peers: 188 CPU s, 926 MB.

Where the time goes is flat: 50 to 80 us and 100 calls an event, no function above 4 %. Of small stories
(share of samples): the machines 42 %, node, kernel, network and disk 21, looks of the promises 16, deadlines
9; 600 probes of 120 s are a third of the events, what 38 records, 217 chunks and 160 words of copies lead to
is a third of the time. Of self-play's messages News are 30 %, probes 21, Holding 21, digests of holdings 11.
The Python is one built without profiles; Debian's own took 0.84 of the time for the same stories.

A probe and its answer are four events, and cost 58 us at N=30 and 75 to 87 at N=1000, where no cache holds
what they touch. A prototype that does all of it in three hand-written functions on the same tables, with the
same history, takes 62 us there. Compiled with mypyc (-O1; membership and the hot half of the simulation,
messages and codec not), it took 0.59 of the time at N=30 and 0.67 at N=1000: not enough, for a second build.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from _cluster import table

ROOT = Path(__file__).parents[1]
_MB = 2**20

SELFPLAY = """
story: benchmark_selfplay
peers:
  - {{count: {peers}, role: selfplay, up: 50 MB/s, down: 50 MB/s}}
copies: 3
network: {{carrier: fluid, latency: {{uniform: [0.0005, 0.02]}}}}
workload:
  - publish:
      {{by: all, kind: games, name: selfplay.db, size: 1 MB, at: 5, every: 60, until: {until}, spread: 55}}
safety: {safety}
liveness: {{within: 60}}
promises:
  eventually: {{L1: 60, L2: 60, L3: 60}}
"""

SMALL = """
story: benchmark_small
peers:
  - {count: 5, role: selfplay, want: all, name: peer}
network: {latency: {uniform: [0.0005, 0.02]}, loss: 0.005}
workload:
  - publish:
      {by: all, kind: games, name: a.db, size: 500 KB, at: 5, every: 50, until: 90, changed: 0.3, spread: 9}
swarm: {most: 6, start: 2, end: 90}
safety: 120
liveness: {within: 100}
promises:
  eventually: {L1: 90, L2: 90}
"""


@dataclass(frozen=True)
class Row:
    """What was measured: the figure that has a target, and a sentence about what was done."""

    value: float
    done: str


def members(count: int, wire: str, seconds: float) -> Row:
    """Only membership, nothing goes wrong."""
    from ringgossip.simulation.members import MembersWorld

    world = MembersWorld(count, seed=7, wire=wire, seeds=())
    world.start()
    world.acquaint()
    world.run(seconds)
    # Equal digests are equal lists; making every list to look at it would be the peak of memory.
    seen = [node.core.membership for node in world.nodes if node.core is not None]
    digests = dict.fromkeys(membership.state_digest for membership in seen)
    assert len(seen) == len(seen[0].alive()) == count and len(digests) == 1, "somebody does not see all"
    return Row(time.process_time(), f"{world.kernel.events} events")


def story_from(text: str) -> object:
    from tempfile import NamedTemporaryFile

    from ringgossip.simulation import read_story

    with NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        return read_story(Path(file.name))


def selfplay(peers: int, minutes: int) -> Row:
    """Whole peers, each of which publishes 16 chunks a minute."""
    from ringgossip.simulation import run_story

    safety = 60 * minutes
    run = run_story(story_from(SELFPLAY.format(peers=peers, safety=safety, until=safety - 60)), 1)
    assert run.passed, [each for each in run.promises if not each.passed] or run.crash
    events, copies = run.measures["events"], run.measures["copies"]
    return Row(time.process_time(), f"{events:.0f} events, {copies:.0f} copies")


def stories(count: int) -> Row:
    """Small stories of whole peers, each with the faults that its seed draws; in stories a second."""
    from ringgossip.simulation import run_story

    story = story_from(SMALL)
    run_story(story, 10**6)
    begun, virtual = time.process_time(), 0.0
    for seed in range(count):
        run = run_story(story, seed)
        assert run.passed, (seed, run.failure, run.crash)
        virtual += run.measures["virtual_seconds"]
    return Row(count / (time.process_time() - begun), f"{count} seeds, {virtual / count:.0f} virtual s each")


def suite(jobs: int, runs_at_least: int, most: int | None) -> Row:
    """What CI tells: every story of `simulations/`, made small, as many seeds of each; wall seconds."""
    from ringgossip.simulation import read_story
    from ringgossip.simulation.engines import engine
    from ringgossip.simulation.sweep import sweep

    begun, runs = time.monotonic(), 0
    paths = sorted((ROOT / "simulations").glob("*.yaml"))[:most]
    # A number of seeds for each story would make the row dearer with every story that is added.
    seeds = -(-runs_at_least // len(paths))
    with engine(jobs=jobs) as executor:
        for path in paths:
            story = read_story(path)
            if story.quick is not None:
                story = story.scaled(story.quick)
            batch = sweep(story, range(seeds), executor, jobs=jobs)
            runs += len(batch.outcomes)
            assert not batch.failed and not batch.differing, (story.name, batch.failed, batch.differing)
    return Row(time.monotonic() - begun, f"{runs} seeds")


@dataclass(frozen=True)
class Case:
    """One row of the table: how it is run, small and in full, and what it must reach."""

    what: str
    full: Callable[[], Row]
    quick: Callable[[], Row]
    unit: str  # "s" has a most, "/s" a least
    target: float
    peak: int | None = None  # MB


CASES = {
    "real": Case(
        "membership, real codec, N=1000, 60 s",
        lambda: members(1000, "real", 60),
        lambda: members(60, "real", 20),
        "CPU s", 3.0, 120,
    ),
    "sized": Case(
        "membership, sized wire, N=2000, 60 s",
        lambda: members(2000, "sized", 60),
        lambda: members(80, "sized", 20),
        "CPU s", 20.0, 400,
    ),
    "selfplay": Case(
        "whole peers, N=50, 10 minutes of self-play",
        lambda: selfplay(50, 10),
        lambda: selfplay(8, 2),
        "CPU s", 60.0,
    ),
    "stories": Case(
        "small stories, 5 whole peers, faults", lambda: stories(40), lambda: stories(3), "/s", 8.0
    ),
    "suite": Case(
        "all stories made small, 200 seeds or a few more, 2 jobs",
        lambda: suite(2, 200, None),
        lambda: suite(1, 4, 4),
        "s", 90.0,
    ),
}  # fmt: skip


def run_here(name: str, quick: bool) -> None:
    """Run one case in this process and say what came of it."""
    case = CASES[name]
    row = case.quick() if quick else case.full()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MB
    print(json.dumps({"value": row.value, "done": row.done, "peak": peak}))


def line(name: str, quick: bool) -> tuple[list[str], bool]:
    """Run one case in a process of its own; return its line, and whether it reached its target."""
    case = CASES[name]
    command = [sys.executable, __file__, "--case", name, *(["--quick"] if quick else [])]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if said.returncode:
        sys.exit(f"{case.what}: it ended with {said.returncode}")
    found = json.loads(said.stdout)
    value, peak = found["value"], found["peak"]
    ratio = case.target / value if case.unit == "/s" else value / case.target
    good = ratio <= 1 and (case.peak is None or peak <= case.peak)
    sign = ">=" if case.unit == "/s" else "<="
    memory = f"{peak:.0f}" + ("" if case.peak is None else f" (<= {case.peak})")
    cells = [case.what if not quick else name, f"{value:.2f} {case.unit}"]
    if quick:
        return [*cells, memory, "", "", found["done"]], True
    return [*cells, memory, f"{sign} {case.target:g}", f"{ratio:.2f}", found["done"]], good


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=CASES, action="append", help="this row; may be given again")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        run_here(options.case, options.quick)
        return 0
    lines = [line(name, options.quick) for name in options.only or CASES]
    print(table(["what", "measured", "peak MB", "target", "of it", "done"], [cells for cells, _ in lines]))
    missed = sum(not good for _, good in lines)
    if missed:
        print(f"{missed} of {len(lines)} targets missed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
