"""How does a program that is not trio have a peer? In a thread of its own, with blocking verbs.

Every verb is one call into the peer's thread. The peer ends with the block, or
when the program does: its thread is a daemon, and what was not said then is
what a crash would leave unsaid.
"""

import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from ringgossip.config import PeerConfig
from ringgossip.errors import PeerGone
from ringgossip.events import Event
from ringgossip.identity import Address
from ringgossip.protocol.explaining import Explanation
from ringgossip.protocol.membership import Member
from ringgossip.protocol.views import TransferView
from ringgossip.runtime.answers import DrainResult, SyncResult
from ringgossip.runtime.opening import open_runtime_peer
from ringgossip.runtime.peer import Peer
from ringgossip.runtime.shapes import Artifact, Health, Receipt

T = TypeVar("T")
Opener = Callable[[PeerConfig | str | Path], AbstractAsyncContextManager[Peer]]


class BackgroundPeer:
    """A peer in another thread: `Peer`'s verbs, blocking, callable from any thread that is not trio's."""

    def __init__(self, peer: Peer, token: trio.lowlevel.TrioToken) -> None:
        self._peer = peer
        self._token = token

    @property
    def name(self) -> str:
        """This node's name."""
        return self._peer.name

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._peer.address

    def publish(self, kind: str, path: str | os.PathLike[str], **options: Any) -> Receipt:
        """Publish a file; see `Peer.publish`."""
        return self._run(partial(self._peer.publish, kind, path, **options))

    def wait_for(self, kind: str, name: str, **options: Any) -> Artifact:
        """Wait for an artifact; see `Peer.wait_for`."""
        return self._run(partial(self._peer.wait_for, kind, name, **options))

    def sync(self, *arguments: Any, **options: Any) -> SyncResult:
        """Bring artifacts to nodes; see `Peer.sync`."""
        return self._run(partial(self._peer.sync, *arguments, **options))

    def trigger_priority_sync(self, *arguments: Any, **options: Any) -> SyncResult:
        """Pull what a node holds, first of all; see `Peer.trigger_priority_sync`."""
        return self._run(partial(self._peer.trigger_priority_sync, *arguments, **options))

    def withdraw(self, artifact: str, **options: Any) -> Artifact:
        """End an artifact of this node; see `Peer.withdraw`."""
        return self._run(partial(self._peer.withdraw, artifact, **options))

    def retire(self, order: bytes) -> tuple[str, int]:
        """Take an order of the authority that retires a node; see `Peer.retire`."""
        return self._call(partial(self._peer.retire, order))

    def drain(self, deadline: float | None = None) -> DrainResult:
        """Bring what only this node holds to others; see `Peer.drain`."""
        return self._run(partial(self._peer.drain, deadline))

    def notify(self, name: str, /, **fields: Any) -> None:
        """Tell what happened at a node; see `Peer.notify`."""
        self._call(partial(self._peer.notify, name, **fields))

    def artifacts(
        self, kind: str | None = None, *, unlisted: bool = False, **filters: object
    ) -> list[Artifact]:
        """Return what is listed; see `Peer.artifacts`."""
        return self._call(partial(self._peer.artifacts, kind, unlisted=unlisted, **filters))

    def members(self) -> tuple[Member, ...]:
        """Return everybody we know of."""
        return self._call(self._peer.members)

    def transfers(self) -> list[TransferView]:
        """Return what is being pulled."""
        return self._call(self._peer.transfers)

    def explain(self, artifact: str, node: str) -> Explanation:
        """Say why a node has, lacks or will get an artifact; see `Peer.explain`."""
        return self._call(partial(self._peer.explain, artifact, node))

    def status(self) -> dict[str, Any]:
        """Return the peer's state."""
        return self._call(self._peer.status)

    def health_check(self) -> Health:
        """Return whether it does its work."""
        return self._call(self._peer.health_check)

    @contextmanager
    def listen(self) -> Iterator[Iterator[Event]]:
        """Iterate over events from now on; each step waits for the next one."""
        context = self._peer.listen()
        listener = self._run(context.__aenter__)

        def events() -> Iterator[Event]:
            while True:
                try:
                    yield self._run(listener.__anext__)
                except StopAsyncIteration:
                    return

        try:
            yield events()
        finally:
            try:
                self._run(partial(context.__aexit__, None, None, None))
            except PeerGone:
                pass  # It ended before its listener.

    def close(self) -> None:
        """Leave the cluster and stop."""
        self._run(self._peer.close)

    def _run(self, verb: Callable[[], Awaitable[T]]) -> T:
        try:
            return trio.from_thread.run(verb, trio_token=self._token)
        except (trio.RunFinishedError, trio.Cancelled) as error:
            raise PeerGone("this peer has stopped") from error

    def _call(self, verb: Callable[[], T]) -> T:
        try:
            return trio.from_thread.run_sync(verb, trio_token=self._token)
        except trio.RunFinishedError as error:
            raise PeerGone("this peer has stopped") from error


@contextmanager
def run_in_thread(
    config: PeerConfig | str | Path, opener: Opener = open_runtime_peer
) -> Iterator[BackgroundPeer]:
    """Run a peer in a thread while the block runs.

    Raises what opening raises; and at the block's end why the peer stopped, if it stopped by itself.
    """
    started = threading.Event()
    found: list[BackgroundPeer] = []
    problem: list[BaseException] = []
    stop: list[trio.Event] = []

    async def main() -> None:
        async with opener(config) as peer:
            stop.append(trio.Event())
            found.append(BackgroundPeer(peer, trio.lowlevel.current_trio_token()))
            started.set()
            await stop[0].wait()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:
            problem.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="ringgossip", daemon=True)
    thread.start()
    started.wait()
    if not found:
        thread.join()
        raise problem[0] if problem else PeerGone("the peer ended before it began")
    peer = found[0]
    try:
        yield peer
    finally:
        try:
            trio.from_thread.run_sync(stop[0].set, trio_token=peer._token)
        except trio.RunFinishedError:
            pass  # It stopped by itself.
        thread.join()
    if problem:
        raise problem[0]
