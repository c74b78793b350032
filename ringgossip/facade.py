"""What do programs of the reference call? The names they know, carried out by the local peer.

    from ringgossip.facade import AutoSyncDaemon, SyncFacade, SyncStrategy, sync

    await sync("models", targets=["all"])
    response = await SyncFacade.get_instance().sync(data_type="games", targets=["node-1"], priority="high")

Callable from asyncio and from trio. The local peer is the one that runs on the
data folder RINGGOSSIP_DATA names; where none runs, one is run in this process,
from the configuration RINGGOSSIP_CONFIG names or a node.yaml that lies here.
"""

import asyncio
import atexit
import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import ringgossip
from ringgossip.config import load_config
from ringgossip.errors import PeerGone, RinggossipError, UsageError

__all__ = [
    "AutoSyncDaemon",
    "DaemonStatus",
    "HealthCheckResult",
    "SyncFacade",
    "SyncResponse",
    "SyncStrategy",
    "sync",
]

T = TypeVar("T")

_MB = 1e6  # The reference says mbps and means megabytes a second.


class SyncStrategy(StrEnum):
    """How what this node publishes is spread."""

    HYBRID = "hybrid"
    EPHEMERAL = "ephemeral"
    BROADCAST = "broadcast"
    AUTO = "auto"


class DaemonStatus(StrEnum):
    """How a daemon is; a degraded one does its work."""

    RUNNING = "running"
    DEGRADED = "degraded"
    ERROR = "error"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class SyncResponse:
    """What became of a sync; `details["items"]` has one row for each (artifact, target)."""

    success: bool
    backend_used: str
    nodes_synced: tuple[str, ...]
    bytes_transferred: int
    duration_seconds: float
    errors: tuple[str, ...]
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HealthCheckResult:
    """`timestamp` in Unix seconds."""

    healthy: bool
    status: DaemonStatus
    message: str
    timestamp: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)


class _LocalPeer:
    """The peer of this machine: one that runs, or one that we run until the program ends. Thread-safe."""

    def __init__(
        self, data: str | os.PathLike[str] | None, config: str | os.PathLike[str] | None, strategy: str | None
    ) -> None:
        self._data = data if data is not None else os.environ.get("RINGGOSSIP_DATA")
        self._config = config if config is not None else os.environ.get("RINGGOSSIP_CONFIG")
        self._strategy = strategy
        self._lock = threading.Lock()
        self._peer: Any = None
        self._ours = ExitStack()

    def get(self) -> Any:
        """Return a client of it. Raises `UsageError` when there is neither."""
        with self._lock:
            if self._peer is None:
                self._peer = self._found() or self._run()
            return self._peer

    def _found(self) -> Any:
        if self._data is None:
            return None
        try:
            return ringgossip.connect(self._data)
        except PeerGone:
            if self._configuration() is None:
                raise
            return None

    def _configuration(self) -> Path | None:
        if self._config is not None:
            return Path(self._config)
        here = Path("node.yaml")
        return here if here.is_file() else None

    def _run(self) -> Any:
        path = self._configuration()
        if path is None:
            raise UsageError(
                "which peer? set RINGGOSSIP_DATA to the data folder of a running one, "
                "or RINGGOSSIP_CONFIG to the configuration of one to run here"
            )
        settings = load_config(path)
        # One store has one peer: perhaps it runs, in another process or for another object of this one.
        with contextlib.suppress(PeerGone):
            return ringgossip.connect(settings.data)
        if self._strategy is not None:
            settings = replace(settings, strategy=self._strategy)
        self._ours.enter_context(ringgossip.run_in_thread(settings))
        atexit.register(self.close)
        # Over its socket, as one that we found: blocking calls may then come from trio's own thread.
        return ringgossip.connect(settings.data)

    def close(self) -> None:
        """End a peer of our own; one that we found runs on."""
        with self._lock, contextlib.suppress(RinggossipError):
            if self._peer is not None:
                self._peer.close()
            self._peer = None
            self._ours.close()


class SyncFacade:
    """Single entry point for all sync operations."""

    _instance: "SyncFacade | None" = None
    _making = threading.Lock()

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | None = None,
        *,
        strategy: str | None = None,
    ) -> None:
        """`data`: folder of a running peer; `config`: of one to run. The environment says both by default."""
        self._local = _LocalPeer(data, config, strategy)

    @classmethod
    def get_instance(cls) -> "SyncFacade":
        """Return the one facade of this process."""
        with cls._making:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

    @classmethod
    def reset_instance(cls) -> None:
        """Forget it, and end its peer if it runs one: for tests, and after the environment changed."""
        with cls._making:
            if cls._instance is not None:
                cls._instance._local.close()
                cls._instance = None

    async def sync(
        self,
        data_type: str = "all",
        targets: Iterable[str] | None = None,
        *,
        board_type: str | None = None,
        num_players: int | None = None,
        priority: str = "normal",
        timeout_seconds: float | None = None,
        bandwidth_limit_mbps: float | None = None,
        exclude_nodes: Iterable[str] = (),
        prefer_ephemeral: bool = False,
        require_confirmation: bool = False,
    ) -> SyncResponse:
        """Bring artifacts to nodes; `targets` None or ["all"] means every eligible one.

        `timeout_seconds` None: what the peer's `sync_timeout_seconds` says, 300 by default.
        """
        options = {
            "board_type": board_type,
            "num_players": num_players,
            "priority": priority,
            "timeout": timeout_seconds,
            "bandwidth_limit": None if bandwidth_limit_mbps is None else bandwidth_limit_mbps * _MB,
            "exclude_nodes": list(exclude_nodes),
            "prefer_ephemeral": prefer_ephemeral,
            "require_confirmation": require_confirmation,
        }
        names = targets if targets is None or isinstance(targets, str) else list(targets)
        return _response(await self._ask("sync", data_type, names, **options))

    async def trigger_priority_sync(
        self,
        reason: str = "orphan_games_recovery",
        source_node: str | None = None,
        config_key: str | None = None,
        data_type: str = "games",
    ) -> SyncResponse:
        """Pull here what `source_node` holds, at critical priority."""
        return _response(await self._ask("trigger_priority_sync", reason, source_node, config_key, data_type))

    def health_check(self) -> HealthCheckResult:
        """Return how the local peer is."""
        try:
            told = self._local.get().health_check()
        except RinggossipError as error:
            return HealthCheckResult(False, DaemonStatus.ERROR, str(error))
        status = DaemonStatus.RUNNING if told["status"] == "healthy" else DaemonStatus.DEGRADED
        if not told["healthy"]:
            status = DaemonStatus.ERROR
        return HealthCheckResult(told["healthy"], status, told["message"], told["timestamp"], told["details"])

    async def _ask(self, verb: str, *arguments: Any, **options: Any) -> Any:
        def ask() -> Any:
            return getattr(self._local.get(), verb)(*arguments, **options)

        return await _in_thread(ask)


class AutoSyncDaemon:
    """Background sync. The local peer is the daemon: starting it means that there is one."""

    _instance: "AutoSyncDaemon | None" = None
    _making = threading.Lock()

    def __init__(
        self,
        strategy: SyncStrategy | str | None = None,
        *,
        data: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | None = None,
    ) -> None:
        """`strategy` holds for a peer that this program runs; None: what its configuration says.

        One that runs already has its own: `start` warns if that is another.
        """
        try:
            self.strategy = None if strategy is None else SyncStrategy(strategy)
        except ValueError:
            known = ", ".join(one.value for one in SyncStrategy)
            raise UsageError(f"{strategy!r} is no strategy: use one of {known}") from None
        self._facade = SyncFacade(data, config, strategy=self.strategy)
        self._started = False
        type(self)._instance = self

    @classmethod
    def get_instance(cls) -> "AutoSyncDaemon":
        """Return the daemon made last, or make one."""
        with cls._making:
            return cls._instance if cls._instance is not None else cls()

    async def start(self) -> None:
        """Find the local peer, or run one; raises `UsageError` or `OperationFailed`, one line each."""
        runs_with = await _in_thread(lambda: self._facade._local.get().status()["sync"]["strategy"])
        if self.strategy not in (None, runs_with):
            warnings.warn(
                f"the peer that runs here has strategy {runs_with}, and keeps it: for {self.strategy} write "
                f"`strategy: {self.strategy}` in its configuration and send it SIGHUP",
                stacklevel=2,
            )
        self._started = True

    async def stop(self) -> None:
        """End a peer that this daemon runs."""
        self._started = False
        await _in_thread(self._facade._local.close)

    async def sync_now(self, data_type: str = "all") -> SyncResponse:
        """Bring everything to every eligible node now."""
        return await self._facade.sync(data_type)

    def health_check(self) -> HealthCheckResult:
        """Return how the peer behind this daemon is; before `start` it is stopped."""
        if not self._started:
            return HealthCheckResult(False, DaemonStatus.STOPPED, "the daemon was not started")
        return self._facade.health_check()


async def sync(data_type: str = "all", targets: Iterable[str] | None = None, **options: Any) -> SyncResponse:
    """Do what `SyncFacade.sync` does."""
    return await SyncFacade.get_instance().sync(data_type, targets, **options)


async def _in_thread(work: Callable[[], T]) -> T:
    """Do something that blocks, in whichever loop we are."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        import trio

        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
    return await asyncio.to_thread(work)


def _response(told: Mapping[str, Any]) -> SyncResponse:
    return SyncResponse(
        told["success"],
        told["backend_used"],
        tuple(told["nodes_synced"]),
        told["bytes_transferred"],
        told["duration_seconds"],
        tuple(told["errors"]),
        told["details"],
    )
