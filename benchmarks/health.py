#!/usr/bin/env python3
"""Does `/health` answer at once while a peer works? Field notes, incident 10: within 50 ms under full load.

Two peers. One snapshots and publishes a live database that a writer fills, and
hashes files, again and again; the other pulls, proves and syncs all of it. Both
are asked for `/health` every 20 ms, idle first, and so is a bare server of the
standard library that does nothing else: with two cores there is more to do than
can be done at once, and what it takes is what the kernel makes everybody wait.

python benchmarks/health.py            30 s of load, files of 256 MiB
python benchmarks/health.py --quick    5 s, files of 32 MiB: a self-check
"""

import argparse
import contextlib
import http.client
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from _cluster import RunningPeer, cluster, free_port, random_file, scratch, table, wait_until

MOST = 0.050
PAUSE = 0.02


BARE = """
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"well")
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""


def ask(port: int) -> float:
    """Return the seconds of one answer."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/health")
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"/health answered {answer.status}: {told.decode()}")
    return time.perf_counter() - began


@contextlib.contextmanager
def bare_server(port: int) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port)])
    try:
        wait_until(lambda: _answers(port), 10.0, "the bare server")
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return ask(port) >= 0
    except OSError:
        return False


def sample(ports: dict[str, int], seconds: float) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ports}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, port in ports.items():
            found[name].append(ask(port))
        time.sleep(PAUSE)
    return {name: sorted(times) for name, times in found.items()}


def until(over: threading.Event, work: Callable[[int], None]) -> threading.Thread:
    """Do some work again and again, in a thread."""

    def run() -> None:
        number = 0
        while not over.is_set():
            number += 1
            work(number)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def load(folder: Path, giver: RunningPeer, size: int, over: threading.Event) -> list[threading.Thread]:
    """Let the giver snapshot a live database and hash files all the time."""
    path = folder / "live.db"
    file = folder / "arrays.npz"
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE moves (id INTEGER PRIMARY KEY, body BLOB)")

    def write(number: int) -> None:
        database = sqlite3.connect(path, timeout=60)
        with database:
            database.executemany("INSERT INTO moves (body) VALUES (randomblob(4000))", [()] * 256)
        database.close()
        time.sleep(0.05)

    def publish_database(number: int) -> None:
        giver.client.publish("games", path, timeout=120)

    def publish_file(number: int) -> None:
        random_file(folder / "arrays.new", size)
        (folder / "arrays.new").replace(file)
        giver.client.publish("models", file, name=f"{number % 4}.pth", replace=True, timeout=120)

    return [until(over, work) for work in (write, publish_database, publish_file)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    seconds, size = (5.0, 2**25) if quick else (30.0, 2**28)
    ports = {"the giver": free_port(), "the taker": free_port()}
    statuses = [f"127.0.0.1:{port}" for port in ports.values()]
    ports["a bare server"] = free_port()
    with (
        scratch(None) as folder,
        cluster(folder, 2, statuses=statuses) as peers,
        bare_server(ports["a bare server"]),
    ):
        idle = sample(ports, seconds / 3)
        over = threading.Event()
        threads = load(folder, peers[0], size, over)
        try:
            time.sleep(1.0)
            before = [peer.cpu() for peer in peers]
            began = time.monotonic()
            busy = sample(ports, seconds)
            took = time.monotonic() - began
            cores = [(peer.cpu() - cpu) / took for peer, cpu in zip(peers, before, strict=True)]
            moved = peers[1].client.status()["counters"]["chunk_bytes_received"]
        finally:
            over.set()
            for thread in threads:
                thread.join()
    rows = []
    for name, used in zip(ports, [*cores, 0.0], strict=True):
        calm, hard = idle[name], busy[name]
        within = sum(one <= MOST for one in hard) / len(hard)
        slow = f"{1000 * hard[int(0.99 * len(hard))]:.0f} ms", f"{1000 * hard[-1]:.0f} ms"
        ratio = hard[len(hard) // 2] / calm[len(calm) // 2]
        median = f"{1000 * hard[len(hard) // 2]:.1f} ms", f"{ratio:.1f} of idle"
        rows.append([name, f"{used:.2f} cores", *median, *slow, f"{100 * within:.1f} %"])
    print(table(["/health of", "busy with", "median", "ratio", "99 in 100", "slowest", "within 50 ms"], rows))
    print(f"{moved / 1e6:.0f} MB moved meanwhile; {sum(map(len, busy.values()))} answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
