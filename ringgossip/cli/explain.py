"""`ringgossip explain ARTIFACT NODE`: why does that node have, lack or will get it?

The first word is a reason code for scripts, then comes a paragraph for people:
which rule, which weight, which holder, which limit.
"""

from pathlib import Path

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option, json_option
from ringgossip.cli.output import emit


@click.command("explain")
@click.argument("artifact")
@click.argument("node")
@data_option
@json_option
def command(artifact: str, node: str, data: Path | None, as_json: bool) -> None:
    """Say why NODE has, lacks or will get ARTIFACT, which is kind/origin/name."""
    with local_client(data) as client:
        answer = client.explain(artifact, node)
    emit(answer, as_json, lambda: f"{answer['code']}\n{answer['sentence']}")
