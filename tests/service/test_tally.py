"""Is what happened counted under the right name, and within bounds?"""

from ringgossip import events
from ringgossip.config.blocks import Budget
from ringgossip.protocol.transfer import NO_HOLDER
from ringgossip.service.tally import _MOST_TRANSFERS, BUCKETS, RECEIVED, SENT, Tally
from ringgossip.strategy.bandwidth import Spent, spent_until

MODEL = "models/gpu-1/a/b.pth"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def tally() -> tuple[Tally, Clock]:
    clock = Clock()
    return Tally(clock), clock


def test_an_arrival_counts_once_with_its_bytes_and_its_duration() -> None:
    counted, clock = tally()
    counted.hear(events.TransferStarted(MODEL, 1, 5000, 3))
    clock.now += 2.0
    counted.hear(events.ArtifactCompleted(MODEL, 1, 5000, "/r"))
    labels = ("models", "gpu-1", RECEIVED)
    assert counted.operations == {labels: 1}
    assert counted.bytes == {labels: 5000}
    assert counted.durations["models"].counts[BUCKETS.index(3.0)] == 1
    assert counted.durations["models"].total == 2.0
    assert counted.last_completed == 102.0


def test_a_confirmed_copy_counts_as_sent_with_the_size_that_was_announced() -> None:
    counted, _ = tally()
    counted.hear(events.ArtifactAnnounced(MODEL, 1, 5000))
    counted.hear(events.CopyConfirmed(MODEL, 1, "vast-2"))
    labels = ("models", "vast-2", SENT)
    assert (counted.operations[labels], counted.bytes[labels]) == (1, 5000)


def test_a_stall_is_a_failure_until_the_artifact_comes() -> None:
    counted, _ = tally()
    counted.hear(events.TransferStalled(MODEL, 1, "no holder"))
    assert counted.stalled[MODEL].text == "no holder"
    counted.hear(events.TransferStalled(MODEL, 1, "no holder"))
    assert counted.outcomes == {MODEL: False}, "one artifact, however often it was tried"
    counted.hear(events.ArtifactCompleted(MODEL, 1, 5000, "/r"))
    assert counted.stalled == {}
    assert counted.outcomes == {MODEL: True}


def test_an_artifact_whose_holders_are_away_is_no_failed_transfer() -> None:
    counted, _ = tally()
    counted.hear(events.TransferStalled(MODEL, 1, NO_HOLDER))
    assert counted.stalled[MODEL].text == NO_HOLDER
    assert counted.outcomes == {}


def test_waiting_for_spent_byte_budgets_is_no_failed_transfer_unless_somebody_failed_too() -> None:
    counted, _ = tally()
    spent = f"vast-1: {spent_until(Budget(send_bytes_per_day=1), Spent(3, 1), 3)}"
    counted.hear(events.TransferStalled(MODEL, 1, f"{spent}; {spent}"))
    assert counted.stalled[MODEL].text == f"{spent}; {spent}"
    assert counted.outcomes == {}
    counted.hear(events.TransferStalled(MODEL, 1, f"{spent}; vast-2: busy"))
    assert counted.outcomes == {MODEL: False}


def test_what_flows_again_has_not_failed() -> None:
    counted, _ = tally()
    counted.hear(events.ArtifactCompleted("models/a/b", 1, 5000, "/r"))
    counted.hear(events.TransferStalled(MODEL, 1, "no answer"))
    counted.flows([MODEL, "models/a/b"])
    assert (counted.stalled, counted.outcomes) == ({}, {"models/a/b": True})


def test_bad_chunks_and_rejected_files_are_failed_verifications() -> None:
    counted, _ = tally()
    counted.hear(events.BadChunk("vast-2", MODEL, 7))
    counted.hear(events.ArtifactRejected(MODEL, 1, "torn"))
    counted.hear(events.ArtifactCompleted(MODEL, 2, 5000, "/r"))
    assert list(counted.proofs) == [False, False, True]
    assert counted.bad_chunks == {"vast-2": 1}
    assert counted.failures[("models", "vast-2", RECEIVED)] == 1


def test_a_disk_is_well_again_when_it_took_an_artifact() -> None:
    counted, _ = tally()
    counted.hear(events.StorageTrouble("full"))
    assert counted.storage is not None
    counted.hear(events.ArtifactCompleted(MODEL, 1, 5000, "/r"))
    assert counted.storage is None


def test_what_went_wrong_long_ago_is_forgotten() -> None:
    counted, _ = tally()
    for number in range(60):
        counted.hear(events.TransferStalled(f"{MODEL}{number}", 1, "no holder"))
    for number in range(100, 150):
        counted.hear(events.ArtifactCompleted(f"{MODEL}{number}", 1, 1, "/r"))
    assert len(counted.outcomes) == 50 and all(counted.outcomes.values())


def test_names_from_outside_cannot_fill_the_memory() -> None:
    counted, _ = tally()
    for number in range(11_000):
        counted.hear(events.CopyConfirmed(MODEL, 1, f"holder-{number}"))
        counted.hear(events.TransferStarted(f"models/a/{number}", 1, 1, 1))
        counted.hear(events.TransferStalled(f"models/a/{number}", 1, "x"))
    assert len(counted.operations) == len(counted.bytes) == 4096
    assert len(counted.stalled) == 10_000


def test_a_peer_that_saw_many_names_still_counts_the_newest_ones() -> None:
    counted, _ = tally()
    for number in range(_MOST_TRANSFERS + 1):
        counted.hear(events.ArtifactAnnounced(f"npz/gpu-1/{number}", 1, 7))
    counted.hear(events.ArtifactAnnounced(MODEL, 1, 5000))
    counted.hear(events.CopyConfirmed(MODEL, 1, "vast-2"))
    assert counted.bytes["models", "vast-2", SENT] == 5000
    assert len(counted._sizes) == _MOST_TRANSFERS


def test_what_was_withdrawn_stalls_no_more() -> None:
    counted, _ = tally()
    counted.hear(events.TransferStalled(MODEL, 1, "nobody has it"))
    counted.hear(events.ArtifactWithdrawn(MODEL, 2))
    assert not counted.stalled


def test_a_snapshot_is_put_off_since_the_first_time_and_taken_when_nothing_is_heard() -> None:
    counted, clock = tally()
    counted.hear(events.SnapshotDeferred("/a/games.db", "it is locked"))
    clock.now += 40.0
    counted.hear(events.SnapshotDeferred("/a/games.db", "its writer would wait"))
    counted.hear(events.SnapshotDeferred("/b/games.db", "it is locked"))
    assert counted.deferral() == ("its writer would wait", 100.0)
    clock.now += 61.0
    assert counted.deferral() is None
    counted.hear(events.SnapshotDeferred("/a/games.db", "it is locked"))
    assert counted.deferral() == ("it is locked", clock.now)
