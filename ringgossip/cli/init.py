"""`ringgossip init DIR --cluster NAME`: how does a cluster come to be?"""

from pathlib import Path

import click

from ringgossip.cli.options import json_option, unused_data_option
from ringgossip.cli.output import emit


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--cluster", required=True, metavar="NAME", help="The cluster's name; it never changes.")
@json_option
@unused_data_option
def command(folder: Path, cluster: str, as_json: bool) -> None:
    """Make a cluster: its authority and gossip key, in the new folder DIR.

    The authority's key never leaves DIR. Whoever has it can add nodes.
    """
    from ringgossip.identity.authority import create_cluster

    create_cluster(folder, cluster)
    emit(
        {"cluster": cluster, "folder": str(folder.absolute())},
        as_json,
        lambda: (
            f"Cluster {cluster} is made; its authority lies in {folder}.\n"
            f"Keep that folder private, and a backup of it: whoever has it can add nodes.\n"
            f"\n"
            f"Next, once for every node:\n"
            f"  ringgossip enroll {folder} --node NAME"
        ),
    )
