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

from ringgossip.cli.options import beside_options, config_option, existing_config
from ringgossip.cli.output import note, say
from ringgossip.errors import RinggossipError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import trio

    from ringgossip.config import PeerConfig
    from ringgossip.runtime.listening import Listener
    from ringgossip.runtime.peer import Peer


@click.command("peer")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print every event as one JSON object on its own line.")
@click.option(
    "--verbose", is_flag=True, help="Log every event, not only who comes and goes and what is wrong."
)
@beside_options
def command(config_path: Path, as_json: bool, verbose: bool, **beside: str | None) -> None:
    """Run the peer of this node until SIGTERM or Ctrl-C; SIGHUP reads the configuration again.

    An ephemeral peer first waits, at most drain_seconds, until others hold what
    only it has; then it leaves, as every peer does, within 2 seconds.
    """
    import trio

    from ringgossip.config import load_config
    from ringgossip.config.apart import load_config_apart

    started = False

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")

    def load() -> "PeerConfig":
        node, data, credentials = (beside[key] for key in ("node", "data", "credentials"))
        nonlocal started
        path = existing_config(config_path)
        # Read again after a SIGHUP, when there are threads, and no child can be made safely.
        read = load_config if started else load_config_apart
        config = read(path, node=node, data=data, credentials=credentials)
        started = True
        for notice in config.notices:
            note(f"notice: {notice}")
        return config

    trio.run(_Life(load, as_json, verbose).run)


_LAST_WORDS = 0.5  # seconds that a slow reader of our events may take at the end


class _Life:
    """One run, from the configuration to the goodbye."""

    def __init__(self, load: "Callable[[], PeerConfig]", as_json: bool, verbose: bool) -> None:
        import trio

        self._load = load
        self._config = load()
        self._as_json = as_json
        self._verbose = verbose
        self._hangups: AsyncIterator[int]
        self._asked_to_end = trio.Event()
        self._told = trio.Event()
        self._ready = False

    async def run(self) -> None:
        import trio

        # From the first moment: a signal during the start must end it as politely.
        with (
            trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
            # Before there is anything to reload it must not end us, as it does by default.
            trio.open_signal_receiver(signal.SIGHUP) as self._hangups,
        ):
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

        async with open_peer(self._config, embedded=False) as peer, peer.listen(opening=True) as events:
            self._ready = True
            self._announce(peer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell, events)
                nursery.start_soon(self._reload, peer)
                await self._asked_to_end.wait()
                if self._config.ephemeral:
                    await _drain(peer)
                # What was told until now is still written, unless nobody reads it.
                events.close()
                with trio.move_on_after(_LAST_WORDS):
                    await self._told.wait()
                nursery.cancel_scope.cancel()

    async def _reload(self, peer: "Peer") -> None:
        """Read the configuration again at every SIGHUP; a mistake in it leaves the old one in force."""
        async for _ in self._hangups:
            try:
                changed, waiting = peer.reload(self._load())
            except RinggossipError as error:
                for line in str(error).splitlines():
                    note(f"not reloaded: {line}")
                continue
            self._config = peer.config
            note(f"reloaded: {', '.join(changed) or 'nothing has changed'}")
            if waiting:
                note(f"after a restart only: {', '.join(waiting)}")

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
        self._told.set()


async def _drain(peer: "Peer") -> None:
    """Bring what only we hold to others until the time is up; say what is left."""
    below = (await peer.drain()).below
    left = [short["artifact"] for short in below if not short["copies"]]
    if left:
        note(f"leaving, and nobody else holds {_listed(left)}: keep {peer.config.data}")
    few = [
        f"{short['artifact']} ({short['copies']} of {short['wanted']})" for short in below if short["copies"]
    ]
    if few:
        note(f"leaving with too few copies elsewhere of {_listed(few)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
