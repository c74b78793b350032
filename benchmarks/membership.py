#!/usr/bin/env python3
"""How soon does a cluster of real peers agree who is there? targets.md, 3.

python benchmarks/membership.py            50 peers, 5 rounds
python benchmarks/membership.py --quick    6 peers, 1 round: a self-check

All peers run in this one process, as those that targets.md compares with: real
sockets, TLS, stores and files, one core for all of them. The one that crashes is
a process of its own, and gets SIGKILL. Partitions are in `tests/protocol/`, in
virtual time: loopback cannot be cut without root.

Join is not met: 1.9 to 2.8 s once all are open. Of what the one core does in a join a third is verifying
2,450 cards (132 us each), a quarter datagrams, a fifth 49 handshakes. To open fifty stores takes 1.4 s
before that, mostly in their threads. News reaches all in one hop: the median hears of it in the very turn
of the loop in which the last does, so in one process both are what one turn of all peers takes.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import trio
from _cluster import free_port, scratch, table

from ringgossip import PeerConfig
from ringgossip.events import ArtifactAnnounced
from ringgossip.identity import Address
from ringgossip.identity.authority import create_cluster, enroll
from ringgossip.runtime.opening import open_runtime_peer
from ringgossip.runtime.peer import Peer

LOOK = 0.002


MUST = {
    "others join one at once: all see all, since the last is open": "1.5 / 5",
    "the same, since the first began to open": "",
    "one piece of news: median member": "0.02",
    "one piece of news: last member": "0.2",
    "graceful leave: all see it": "0.2",
    "restart, same name: all see it": "0.3",
    "crash: the last one sees it": "8.6 / 12",
}


class Opened:
    """One peer of this process, which can leave and come back."""

    def __init__(self, config: PeerConfig) -> None:
        self.config = config
        self.peer: Peer | None = None
        self._scope = trio.CancelScope()
        self.gone = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._scope, self.gone = trio.CancelScope(), trio.Event()
        with self._scope:
            async with open_runtime_peer(self.config, embedded=False) as self.peer:
                task_status.started()
                await trio.sleep_forever()
        self.peer = None
        self.gone.set()

    async def leave(self) -> None:
        self._scope.cancel()
        await self.gone.wait()

    def state(self, name: str) -> str:
        assert self.peer is not None
        return next((member.state for member in self.peer.members() if member.name == name), "unknown")

    def alive(self) -> int:
        return 0 if self.peer is None else sum(member.state == "alive" for member in self.peer.members())


class Bench:
    """A cluster of `count` peers, and one more that can be killed."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        create_cluster(folder / "authority", "bench")
        self._port = free_port()
        self.all = [Opened(self._config(f"node-{n}", 0 if n else self._port)) for n in range(count)]
        self._config("victim", 0)

    def _config(self, name: str, port: int) -> PeerConfig:
        credentials = enroll(self._folder / "authority", name, self._folder / f"{name}-credentials")
        return PeerConfig(
            cluster="bench",
            node=name,
            data=self._folder / name,
            credentials=credentials,
            listen=Address("127.0.0.1", port),
            seeds=(Address("127.0.0.1", self._port),),
            want=(),
        )

    async def join(self, nursery: trio.Nursery) -> tuple[float, float]:
        """Open the seed, then all others at once.

        Return the seconds until all see all, since the last of them is open and since the first began to
        open: making fifty stores on disk, synced, is no part of what others measure.
        """
        await nursery.start(self.all[0].run)
        start = trio.current_time()
        for opened in self.all[1:]:
            nursery.start_soon(opened.run)
        count, missing, last_open = len(self.all), list(self.all), start

        def all_see_all() -> bool:
            nonlocal last_open
            if not all(one.peer for one in self.all):
                last_open = trio.current_time()
            # To look costs as much as a packet: at one who lacks somebody until he does not.
            while missing and missing[-1].alive() == count:
                missing.pop()
            return not missing

        await self._until(all_see_all, "all to see all")
        now = trio.current_time()
        return now - last_open, now - start

    async def news(self, nursery: trio.Nursery, number: int) -> tuple[float, float]:
        """Publish something; return how long after its origin the median and the last peer heard of it."""
        path = self._folder / "news.pth"
        path.write_bytes(f"news {number}".encode())
        origin = self.all[number % len(self.all)].peer
        assert origin is not None
        name = f"news-{number}.pth"
        heard: list[float] = []

        async def listen(peer: Peer, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with peer.listen() as events:
                task_status.started()
                async for event in events:
                    if isinstance(event, ArtifactAnnounced) and event.artifact.endswith(name):
                        heard.append(trio.current_time())
                        return

        with trio.move_on_after(120.0):
            async with trio.open_nursery() as listening:
                for opened in self.all:
                    assert opened.peer is not None
                    await listening.start(listen, opened.peer)
                nursery.start_soon(partial(origin.publish, "models", path, name=name))
        if len(heard) < len(self.all):
            raise SystemExit("waited 120 s for all to hear the news")
        first, *others = heard
        await trio.sleep(1.0)  # until nothing more is told of it
        return median(others) - first, others[-1] - first

    async def leave(self, opened: Opened, nursery: trio.Nursery) -> float:
        """Let one say goodbye; return the seconds until all others know."""
        start = trio.current_time()
        nursery.start_soon(opened.leave)
        return await self._seen(opened, "left") - start

    async def restart(self, opened: Opened, nursery: trio.Nursery) -> float:
        """Open one again; return the seconds from when it is open until all others know."""
        await opened.gone.wait()
        async with trio.open_nursery() as watching:
            seen = 0.0

            async def watch() -> None:
                nonlocal seen
                seen = await self._seen(opened, "alive")

            watching.start_soon(watch)
            await nursery.start(opened.run)
            opened_at = trio.current_time()
        return max(0.0, seen - opened_at)

    async def _seen(self, whom: Opened, state: str) -> float:
        """Wait until all others say so of one; return when it was."""
        others = [opened for opened in self.all if opened is not whom]
        name = whom.config.node
        await self._until(lambda: all(o.state(name) == state for o in others), f"{name} to be {state} to all")
        return trio.current_time()

    async def crash(self) -> float:
        """Kill a peer of its own process; return the seconds until the last one says that it is dead."""
        config = self._folder / "victim.yaml"
        config.write_text(
            f"cluster: bench\nnode: victim\ndata: {self._folder / 'victim'}\n"
            f"credentials: {self._folder / 'victim-credentials'}\nlisten: 127.0.0.1:{free_port()}\n"
            f"seeds: ['127.0.0.1:{self._port}']\nwant: []\n"
        )
        with (self._folder / "victim.log").open("ab") as log:
            victim = subprocess.Popen(
                [sys.executable, "-m", "ringgossip", "peer", "--config", config], stdout=log, stderr=log
            )
        try:
            await self._until(lambda: all(o.state("victim") == "alive" for o in self.all), "a victim to join")
            await trio.sleep(2.0)
            start = trio.current_time()
            victim.send_signal(signal.SIGKILL)
            await self._until(lambda: all(o.state("victim") == "dead" for o in self.all), "its death")
            return trio.current_time() - start
        finally:
            victim.kill()
            victim.wait()

    def datagrams(self) -> int:
        """Return how many all have sent."""
        return sum(opened.peer.counters.get("datagrams_sent", 0) for opened in self.all if opened.peer)

    async def _until(self, true: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
        with trio.move_on_after(seconds):
            while not true():
                await trio.sleep(LOOK)
            return
        raise SystemExit(f"waited {seconds:.0f} s for {what}")


async def measured(folder: Path, count: int, rounds: int, idle: float) -> dict[str, list[float]]:
    """Return the seconds of each round, by what was measured, and what a peer costs when nothing happens."""
    figures: dict[str, list[float]] = {name: [] for name in MUST}
    join, join_all, middle, last, leave, restart, crash = figures.values()
    for number in range(rounds):
        (folder / str(number)).mkdir()
        bench = Bench(folder / str(number), count)
        async with trio.open_nursery() as nursery:
            seconds = await bench.join(nursery)
            join.append(seconds[0])
            join_all.append(seconds[1])
            print(f"round {number + 1}: joined in {join[-1]:.2f} s", flush=True)
            await trio.sleep(15.0 if count > 10 else 2.0)  # all links are open
            if number == 0:
                used, start = time.process_time(), trio.current_time()
                sent = bench.datagrams()
                await trio.sleep(idle)
                passed = (trio.current_time() - start) * count
                cost = 1000 * (time.process_time() - used) / passed, (bench.datagrams() - sent) / passed
                print("idle: {:.2f} ms CPU (at most 1.5) and {:.2f} datagrams (3) a peer and s".format(*cost))
            for turn in range(5):
                heard = await bench.news(nursery, turn)
                middle.append(heard[0])
                last.append(heard[1])
            one = bench.all[-1]
            leave.append(await bench.leave(one, nursery))
            restart.append(await bench.restart(one, nursery))
            crash.append(await bench.crash())
            nursery.cancel_scope.cancel()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", type=int)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    count = options.peers or (6 if options.quick else 50)
    rounds = options.rounds or (1 if options.quick else 5)
    with scratch(None) as folder:
        figures = trio.run(measured, folder, count, rounds, 3.0 if options.quick else 20.0)
    print(f"{count} real peers in one process, {rounds} rounds; seconds")
    rows = [[name, f"{median(seen):.3f}", f"{max(seen):.3f}", MUST[name]] for name, seen in figures.items()]
    print(table(["what", "median", "worst", "at most"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
