"""To how many at a time does a peer send, and does it find out when more of them pay?"""

from artifacts import peer

from ringgossip.protocol.width import Width

A, B = peer(1), peer(2)
MIB = 2**20


class Uplink:
    """Keeps every place taken; each chunk takes as long as the uplink, or its peer, needs."""

    def __init__(self, width: Width, rate: float, most_each: float) -> None:
        self.width, self.rate, self.most_each = width, rate, most_each
        self.now = 0.0
        self.count = 0
        self.queue: list[tuple[object, int, int]] = []

    def turn(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            while self.width.allows(self.now):
                key = (A, 1, self.count)
                self.count += 1
                self.width.granted(key, MIB, self.now)
                self.queue.append(key)
            self.width.held_back()
            self.now += MIB / min(self.rate, self.most_each * len(self.queue))
            self.width.settled(self.queue.pop(0))  # type: ignore[arg-type]
            self.width.sent(MIB, self.now)


def fill(width: Width, count: int, now: float = 0.0) -> None:
    for index in range(count):
        width.granted((A, 1, index), MIB, now)


def test_four_chunks_are_under_way_and_one_more_when_one_has_left() -> None:
    width = Width(4, 0.02)
    fill(width, 4)
    assert not width.allows(0.0)
    width.settled((A, 1, 2))
    assert width.allows(0.0)


def test_more_places_are_kept_while_a_quarter_more_leaves_with_them() -> None:
    width = Width(4, 0.0)
    Uplink(width, rate=160.0 * MIB, most_each=10.0 * MIB).turn(10.0)
    assert width.places == 16


def test_where_few_fill_the_uplink_it_stays_with_few() -> None:
    width = Width(4, 0.0)
    uplink = Uplink(width, rate=100.0 * MIB, most_each=100.0 * MIB)
    uplink.turn(5.0)
    assert width.places == 4
    fewer = 0
    for _ in range(200):
        uplink.turn(0.1)
        fewer += width.places == 4
    assert fewer >= 180, "it tries seldom when trying brings nothing"


def test_a_peer_that_takes_nothing_keeps_its_places_for_a_second_only() -> None:
    width = Width(4, 0.02)
    fill(width, 4)
    assert not width.allows(0.9)
    assert width.next_at(0.9) == 1.0
    assert width.allows(1.0)


def test_what_leaves_in_twenty_milliseconds_is_always_under_way() -> None:
    width = Width(2, 0.2)
    uplink = Uplink(width, rate=100.0 * MIB, most_each=100.0 * MIB)
    uplink.turn(1.0)
    assert 95 * MIB < width.rate < 105 * MIB
    fill(width, 20 - len(uplink.queue), uplink.now)
    assert not width.allows(uplink.now)
    width.settled((A, 1, 0))
    assert width.allows(uplink.now)


def test_of_heavy_chunks_half_as_many_and_the_next_when_one_should_have_left() -> None:
    width = Width(2, 0.02, heavy=MIB)
    width.rate = float(MIB)
    fill(width, 1)
    assert not width.allows(0.5)
    assert width.next_at(0.5) == 0.98
    assert width.allows(0.98)
    width.granted((B, 1, 0), MIB, 0.98)
    assert not width.allows(1.5), "but no more than one"
    width.settled((A, 1, 0))
    width.settled((B, 1, 0))
    width.granted((A, 2, 0), MIB // 2, 2.0)
    assert width.allows(2.0), "two small ones are one large one"
    width.granted((A, 2, 1), MIB // 2, 2.0)
    assert not width.allows(2.0)
