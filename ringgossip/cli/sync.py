"""`ringgossip sync KIND`: bring artifacts to nodes, and say of each what became of it."""

import time
from pathlib import Path
from typing import Any

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option, json_option
from ringgossip.cli.output import bytes_text, emit, note, rate_text, seconds_text, table

_MOST_SHOWN = 50


@click.command("sync")
@click.argument("kind")
@click.option("--targets", metavar="A,B|all", default="all", show_default=True, help="Nodes to bring it to.")
@click.option("--board-type", metavar="B", help="Only of this board.")
@click.option("--num-players", metavar="N", type=int, help="Only for so many players.")
@click.option(
    "--priority",
    metavar="P",
    default="normal",
    show_default=True,
    help="background, low, normal, high or critical.",
)
@click.option("--from", "source_node", metavar="NODE", help="Bring here what NODE holds, instead.")
@click.option("--exclude", metavar="A,B", default="", help="Nodes to leave out.")
@click.option("--bandwidth", metavar="BYTES", type=float, help="Bytes a second that each target may pull.")
@click.option("--timeout", metavar="S", type=float, help="Give up after so long (sync_timeout_seconds).")
@click.option("--wait", is_flag=True, help="Show rate and time left until it is done.")
@data_option
@json_option
def command(
    kind: str,
    targets: str,
    board_type: str | None,
    num_players: int | None,
    priority: str,
    source_node: str | None,
    exclude: str,
    bandwidth: float | None,
    timeout: float | None,
    wait: bool,
    data: Path | None,
    as_json: bool,
) -> int:
    """Bring artifacts of KIND (games, models, npz or all) to nodes.

    It ends when every artifact is where it should be, or cannot be: then it says
    why for each and exits with 1. What was asked for stays asked for, and comes
    when it can.
    """
    with local_client(data) as client:
        result = client.sync(
            kind,
            None if source_node else _names(targets),
            board_type=board_type,
            num_players=num_players,
            priority=priority,
            source_node=source_node,
            exclude_nodes=_names(exclude),
            bandwidth_limit=bandwidth,
            timeout=timeout,
            progress=_Pace() if wait else None,
        )
    emit(result, as_json, lambda: _text(result))
    return 0 if result["success"] else 1


def _names(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


class _Pace:
    """Tells rate and time left on standard error, once a second."""

    def __init__(self) -> None:
        self._began = self._told = time.monotonic()
        self._first: int | None = None

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now < self._told + 1.0:
            return
        self._told = now
        rate = (done - self._first) / (now - self._began)
        left = f", {seconds_text((total - done) / rate)} left" if rate > 0 and total > done else ""
        note(f"{bytes_text(done)} of {bytes_text(total)}, {rate_text(rate)}{left}")


def _text(result: dict[str, Any]) -> str:
    details = result["details"]
    lines = [f"{details['message']}."]
    if result["bytes_transferred"]:
        moved = bytes_text(result["bytes_transferred"])
        lines[0] = f"{details['message']}; {moved} in {seconds_text(result['duration_seconds'])}."
    bad = [item for item in details["items"] if item["outcome"] not in ("moved", "already_present")]
    if bad:
        shown = [[item["artifact"], item["target"], item["outcome"]] for item in bad[:_MOST_SHOWN]]
        lines.append(table(["artifact", "target", "outcome"], shown))
        if len(bad) > _MOST_SHOWN:
            lines.append(f"and {len(bad) - _MOST_SHOWN} more")
    return "\n".join(lines)
