"""What does a peer look after when nobody asks? Its copies, and its certificate.

- Copies are read again, slowly and one after the other; what is damaged is moved
  aside and pulled again from those who still have it (field notes, incident 18).
  While chunks move, scrubbing slows down; it never stops.
- A data folder that was removed under the running peer is told, for as long as it is not there.
- A certificate that will expire is told in time: nobody lets us in afterwards.
"""

import math
import random
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from ringgossip.config import PeerConfig
from ringgossip.errors import StoreError
from ringgossip.events import CertificateExpires, StorageTrouble
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.protocol.core import Effect, Tell
from ringgossip.runtime.storage.store import Store
from ringgossip.runtime.workers import Workers

SCRUB_INTERVAL = 2.0
BUSY_SHARE = 0.1  # of the rate, while chunks come or go
FOLDER_INTERVAL = 30.0
CERTIFICATE_INTERVAL = 3600.0
CERTIFICATE_WARNING = 30 * 86400.0
_TOLD_AGAIN = 86400.0
_SOON = 0.5  # whoever opened this peer listens by then


class Board(Protocol):
    """Whoever holds the core."""

    @property
    def counters(self) -> dict[str, int]: ...

    def perform(self, effects: Sequence[Effect]) -> None: ...

    def count(self, name: str, amount: int = 1) -> None: ...


class Housekeeping:
    """The chores of one peer; `run` does them for ever."""

    def __init__(
        self, config: PeerConfig, certificate: NodeCertificate, store: Store, workers: Workers, board: Board
    ) -> None:
        self._scrubbing = config.scrub
        # `/health` takes three intervals of silence for a disk that is well again.
        self._look = min(FOLDER_INTERVAL, 2 * config.interval_seconds)
        self._credentials = config.credentials
        self._certificate = certificate
        self._store = store
        self._workers = workers
        self._board = board

    async def run(self) -> None:
        """Look after everything, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_certificate)
            nursery.start_soon(self._watch_folder)
            if self._scrubbing.bytes_per_second:
                nursery.start_soon(self._scrub)

    # --- copies ---------------------------------------------------------------------------

    async def _scrub(self) -> None:
        moved = 0
        while True:
            # Not in step with the others: peers that share a disk were often started together.
            await trio.sleep(SCRUB_INTERVAL * (0.75 + random.random() / 2))
            before, moved = moved, self._moved()
            budget = self._scrubbing.bytes_per_second * SCRUB_INTERVAL
            if moved != before:
                budget *= BUSY_SHARE
            try:
                scrubbed = await self._workers.call(partial(self._store.scrub_next, int(budget)))
            except StoreError:
                continue  # The disk or its index refuses: whoever writes tells of it.
            self._board.count("scrubbed_bytes", scrubbed.length)
            self._board.count("damaged_copies", len(scrubbed.damaged))
            if scrubbed.round_done:
                self._board.count("scrub_rounds")
                await trio.sleep(self._scrubbing.rest_seconds * (0.75 + random.random() / 2))

    def _moved(self) -> int:
        counters = self._board.counters
        return counters.get("chunk_bytes_received", 0) + counters.get("chunk_bytes_sent", 0)

    async def _watch_folder(self) -> None:
        while True:
            await trio.sleep(self._look)
            if await self._workers.call(self._store.is_gone):
                reason = f"{self._store.data} or its lock was removed, or another lies there"
                self._board.perform([Tell(StorageTrouble(f"{reason}: restart this peer"))])

    # --- certificate ------------------------------------------------------------------------

    async def _watch_certificate(self) -> None:
        await trio.sleep(_SOON)
        told_at, was_over = -math.inf, False
        while True:
            # The wall clock, looked at again and again: the machine may sleep, and clocks are set.
            left, now = self._certificate.not_after - time.time(), trio.current_time()
            over = left <= 0
            if left <= CERTIFICATE_WARNING and (over != was_over or now >= told_at + _TOLD_AGAIN):
                told_at, was_over = now, over
                reason = expiry(self._certificate, left, self._credentials)
                self._board.perform([Tell(CertificateExpires(self._certificate.not_after, reason))])
            await trio.sleep(CERTIFICATE_INTERVAL if over else min(CERTIFICATE_INTERVAL, left + _SOON))


def expiry(certificate: NodeCertificate, left: float, folder: Path) -> str:
    """Say that a certificate has so many seconds left, and what to run."""
    state = f"expires in {_days(left)}" if left > 0 else "has expired: nobody links with this peer any more"
    remedy = f"run `ringgossip enroll DIR --node {certificate.name} -o {folder}` and restart this peer"
    return f"the certificate of {certificate.name} {state}; {remedy}"


def _days(seconds: float) -> str:
    if seconds < 86400:
        return "less than a day"
    return f"{seconds / 86400:.0f} days" if seconds >= 1.5 * 86400 else "a day"
