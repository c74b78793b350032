"""`ringgossip publish KIND PATH`: share a file, and know who has a verified copy of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option, json_option
from ringgossip.cli.output import bytes_text, emit

if TYPE_CHECKING:
    from ringgossip.client import Receipt


@click.command("publish")
@click.argument("kind")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Its name in the cluster; the file's own if not given.")
@click.option("--replace", is_flag=True, help="Let a different file take over an existing name.")
@click.option("--board-type", metavar="B", help="hex8, square8, square19 or hexagonal.")
@click.option("--num-players", metavar="N", type=int, help="2 to 4.")
@click.option("--quality", metavar="Q", type=float, help="0 to 1.")
@click.option(
    "--copies", metavar="K", type=int, default=0, show_default=True, help="Wait until K others hold it."
)
@click.option(
    "--timeout", metavar="S", type=float, default=60.0, show_default=True, help="Wait at most so long."
)
@data_option
@json_option
def command(
    kind: str,
    path: Path,
    name: str | None,
    replace: bool,
    board_type: str | None,
    num_players: int | None,
    quality: float | None,
    copies: int,
    timeout: float,
    data: Path | None,
    as_json: bool,
) -> int:
    """Publish the file PATH as games, models or npz.

    A database may be in use: a snapshot of it is published. Exit code 1 when
    fewer than --copies others hold a verified copy in time; it stays published.
    """
    from ringgossip.cli.progress import Bar

    with local_client(data) as client, Bar() as bar:
        receipt = client.publish(
            kind,
            path,
            board_type=board_type,
            num_players=num_players,
            quality=quality,
            name=name,
            replace=replace,
            copies=copies,
            timeout=timeout,
            progress=bar,
        )
    shown = {
        "artifact": receipt.artifact._asdict(),
        "receipt": {
            "copies": receipt.copies,
            "wanted": receipt.wanted,
            "holders": receipt.holders,
            "missing": receipt.missing,
            "unchanged": receipt.unchanged,
            "warnings": receipt.warnings,
        },
    }
    emit(shown, as_json, lambda: _text(receipt))
    return 0 if receipt.fulfilled else 1


def _text(receipt: "Receipt") -> str:
    artifact = receipt.artifact
    done = "Unchanged since" if receipt.unchanged else "Published"
    lines = [f"{done} {artifact.text}, version {artifact.sequence}, {bytes_text(artifact.size)}."]
    lines += [f"Note: {warning}." for warning in receipt.warnings]
    if receipt.holders:
        lines.append(f"Verified copies: {receipt.copies}, on {', '.join(receipt.holders)}.")
    if not receipt.fulfilled:
        lacking = (
            f"; not yet on {', '.join(receipt.missing)}" if receipt.missing else "; nobody else is there"
        )
        lines.append(f"Wanted: {receipt.wanted}{lacking}. It stays published and goes on spreading.")
    return "\n".join(lines)
