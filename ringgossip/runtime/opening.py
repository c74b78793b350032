"""How does a peer begin, and how does it end, whatever goes wrong in between?

In this order: configuration, credentials, ports, store, core. The end goes the
other way round, and always to its end: threads stop before the store closes,
the store closes before its lock is free.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from threading import Lock

import trio

from ringgossip.config import PeerConfig, load_config
from ringgossip.content.record import Record
from ringgossip.errors import CredentialsError, OperationFailed, PeerGone
from ringgossip.identity.credentials import Credentials
from ringgossip.runtime.condition import Condition
from ringgossip.runtime.crews import Crews
from ringgossip.runtime.engine import Engine, boot_of
from ringgossip.runtime.housekeeping import Housekeeping
from ringgossip.runtime.listening import Audience
from ringgossip.runtime.peer import Peer, teller
from ringgossip.runtime.ports import open_ports
from ringgossip.runtime.storage.live import CHANGES_FROM
from ringgossip.runtime.storage.store import Store
from ringgossip.runtime.termination import watch_termination
from ringgossip.runtime.workers import Mailbox

log = logging.getLogger("ringgossip")

_CLOSE_SECONDS = 10.0
_SOON = 0.5
_OPENING = 2.0


class _Relay:
    """What the store tells before there is an engine waits here."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._troubles: list[str] = []
        self._lost: list[tuple[Record, str]] = []
        self._lock = Lock()

    def trouble(self, reason: str) -> None:
        with self._lock:
            if self._engine is None:
                self._troubles.append(reason)
                return
        self._engine.trouble(reason)

    def lost(self, record: Record, reason: str) -> None:
        with self._lock:
            if self._engine is None:
                self._lost.append((record, reason))
                return
        self._engine.copy_lost(record, reason)

    def connect(self, engine: Engine) -> None:
        """From now on `engine` hears everything, and first which copies were lost so far."""
        with self._lock:
            self._engine = engine
        for record, reason in self._lost:
            engine.copy_lost(record, reason)

    async def tell_early_troubles(self) -> None:
        """Tell what opening found, once those who open this peer have had the time to listen."""
        await trio.sleep(_SOON)
        if self._engine is not None:
            for reason in self._troubles:
                self._engine.trouble(reason)


@asynccontextmanager
async def open_runtime_peer(config: PeerConfig | str | Path, *, embedded: bool = True) -> AsyncIterator[Peer]:
    """Run a peer while the block runs; it leaves gracefully at the block's end.

    `embedded`: it lives in a program that may stall, and tells others to be patient.
    Raises `ConfigError`, `CredentialsError`, `StoreError` or `OperationFailed` before
    anything is sent; a peer that has to stop cancels the block and raises why.
    """
    try:
        async with _opened(config, embedded) as peer:
            yield peer
    except BaseExceptionGroup as group:
        # The nursery is ours alone: whoever opened a peer sees his own exception.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        raise


@asynccontextmanager
async def _opened(config: PeerConfig | str | Path, embedded: bool) -> AsyncIterator[Peer]:
    settings = config if isinstance(config, PeerConfig) else load_config(Path(config))
    credentials = Credentials.load(settings.credentials)
    _check_identity(settings, credentials)
    ports = open_ports(settings.listen)
    try:
        relay = _Relay()
        store = await trio.to_thread.run_sync(
            lambda: Store.open(
                settings.data,
                # Members of a storage group read our files where they lie.
                changes_from=CHANGES_FROM if settings.storage_group is None else None,
                on_trouble=relay.trouble,
                on_lost=relay.lost,
            )
        )
        mailbox = Mailbox()
        crews = Crews(mailbox)
        try:
            boot = await trio.to_thread.run_sync(boot_of, store)
            audience, condition = Audience(), Condition(settings.interval_seconds)
            engine = Engine(
                settings,
                credentials,
                store,
                ports,
                mailbox,
                crews,
                boot,
                embedded,
                teller(audience, condition),
            )
            peer = Peer(engine, audience, condition)
            failure: list[Exception] = []
            async with trio.open_nursery() as nursery:
                await nursery.start(_guard, engine, peer, failure, nursery.cancel_scope)
                relay.connect(engine)
                chores = Housekeeping(settings, credentials.certificate, store, crews.chores, engine)
                notices = partial(watch_termination, settings.termination, peer.termination_noticed)
                for work in (relay.tell_early_troubles, chores.run, peer.share_folders, notices):
                    nursery.start_soon(_guard_work, work, failure, nursery.cancel_scope)
                nursery.start_soon(_opened_by_now, audience)
                try:
                    yield peer
                finally:
                    await peer.close()
                    nursery.cancel_scope.cancel()
            why = engine.stop_reason
            if failure:
                bug = f"a bug of ringgossip stopped this peer: {_first(failure[0])!r}"
                why = f"{bug}; its log has the traceback"
            if why is not None:
                await trio.to_thread.run_sync(store.last_words, why)
                raise OperationFailed(why) from (failure[0] if failure else None)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_SECONDS):
                await trio.to_thread.run_sync(_close, crews, store, abandon_on_cancel=True)
    finally:
        ports.close()


async def _opened_by_now(audience: Audience) -> None:
    await trio.sleep(_OPENING)
    audience.opened()


async def _guard(
    engine: Engine,
    peer: Peer,
    failure: list[Exception],
    scope: trio.CancelScope,
    task_status: trio.TaskStatus[None],
) -> None:
    """Run the engine; when it ends by itself, end the block it belongs to."""
    try:
        await engine.run(task_status)
    except Exception as error:
        log.exception("a bug of ringgossip stops this peer")
        failure.append(error)
    if failure or engine.stop_reason is not None:
        peer._ended()
        scope.cancel()


async def _guard_work(
    work: Callable[[], Awaitable[None]], failure: list[Exception], scope: trio.CancelScope
) -> None:
    """Run what goes on beside the engine."""
    try:
        await work()
    except PeerGone:
        pass  # It was closed meanwhile.
    except Exception as error:
        log.exception("a bug of ringgossip stops this peer")
        failure.append(error)
        scope.cancel()


def _first(error: BaseException) -> BaseException:
    """Return what went wrong first, out of the groups that nurseries make."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _check_identity(config: PeerConfig, credentials: Credentials) -> None:
    for what, ours, theirs in (
        ("node", config.node, credentials.name),
        ("cluster", config.cluster, credentials.cluster),
    ):
        if ours != theirs:
            raise CredentialsError(
                f"{config.credentials} belongs to {what} {theirs}, but the configuration says {ours}: "
                "enroll this node, or correct the configuration"
            )


def _close(crews: Crews, store: Store) -> None:
    crews.close()
    crews.join(_CLOSE_SECONDS / 2)
    store.close()
