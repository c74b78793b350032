"""`ringgossip peer --config node.yaml`: how does a standalone peer start, speak and end?

It prints one line when it is ready, then log lines on standard error; with
`--json` every event is one JSON object on standard output, the first one
`Ready`. SIGTERM and SIGINT end it politely, a second signal at once.
"""

import json
import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringgossip.cli.options import config_option, existing_config, unused_data_option
from ringgossip.cli.output import note, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import trio

    from ringgossip.config import PeerConfig
    from ringgossip.runtime.listening import Listener
    from ringgossip.runtime.peer import Peer

# How often a peer that drains looks whether it is done.
_LOOK_AGAIN = 0.1


@click.command("peer")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print every event as one JSON object on its own line.")
@click.option(
    "--verbose", is_flag=True, help="Log every event, not only who comes and goes and what is wrong."
)
@unused_data_option
def command(config_path: Path, as_json: bool, verbose: bool) -> None:
    """Run the peer of this node until SIGTERM or Ctrl-C.

    An ephemeral peer first waits, at most drain_seconds, until others hold what
    only it has; then it leaves, as every peer does, within 2 seconds.
    """
    import trio

    from ringgossip.config import load_config

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    trio.run(_Life(load_config(existing_config(config_path)), as_json, verbose).run)


class _Life:
    """One run, from the configuration to the goodbye."""

    def __init__(self, config: "PeerConfig", as_json: bool, verbose: bool) -> None:
        import trio

        self._config = config
        self._as_json = as_json
        self._verbose = verbose
        self._asked_to_end = trio.Event()
        self._ready = False

    async def run(self) -> None:
        import trio

        # From the first moment: a signal during the start must end it as politely.
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                start = trio.CancelScope()
                nursery.start_soon(self._hear, signals)
                nursery.start_soon(self._give_up_the_start, start)
                with start:
                    await self._live()
                nursery.cancel_scope.cancel()

    async def _hear(self, signals: "AsyncIterator[int]") -> None:
        async for number in signals:
            if self._asked_to_end.is_set():
                # The user means it; what is on disk is safe at every instant.
                os._exit(128 + number)
            self._asked_to_end.set()

    async def _give_up_the_start(self, start: "trio.CancelScope") -> None:
        await self._asked_to_end.wait()
        if not self._ready:
            start.cancel()

    async def _live(self) -> None:
        import trio

        from ringgossip.service.host import open_peer

        async with open_peer(self._config, embedded=False) as peer, peer.listen() as events:
            self._ready = True
            self._announce(peer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell, events)
                await self._asked_to_end.wait()
                if self._config.ephemeral:
                    await _drain(peer)
                nursery.cancel_scope.cancel()

    def _announce(self, peer: "Peer") -> None:
        data = self._config.data.absolute()
        if self._as_json:
            ready = {"event": "Ready", "name": peer.name, "address": str(peer.address), "data": str(data)}
            say(json.dumps(ready))
        else:
            say(f"ready: {peer.name} at {peer.address}, data in {data}")

    async def _tell(self, events: "Listener") -> None:
        """Write events as they come; in a thread, since whoever reads them may be slow."""
        import trio

        from ringgossip.cli.speech import is_news, sentence

        async for event in events:
            if self._as_json:
                line = json.dumps(event.as_dict())
                await trio.to_thread.run_sync(say, line, abandon_on_cancel=True)
            if self._verbose or is_news(event):
                line = f"{time.strftime('%H:%M:%S')}  {sentence(event)}"
                await trio.to_thread.run_sync(note, line, abandon_on_cancel=True)


async def _drain(peer: "Peer") -> None:
    """Wait until somebody else holds each of our own artifacts, or the time is up; say what is left."""
    import trio

    def only_here() -> list[str]:
        own = peer.artifacts(origin=peer.name, complete=True)
        return [artifact.text for artifact in own if set(artifact.holders) <= {peer.name}]

    with trio.move_on_after(peer.config.drain_seconds):
        while only_here():
            await trio.sleep(_LOOK_AGAIN)
    left = only_here()
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        note(f"leaving, and nobody else holds {', '.join(left[:3])}{more}: keep {peer.config.data}")
