"""Do two ends of a link find out whether they share a gossip key, whatever either says?"""

import pytest

from ringgossip.errors import PeerMisbehaved
from ringgossip.identity.keyring import KeyRing
from ringgossip.wire.messages import DialMe, KeyProven, KeysOffered, KeysUnknown
from ringgossip.wire.proof import KeyTalk, NoSharedKey

OLD, NEW, OTHER = (bytes([n]) * 32 for n in (1, 2, 3))
ALICE, BOB, CAROL = b"certificate of alice", b"certificate of bob", b"certificate of carol"


def dialler(*keys: bytes, cluster: str = "c") -> KeyTalk:
    return KeyTalk(cluster, KeyRing(keys), ALICE, BOB, b"a" * 32)


def acceptor(*keys: bytes, them: bytes = ALICE, nonce: bytes = b"b" * 32) -> KeyTalk:
    return KeyTalk("c", KeyRing(keys), BOB, them, nonce)


def talk(alice: KeyTalk, bob: KeyTalk) -> bytes:
    """Let both say everything; return the id of the key that both have proven."""
    proof = bob.prove(alice.offer())
    bob.check(alice.answer(proof))
    return proof.key


@pytest.mark.parametrize(
    ("ours", "theirs", "used"),
    [
        ([OLD], [OLD], OLD),
        ([OLD], [OLD, NEW], OLD),
        ([OLD, NEW], [NEW, OLD], NEW),
        ([NEW, OLD], [OLD, NEW], OLD),
        ([NEW, OLD], [NEW], NEW),
        ([NEW], [OLD, NEW], NEW),
    ],
)
def test_every_step_of_a_change_of_keys_finds_a_shared_one(ours, theirs, used) -> None:
    assert talk(dialler(*ours), acceptor(*theirs)) == KeyRing([used]).used


def test_no_shared_key_is_seen_by_the_acceptor_and_told_to_the_dialler() -> None:
    alice, bob = dialler(NEW), acceptor(OLD, OTHER)
    with pytest.raises(NoSharedKey):
        bob.prove(alice.offer())
    with pytest.raises(NoSharedKey):
        alice.answer(KeysUnknown())


def test_whoever_only_names_a_key_has_proven_nothing() -> None:
    alice, bob = dialler(OLD), acceptor(OTHER)
    named = KeysOffered(b"m" * 32, KeyRing([OTHER]).used)
    proof = bob.prove(named)
    with pytest.raises(NoSharedKey):
        bob.check(KeyProven(b"m" * 32, proof.key, b"x" * 32))
    with pytest.raises(NoSharedKey):
        alice.answer(KeyProven(b"m" * 32, KeyRing([OLD]).used, b"x" * 32))


def test_a_proof_is_good_on_one_link_in_one_direction_for_one_pair_in_one_cluster() -> None:
    alice, bob = dialler(OLD), acceptor(OLD)
    good = alice.answer(bob.prove(alice.offer()))
    bob.check(good)
    again = acceptor(OLD, nonce=b"z" * 32)  # another link of the same two
    again.prove(alice.offer())
    other = acceptor(OLD, them=CAROL)  # carol repeats what alice said
    other.prove(alice.offer())
    for talk_ in (again, other, acceptor(OLD)):
        with pytest.raises(NoSharedKey):
            talk_.check(good)
    # The acceptor's own proof, sent back to it, proves nothing.
    mirrored = acceptor(OLD)
    with pytest.raises(NoSharedKey):
        mirrored.check(mirrored.prove(alice.offer()))
    with pytest.raises(NoSharedKey):
        dialler(OLD, cluster="d").answer(acceptor(OLD).prove(dialler(OLD, cluster="d").offer()))


def test_other_words_end_the_talk() -> None:
    for step in (dialler(OLD).answer, acceptor(OLD).prove, acceptor(OLD).check):
        with pytest.raises(PeerMisbehaved):
            step(DialMe())
