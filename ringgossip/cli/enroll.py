"""`ringgossip enroll DIR --node NAME`: how does a node become a member?"""

import shlex
from pathlib import Path

import click

from ringgossip.cli.options import json_option, unused_data_option
from ringgossip.cli.output import emit

# Where the printed example puts a node's credentials, as in the design's node.yaml.
_THERE = "/etc/ringgossip"


@click.command("enroll")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--node", required=True, metavar="NAME", help="The node's name in this cluster.")
@click.option(
    "-o",
    "--output",
    metavar="DIR2",
    type=click.Path(path_type=Path),
    help="Where to write the credentials; parents are made. [default: DIR/nodes/NAME]",
)
@json_option
@unused_data_option
def command(folder: Path, node: str, output: Path | None, as_json: bool) -> None:
    """Write credentials for one node, signed by the authority in DIR.

    Enrolling a name again gives it the next generation: the new credentials win
    over the old ones wherever both are met.
    """
    from ringgossip.identity.authority import enroll
    from ringgossip.identity.credentials import Credentials

    written = enroll(folder, node, output)
    credentials = Credentials.load(written)
    generation = credentials.certificate.generation
    emit(
        {
            "cluster": credentials.cluster,
            "node": node,
            "generation": generation,
            "folder": str(written.absolute()),
        },
        as_json,
        lambda: _next_steps(written, node, credentials.cluster, generation),
    )


def _next_steps(written: Path, node: str, cluster: str, generation: int) -> str:
    again = f" (generation {generation}: earlier credentials of {node} lose)" if generation > 1 else ""
    return (
        f"Credentials of {node} are in {written}{again}.\n"
        f"\n"
        f"Next:\n"
        f"  1. copy its files to the node:\n"
        f"       ssh {node} mkdir -p {_THERE}\n"
        f"       scp -p {shlex.quote(str(written))}/* {node}:{_THERE}/\n"
        f"  2. write {_THERE}/node.yaml there:\n"
        f"       cluster: {cluster}\n"
        f"       node: {node}\n"
        f"       data: /data/ringgossip\n"
        f"       credentials: {_THERE}\n"
        f'       seeds: ["address.of.another.node:7946"]\n'
        f"  3. start it there:\n"
        f"       ringgossip peer --config {_THERE}/node.yaml"
    )
