"""`ringgossip watch`: what happens at this peer, as it happens?"""

import json
import time
from pathlib import Path

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option
from ringgossip.cli.output import say


@click.command("watch")
@click.option("--seconds", metavar="S", type=float, help="Stop after so many seconds without an event.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one JSON object on its own line.")
@data_option
def command(seconds: float | None, data: Path | None, as_json: bool) -> None:
    """Print the local peer's events, one line each, until Ctrl-C or the peer's end."""
    from ringgossip.cli.speech import sentence

    with local_client(data) as client, client.listen(seconds) as events:
        for event in events:
            if as_json:
                say(json.dumps(event.as_dict()))
            else:
                say(f"{time.strftime('%H:%M:%S')}  {sentence(event)}")
