"""What is written together, and what becomes of it when the disk refuses? Jobs are run by hand here."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from artifacts import Origin, manifest_of

from ringgossip.content.record import Record
from ringgossip.errors import StoreError
from ringgossip.protocol.core import Persist, PersistCertificate, Tell, VerifyRecords
from ringgossip.runtime.disk_effects import DiskEffects

ORIGIN = Origin()


class Disk:
    """A store, its index's thread and the board above in one: what was written, what was told."""

    def __init__(self) -> None:
        self.restored = SimpleNamespace(store=b"ours....")
        self.index = self.core = self.signatures = self
        self.waiting = 0
        self.jobs: list[tuple[Callable[[], Any], Callable[[Any], None], Callable[[Exception], None]]] = []
        self.written: list[tuple[list[Record], list[bytes]]] = []
        self.told: list[str] = []
        self.full = False

    def submit(self, *job: Any) -> None:
        self.jobs.append(job)

    def persist_batch(self, records: list[Record], certificates: list[bytes]) -> None:
        if self.full:
            raise StoreError("the disk is full")
        self.written.append((records, certificates))

    def record_persisted(self, record: Record, now: float) -> list[Any]:
        self.told.append(f"{record.name} is on disk")
        return []

    def persist_failed(self, record: Record, reason: str, now: float) -> list[Any]:
        self.told.append(f"{record.name}: {reason}")
        return []

    def next(self, call: Callable[[], None]) -> None:
        self.jobs.append((call, lambda _: None, lambda _: None))

    def records_verified(self, batch: int, reasons: tuple[str | None, ...], now: float) -> list[Any]:
        self.told.append(f"{batch}: {reasons}")
        return []

    def perform(self, effects: list[Any]) -> None:
        self.told += [effect.event.reason for effect in effects if isinstance(effect, Tell)]

    def run(self) -> None:
        """Do the jobs that are there by now."""
        jobs, self.jobs = self.jobs, []
        for work, done, failed in jobs:
            try:
                result = work()
            except StoreError as error:
                failed(error)
            else:
                done(result)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr("ringgossip.runtime.disk_effects._now", lambda: 0.0)
    return Disk()


@pytest.fixture
def effects(disk: Disk) -> DiskEffects:
    stand_in: Any = disk
    return DiskEffects(stand_in, stand_in, stand_in, "ringrift", stand_in)


def record(name: str) -> Record:
    return ORIGIN.record(manifest_of(1), name)


def test_the_verdict_on_few_records_is_the_next_input_and_none_in_the_middle_of_this_one(
    disk: Disk, effects: DiskEffects
) -> None:
    effects.verify(VerifyRecords(7, ((record("a.db"), b"no certificate"),)))
    assert not disk.told and len(disk.jobs) == 1
    disk.run()
    [verdict] = disk.told
    assert verdict.startswith("7: ('certificate is damaged")


def test_what_comes_while_one_is_written_shares_the_next_write(disk: Disk, effects: DiskEffects) -> None:
    ders = [bytes([number % 256, number // 256]) for number in range(300)]
    for der in ders[:299]:
        effects.persist_certificate(PersistCertificate(der))
    effects.persist(Persist(record("a.db")))
    effects.persist_certificate(PersistCertificate(ders[299]))
    while disk.jobs:
        assert len(disk.jobs) == 1
        disk.run()
    assert [(len(records), len(certificates)) for records, certificates in disk.written] == [
        (0, 1),
        (1, 256),
        (0, 43),
    ]
    assert [der for _, certificates in disk.written for der in certificates] == ders
    assert disk.told == ["a.db is on disk"]


def test_what_a_full_disk_refused_is_told_and_certificates_go_with_the_next_write(
    disk: Disk, effects: DiskEffects
) -> None:
    effects.persist(Persist(record("a.db")))
    effects.persist_certificate(PersistCertificate(b"bob"))
    effects.persist(Persist(record("b.db")))
    disk.full = True
    disk.run()
    assert len(disk.jobs) == 1  # b.db, which waited
    disk.run()
    assert disk.jobs == []  # nobody tries it again and again
    assert disk.told == [
        "1 records and 0 certificates are not on disk: the disk is full",
        "a.db: the disk is full",
        "1 records and 1 certificates are not on disk: the disk is full",
        "b.db: the disk is full",
    ]
    disk.full = False
    effects.persist_certificate(PersistCertificate(b"carol"))
    disk.run()
    assert disk.written == [([], [b"bob", b"carol"])]
