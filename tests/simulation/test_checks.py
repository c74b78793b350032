"""The checks themselves: each is given a history that breaks its promise, and one that does not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record, make_record
from ringgossip.events import ArtifactAnnounced, ArtifactCompleted, CopyConfirmed
from ringgossip.protocol.core import LINK, Effect, Persist, Published, Reserve, Send, SendChunk, Tell
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.checks import Checks, PromiseBroken
from ringgossip.simulation.content import new_content
from ringgossip.simulation.disk import Disk, DiskTimes
from ringgossip.simulation.kernel import Kernel
from ringgossip.simulation.notary import Authority, FakeNotary
from ringgossip.simulation.world import PeerSpec, World
from ringgossip.wire.messages import GetChunks

CLUSTER = Authority("test")
KERNEL = Kernel(1)
KERNEL.add_owner()
KERNEL.add_owner()


@dataclass
class Witness:
    """The parts of a node that checks look at."""

    index: int
    notary: FakeNotary
    kernel: Kernel = KERNEL
    disk: Disk = field(default_factory=lambda: Disk(DiskTimes()))
    core: Any = None

    @property
    def name(self) -> str:
        return self.certificate.name

    @property
    def certificate(self) -> Any:
        return self.notary.certificate


@dataclass
class Court:
    """Two witnesses and the checks."""

    alice: Any = field(default_factory=lambda: Witness(0, CLUSTER.enroll("alice")))
    bob: Any = field(default_factory=lambda: Witness(1, CLUSTER.enroll("bob")))

    def __post_init__(self) -> None:
        self.checks = Checks([self.alice, self.bob])

    def step(self, node: Any, *effects: Effect) -> None:
        self.checks.after_step(node, effects)

    def broken(self, promise: str, deed: Callable[[], object]) -> None:
        with pytest.raises(PromiseBroken) as caught:
            deed()
        assert caught.value.promise == promise


CONTENT = new_content("x", 4 * 65536, 65536)
TEXT = "games/alice/games.db"


def record_of(sequence: int = 1, manifest: Manifest = CONTENT, stamp: int = 1) -> Record:
    alice = CLUSTER.enroll("alice")
    return make_record(
        kind="games", origin="alice", name="games.db", sequence=sequence, stamp=stamp, store=bytes(8),
        size=manifest.size, chunk_size=manifest.chunk_size, root=manifest.root, metadata={},
        signer=alice.certificate.peer_id, cluster="test", sign=alice.sign,
    )  # fmt: skip


def pull(disk: Disk, record: Record, chunks: int = 4) -> None:
    disk.begin(record, CONTENT)
    for index in range(chunks):
        disk.write(record.root, index)


def hold(disk: Disk, record: Record) -> None:
    pull(disk, record)
    assert disk.finalise(record, keep_predecessor=False)[0]


def test_s1_a_file_with_a_chunk_missing_or_rotten_must_not_become_visible() -> None:
    court, record = Court(), record_of()
    pull(court.bob.disk, record, 3)
    court.broken("S1", lambda: court.checks.before_visible(court.bob, record))
    court.bob.disk.write(record.root, 3)
    court.checks.before_visible(court.bob, record)
    court.bob.disk.damaged[record.root, 2] = bytes(32)
    court.broken("S1", lambda: court.checks.before_visible(court.bob, record))


def test_s1_a_file_must_be_what_its_record_says() -> None:
    court, record = Court(), record_of()
    pull(court.bob.disk, record)
    other = new_content("other", 4 * 65536, 65536)
    court.bob.disk.partials[record.root].manifest = other
    court.broken("S1", lambda: court.checks.before_visible(court.bob, record))


def test_s1_nothing_becomes_visible_out_of_nothing() -> None:
    court, record = Court(), record_of()
    court.broken("S1", lambda: court.checks.before_visible(court.bob, record))
    hold(court.bob.disk, record)
    court.checks.before_visible(court.bob, record_of(2))  # only the metadata is new


def test_s2_the_newest_and_the_pinned_are_not_dropped() -> None:
    court = Court()
    hold(court.bob.disk, record_of(1))
    court.broken("S2", lambda: court.checks.before_drop(court.bob, record_of(1)))
    hold(court.bob.disk, record_of(2))
    court.checks.before_drop(court.bob, record_of(1))
    court.bob.disk.holdings[record_of(1).key, 1].pinned = True
    court.broken("S2", lambda: court.checks.before_drop(court.bob, record_of(1)))


@pytest.mark.parametrize("deed", ["change", "delete", "add"])
def test_s2_a_users_files_stay_as_the_user_left_them(deed: str) -> None:
    court = Court()
    court.alice.disk.stage(CONTENT, "/user/a.pth", True)
    court.checks.user_wrote(court.alice, "/user/a.pth", CONTENT.root)
    court.checks.user_files_untouched()
    files = court.alice.disk.user_files
    if deed == "change":
        files["/user/a.pth"] = bytes(32)
    elif deed == "delete":
        del files["/user/a.pth"]
    else:
        files["/user/b.pth"] = bytes(32)
    court.broken("S2", court.checks.user_files_untouched)


def test_s2_what_is_evicted_is_anothers_and_somebody_else_has_it() -> None:
    court, record = Court(), record_of()
    hold(court.bob.disk, record)
    with pytest.raises(PromiseBroken, match=r"S2 .* the last copy there is"):
        court.checks.before_evict(court.bob, record)
    hold(court.alice.disk, record)
    court.checks.before_evict(court.bob, record)
    with pytest.raises(PromiseBroken, match=r"S2 .* not its own to evict"):
        court.checks.before_evict(court.alice, record)
    [held] = court.bob.disk.holdings.values()
    held.of_user = True
    court.broken("S2", lambda: court.checks.before_evict(court.bob, record))


def test_s3_two_peers_do_not_admit_two_records_of_one_sequence() -> None:
    court = Court()
    court.step(court.alice, Published(1, record_of(1), unchanged=False))
    court.step(court.bob, Persist(record_of(1)))
    court.broken("S3", lambda: court.step(court.bob, Persist(record_of(1, stamp=2))))
    court.checks.forgetful["alice"] = None
    court.step(court.bob, Persist(record_of(1, stamp=2)))


def test_s3_a_sequence_never_goes_back_at_one_peer() -> None:
    court = Court()
    court.step(court.bob, Tell(ArtifactAnnounced(TEXT, 2, 100)))
    court.step(court.alice, Tell(ArtifactAnnounced(TEXT, 1, 100)))
    court.broken("S3", lambda: court.step(court.bob, Tell(ArtifactAnnounced(TEXT, 1, 100))))


def test_s3_what_is_visible_never_goes_back() -> None:
    court = Court()
    hold(court.bob.disk, record_of(2))
    court.step(court.bob, Tell(ArtifactCompleted(TEXT, 2, 100, "path")))
    court.broken("S3", lambda: court.step(court.bob, Tell(ArtifactCompleted(TEXT, 1, 100, "path"))))


def test_s4_only_chunks_that_were_asked_for_are_given_and_only_once() -> None:
    court, record = Court(), record_of()
    alice, bob = court.alice.certificate.peer_id, court.bob.certificate.peer_id
    give = SendChunk(bob, 7, record.root, 2, 65536)
    court.broken("S4", lambda: court.step(court.alice, give))
    court.step(court.bob, Send(alice, GetChunks(7, record.root, (1, 2)), LINK))
    court.broken("S4", lambda: court.step(court.alice, SendChunk(bob, 7, record.root, 3, 65536)))
    court.broken("S4", lambda: court.step(court.alice, SendChunk(bob, 8, record.root, 2, 65536)))
    court.step(court.alice, give)
    court.broken("S4", lambda: court.step(court.alice, give))


def test_s6_a_confirmed_copy_is_on_its_holders_disk_or_was_taken_by_a_fault() -> None:
    court = Court()
    confirmed = Tell(CopyConfirmed(TEXT, 1, "bob"))
    pull(court.bob.disk, record_of())
    with pytest.raises(PromiseBroken, match=r"S6 .* which has none"):
        court.step(court.alice, confirmed)
    assert court.bob.disk.finalise(record_of(), keep_predecessor=False)[0]
    court.step(court.alice, confirmed)
    court.bob.disk.wipe()
    court.step(court.alice, confirmed)


def test_s6_a_confirmed_copy_that_the_next_power_cut_may_take_is_told() -> None:
    court = Court()
    pull(court.bob.disk, record_of())
    court.bob.disk.lying = True
    assert court.bob.disk.finalise(record_of(), keep_predecessor=False)[0]
    court.step(court.alice, Tell(CopyConfirmed(TEXT, 1, "bob")))  # no software can see through such a disk
    court.bob.disk.lying = False
    court.broken("S6", lambda: court.step(court.alice, Tell(CopyConfirmed(TEXT, 1, "bob"))))
    court.bob.disk.sync()
    court.step(court.alice, Tell(CopyConfirmed(TEXT, 1, "bob")))


@pytest.mark.parametrize(
    ("spec", "refused"),
    [
        (PeerSpec("a", role="coordinator"), True),
        (PeerSpec("a", role="coordinator", rules=RuleSettings(receive=("games",))), False),
        (PeerSpec("a", role="coordinator", rules=RuleSettings(want=("models",))), True),
        (PeerSpec("a", rules=RuleSettings(receive=("models",))), True),
        (PeerSpec("a", rules=RuleSettings(exclude=(("a", ("games",)),))), True),
        (PeerSpec("a", rules=RuleSettings(exclude=(("b", ("games",)),))), False),
        (PeerSpec("a", rules=RuleSettings(state="retired")), True),
        (PeerSpec("a", role="training"), False),
    ],
)
def test_s4_nobody_receives_what_its_settings_refuse(spec: PeerSpec, refused: bool) -> None:
    world = World([spec])
    world.start()
    step = partial(world.checks.after_step, world.nodes[0], [Reserve(record_of())])
    if refused:
        Court().broken("S4", step)
    else:
        step()
