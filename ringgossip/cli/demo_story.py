"""What happens in the demo? The steps in their order, and what each of them proves.

A writer fills a game database the whole time. One peer publishes it again and
again; others publish a checkpoint and an npz. One peer is killed while it
pulls the checkpoint, and started again. Then everybody must hold the same.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringgossip.cli.demo_checks import (
    Check,
    catalogs,
    same_bytes,
    same_records,
    settled,
    whole_databases,
)
from ringgossip.cli.demo_cluster import Cluster, Node, wait_until
from ringgossip.cli.demo_games import add_games, create_games_db, read_committed
from ringgossip.cli.demo_matter import write_checkpoint, write_npz
from ringgossip.client import Receipt
from ringgossip.errors import OperationFailed, RinggossipError, SnapshotPostponed

CHECKPOINT = "canonical_hex8_2p.pth"
ARRAYS = "hex8_2p.npz"
GAMES = "selfplay.db"
CHECKPOINT_BYTES = 40_000_000
_NPZ_ROWS = 4000
_GAMES_BEFORE = 2000
_MOST_KILLS = 4
_LEAST_PUBLICATIONS = 3  # of the live database, each with a copy on everybody
# Seconds for one of them: a tenth of it is enough on a quiet machine; on a busy one a version that
# is replaced before it arrived would be told as a failure of the peers.
_GAMES_PATIENCE = 12.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Measures:
    """What was measured on the way; bytes and seconds."""

    copied: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # kind -> (copies, seconds)
    publications: int = 0
    received_before_kills: int = 0
    checkpoint_seconds: float = 0.0
    restart_seconds: float = 0.0
    killed_at: str = ""


class Story:
    """One run. `tell` does everything and returns the verdict's checks."""

    def __init__(self, cluster: Cluster, seconds: float, say: Say) -> None:
        self.cluster = cluster
        self.seconds = seconds
        self.say = say
        self.measures = Measures()
        self.matter = cluster.folder / "matter"
        self.log = self.matter / "committed.log"
        self._stop = threading.Event()
        self._failures: list[str] = []

    @property
    def nodes(self) -> list[Node]:
        return self.cluster.nodes

    def tell(self) -> list[Check]:
        """Play all steps. Raises `OperationFailed` when one cannot even begin."""
        began = time.monotonic()
        checks: list[Check] = []
        self._start()
        writer = self._begin_to_write()
        publishing = threading.Thread(target=self._publish_games, name="publish games", daemon=True)
        publishing.start()
        try:
            checks.append(self._share_checkpoint())
            checks.append(self._kill_while_pulling())
            checks.append(self._share_arrays())
            # The live database goes on changing and being published until the time is up.
            self._stop.wait(max(0.0, self.seconds - (time.monotonic() - began)))
            wait_until(lambda: len(self.measures.copied.get("games", ())) >= _LEAST_PUBLICATIONS, 20.0)
        finally:
            self._stop.set()
            publishing.join(60.0)
        self.say(f"published {GAMES} {self.measures.publications} times while it was written to")
        checks += self._judge()
        checks.append(
            Check(
                "the writer was never stopped",
                writer.poll() is None,
                f"{len(read_committed(self.log))} commits, and it goes on"
                if writer.poll() is None
                else f"it ended with exit code {writer.poll()}",
            )
        )
        checks.append(self._goodbye())
        return checks

    def bytes_moved(self) -> int:
        """Return how many bytes of chunks all peers received, the killed ones included."""
        return self.measures.received_before_kills + sum(node.received() for node in self.nodes)

    # --- the steps -----------------------------------------------------------------------

    def _start(self) -> None:
        began = time.monotonic()
        self.matter.mkdir()
        self.cluster.enroll()
        self.cluster.start()
        if not wait_until(self.cluster.know_each_other, 20.0):
            raise OperationFailed("the peers do not find each other: see the logs with --keep DIR")
        self.say(f"{len(self.nodes)} peers run and know each other after {time.monotonic() - began:.1f} s")

    def _begin_to_write(self) -> Any:
        import random

        database = create_games_db(self.matter / GAMES)
        add_games(database, _GAMES_BEFORE, random.Random(7))
        database.close()
        writer = self.cluster.run(
            "ringgossip.cli.demo_games", self.matter / GAMES, "--log", self.log, "--seconds", 600
        )
        if not wait_until(lambda: bool(read_committed(self.log)), 20.0):
            raise OperationFailed("the writer of the demo does not write")
        size = (self.matter / GAMES).stat().st_size
        self.say(f"a writer fills {GAMES} ({size / 1e6:.0f} MB, WAL) in small commits")
        return writer

    def _publish_games(self) -> None:
        """Publish the live database again and again, until the story says stop."""
        while not self._stop.is_set():
            try:
                self._publish(
                    self.nodes[0],
                    "games",
                    self.matter / GAMES,
                    timeout=_GAMES_PATIENCE,
                    board_type="hex8",
                    num_players=2,
                )
                self.measures.publications += 1
            except SnapshotPostponed:
                # Rather later than in the writer's way; that is what it is for.
                pass
            except RinggossipError as error:
                self._failures.append(f"publishing {GAMES}: {error}")
            self._stop.wait(0.3)

    def _publish(self, node: Node, kind: str, path: Path, timeout: float, **options: Any) -> Receipt:
        began = time.monotonic()
        copies = len(self.nodes) - 1
        receipt = node.client.publish(kind, path, copies=copies, timeout=timeout, **options)
        if receipt.copies >= copies:
            self.measures.copied.setdefault(kind, []).append((copies, time.monotonic() - began))
        return receipt

    def _share_checkpoint(self) -> Check:
        write_checkpoint(self.matter / CHECKPOINT, CHECKPOINT_BYTES)
        began = time.monotonic()
        receipt = self._publish(self.nodes[1], "models", self.matter / CHECKPOINT, timeout=30.0)
        seconds = self.measures.checkpoint_seconds = time.monotonic() - began
        rate = receipt.copies * receipt.artifact.size / seconds / 1e6
        self.say(f"{CHECKPOINT}: {receipt.copies} verified copies after {seconds:.2f} s, {rate:.0f} MB/s")
        return _received("a checkpoint of 40 MB reaches everybody", receipt, seconds)

    def _kill_while_pulling(self) -> Check:
        """Kill the last peer with SIGKILL in the middle of a new checkpoint, and start it again."""
        victim, author = self.nodes[-1], self.nodes[1]
        answer: list[Receipt] = []
        seen: tuple[int, int] | None = None
        for _ in range(_MOST_KILLS):
            write_checkpoint(self.matter / CHECKPOINT, CHECKPOINT_BYTES)
            before = victim.received()
            began = time.monotonic()
            # Only after this one is on everybody: the killed peer's return included.
            answer = []
            publishing = threading.Thread(target=self._publish_again, args=(author, answer), daemon=True)
            publishing.start()
            seen = self._catch_in_the_middle(victim, publishing)
            if seen is not None:
                break
            publishing.join(45.0)
        if seen is None:
            return Check("a peer is killed while it pulls, and comes back", False, "never caught it pulling")
        victim.kill()
        self.measures.received_before_kills += before + seen[0]
        at = f"{seen[0] / 1e6:.0f} of {seen[1] / 1e6:.0f} MB"
        self.say(f"{victim.name} killed with SIGKILL when it had {at} of {CHECKPOINT}")
        started = time.monotonic()
        victim.start()
        victim.wait_ready()
        self.measures.restart_seconds = time.monotonic() - started
        self.say(f"{victim.name} runs again after {self.measures.restart_seconds:.1f} s")
        publishing.join(45.0)
        if not answer:
            why = (self._failures or ["no receipt came"])[-1]
            return Check("a peer is killed while it pulls, and comes back", False, why)
        check = _received(
            "a peer is killed while it pulls, and comes back", answer[0], time.monotonic() - began
        )
        return Check(check.name, check.passed, f"SIGKILL at {at}; then {check.detail}")

    def _publish_again(self, author: Node, answer: list[Receipt]) -> None:
        """In a thread: publish the checkpoint; without an answer the check says what went wrong."""
        try:
            receipt = author.client.publish(
                "models", self.matter / CHECKPOINT, copies=len(self.nodes) - 1, timeout=40.0
            )
            answer.append(receipt)
        except RinggossipError as error:
            self._failures.append(f"publishing {CHECKPOINT}: {error}")

    def _catch_in_the_middle(self, victim: Node, publishing: threading.Thread) -> tuple[int, int] | None:
        """Return (done, total) once the victim has a part of the checkpoint; None if it was too quick."""
        end = time.monotonic() + 30.0
        while publishing.is_alive() and time.monotonic() < end:
            pulled = victim.pulled(CHECKPOINT)
            if pulled is not None and pulled[1] / 4 <= pulled[0] < pulled[1]:
                return pulled
            time.sleep(0.001)
        return None

    def _share_arrays(self) -> Check:
        write_npz(self.matter / ARRAYS, _NPZ_ROWS)
        began = time.monotonic()
        author = self.nodes[2 % len(self.nodes)]
        receipt = self._publish(author, "npz", self.matter / ARRAYS, timeout=30.0)
        seconds = time.monotonic() - began
        self.say(f"{ARRAYS}: {receipt.copies} verified copies after {seconds:.2f} s")
        return _received("an npz reaches everybody", receipt, seconds)

    # --- the end -------------------------------------------------------------------------

    def _judge(self) -> list[Check]:
        began = time.monotonic()
        wait_until(lambda: settled(self.nodes, artifacts=3), 30.0)
        self.say(f"everything is still after {time.monotonic() - began:.1f} s; every file is read again")
        views = catalogs(self.nodes)
        games = f"games/{self.nodes[0].name}/{GAMES}"
        sources = {
            f"models/{self.nodes[1].name}/{CHECKPOINT}": self.matter / CHECKPOINT,
            f"npz/{self.nodes[2 % len(self.nodes)].name}/{ARRAYS}": self.matter / ARRAYS,
        }
        known = wait_until(self.cluster.know_each_other, 20.0)
        return [
            Check("everybody sees everybody", known, f"{len(self.nodes)} peers, each alive to all"),
            same_records(views),
            *same_bytes(views, sources),
            whole_databases(views, games, lambda: read_committed(self.log)),
            self._live_database_published_often(),
        ]

    def _live_database_published_often(self) -> Check:
        spread = self.measures.copied.get("games", [])
        times = sorted(seconds for _, seconds in spread)
        middle = f", the middle one {times[len(times) // 2]:.2f} s from publish to last copy" if times else ""
        return Check(
            "the live database is published again and again",
            len(times) >= _LEAST_PUBLICATIONS and not self._failures,
            "; ".join(self._failures[:3])
            or f"{self.measures.publications} versions, {len(times)} of them on everybody at once{middle}",
        )

    def _goodbye(self) -> Check:
        self._moved = self.bytes_moved()
        began = time.monotonic()
        for node in self.nodes:
            node.leave()
        codes = {node.name: node.ended(max(0.1, 10.0 - (time.monotonic() - began))) for node in self.nodes}
        wrong = [
            f"{name}: {'still running' if code is None else f'exit {code}'}"
            for name, code in codes.items()
            if code != 0
        ]
        seconds = time.monotonic() - began
        return Check(
            "every peer leaves at SIGTERM", not wrong, "; ".join(wrong) or f"exit 0 after {seconds:.1f} s"
        )

    @property
    def moved(self) -> int:
        """The bytes moved, counted before the peers left."""
        return self._moved


def _received(name: str, receipt: Receipt, seconds: float) -> Check:
    missing = f"; missing on {', '.join(receipt.missing)}" if receipt.missing else ""
    return Check(
        name,
        receipt.copies >= receipt.wanted,
        f"{receipt.copies} of {receipt.wanted} copies {seconds:.2f} s after publish{missing}",
    )
