"""What does a person see while the demo runs? A table of the peers that moves, above it what has happened.

Only on a terminal; elsewhere what happens is told line by line. Everything on
it comes from the peers' own answers.
"""

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from ringgossip.cli.output import bytes_text, note, rate_text
from ringgossip.errors import RinggossipError

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from ringgossip.cli.demo_cluster import Node

_REFRESH_SECONDS = 0.25


class Screen:
    """Tells lines with the time since the start; a context manager. `watch` adds the table."""

    def __init__(self, shown: bool) -> None:
        self._began = time.monotonic()
        self._shown = shown
        self._live: Live | None = None
        self._nodes: Sequence[Node] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="screen", daemon=True)

    def say(self, text: str) -> None:
        """Tell what has happened."""
        line = f"[{time.monotonic() - self._began:5.1f} s] {text}"
        if self._live is None:
            note(line)
        else:
            self._live.console.print(line, markup=False, highlight=False)

    def watch(self, nodes: "Sequence[Node]") -> None:
        """Show these peers from now on."""
        self._nodes = nodes

    def __enter__(self) -> "Screen":
        if self._shown:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._stop.set()
            self._thread.join(2.0)
            self._live.stop()

    def _refresh(self) -> None:
        while not self._stop.wait(_REFRESH_SECONDS):
            if self._live is not None:
                self._live.update(self._table(), refresh=True)

    def _table(self) -> "Table":
        from rich.table import Table

        table = Table("peer", "state", "members", "whole", "received", "pulling")
        for node in self._nodes:
            table.add_row(node.name, *_row(node))
        return table


def _row(node: "Node") -> tuple[str, ...]:
    if not node.running:
        return ("not running", "", "", "", "")
    try:
        status, transfers = node.client.status(), node.client.transfers()
    except RinggossipError:
        return ("starting", "", "", "", "")
    pulling = ", ".join(
        f"{entry['artifact'].rpartition('/')[2]} {100 * entry['done'] // max(1, entry['total'])} % "
        f"at {rate_text(entry['bytes_per_second'])}"
        for entry in transfers
    )
    return (
        status["status"],
        str(status["members"]["alive"]),
        f"{status['sync']['artifacts'] - status['sync']['missing']} of {status['sync']['artifacts']}",
        bytes_text(status["counters"]["chunk_bytes_received"]),
        pulling,
    )
