"""`ringgossip drain`: bring what only this node holds to others, before its machine goes away."""

from pathlib import Path
from typing import Any

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option, json_option
from ringgossip.cli.output import emit, seconds_text, table


@click.command("drain")
@click.option("--deadline", metavar="S", type=float, help="How long it may take (drain_seconds).")
@data_option
@json_option
def command(deadline: float | None, data: Path | None, as_json: bool) -> int:
    """Copy what has too few copies elsewhere, the most endangered first.

    Exit code 1 when something still has fewer copies than wanted at the end.
    """
    with local_client(data) as client:
        result = client.drain(deadline)
    emit(result, as_json, lambda: text_of(result))
    return 0 if result["complete"] else 1


def text_of(result: dict[str, Any]) -> str:
    """Return the report for a person."""
    took = seconds_text(result["duration_seconds"])
    below = result["below"]
    if not below:
        return f"Everything is safe: {result['copied']} artifacts were copied in {took}."
    rows = [[short["artifact"], short["copies"], short["wanted"]] for short in below[:50]]
    more = f"\nand {len(below) - 50} more" if len(below) > 50 else ""
    shown = table(["artifact", "copies elsewhere", "wanted"], rows)
    return f"{result['copied']} artifacts were copied in {took}; {len(below)} have too few:\n{shown}{more}"
