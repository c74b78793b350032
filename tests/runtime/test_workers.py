"""Threads, buffers, the gate, names: what the sockets lean on."""

import threading
import time

import pytest
import trio
import trio.testing

from ringgossip.errors import OperationFailed
from ringgossip.identity import Address
from ringgossip.runtime.buffers import SPARE_BYTES, BufferPool
from ringgossip.runtime.gate import FAILURES, MOST_HANDSHAKES, Gate
from ringgossip.runtime.ports import open_ports
from ringgossip.runtime.rates import LARGEST_PIECE, SMALLEST_PIECE, Meter
from ringgossip.runtime.resolving import KEPT_FAILURE, MOST_WAITING, Resolver
from ringgossip.runtime.workers import PAUSE, Mailbox, Workers


@pytest.fixture
async def mailbox(nursery) -> Mailbox:
    box = Mailbox()
    nursery.start_soon(box.run, lambda deliver: deliver())
    return box


@pytest.mark.trio
async def test_what_nobody_waits_for_any_more_is_handed_over_to_be_undone(mailbox) -> None:
    workers, go, undone, heard = Workers("test", 1, mailbox), threading.Event(), [], trio.Event()

    def undo(result: str) -> None:
        undone.append(result)
        heard.set()

    with trio.move_on_after(0.05) as scope:
        await workers.call(lambda: go.wait(5) and "made", undo)
    assert scope.cancelled_caught and not undone
    go.set()
    with trio.fail_after(5):
        await heard.wait()
    assert undone == ["made"]
    assert await workers.call(lambda: "wanted", undo) == "wanted" and undone == ["made"]


@pytest.mark.trio
async def test_where_no_thread_may_be_started_a_job_fails_and_the_peer_goes_on(mailbox, monkeypatch) -> None:
    workers, start = Workers("test", 2, mailbox), threading.Thread.start

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OperationFailed, match="raise the limits"):
        await workers.call(lambda: "done")
    monkeypatch.setattr(threading.Thread, "start", start)
    assert await workers.call(lambda: "done") == "done"
    monkeypatch.setattr(threading.Thread, "start", refuse)
    # With one thread they wait in line.
    both: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(_note, workers, both)
    assert both == ["done", "done"]


async def _note(workers: Workers, results: list[str]) -> None:
    results.append(await workers.call(lambda: time.sleep(0.01) or "done"))


@pytest.mark.trio
async def test_results_come_back_in_trios_thread_and_in_order(mailbox) -> None:
    workers = Workers("test", 1, mailbox)
    here, got, done = threading.get_ident(), [], trio.Event()

    def note(number: int) -> None:
        got.append((number, threading.get_ident() == here))
        if number == 99:
            done.set()

    for number in range(100):
        workers.submit(lambda number=number: number, note, pytest.fail)
    with trio.fail_after(5):
        await done.wait()
    assert got == [(number, True) for number in range(100)]
    assert workers.waiting == 0
    workers.close()
    assert workers.join(2.0)


@pytest.mark.trio
async def test_what_comes_in_numbers_waits_for_more_of_its_kind_but_for_nothing_urgent(
    mailbox, mock_clock
) -> None:
    made = []
    mailbox.post_later(lambda: made.append("first"))
    await trio.testing.wait_all_tasks_blocked()
    assert made == ["first"]
    mailbox.post_later(lambda: made.append("second"))
    mailbox.post_later(lambda: made.append("third"))
    await trio.testing.wait_all_tasks_blocked()
    assert made == ["first"]
    mock_clock.jump(PAUSE)
    await trio.testing.wait_all_tasks_blocked()
    assert made == ["first", "second", "third"]
    mailbox.post_later(lambda: made.append("fourth"))
    mailbox.post(lambda: made.append("urgent"))
    await trio.testing.wait_all_tasks_blocked()
    assert made[3:] == ["fourth", "urgent"]


@pytest.mark.trio
async def test_a_thread_waits_in_line_for_a_buffer_or_until_it_is_no_longer_wanted() -> None:
    pool = BufferPool(256 * 1024 + SPARE_BYTES)
    first = pool.try_take(200_000)
    closed = threading.Event()

    def borrow() -> memoryview | None:
        return pool.take_blocking(200_000, closed.is_set)

    got = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: trio.to_thread.run_sync(lambda: got.append(borrow())))
        with trio.fail_after(5):
            while not pool._line:
                await trio.sleep(0.001)
        assert got == []
        pool.give(first)
    assert [len(buffer) for buffer in got] == [256 * 1024 + SPARE_BYTES]
    closed.set()
    assert await trio.to_thread.run_sync(borrow) is None
    pool.give(got[0])
    assert pool.used == 0


@pytest.mark.trio
async def test_an_error_of_a_job_is_an_answer_and_the_thread_goes_on(mailbox) -> None:
    workers = Workers("test", 1, mailbox)
    with pytest.raises(ZeroDivisionError):
        await workers.call(lambda: 1 // 0)
    assert await workers.call(lambda: 7) == 7
    workers.close()


@pytest.mark.trio
async def test_a_pool_never_lends_more_than_its_limit_and_serves_in_line() -> None:
    pool = BufferPool(256 * 1024 + SPARE_BYTES)
    first = await pool.take(200_000)
    assert len(first) == 256 * 1024 + SPARE_BYTES
    assert pool.try_take(1) is None
    order = []

    async def taker(name: str, size: int) -> None:
        buffer = await pool.take(size)
        order.append(name)
        pool.give(buffer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(taker, "large", 200_000)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(taker, "small", 10)
        await trio.testing.wait_all_tasks_blocked()
        pool.give(first)
    assert order == ["large", "small"]
    assert pool.used == 0


def test_a_pool_lends_the_same_memory_again_until_nobody_needs_it() -> None:
    pool = BufferPool(2**20)
    first = pool.try_take(100_000)
    pool.give(first)
    pool.rest()
    assert pool.try_take(100_000) is first
    pool.give(first)
    pool.rest()
    pool.rest()
    assert pool.try_take(100_000) is not first


@pytest.mark.trio
async def test_a_cancelled_taker_leaves_nothing_lent() -> None:
    pool = BufferPool(64 * 1024)
    held = await pool.take(1)
    with trio.move_on_after(0):
        await pool.take(1)
    pool.give(held)
    assert pool.used == 0
    assert pool.try_take(1) is not None


def test_the_gate_stops_a_source_that_fails_and_forgives_it() -> None:
    gate = Gate()
    for _ in range(int(FAILURES)):
        if gate.enter("10.0.0.1", 0.0):
            gate.leave("10.0.0.1", welcome=False, now=0.0)
    assert not gate.enter("10.0.0.1", 0.0)
    assert gate.enter("10.0.0.2", 0.0)
    assert gate.enter("10.0.0.1", 1.0)


def test_members_behind_one_address_all_get_in() -> None:
    gate = Gate()
    for _ in range(10):
        assert all(gate.enter("10.0.0.1", 0.0) for _ in range(MOST_HANDSHAKES))
        for _ in range(MOST_HANDSHAKES):
            gate.leave("10.0.0.1", welcome=True, now=0.0)


def test_pieces_are_ten_milliseconds_within_their_limits() -> None:
    slow, fast = Meter(), Meter()
    for meter, rate in ((slow, 1e6), (fast, 1e9)):
        meter.begin(0.0)
        meter.moved(int(rate), 1.0)
    assert slow.piece() == SMALLEST_PIECE
    assert fast.piece() == LARGEST_PIECE
    assert Meter().piece() == 64 * 1024


def test_idle_time_is_not_slowness() -> None:
    meter = Meter()
    meter.begin(0.0)
    meter.moved(1000, 1.0)
    meter.pause()
    meter.begin(100.0)
    meter.moved(1000, 101.0)
    assert meter.rate == 1000.0


@pytest.mark.trio
async def test_only_so_many_wait_for_one_name(mailbox) -> None:
    workers = Workers("test", 1, mailbox)
    stuck = threading.Event()
    resolver = Resolver(workers, lambda host: "127.0.0.1" if stuck.wait(5) else "")
    answers: list[object] = []
    taken = [resolver.resolve("slow.example", answers.append) for _ in range(MOST_WAITING + 3)]
    assert taken == [True] * MOST_WAITING + [False] * 3
    stuck.set()
    with trio.fail_after(5):
        while len(answers) < MOST_WAITING:
            await trio.sleep(0.001)
    assert set(answers) == {"127.0.0.1"}
    assert resolver.known("slow.example") == "127.0.0.1"
    workers.close()


@pytest.mark.trio
async def test_a_name_that_took_long_to_fail_is_not_asked_for_again_soon(mailbox) -> None:
    # A member's card may name hosts whose name server never answers: seeds must still be looked up.
    def ask(host: str) -> str:
        time.sleep(0.05)
        raise OSError("nobody answers")

    resolver = Resolver(Workers("names", 2, mailbox), ask)
    with pytest.raises(OSError, match="nobody answers"):
        await resolver.find(Address("slow.example", 1))
    until, _ = resolver._known["slow.example"]
    assert until - trio.current_time() > KEPT_FAILURE + 0.4


@pytest.mark.parametrize("host", ["a..b", "\u00fc" * 70])
def test_what_is_no_host_name_is_told_in_one_line(host: str) -> None:
    with pytest.raises(OperationFailed, match="is no host name"):
        open_ports(Address(host, 0))


def test_one_free_port_is_found_for_both_and_a_taken_one_is_one_clear_error() -> None:
    ports = open_ports(Address("127.0.0.1", 0))
    assert ports.tcp.getsockname()[1] == ports.udp.getsockname()[1] == ports.address.port
    with pytest.raises(OperationFailed, match="is another peer running there"):
        open_ports(ports.address)
    ports.close()
