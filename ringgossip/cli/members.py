"""`ringgossip members`: who is there?"""

from pathlib import Path
from typing import Any

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option, json_option
from ringgossip.cli.output import emit, table


@click.command("members")
@data_option
@json_option
def command(data: Path | None, as_json: bool) -> None:
    """Show every member that the local peer knows, itself included."""
    with local_client(data) as client:
        members = client.members()
    emit({"members": members}, as_json, lambda: _table(members))


def _table(members: list[dict[str, Any]]) -> str:
    return table(
        ("name", "state", "role", "addresses"),
        [
            (entry["name"], _state(entry), entry["role"], ", ".join(map(str, entry["addresses"])))
            for entry in sorted(members, key=lambda entry: str(entry["name"]))
        ],
    )


def _state(member: dict[str, Any]) -> str:
    """Return its state, and which ways to it are not tried for now."""
    closed = [route for route, state in member["breakers"].items() if state == "open"]
    return f"{member['state']}, no {' or '.join(closed)}" if closed else str(member["state"])
