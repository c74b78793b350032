"""Who turns the crank? Feeds the core, performs its effects in order, and wakes it in time.

Everything here runs in trio's thread. Performing an effect never waits and never
calls the core; what takes time comes back through the mailbox. An exception out
of the core is a bug of ours: it ends the peer, with its traceback in the log.
"""

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import SystemRandom
from typing import Any

import trio

from ringgossip.config import PeerConfig
from ringgossip.content.record import Record
from ringgossip.events import Event, StorageTrouble
from ringgossip.identity import Address
from ringgossip.identity.credentials import Credentials
from ringgossip.protocol.answers import DrainReport, SyncReport
from ringgossip.protocol.core import (
    DATAGRAM,
    Abandon,
    BeginPartial,
    CloseLink,
    Dial,
    DrainAnswered,
    Drop,
    Effect,
    Evict,
    Finalise,
    FindPages,
    LookAt,
    Persist,
    PersistCertificate,
    PersistSpent,
    Published,
    PublishRefused,
    Remember,
    Reserve,
    Send,
    SendChunk,
    SendPages,
    Stop,
    SyncAnswered,
    Tell,
    TellPlace,
    VerifyRecords,
)
from ringgossip.protocol.peer_core import PeerCore
from ringgossip.protocol.rule_settings import rules_of
from ringgossip.runtime.buffers import BufferPool
from ringgossip.runtime.crews import Crews
from ringgossip.runtime.datagrams import Datagrams
from ringgossip.runtime.disk_effects import DiskEffects
from ringgossip.runtime.facts import facts_of, settings_of
from ringgossip.runtime.inbox import Inbox
from ringgossip.runtime.links import Links
from ringgossip.runtime.notary import CredentialsNotary
from ringgossip.runtime.ports import Ports
from ringgossip.runtime.reloading import taken_over
from ringgossip.runtime.resolving import Resolver
from ringgossip.runtime.shared_disk import SharedDisk
from ringgossip.runtime.storage.disk import disk_use
from ringgossip.runtime.storage.store import Store
from ringgossip.runtime.watching import watch_calendar
from ringgossip.runtime.workers import Call, Mailbox
from ringgossip.wire.seal import BOOT_NONCE_BYTES, Opener, Sealer

log = logging.getLogger("ringgossip")

# Chunks read and about to be sent; those asked for have their own, configured budget.
_SENDING_BYTES = 32 * 2**20
_WORTH_MOVING = 0.2  # seconds
# Whole bodies from lanes, not written yet: more would only leave the processor's cache meanwhile.
_ARRIVING_BYTES = 8 * 2**20


class Engine:
    """A core on real sockets, threads and disks. Make it inside trio, then `run` it."""

    def __init__(
        self,
        config: PeerConfig,
        credentials: Credentials,
        store: Store,
        ports: Ports,
        mailbox: Mailbox,
        crews: Crews,
        boot: int,
        embedded: bool,
        on_event: Callable[[Event], None],
    ) -> None:
        self.config = config
        self._embedded = embedded
        self.store = store
        self.crews = crews
        self.ports = ports
        self.stop_reason: str | None = None
        self.started_at = trio.current_time()
        self.answers: dict[int, Callable[[Published | PublishRefused], None]] = {}
        self.reports: dict[int, Callable[[SyncReport | DrainReport], None]] = {}
        self._counters: dict[str, int] = {}
        self._mailbox = mailbox
        self._on_event = on_event
        # Until when the timer sleeps; an earlier deadline moves it, and so does one that is much later.
        self._alarm = trio.CancelScope()
        self._batching = False
        self._next: deque[Call] = deque()
        self._performing = False
        self._stopped = trio.Event()
        self._credentials = credentials
        nonce = secrets.token_bytes(BOOT_NONCE_BYTES)
        self._core = PeerCore(
            cluster=config.cluster,
            notary=CredentialsNotary(credentials),
            facts=facts_of(config, ports.address, embedded),
            seeds=tuple(seed for seed in config.seeds if seed != ports.address),
            settings=settings_of(config),
            boot=boot,
            nonce=nonce,
            restored=replace(store.restored, disk=disk_use(config.data)),
            rng=SystemRandom(),
            now=trio.current_time(),
        )
        keys, cluster = credentials.gossip_keys, credentials.cluster
        self.resolver = Resolver(crews.names)
        self.datagrams = Datagrams(
            ports.udp,
            Sealer(cluster, keys, credentials.peer_id, nonce),
            Opener(cluster, keys),
            self.resolver,
            self,
        )
        self.receiving = BufferPool(config.memory.in_flight_bytes)
        self.arriving = BufferPool(_ARRIVING_BYTES)
        self.sending = BufferPool(_SENDING_BYTES)
        self._disk = DiskEffects(self, store, crews, cluster, SharedDisk(config.shared_folder, store.data))
        self._links: Links | None = None
        self._perform = self._table()

    @property
    def core(self) -> PeerCore:
        return self._core

    @property
    def links(self) -> Links:
        """The links; there while the engine runs."""
        assert self._links is not None
        return self._links

    @property
    def counters(self) -> dict[str, int]:
        """What was counted by the world and by the core."""
        return {**self._counters, **self._core.counters}

    # --- running ------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, or until the core says that this peer must not go on."""
        async with trio.open_nursery() as nursery:
            inbox = Inbox(self, self.store, self.crews.writers, self.receiving, self.arriving)
            self._links = Links(
                self._credentials,
                self,
                self.resolver,
                inbox,
                self.store,
                self.crews.readers,
                self.sending,
                nursery,
            )
            nursery.start_soon(self._mailbox.run, self._batch)
            self.perform(self._core.start(trio.current_time()))
            nursery.start_soon(self._links.listen, self.ports.tcp)
            nursery.start_soon(self._links.watch)
            nursery.start_soon(self.datagrams.run)
            nursery.start_soon(self._wake)
            nursery.start_soon(watch_calendar, self._core, self.perform)
            task_status.started()
            await self._stopped.wait()
            nursery.cancel_scope.cancel()

    async def _wake(self) -> None:
        while True:
            self._alarm = trio.CancelScope(deadline=self._core.next_wakeup())
            with self._alarm:
                await trio.sleep_forever()
            now = trio.current_time()
            if now >= self._core.next_wakeup():
                self.perform(self._core.wake(now))

    def _batch(self, deliver: Call) -> None:
        self._batching = True
        deliver()
        self._batching = False
        self._settle()

    def _set_alarm(self) -> None:
        due, asleep_until = self._core.next_wakeup(), self._alarm.deadline
        # An answered probe puts the next deadline off; to wake for nothing costs an idle peer a quarter
        # of all it costs. Under load the timer is not moved each time.
        if due < asleep_until or due > asleep_until + _WORTH_MOVING:
            self._alarm.deadline = due

    def reload(self, config: PeerConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Let a configuration hold from now on; return what changed, and what waits for a restart."""
        self.config, changed, waiting = taken_over(self.config, config)
        core, now = self._core, trio.current_time()
        me = core.membership.member(core.me)
        training = me is not None and me.facts.training
        facts = facts_of(self.config, self.ports.address, self._embedded)
        self.perform(core.change_facts(replace(facts, training=training), now))
        self.perform(core.change_rules(rules_of(self.config), now))
        return changed, waiting

    # --- the board ------------------------------------------------------------------------------

    def perform(self, effects: Sequence[Effect]) -> None:
        """Perform effects in order, and move the timer if something is due earlier now."""
        inside, self._performing = self._performing, True
        try:
            for effect in effects:
                self._perform[type(effect)](effect)
            while self._next and not inside:
                self._next.popleft()()
        finally:
            self._performing = inside
        if not (inside or self._batching):
            self._settle()

    def next(self, call: Call) -> None:
        """Make `call`, an input of the core, as soon as the effects of the present one are performed."""
        self._next.append(call)

    def _settle(self) -> None:
        if self._links is not None:
            self._links.flush()
        self._set_alarm()

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self._counters[name] = self._counters.get(name, 0) + amount

    def copy_lost(self, record: Record, reason: str) -> None:
        """From any thread: a copy is damaged or changed."""
        self._mailbox.post(lambda: self.perform(self._core.copy_lost(record, reason, trio.current_time())))

    def trouble(self, reason: str) -> None:
        """From any thread: something is wrong with our disk."""
        self._mailbox.post(lambda: self.perform([Tell(StorageTrouble(reason))]))

    def _table(self) -> dict[type, Callable[[Any], None]]:
        disk = self._disk
        return {
            Send: self._send,
            SendChunk: lambda effect: self.links.send_chunk(effect),
            Dial: lambda effect: self.links.dial(effect),
            CloseLink: lambda effect: self.links.close(effect.link, effect.reason),
            SendPages: disk.send_pages,
            VerifyRecords: disk.verify,
            Persist: disk.persist,
            PersistCertificate: disk.persist_certificate,
            Reserve: disk.reserve,
            FindPages: disk.find_pages,
            BeginPartial: disk.begin_partial,
            Abandon: disk.abandon,
            Finalise: disk.finalise,
            Drop: disk.drop,
            Evict: disk.drop,
            TellPlace: disk.tell_place,
            LookAt: disk.look_at,
            Published: self._answer,
            PublishRefused: self._answer,
            SyncAnswered: self._synced,
            DrainAnswered: self._report,
            Remember: disk.remember,
            PersistSpent: disk.persist_spent,
            Tell: self._tell,
            Stop: self._stop,
        }

    def _send(self, effect: Send) -> None:
        if effect.lane is DATAGRAM:
            assert isinstance(effect.to, Address)
            self.datagrams.send(effect.message, effect.to)
        else:
            assert not isinstance(effect.to, Address)
            self.links.send(effect.message, effect.to)

    def _tell(self, effect: Tell) -> None:
        self._on_event(effect.event)

    def _answer(self, effect: Published | PublishRefused) -> None:
        answer = self.answers.pop(effect.ticket, None)
        if answer is not None:
            answer(effect)

    def _synced(self, effect: SyncAnswered) -> None:
        """Report, once what stays asked for is on disk: the index's one thread does things in order."""

        def report(_: object) -> None:
            self._report(effect)

        self.crews.index.submit(lambda: None, report, report)

    def _report(self, effect: SyncAnswered | DrainAnswered) -> None:
        report = self.reports.pop(effect.ticket, None)
        if report is not None:
            report(effect.report)

    def _stop(self, effect: Stop) -> None:
        self.stop(effect.reason)

    def stop(self, reason: str | None) -> None:
        """End `run`; a reason is why this peer must not go on."""
        self.stop_reason = self.stop_reason or reason
        self._stopped.set()


def boot_of(store: Store) -> int:
    """Return this start's number, on disk already; blocks."""
    return store.next_boot(int(time.time()))
