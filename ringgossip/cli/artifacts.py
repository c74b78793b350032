"""`ringgossip artifacts`: what exists, which of it is here, and who else holds it?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option, json_option
from ringgossip.cli.output import bytes_text, emit, table

if TYPE_CHECKING:
    from ringgossip.client import Artifact


@click.command("artifacts")
@click.argument("kind", required=False)
@click.option("--board-type", metavar="B", help="Only those of this board.")
@click.option("--num-players", metavar="N", type=int, help="Only those of so many players.")
@click.option("--all", "unlisted", is_flag=True, help="Also what was withdrawn, or its node retired.")
@data_option
@json_option
def command(
    kind: str | None,
    board_type: str | None,
    num_players: int | None,
    unlisted: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """Show the catalog: every artifact of the cluster, or those of one KIND."""
    filters: dict[str, Any] = {"board_type": board_type, "num_players": num_players}
    with local_client(data) as client:
        given = {name: value for name, value in filters.items() if value is not None}
        found = client.artifacts(kind, unlisted=unlisted, **given)
    emit({"artifacts": [entry._asdict() for entry in found]}, as_json, lambda: _table(found))


def _here(entry: "Artifact") -> str:
    if entry.via:
        return f"at {entry.via}'s place"
    return "yes" if entry.complete else "no"


def _table(found: "list[Artifact]") -> str:
    if not found:
        return "Nothing was published yet."
    return table(
        ("artifact", "version", "size", "here", "holders"),
        [
            (
                entry.text,
                entry.sequence,
                bytes_text(entry.size),
                entry.unlisted or _here(entry),
                ", ".join(entry.holders) or "nobody known",
            )
            for entry in sorted(found, key=lambda entry: entry.text)
        ],
        right=("version", "size"),
    )
