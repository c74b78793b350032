"""Which options do all commands share, and what do they mean?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ringgossip.errors import UsageError

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

json_option: _Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on standard output, nothing else."
)

# For commands that talk to the local peer: the folder that names its control socket.
data_option: _Decorator = click.option(
    "--data",
    envvar="RINGGOSSIP_DATA",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The local peer's data folder (or RINGGOSSIP_DATA).",
)

# Scripts give --data to every command; these need no peer, so it is accepted and means nothing.
unused_data_option: _Decorator = click.option(
    "--data", type=click.Path(path_type=Path), hidden=True, expose_value=False
)

config_option: _Decorator = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=Path("node.yaml"),
    show_default=True,
    help="The node's configuration.",
)


def existing_config(path: Path) -> Path:
    """Return `path`; raise `UsageError` if nothing is there: most often `--config` was forgotten."""
    if not path.exists():
        raise UsageError(f"there is no file {path}: write it, or name the right one with --config FILE")
    return path


def beside_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `node`, `data` and `credentials`: what a cluster file cannot say of one node."""
    for name, metavar, text in (
        ("--credentials", "DIR", "The node's credentials; wins over the file."),
        ("--data", "DIR", "The node's data folder; wins over the file."),
        ("--node", "NAME", "Which host of a distributed_hosts.yaml this is."),
    ):
        function = click.option(name, metavar=metavar, help=text)(function)
    return function
