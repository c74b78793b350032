"""`ringgossip transfers`: what is this peer pulling now?"""

from pathlib import Path
from typing import Any

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option, json_option
from ringgossip.cli.output import bytes_text, emit, rate_text, table


@click.command("transfers")
@data_option
@json_option
def command(data: Path | None, as_json: bool) -> None:
    """Show what the local peer is pulling: from whom, how much of it, how fast."""
    with local_client(data) as client:
        transfers = client.transfers()
    emit({"transfers": transfers}, as_json, lambda: _table(transfers))


def _table(transfers: list[dict[str, Any]]) -> str:
    if not transfers:
        return "Nothing is being pulled."
    return table(
        ("artifact", "done", "of", "%", "rate", "from"),
        [
            (
                entry["artifact"],
                bytes_text(entry["done"]),
                bytes_text(entry["total"]),
                f"{100 * entry['done'] / entry['total']:.0f}" if entry["total"] else "100",
                rate_text(entry["bytes_per_second"]),
                ", ".join(entry["from"]) or "nobody yet",
            )
            for entry in transfers
        ],
        right=("done", "of", "%", "rate"),
    )
