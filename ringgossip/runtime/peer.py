"""One peer in this process: what it can be asked to do. `opening.open_runtime_peer` makes it.

All of it is for trio's thread. Answers are frozen copies; what a verb waits for
is looked at again whenever the core has told something.
"""

import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import trio

from ringgossip.config import PeerConfig
from ringgossip.config.words import KINDS
from ringgossip.content.kinds import normalise_kind
from ringgossip.content.kinds.metadata import describe
from ringgossip.content.names import require_artifact_name
from ringgossip.content.record import ArtifactKey, Record, Scalar
from ringgossip.errors import OperationFailed, StoreError, TimedOut
from ringgossip.events import Event
from ringgossip.identity import Address
from ringgossip.protocol.core import Draft, Published, PublishRefused, Tell
from ringgossip.protocol.explaining import Explanation
from ringgossip.protocol.membership import Member
from ringgossip.protocol.views import TransferView
from ringgossip.runtime.condition import Condition
from ringgossip.runtime.engine import Engine
from ringgossip.runtime.folders import SharedFolder
from ringgossip.runtime.listening import Audience, Listener
from ringgossip.runtime.own_names import OwnNames
from ringgossip.runtime.published import published_already
from ringgossip.runtime.shapes import (
    Artifact,
    Health,
    Receipt,
    artifact_of,
    copies_shape,
    link_shape,
    plan_shape,
)
from ringgossip.runtime.storage.publishing import Prepared, Progress
from ringgossip.runtime.unshared import warn_of_unshared
from ringgossip.runtime.verbs import LOOK_AGAIN, PeerVerbs
from ringgossip.runtime.workers import Workers

_LEAVE_SECONDS = 2.0
_LAST_WORDS = 0.05  # datagrams have left by then; links say themselves when they are done


class Peer(PeerVerbs):
    """A running peer."""

    def __init__(self, engine: Engine, audience: Audience, condition: Condition) -> None:
        self._engine = engine
        self._audience = audience
        self._condition = condition
        self._tickets = count(1)
        self._names: OwnNames | None = None
        self._publishing: dict[tuple[str, str], trio.Lock] = {}
        self._closed = False
        # Whoever knows more about this peer's health than its own condition; the doors do.
        self.judge: Callable[[], Health] | None = None

    # --- looking at it ------------------------------------------------------------------

    @property
    def config(self) -> PeerConfig:
        """What this peer was told at its start."""
        return self._engine.config

    @property
    def name(self) -> str:
        """This node's name."""
        return self._engine.core.name

    @property
    def address(self) -> Address:
        """Where it listens, TCP and UDP."""
        return self._engine.ports.address

    @property
    def closed(self) -> bool:
        """Whether it was closed or has stopped."""
        return self._closed

    @property
    def listed_here(self) -> tuple[int, int]:
        """How many artifacts are listed, and the newest version of how many can be read here."""
        return self._engine.core.listed_here()

    @property
    def counters(self) -> dict[str, int]:
        """Everything that was counted since the start."""
        return self._engine.counters

    @property
    def missing(self) -> int:
        """How many wanted artifacts are not complete here."""
        return self._missing()

    def members(self) -> tuple[Member, ...]:
        """Return everybody we know of, ourselves included."""
        return self._engine.core.members()

    def artifacts(
        self, kind: str | None = None, *, unlisted: bool = False, **filters: object
    ) -> list[Artifact]:
        """Return what is listed; filters are `origin`, `name`, `complete`, or metadata.

        `unlisted`: also what its origin withdrew, or the authority retired.
        """
        kind = None if kind is None else normalise_kind(kind)
        catalog = self._engine.core.catalog
        records = catalog.records(kind) if unlisted else catalog.listed(kind)
        found = (self._artifact(record) for record in records)
        return [artifact for artifact in found if artifact.matches(filters)]

    def artifact(self, kind: str, origin: str, name: str) -> Artifact | None:
        """Return one artifact in its newest version, or None."""
        record = self._engine.core.catalog.get(ArtifactKey(normalise_kind(kind), origin, name))
        return None if record is None else self._artifact(record)

    def transfers(self) -> list[TransferView]:
        """Return what is being pulled."""
        return self._engine.core.transfers()

    def explain(self, artifact: str, node: str) -> Explanation:
        """Say why a node has, lacks or will get an artifact, written `kind/origin/name`.

        Raises `UsageError` for what is no artifact, `OperationFailed` for one nobody knows.
        """
        return self._engine.core.explain(ArtifactKey.parse(artifact), node, trio.current_time())

    def _artifact(self, record: Record) -> Artifact:
        core = self._engine.core
        # While a new version is on its way, the one before it is what can be opened.
        shown = core.versions.visible(record.key)
        path = None if shown is None else self._engine.store.path_of(shown)
        return artifact_of(core.artifact_view(record), None if path is None else str(path))

    # --- publishing -----------------------------------------------------------------------

    async def publish(
        self,
        kind: str,
        path: str | os.PathLike[str],
        *,
        board_type: str | None = None,
        num_players: int | None = None,
        quality: float | None = None,
        name: str | None = None,
        replace: bool = False,
        copies: int = 0,
        timeout: float = 60.0,
        progress: Progress | None = None,
    ) -> Receipt:
        """Publish a file and wait until `copies` other peers hold it, at most `timeout` seconds.

        Raises `UsageError` for arguments, `ArtifactRefused` or `SnapshotPostponed`
        for the file, `OperationFailed` for a name that is taken, `TimedOut` when
        not even the record is on disk by then. `progress` hears (phase, done, total),
        `snapshot` and `hash` in bytes and from a worker thread, then `copies`. Too few
        copies are no error: the receipt says who has it and who has not.
        """
        source = Path(os.path.abspath(path))  # noqa: PTH100  Links are not resolved: they are the name.
        metadata = describe(board_type, num_players, quality)
        name = source.name if name is None else name
        return await self.publish_source(
            kind, source, name, metadata, replace=replace, copies=copies, timeout=timeout, progress=progress
        )

    async def publish_source(
        self,
        kind: str,
        source: Path,
        name: str,
        metadata: Mapping[str, Scalar],
        *,
        replace: bool = False,
        copies: int = 0,
        timeout: float = 60.0,
        progress: Progress | None = None,
        revive: bool = True,
        inside: Path | None = None,
        crew: Workers | None = None,
    ) -> Receipt:
        """Publish with any metadata: what `publish` and shared folders do.

        Not `revive`: what was withdrawn stays so until its content or metadata change.
        With `inside`, `source` must lie below that folder, wherever links lead. `crew` reads it.
        """
        self._still_open()
        kind = normalise_kind(kind)
        name = require_artifact_name(name)
        deadline = trio.current_time() + timeout
        lock = self._publishing.setdefault((kind, name), trio.Lock())
        try:
            async with lock:
                await self._check_name(kind, name, source, replace)
                store = self._engine.store
                prepared = await (crew or self._engine.crews.publishers).call(
                    lambda: store.prepare(kind, source, name, metadata, progress, inside), self._discard
                )
                answer = await self._sign(prepared, deadline, revive)
        finally:
            if lock.statistics().tasks_waiting == 0 and not lock.locked():
                self._publishing.pop((kind, name), None)
        if isinstance(answer, PublishRefused):
            # Our own disk is no fault of the file's: whoever watches over it tries again.
            kind_of_error = StoreError if answer.again else OperationFailed
            raise kind_of_error(f"{kind} {name} was not published: {answer.reason}")
        if self._names is not None:
            self._names.add(kind, name)
        await self._await_copies(answer.record, copies, deadline, progress)
        return self._receipt(answer, copies, prepared.warnings)

    async def _check_name(self, kind: str, name: str, source: Path, replace: bool) -> None:
        if self._names is None:
            core = self._engine.core
            self._names = OwnNames()
            for record in core.catalog.records():
                if record.origin == core.name:
                    self._names.add(record.kind, record.name)
        other = self._names.collision(kind, name)
        if other is not None:
            raise OperationFailed(f"{kind} {name} cannot lie beside {other} on every disk: give another name")
        store = self._engine.store
        before = await self._engine.crews.index.call(lambda: store.source_of(kind, name))
        if before is not None and before != str(source) and not replace:
            raise OperationFailed(
                f"{kind} {name} was published from {before}: give another name, or say replace"
            )

    async def _sign(self, prepared: Prepared, deadline: float, revive: bool) -> Published | PublishRefused:
        engine = self._engine

        def discard(effect: Published | PublishRefused) -> None:
            if isinstance(effect, PublishRefused) or effect.unchanged:
                self._discard(prepared)

        draft = Draft(
            next(self._tickets),
            prepared.kind,
            prepared.name,
            prepared.size,
            prepared.chunk_size,
            prepared.root,
            prepared.metadata,
            revive=revive,
        )
        answer = await self._answered(
            draft.ticket, lambda now: engine.core.publish(draft, now), deadline, discard
        )
        if answer is None:
            raise TimedOut(f"{prepared.kind} {prepared.name} is prepared, but its record is not on disk yet")
        return answer

    def _discard(self, prepared: Prepared) -> None:
        """Nobody signs what was prepared: a snapshot may be as large as its database."""
        store = self._engine.store
        self._engine.crews.publishers.submit(lambda: store.discard(prepared), _nothing, _nothing)

    async def _await_copies(
        self, record: Record, copies: int, deadline: float, progress: Progress | None
    ) -> None:
        core = self._engine.core
        while True:
            holders = len(core.receipt(record.key, record).holders)
            if progress is not None and copies:
                progress("copies", holders, copies)
            if holders >= copies:
                return
            left = deadline - trio.current_time()
            if left <= 0 or self._closed:
                return
            await self._audience.changed(min(left, LOOK_AGAIN))

    def _receipt(self, answer: Published, copies: int, warnings: tuple[str, ...]) -> Receipt:
        core = self._engine.core
        record = answer.record
        holders = core.receipt(record.key, record).holders
        others = {member.name for member in core.members() if member.state in ("alive", "suspect")}
        missing = sorted(others - set(holders) - {core.name})
        return Receipt(
            self._artifact(record), len(holders), copies, holders, tuple(missing), answer.unchanged, warnings
        )

    # --- waiting ---------------------------------------------------------------------------

    @asynccontextmanager
    async def listen(self, *, opening: bool = False) -> AsyncIterator[Listener]:
        """Iterate over events from now on; a slow listener loses the oldest and is told how many.

        With `opening` also over those that were told while the peer was being opened, if that was just now.
        """
        listener = self._audience.add(opening)
        try:
            yield listener
        finally:
            self._audience.remove(listener)

    # --- how it does ----------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what `ringgossip status --json` prints; from memory."""
        engine, core, now = self._engine, self._engine.core, trio.current_time()
        health = self.health_check()
        members = core.members()
        condition = self._condition
        counters = {
            "chunk_bytes_received": 0,
            "chunk_bytes_sent": 0,
            "datagram_bytes_sent": 0,
            "datagram_bytes_received": 0,
            "strangers_refused": 0,
            **engine.counters,
        }
        return {
            "healthy": health.healthy,
            "verdict": health.message,
            "status": health.status,
            "node": self.name,
            "cluster": self.config.cluster,
            "role": self.config.role,
            "address": str(self.address),
            "pid": os.getpid(),
            "uptime_seconds": now - engine.started_at,
            "sync": {
                "strategy": self.config.strategy,
                "interval_seconds": self.config.interval_seconds,
                "plans": {kind: plan_shape(core.rules.plan(kind)) for kind in KINDS},
                "artifacts": core.listed_here()[0],
                "held": len(core.shelf.versions()),
                "missing": self._missing(),
                "transfers": len(core.transfer.pulls()),
                "completed": condition.completed,
                "failures": condition.failures,
                "last_completed_seconds_ago": (
                    None if condition.last_completed is None else now - condition.last_completed
                ),
                "budget": self.budget_spent() or None,
                **copies_shape(core.below_copies(now)),
                "missing_seconds": 0.0 if condition.missing_since is None else now - condition.missing_since,
            },
            "members": {
                state: sum(member.state == state for member in members)
                for state in ("alive", "suspect", "dead", "left")
            },
            "links": [link_shape(link) for link in engine.links.all()],
            "breakers": [asdict(breaker) for breaker in self.breakers()],
            "memory": {"receiving_bytes": engine.receiving.used, "sending_bytes": engine.sending.used},
            "trouble": condition.last_trouble,
            "counters": counters,
        }

    def _missing(self) -> int:
        transfer = self._engine.core.transfer
        return len(transfer.pulls()) + transfer.waiting()

    def health_check(self) -> Health:
        """Return whether this peer does its work; from memory, in no time."""
        if self.judge is not None:
            return self.judge()
        now = trio.current_time()
        core, condition = self._engine.core, self._condition
        condition.missing(self._missing(), now)
        good = core.counters.get("chunks_stored", self._engine.counters.get("chunk_bytes_received", 0) >> 16)
        problems = condition.problems(good, now)
        status = "stopped" if self._closed else "degraded" if problems else "healthy"
        message = "closed" if self._closed else "; ".join(problems) or "all is well"
        details = {
            "completed": condition.completed,
            "failures": condition.failures,
            "bad_chunks": condition.bad_chunks,
            "missing": self._missing(),
            "members_alive": sum(member.state == "alive" for member in core.members()),
            "trouble": condition.last_trouble,
        }
        return Health(not self._closed, status, message, time.time(), details)

    def reload(self, config: PeerConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Let rules and limits of `config` hold from now on.

        Returns the keys that changed, and those that changed and wait for a restart.
        """
        self._still_open()
        return self._engine.reload(config)

    # --- the end ----------------------------------------------------------------------------

    async def share_folders(self) -> None:
        """Publish finished files of the configured folders, for ever."""
        engine = self._engine
        known = partial(published_already, engine.store, engine.core.catalog, self.name, engine.crews.index)
        async with trio.open_nursery() as nursery:
            for share in self.config.share:
                pause = self.config.min_interval_seconds
                lookers, readers = engine.crews.for_folder()
                publish = partial(self.publish_source, crew=readers)
                folder = SharedFolder(share, publish, lookers, self._tell, pause, known)
                nursery.start_soon(folder.run)
            if self.config.share:
                nursery.start_soon(warn_of_unshared, self.config.share, engine.crews.folders)

    def _tell(self, event: Event) -> None:
        self._engine.perform([Tell(event)])

    async def close(self, graceful: bool = True) -> None:
        """Leave the cluster and stop; gracefully within 2 seconds, else at once."""
        if self._closed:
            return
        self._closed = True
        engine = self._engine
        with trio.CancelScope(shield=True):
            if graceful and engine.stop_reason is None:
                engine.perform(engine.core.leave(trio.current_time()))
                with trio.move_on_after(_LEAVE_SECONDS):
                    await trio.sleep(_LAST_WORDS)
                    while not engine.links.flushed():
                        await trio.sleep(0.01)
            engine.stop(None)
        self._audience.close()

    def _ended(self) -> None:
        """The engine stopped by itself."""
        self._closed = True
        self._audience.close()


def teller(audience: Audience, condition: Condition) -> Callable[[Event], None]:
    """Return what is to be called for every event."""

    def tell(event: Event) -> None:
        condition.note(event, trio.current_time())
        audience.tell(event)

    return tell


def _nothing(_: object) -> None:
    """Nobody waits for it."""
