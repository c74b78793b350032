"""Who may knock, and how often? Time is what the test says it is."""

import pytest
import trio
import trio.testing

from ringgossip.runtime.gate import LONG_ENOUGH, MOST_HANDSHAKES, SUSPECT_HANDSHAKES, Gate

EVIL, MEMBERS = "198.51.100.1", "203.0.113.7"


@pytest.fixture
def gate() -> Gate:
    return Gate()


def knock_in_silence(gate: Gate, host: str, now: float) -> int:
    """Knock as often as there is room; return how often we were let in."""
    return sum(gate.enter(host, now) for _ in range(MOST_HANDSHAKES))


def test_fifty_members_behind_one_address_join_at_once(gate: Gate) -> None:
    for number in range(50):
        assert gate.enter(MEMBERS, now=number * 0.01)
        gate.leave(MEMBERS, True, now=number * 0.01 + 0.005)


def test_a_source_that_says_nothing_gets_few_places_for_a_minute(gate: Gate) -> None:
    for _ in range(knock_in_silence(gate, EVIL, now=0.0)):
        gate.leave(EVIL, False, now=10.0)
    # By then its failures are forgiven, not its silence.
    assert knock_in_silence(gate, EVIL, now=30.0) == SUSPECT_HANDSHAKES
    assert all(gate.enter(MEMBERS, now=30.0) for _ in range(MOST_HANDSHAKES - SUSPECT_HANDSHAKES))


def test_a_source_is_forgiven_its_silence_in_the_end(gate: Gate) -> None:
    assert gate.enter(EVIL, now=0.0)
    gate.leave(EVIL, False, now=10.0)
    assert knock_in_silence(gate, EVIL, now=71.0) > SUSPECT_HANDSHAKES


def test_quick_refusals_are_forgiven_quickly(gate: Gate) -> None:
    for _ in range(10):
        gate.enter(MEMBERS, now=0.0)
        gate.leave(MEMBERS, False, now=0.01)
    assert knock_in_silence(gate, MEMBERS, now=3.0) > SUSPECT_HANDSHAKES


def test_many_addresses_of_one_ipv6_network_are_one_source(gate: Gate) -> None:
    assert gate.enter("2001:db8::1", now=0.0)
    gate.leave("2001:db8::1", False, now=10.0)
    let_in = sum(gate.enter(f"2001:db8::{number:x}", now=30.0) for number in range(2, 22))
    assert let_in == SUSPECT_HANDSHAKES
    assert gate.enter("2001:db8:0:1::1", now=30.0)


@pytest.mark.trio
async def test_while_others_wait_whoever_took_long_gives_up_his_place(
    gate: Gate, autojump_clock: trio.testing.MockClock
) -> None:
    cut_off: list[int] = []

    async def silent(number: int, host: str) -> None:
        assert gate.enter(host, trio.current_time())
        with gate.place() as scope:
            await trio.sleep(5)
        if scope.cancelled_caught:
            cut_off.append(number)
        gate.leave(host, False, trio.current_time())

    async with trio.open_nursery() as nursery:
        for number in range(MOST_HANDSHAKES):
            nursery.start_soon(silent, number, f"198.51.100.{number}")
            await trio.sleep(0.01)
        before = trio.current_time()
        await gate.wait_for_room()
        assert trio.current_time() - before <= LONG_ENOUGH
        assert cut_off == [0]
        # Nobody is cut off while nobody waits.
        await trio.sleep(2)
        assert cut_off == [0]
        nursery.cancel_scope.cancel()
