"""Are wrongdoers told of, but not at their pace?"""

from ringgossip.events import PeerProtocolError, StrangerRefused
from ringgossip.protocol.core import Tell
from ringgossip.protocol.troubles import Troubles


def test_the_first_is_told_and_then_one_in_a_while() -> None:
    troubles, event = Troubles(), StrangerRefused("10.0.0.1:5", "plain text")
    assert troubles.tell("10.0.0.1", event, 0.0) == [Tell(event)]
    assert troubles.tell("10.0.0.1", event, 29.9) == []
    assert troubles.tell("10.0.0.1", event, 30.0) == [Tell(event)]


def test_another_kind_of_trouble_and_another_peer_are_told_too() -> None:
    troubles = Troubles()
    for subject in ("a", "b"):
        for event in (StrangerRefused(subject, "x"), PeerProtocolError(subject, "x")):
            assert troubles.tell(subject, event, 0.0) == [Tell(event)]


def test_a_flood_from_many_addresses_is_bounded_in_memory_and_in_the_log() -> None:
    troubles, told = Troubles(), 0
    for number in range(20_000):
        event = StrangerRefused(str(number), "x")
        told += len(troubles.tell(str(number), event, number / 1000))
    assert len(troubles._told) <= 256
    assert told < 256 * 22
