"""`ringgossip withdraw ARTIFACT`: what this node published is no more; files stay where they are."""

from pathlib import Path

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option, json_option
from ringgossip.cli.output import emit


@click.command("withdraw")
@click.argument("artifact")
@click.option(
    "--timeout", metavar="S", type=float, default=60.0, show_default=True, help="Wait at most so long."
)
@data_option
@json_option
def command(artifact: str, timeout: float, data: Path | None, as_json: bool) -> None:
    """End ARTIFACT, kind/origin/name, which this node published.

    No node lists or wants it any more, and nobody is alarmed about its copies.
    No file is moved or deleted anywhere; publishing it again begins anew.
    """
    with local_client(data) as client:
        ended = client.withdraw(artifact, timeout=timeout)
    emit(
        {"artifact": ended._asdict()},
        as_json,
        lambda: f"{ended.text} is withdrawn with version {ended.sequence}; files stay where they are.",
    )
