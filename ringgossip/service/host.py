"""How does a peer open its doors? With its control socket and, if asked for, its status over HTTP.

Embedded or standalone, every peer has a control socket: `ringgossip status
--data DIR` works for both.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from ringgossip.config import PeerConfig
from ringgossip.runtime import background
from ringgossip.runtime.opening import open_runtime_peer
from ringgossip.runtime.peer import Peer
from ringgossip.service.control import control_socket
from ringgossip.service.watch import Watch

if TYPE_CHECKING:
    from ringgossip.service.http import Page, Pages


@asynccontextmanager
async def open_peer(config: PeerConfig | str | Path, *, embedded: bool = True) -> AsyncIterator[Peer]:
    """Run a peer while the block runs; `config` is a `PeerConfig` or the path of a node.yaml.

    `embedded`: it lives in a program that may stall now and then, and tells
    others to be patient. Raises `ConfigError`, `CredentialsError`, `StoreError`
    or `OperationFailed`, one line each; at the block's end the peer leaves.
    """
    try:
        async with AsyncExitStack() as stack:
            peer = await stack.enter_async_context(open_runtime_peer(config, embedded=embedded))
            watch = Watch(peer)
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            await nursery.start(watch.run)
            peer.judge = watch.health
            await stack.enter_async_context(control_socket(peer, peer.config.data, nursery))
            if peer.config.status is not None:
                from ringgossip.service.http import serving_pages

                await stack.enter_async_context(
                    serving_pages(peer.config.status, pages_of(peer, watch), nursery)
                )
            yield peer
    except BaseExceptionGroup as group:
        # The nursery is ours alone: whoever opened a peer sees their own exception.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        raise


@contextmanager
def run_in_thread(config: PeerConfig | str | Path) -> Iterator[background.BackgroundPeer]:
    """Run a peer in a thread of its own while the block runs, for programs that are not trio.

    The same verbs as `open_peer`'s, blocking. Raises what `open_peer` raises.
    """
    with background.run_in_thread(config, open_peer) as peer:
        yield peer


def pages_of(peer: Peer, watch: Watch) -> "Pages":
    """Return what the status address serves."""
    from ringgossip.service.http import Page, json_page
    from ringgossip.service.metrics import CONTENT_TYPE, Metrics, PeerCollector, process_facts

    def counters() -> Mapping[str, int]:
        # Those of the status page: they begin at 0, as rates want it.
        counted: Mapping[str, int] = peer.status()["counters"]
        return counted

    metrics = Metrics(PeerCollector(peer.name, watch.tally, counters, watch.gauges, watch.queue))

    def health() -> "Page":
        judged = peer.health_check()
        return json_page(judged.as_dict(), 200 if judged.healthy else 503)

    def status() -> "Page":
        whole: Mapping[str, Any] = {**peer.status(), "process": process_facts()}
        return json_page(whole)

    return {
        "/health": health,
        "/status": status,
        "/metrics": lambda: Page(200, CONTENT_TYPE, metrics.text()),
    }
