"""What else may a program ask of a peer? Sync, drain, and what it tells us: `Peer`'s other verbs."""

from collections.abc import Callable, Iterable
from itertools import count
from typing import TYPE_CHECKING, Any

import trio

from ringgossip.config.signals import signal
from ringgossip.config.words import PRIORITIES, plural_kind
from ringgossip.content.kinds import normalise_kind
from ringgossip.content.kinds.metadata import check_board_type, check_num_players, parse_config_key
from ringgossip.content.names import require_artifact_name
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.errors import OperationFailed, PeerGone, TimedOut, UsageError
from ringgossip.events import OrphanGamesDetected, TerminationNoticed
from ringgossip.protocol.answers import DrainReport, SyncReport, SyncRequest
from ringgossip.protocol.core import Effect, Published, PublishRefused, Tell
from ringgossip.protocol.request_words import ORPHANS
from ringgossip.runtime.answers import DrainResult, SyncResult, drain_result, sync_result
from ringgossip.runtime.shapes import BreakerShape, breaker_shape

if TYPE_CHECKING:
    from ringgossip.runtime.engine import Engine
    from ringgossip.runtime.listening import Audience
    from ringgossip.runtime.shapes import Artifact

Progress = Callable[[str, int, int], None]

_LOOK = 0.25
LOOK_AGAIN = 0.5  # what no event tells is seen after so long


class PeerVerbs:
    """The verbs that are carried out by the core and answered with a report."""

    _engine: "Engine"
    _audience: "Audience"
    _tickets: "count[int]"
    _closed: bool

    def _artifact(self, record: Record) -> "Artifact":
        raise NotImplementedError

    # --- waiting and ending -------------------------------------------------------------

    async def wait_for(
        self,
        kind: str,
        name: str,
        *,
        origin: str | None = None,
        newer_than: int | None = None,
        timeout: float = 60.0,
    ) -> "Artifact":
        """Return the artifact as soon as a verified copy is here; without `origin` the latest of all authors.

        Raises `TimedOut` with what is known of it by then.
        """
        self._still_open()
        kind = normalise_kind(kind)
        name = require_artifact_name(name)
        core = self._engine.core
        deadline = trio.current_time() + timeout
        while True:
            if origin is None:
                record = core.catalog.latest(kind, name)
            else:
                record = core.catalog.get(ArtifactKey(kind, origin, name))
            ended = "" if record is None else core.catalog.unlisted(record)
            shown = None if record is None or ended else core.versions.visible(record.key)
            if shown is not None and (newer_than is None or shown.sequence > newer_than):
                return self._artifact(shown)
            lent = None if record is None or ended else core.showing.shown(record.key)
            if lent is not None and (newer_than is None or lent.record.sequence > newer_than):
                return self._artifact(lent.record)
            if record is not None and not ended and (newer_than is None or record.sequence > newer_than):
                self._engine.perform(core.ask(record, "normal", trio.current_time()))
            else:
                self._engine.perform(core.expect(kind, name, origin, newer_than, trio.current_time()))
            left = deadline - trio.current_time()
            if left <= 0:
                known = "nobody has published it" if record is None else f"version {record.sequence} is known"
                known = f"it is {ended}" if ended else known
                raise TimedOut(f"{kind} {name} is not here after {timeout:g} s: {known}")
            self._still_open()
            await self._audience.changed(min(left, LOOK_AGAIN))

    async def withdraw(self, artifact: str, *, timeout: float = 60.0) -> "Artifact":
        """End an artifact of this node, `kind/origin/name`: listed and wanted no more; no file is touched.

        Publishing it again begins anew. Withdrawn twice it is withdrawn once. Raises
        `UsageError` for what is no artifact, `OperationFailed` for one of another node.
        """
        self._still_open()
        key, core = ArtifactKey.parse(artifact), self._engine.core
        ticket = next(self._tickets)
        deadline = trio.current_time() + timeout
        answer = await self._answered(ticket, lambda now: core.withdraw(ticket, key, now), deadline)
        if answer is None:
            raise TimedOut(f"{artifact} is not withdrawn yet: its record is not on disk")
        if isinstance(answer, PublishRefused):
            raise OperationFailed(f"{artifact} was not withdrawn: {answer.reason}")
        return self._artifact(answer.record)

    def retire(self, order: bytes) -> tuple[str, int]:
        """Take an order of the cluster's authority that retires a node; every peer will hear of it.

        Returns the node's name and the generation up to which it is retired. Raises `UsageError`
        for what is no such order.
        """
        self._still_open()
        taken, effects = self._engine.core.order(order, trio.current_time())
        self._engine.perform(effects)
        return taken.name, taken.generation

    async def _answered(
        self,
        ticket: int,
        ask: Callable[[float], list[Effect]],
        deadline: float,
        then: Callable[[Published | PublishRefused], None] | None = None,
    ) -> Published | PublishRefused | None:
        """Ask the core to publish; return its answer, or None if none came; `then` hears it even later."""
        answers: list[Published | PublishRefused] = []
        answered = trio.Event()

        def answer(effect: Published | PublishRefused) -> None:
            answers.append(effect)
            answered.set()
            if then is not None:
                then(effect)

        self._engine.answers[ticket] = answer
        self._engine.perform(ask(trio.current_time()))
        with trio.move_on_at(deadline):
            await answered.wait()
        return answers[0] if answers else None

    # --- sync, drain, signals -----------------------------------------------------------

    async def sync(
        self,
        data_type: str = "all",
        targets: Iterable[str] | None = None,
        *,
        board_type: str | None = None,
        num_players: int | None = None,
        priority: str = "normal",
        timeout: float | None = None,
        bandwidth_limit: float | None = None,
        exclude_nodes: Iterable[str] = (),
        prefer_ephemeral: bool = False,
        require_confirmation: bool = False,
        source_node: str | None = None,
        reason: str = "",
        progress: Progress | None = None,
    ) -> SyncResult:
        """Bring artifacts to nodes and return what became of each (artifact, target).

        `targets` None or ["all"]: every node that may receive the kind. With
        `source_node` what that node holds is brought here instead. `bandwidth_limit`
        is in bytes a second, for what each target pulls. `progress` hears
        ("sync", bytes done, bytes in all). Raises `UsageError` for arguments only:
        what could not be moved is in the result.
        """
        if timeout is None:
            timeout = self._engine.config.sync_timeout_seconds
        asked = SyncRequest(
            data_type="all" if data_type == "all" else plural_kind(data_type),
            targets=_names(targets, "targets"),
            board_type=None if board_type is None else check_board_type(board_type),
            num_players=None if num_players is None else check_num_players(num_players),
            priority=_priority(priority),
            timeout=_positive(timeout, "timeout"),
            bandwidth_limit=(
                None if bandwidth_limit is None else _positive(bandwidth_limit, "bandwidth_limit")
            ),
            exclude_nodes=_names(exclude_nodes, "exclude_nodes") or (),
            prefer_ephemeral=prefer_ephemeral,
            require_confirmation=require_confirmation,
            source_node=source_node,
            reason=reason,
            sync_type="priority" if source_node is not None else "manual",
        )
        return sync_result(await self._sync(asked, progress), asked)

    async def trigger_priority_sync(
        self,
        reason: str = ORPHANS,
        source_node: str | None = None,
        config_key: str | None = None,
        data_type: str = "games",
        *,
        timeout: float | None = None,
    ) -> SyncResult:
        """Pull what `source_node` holds, at critical priority, confirmed; None: from whoever has it."""
        board, players = (None, None) if config_key is None else parse_config_key(config_key)
        return await self.sync(
            data_type,
            None if source_node is not None else [self._engine.core.name],
            board_type=board,
            num_players=players,
            priority="critical",
            timeout=timeout,
            require_confirmation=True,
            source_node=source_node,
            reason=reason,
        )

    async def _sync(self, asked: SyncRequest, progress: Progress | None) -> SyncReport:
        self._still_open()
        core, ticket = self._engine.core, next(self._tickets)
        answers: list[SyncReport] = []
        answered = trio.Event()

        def answer(report: SyncReport | DrainReport) -> None:
            assert isinstance(report, SyncReport)
            answers.append(report)
            answered.set()

        self._engine.reports[ticket] = answer
        try:
            self._engine.perform(core.sync(ticket, asked, trio.current_time()))
            while not answered.is_set():
                with trio.move_on_after(_LOOK):
                    await answered.wait()
                so_far = core.sync_progress(ticket)
                if progress is not None and so_far is not None:
                    progress("sync", so_far.bytes_done + self._coming(), so_far.bytes_total)
                if not answered.is_set():
                    self._still_open()
        finally:
            self._engine.reports.pop(ticket, None)
            core.requests.cancel(ticket)
        return answers[0]

    def _coming(self) -> int:
        """Return the bytes of transfers under way that are here already."""
        return sum(transfer.done for transfer in self._engine.core.transfers())

    def breakers(self) -> tuple[BreakerShape, ...]:
        """Return every route to a peer that failed and has not worked since."""
        return tuple(map(breaker_shape, self._engine.core.breaker_views(trio.current_time())))

    def budget_spent(self) -> str:
        """Say until when our byte budget lets nothing leave; empty while something may."""
        return self._engine.core.serving.account.spent_until()

    def held_back(self) -> tuple[str, str] | None:
        """Return an artifact that no holder may be asked for now, and why."""
        return self._engine.core.held_back(trio.current_time())

    def flowing(self) -> list[str]:
        """Return the artifacts whose chunks come in just now."""
        return self._engine.core.transfer.flowing()

    def below_copies(self) -> tuple[int, float]:
        """Return how many artifacts have too few copies elsewhere, and the seconds since the oldest has."""
        below = self._engine.core.below_copies(trio.current_time())
        return len(below), max((short.age for short in below), default=0.0)

    async def drain(self, deadline: float | None = None) -> DrainResult:
        """Bring what only this node holds to others, the most endangered first, and say what is not safe.

        `deadline`: how many seconds it may take, `drain_seconds` of the configuration unless given.
        """
        self._still_open()
        seconds = self._engine.config.drain_seconds if deadline is None else deadline
        seconds = _positive(seconds, "deadline")
        core, ticket = self._engine.core, next(self._tickets)
        answers: list[DrainReport] = []
        answered = trio.Event()

        def answer(report: SyncReport | DrainReport) -> None:
            assert isinstance(report, DrainReport)
            answers.append(report)
            answered.set()

        self._engine.reports[ticket] = answer
        try:
            self._engine.perform(core.drain(ticket, seconds, trio.current_time()))
            while not answered.is_set():
                with trio.move_on_after(_LOOK):
                    await answered.wait()
                if not answered.is_set():
                    self._still_open()
        finally:
            self._engine.reports.pop(ticket, None)
        return drain_result(answers[0])

    async def termination_noticed(self, where: str) -> None:
        """The provider says that this machine goes away: drain now; SIGTERM drains once more."""
        self._engine.perform([Tell(TerminationNoticed(where))])
        await self.drain()

    def notify(self, name: str, /, **fields: Any) -> None:
        """Tell what happened at a node, one of `events.SIGNALS`: TRAINING_STARTED, node_id="gpu-3".

        That node is told too. Raises `UsageError` for a word we do not know,
        `OperationFailed` for a node we do not know.
        """
        self._still_open()
        try:
            told = signal(name, fields)
            if isinstance(told, OrphanGamesDetected) and told.config_key:
                parse_config_key(told.config_key)
        except ValueError as error:
            raise UsageError(str(error)) from None
        core = self._engine.core
        if told.node_id != core.name and core.node(told.node_id) is None:
            raise OperationFailed(f"no node {told.node_id} is known: `ringgossip members` names them")
        self._engine.perform(core.signal(told, trio.current_time()))

    def _still_open(self) -> None:
        if self._closed:
            raise PeerGone("this peer was closed")


def _names(given: Iterable[str] | None, what: str) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(name, str) and name for name in names):
        raise UsageError(f"{what} must be names of nodes")
    return names


def _priority(word: str) -> str:
    if word not in PRIORITIES:
        raise UsageError(f"priority {word!r} is none of {', '.join(PRIORITIES)}")
    return word


def _positive(value: float, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UsageError(f"{what} must be above 0, not {value!r}")
    return float(value)
