"""Do the pages answer whoever asks properly, and hang up on the rest?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from ringgossip.errors import OperationFailed
from ringgossip.identity import Address
from ringgossip.service.http import MOST_CONNECTIONS, Page, json_page, serving_pages, text_page

pytestmark = pytest.mark.trio

ANY = Address("127.0.0.1", 0)


@asynccontextmanager
async def served() -> AsyncIterator[Address]:
    pages = {"/health": lambda: json_page({"healthy": True}), "/broken": lambda: text_page("ill", 503)}
    async with trio.open_nursery() as nursery:
        async with serving_pages(ANY, pages, nursery) as address:
            yield address
        nursery.cancel_scope.cancel()


async def ask(address: Address, sent: bytes) -> bytes:
    """Send bytes and return everything that comes until the other side hangs up."""
    with trio.fail_after(5):
        async with await trio.open_tcp_stream(address.host, address.port) as stream:
            await stream.send_all(sent)
            await stream.send_eof()
            answer = b""
            async for data in stream:
                answer += data
            return answer


def get(path: str, method: str = "GET", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


async def test_a_page_is_got() -> None:
    async with served() as address:
        answer = await ask(address, get("/health?x=1"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-type: application/json" in head.lower()
    assert body == b'{"healthy": true}\n'


async def test_the_status_of_a_page_is_the_status_of_the_answer() -> None:
    async with served() as address:
        assert (await ask(address, get("/broken"))).startswith(b"HTTP/1.1 503")


async def test_head_says_the_length_and_sends_nothing() -> None:
    async with served() as address:
        answer = await ask(address, get("/health", "HEAD"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: 18" in head.lower()
    assert body == b""


async def test_no_page_is_404_also_for_other_methods() -> None:
    async with served() as address:
        assert (await ask(address, get("/etc/passwd"))).startswith(b"HTTP/1.1 404")
        assert (await ask(address, get("/etc/passwd", "POST"))).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_can_be_changed(method: str) -> None:
    async with served() as address:
        answer = await ask(address, get("/health", method, "Content-Length: 0\r\n"))
    assert answer.startswith(b"HTTP/1.1 405")
    assert b"allow: get, head" in answer.lower()


async def test_one_connection_asks_many_times() -> None:
    async with served() as address:
        answer = await ask(address, get("/health") * 3)
    assert answer.count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x00\xff" * 10,
        get("/health", more="X: " + "y" * 40_000 + "\r\n"),
        get("/health", more="Content-Length: 100000\r\n") + b"x" * 100_000,
        get("/health", "POST", "Content-Length: 10000000\r\n") + b"x" * 100_000,
    ],
    ids=["words", "tls", "long head", "long body", "endless body"],
)
async def test_nonsense_is_refused_and_others_are_still_answered(sent: bytes) -> None:
    async with served() as address:
        try:
            answer = await ask(address, sent)
        except trio.BrokenResourceError:
            answer = b""
        assert answer[:10] in (b"", b"HTTP/1.1 4")
        assert b"200 " in await ask(address, get("/health"))


async def test_a_silent_connection_is_hung_up_on(autojump_clock: trio.testing.MockClock) -> None:
    async with served() as address, await trio.open_tcp_stream(address.host, address.port) as stream:
        await stream.send_all(b"GET /hea")
        before = trio.current_time()
        try:
            assert await stream.receive_some() == b""
        except trio.BrokenResourceError:
            pass
        assert trio.current_time() - before <= 11.0


async def test_whoever_holds_all_places_makes_room_for_one_more() -> None:
    async with served() as address:
        silent = [await trio.open_tcp_stream(address.host, address.port) for _ in range(MOST_CONNECTIONS)]
        await trio.testing.wait_all_tasks_blocked(0.05)
        for _ in range(3):
            assert b"200 " in await ask(address, get("/health"))
        # The one that said nothing for longest went, the latest did not.
        with trio.fail_after(5):
            assert await silent[0].receive_some(1) == b""
            await silent[-1].send_all(get("/health"))
            assert b"200 " in await silent[-1].receive_some(1000)
        for stream in silent:
            await stream.aclose()


async def test_whoever_asks_again_and_again_is_not_the_one_who_goes() -> None:
    async with served() as address:
        busy = await trio.open_tcp_stream(address.host, address.port)
        others = []
        for _ in range(2 * MOST_CONNECTIONS):
            others.append(await trio.open_tcp_stream(address.host, address.port))
            await busy.send_all(get("/health"))
            assert b"200 " in await busy.receive_some(1000)
        for stream in (busy, *others):
            await stream.aclose()


async def test_a_page_with_a_bug_in_it_ends_one_request_and_not_the_peer(caplog) -> None:
    def buggy() -> Page:
        raise KeyError("sync")

    pages = {"/status": buggy, "/health": lambda: text_page("well")}
    async with trio.open_nursery() as nursery:
        async with serving_pages(ANY, pages, nursery) as at:
            assert (await ask(at, get("/status"))).startswith(b"HTTP/1.1 500")
            assert (await ask(at, get("/health"))).startswith(b"HTTP/1.1 200")
        nursery.cancel_scope.cancel()
    assert "KeyError" in caplog.text


async def test_a_port_in_use_is_one_line_that_says_what_to_do() -> None:
    async with served() as address, trio.open_nursery() as nursery:
        with pytest.raises(OperationFailed, match=r"status: cannot listen on .*choose another `status:`"):
            async with serving_pages(address, {}, nursery):
                pass
