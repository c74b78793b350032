"""Is news told at once, to a few, and not for ever?"""

from random import Random

from artifacts import Origin, manifest_of, peer

from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import DATAGRAM, LINK, NEVER, LinkId, Send
from ringgossip.protocol.rumors import Rumors, RumorSettings
from ringgossip.wire.codec import encode
from ringgossip.wire.messages import MAX_DATAGRAM_PLAINTEXT, News, NewsKnown

ORIGIN = Origin()
RECORDS = [ORIGIN.record(manifest_of(1), f"{number:0200}") for number in range(300)]
PEERS = [peer(number) for number in range(1, 6)]
SOMEWHERE = Address("127.0.0.1", 9)


# Demers' table 1 with k = 4: answers count, and partners are drawn blindly.
ANSWERED = {"feedback": True, "once": False, "lose_interest": 4}


def rumors(linked: bool = True, answered: bool = False, **settings: float) -> Rumors:
    return Rumors(
        RumorSettings(**(ANSWERED if answered else {}) | settings),  # type: ignore[arg-type]
        Random(1),
        lambda count: PEERS[:count],
        lambda whom: linked or SOMEWHERE,
        lambda: 6,
    )


def test_news_is_forwarded_at_once_and_not_to_whom_it_came_from() -> None:
    out = rumors().tell(RECORDS[0], 0.0, but=PEERS[1])
    assert out == [Send(PEERS[place], News((RECORDS[0].packed,)), LINK) for place in (0, 2, 3)]


def test_an_interval_later_it_is_told_to_others_once_more_and_then_to_nobody() -> None:
    machine = rumors(fanout=2)
    assert len(machine.tell(RECORDS[0], 0.0, but=PEERS[3])) == 2
    machine._partners = lambda count: PEERS[-count - 1 :]  # the third, who is new, the fourth and fifth
    machine.heard([RECORDS[0].hash[:8]], PEERS[4], LinkId(1))
    assert machine.wake(machine.next_wakeup()) == [Send(PEERS[2], News((RECORDS[0].packed,)), LINK)]
    assert machine.hot() == 0 and machine.next_wakeup() == NEVER


def test_who_was_told_by_datagram_may_not_have_heard_it() -> None:
    machine = rumors(linked=False)
    machine.tell(RECORDS[0], 0.0)
    assert len(machine.wake(machine.next_wakeup())) == 3


def test_what_is_published_here_is_told_to_all_at_once_and_what_follows_soon_after_together() -> None:
    machine = rumors()
    assert machine.tell(RECORDS[0], 0.0) == [Send(who, News((RECORDS[0].packed,)), LINK) for who in PEERS]
    assert machine.tell(RECORDS[1], 0.01) == machine.tell(RECORDS[2], 0.02) == []
    both = News((RECORDS[1].packed, RECORDS[2].packed))
    assert machine.wake(machine.next_wakeup()) == [Send(who, both, LINK) for who in PEERS]
    assert machine.hot() == 0


def test_what_its_author_tells_all_is_told_once_more_and_not_at_once() -> None:
    machine = rumors()
    author = RECORDS[0].signer
    assert machine.tell(RECORDS[0], 0.0, but=author) == []
    assert len(machine.wake(machine.next_wakeup())) == 3
    assert machine.hot() == 0
    # Where there are more than it can have told, everybody helps.
    assert len(rumors(wide=5).tell(RECORDS[0], 0.0, but=author)) == 3


def test_the_more_there_are_beyond_those_its_author_tells_the_more_often_it_is_told() -> None:
    for members, calls in ((64, 6), (65, 9), (1000, 12), (20_000, 15)):
        machine = rumors()
        machine._members = lambda count=members: count  # type: ignore[misc]
        machine.tell(RECORDS[0], 0.0, but=PEERS[0])
        rounds = 1
        while machine.next_wakeup() < NEVER:
            machine.wake(machine.next_wakeup())
            rounds += 1
        assert rounds * 3 == calls, members


def test_it_is_told_until_enough_of_those_told_knew_it() -> None:
    machine = rumors(answered=True)
    machine.tell(RECORDS[0], 0.0)
    assert machine.wake(machine.next_wakeup()) != []
    known = NewsKnown(RECORDS[0].hash[:8] + b"whatever")
    for number in range(4):
        assert machine.hot() == 1
        machine.receive(known, PEERS[number], LinkId(1), 1.0)
    assert machine.hot() == 0
    assert machine.wake(machine.next_wakeup()) == []
    assert machine.next_wakeup() == NEVER


def test_without_an_answer_it_is_told_a_bounded_number_of_times() -> None:
    machine, rounds = rumors(answered=True), 0
    machine.tell(RECORDS[0], 0.0)
    while machine.next_wakeup() < NEVER:
        now = machine.next_wakeup()
        rounds += bool(machine.wake(now))
        assert machine.next_wakeup() > now
    assert rounds == 19


def test_a_newer_version_ends_the_rumor_of_the_older() -> None:
    machine = rumors()
    machine.tell(RECORDS[0], 0.0)
    newer = ORIGIN.record(manifest_of(1, "new"), RECORDS[0].name, sequence=2)
    machine.tell(newer, 0.1, but=PEERS[4])
    machine._partners = lambda count: PEERS[3:]
    (first, *_) = machine.wake(machine.next_wakeup())
    assert isinstance(first, Send)
    assert first.message == News((newer.packed,))


def test_a_flood_of_news_is_bounded_and_left_to_comparison() -> None:
    machine = rumors()
    sent = [effect for record in RECORDS for effect in machine.tell(record, 0.0, but=PEERS[4])]
    assert machine.hot() == 256
    assert len(sent) == 64 * 3


def test_every_datagram_of_news_fits() -> None:
    machine = rumors(linked=False)
    for record in RECORDS[:40]:
        machine.tell(record, 0.0)
    out = machine.wake(machine.next_wakeup())
    assert len(out) > 3
    for effect in out:
        assert isinstance(effect, Send)
        assert effect.lane is DATAGRAM
        assert len(encode(effect.message)) <= MAX_DATAGRAM_PLAINTEXT


def test_what_was_no_news_is_said_on_the_lane_it_came_by() -> None:
    machine, prefix = rumors(answered=True), RECORDS[0].hash[:8]
    whom: PeerId = PEERS[0]
    assert machine.heard([prefix], whom, SOMEWHERE) == [Send(SOMEWHERE, NewsKnown(prefix), DATAGRAM)]
    assert machine.heard([prefix], whom, LinkId(3)) == [Send(whom, NewsKnown(prefix), LINK)]
    assert machine.heard([], whom, LinkId(3)) == []


def test_who_asks_what_is_new_hears_it() -> None:
    machine = rumors()
    assert machine.give(PEERS[0], 0.0) == []
    machine.tell(RECORDS[0], 0.0)
    assert machine.give(PEERS[0], 0.1) == [Send(PEERS[0], News((RECORDS[0].packed,)), LINK)]


def test_counted_by_round_one_who_needed_it_makes_it_news_again() -> None:
    machine = rumors(answered=True, by_round=True, fanout=2, lose_interest=2, burst=0)
    machine.tell(RECORDS[0], 0.0)
    known = NewsKnown(RECORDS[0].hash[:8])
    for answers, hot in ((2, 1), (1, 1), (2, 1), (0, 1), (2, 1), (2, 0)):
        machine.wake(machine.next_wakeup())
        for number in range(answers):
            machine.receive(known, PEERS[number], LinkId(1), 1.0)
        if not hot:
            machine.wake(machine.next_wakeup())
        assert machine.hot() == hot
