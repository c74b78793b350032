"""Do all true records enter, in any order, and nothing that is not?"""

from random import Random

from artifacts import CLUSTER, Origin, manifest_of, peer
from hypothesis import given
from hypothesis import strategies as st
from pytest import MonkeyPatch

from ringgossip.content.catalog import Catalog
from ringgossip.content.record import Record
from ringgossip.events import OriginEquivocated
from ringgossip.protocol.admission import Admission, Admitted
from ringgossip.protocol.core import Effect, NeedCertificate, Notice, Tell, VerifyRecords
from ringgossip.simulation.notary import Authority

AUTHORITY = Authority(CLUSTER)
ALICE, BOB = Origin("alice", AUTHORITY), Origin("bob", AUTHORITY)
BRINGER = peer(9)


def door(*known: Origin) -> tuple[Admission, Catalog]:
    catalog = Catalog(CLUSTER)
    for origin in known:
        catalog.add_certificate(origin.notary.certificate)
    return Admission(catalog), catalog


def check(admission: Admission, effects: list[Effect | Notice]) -> list[Admitted]:
    """Let workers check what is to be verified."""
    return [
        admission.records_verified(
            effect.batch, tuple(ALICE.notary.verify_record(record, der) for record, der in effect.records)
        )
        for effect in effects
        if isinstance(effect, VerifyRecords)
    ]


def test_a_record_enters_once_its_signature_is_checked() -> None:
    admission, catalog = door(ALICE)
    record = ALICE.record(manifest_of(1))
    offered = admission.offer((record.packed,), BRINGER)
    assert len(catalog) == 0
    (admitted,) = check(admission, offered.effects)
    assert admitted.records == [(record, BRINGER, None)]
    assert catalog.get(record.key) == record
    assert admission.offer((record.packed,), BRINGER).known == [record.hash[:8]]
    assert admission.waiting() == 0


def test_one_broken_record_does_not_take_the_others_with_it() -> None:
    admission, catalog = door(ALICE)
    first, second = (ALICE.record(manifest_of(1), name) for name in ("a", "b"))
    offered = admission.offer((first.packed, b"\x93rubbish", second.packed), BRINGER)
    assert offered.problem is not None
    check(admission, offered.effects)
    assert catalog.get(first.key) == first
    assert catalog.get(second.key) == second
    assert admission.waiting() == 0


def test_a_record_signed_with_anothers_key_is_refused_with_the_reason() -> None:
    admission, catalog = door(ALICE, BOB)
    forged = ALICE.record(manifest_of(1), sign=BOB.notary.sign)
    posing = BOB.record(manifest_of(1), origin="alice")
    offered = admission.offer((forged.packed, posing.packed), BRINGER)
    (admitted,) = check(admission, offered.effects)
    assert admitted.records == []
    assert [who for who, _ in admitted.refused] == [BRINGER, BRINGER]
    assert len(catalog) == 0


def test_a_false_signature_keeps_nobody_from_the_true_one() -> None:
    admission, catalog = door(BOB)
    true = ALICE.record(manifest_of(1))
    false = ALICE.record(manifest_of(1), sign=BOB.notary.sign)
    admission.offer((false.packed,), peer(8))
    admission.offer((true.packed,), BRINGER)
    catalog.add_certificate(ALICE.notary.certificate)
    check(admission, admission.certificate_arrived(ALICE.notary.certificate))
    assert catalog.get(true.key) == true

    later, changes = ALICE.record(manifest_of(2), sequence=2), {"sequence": 2, "sign": BOB.notary.sign}
    checking = admission.offer((ALICE.record(manifest_of(2), **changes).packed,), peer(8)).effects
    checking += admission.offer((later.packed,), BRINGER).effects
    check(admission, checking)
    assert catalog.get(true.key) == later
    assert admission.waiting() == 0


def test_who_brings_rubbish_leaves_room_at_the_door(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr("ringgossip.protocol.admission._MOST_CHECKING", 4)
    monkeypatch.setattr("ringgossip.protocol.admission._MOST_OF_ONE", 2)
    admission, catalog = door(ALICE, BOB)
    false = [ALICE.record(manifest_of(1), f"f{n}", sign=BOB.notary.sign).packed for n in range(9)]
    checking = admission.offer(tuple(false), peer(8)).effects
    true = ALICE.record(manifest_of(1))
    checking += admission.offer((true.packed,), BRINGER).effects
    check(admission, checking)
    assert catalog.get(true.key) == true
    assert [len(table) for table in (admission._checked, admission._brought)] == [0, 0]


def test_a_record_waits_for_the_certificate_of_its_signer_and_asks_again_when_told_again() -> None:
    admission, catalog = door()
    record = ALICE.record(manifest_of(1))
    for bringer in (BRINGER, peer(8)):
        offered = admission.offer((record.packed,), bringer)
        assert offered.effects == [NeedCertificate(ALICE.peer_id, bringer)]
    assert admission.waiting() == 1
    catalog.add_certificate(ALICE.notary.certificate)
    check(admission, admission.certificate_arrived(ALICE.notary.certificate))
    assert catalog.get(record.key) == record
    assert admission.waiting() == 0


def test_invented_signers_cannot_keep_out_what_is_true() -> None:
    admission, catalog = door(ALICE)
    for number in range(5000):
        signer = number.to_bytes(16)
        fake = BOB.record(manifest_of(1), f"{number}", signer=signer)
        admission.offer((fake.packed,), BRINGER)
    assert admission.waiting() <= 4096
    record, waits = ALICE.record(manifest_of(1)), BOB.record(manifest_of(1))
    check(admission, admission.offer((record.packed,), BRINGER).effects)
    assert catalog.get(record.key) == record
    admission.offer((waits.packed,), BRINGER)
    catalog.add_certificate(BOB.notary.certificate)
    check(admission, admission.certificate_arrived(BOB.notary.certificate))
    assert catalog.get(waits.key) == waits


def test_an_origin_that_signs_two_records_with_one_sequence_is_told_and_one_is_kept_everywhere() -> None:
    one, two = (ALICE.record(manifest_of(1, seed)) for seed in ("x", "y"))
    kept = []
    for order in ((one, two), (two, one)):
        admission, catalog = door(ALICE)
        told = []
        for record in order:
            for admitted in check(admission, admission.offer((record.packed,), BRINGER).effects):
                told += admitted.effects
        assert told == [Tell(OriginEquivocated(one.key.text, 1))]
        kept.append(catalog.get(one.key))
        # Both are known from now on: neither is checked again.
        assert len(admission.offer((one.packed, two.packed), BRINGER).known) == 2
    assert kept[0] == kept[1]


@given(st.integers())
def test_the_same_records_in_every_order_give_one_catalog(seed: int) -> None:
    rng = Random(seed)
    records: list[Record] = [
        origin.record(manifest_of(1, f"{twin}"), name, sequence=sequence)
        for origin in (ALICE, BOB)
        for name in ("a", "b")
        for sequence in (1, 2)
        for twin in (0, 1)
    ]
    roots = set()
    for _ in range(3):
        admission, catalog = door()
        todo: list[Record | Origin] = [*records, ALICE, BOB]
        while todo:
            item = todo.pop(rng.randrange(len(todo)))
            if isinstance(item, Origin):
                catalog.add_certificate(item.notary.certificate)
                check(admission, admission.certificate_arrived(item.notary.certificate))
            else:
                check(admission, admission.offer((item.packed,), BRINGER).effects)
        assert admission.waiting() == 0
        roots.add(catalog.root)
    assert len(roots) == 1
