"""Does the control socket answer its own user, within bounds, and nobody else?"""

import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

import ringgossip
from ringgossip.config import PeerConfig
from ringgossip.runtime.peer import Peer
from ringgossip.service.calls import CALLS, _Steps
from ringgossip.service.control import MOST_CONNECTIONS, HangUp, _Connection, _Talk, control_socket
from ringgossip.wire.control import MAX_REQUEST, Lines

pytestmark = pytest.mark.trio

Make = Callable[..., PeerConfig]


class Program:
    """The other end of the socket, without the manners of our own client."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def say(self, call: object, **arguments: Any) -> None:
        await self.stream.send_all(json.dumps({"call": call, "with": arguments}).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        """Return the next message; an empty one when the peer hung up."""
        with trio.fail_after(10):
            while b"\n" not in self._buffer:
                data = await self.stream.receive_some()
                if not data:
                    return {}
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def ask(self, call: object, **arguments: Any) -> dict[str, Any]:
        await self.say(call, **arguments)
        return await self.hear()


async def program(data: Path) -> Program:
    return Program(await trio.open_unix_socket((data / "socket").read_text().strip()))


@asynccontextmanager
async def opened(config: PeerConfig) -> AsyncIterator[Peer]:
    async with ringgossip.open_peer(config) as peer:
        yield peer


async def test_one_connection_asks_many_questions(config: Make) -> None:
    async with opened(config()) as peer:
        asker = await program(peer.config.data)
        for _ in range(3):
            assert (await asker.ask("status"))["result"]["node"] == "alice"
        [part, end] = [await asker.ask("members"), await asker.hear()]
        assert [entry["name"] for entry in part["part"]] == ["alice"]
        assert end == {"result": None}


@pytest.mark.parametrize(
    ("call", "arguments", "text"),
    [
        ("fly", {}, "this peer knows no call 'fly'"),
        (7, {}, "this peer knows no call '7'"),
        (["status"], {}, "this peer knows no call"),
        ("status", {"loud": True}, "'loud' is no argument of this call"),
        ("publish", {}, "kind is missing"),
        ("publish", {"kind": "models", "path": "a.pth"}, "a.pth must be an absolute path"),
        ("publish", {"kind": "models", "path": "/a", "copies": True}, "copies must be of type int, not True"),
        ("drain", {"deadline": 10**400}, "deadline must be of type float, not 1000"),
        ("publish", {"kind": "models", "path": "/a", "timeout": -1}, "timeout must be from 0 to"),
        ("wait_for", {"kind": "models", "name": "a", "timeout": 1e400}, "timeout must be from 0 to"),
        ("artifacts", {"filters": []}, "filters must be of type dict"),
        ("artifacts", {"kind": "modles"}, "did you mean 'models'"),
    ],
)
async def test_a_wrong_call_is_answered_with_what_is_wrong(
    config: Make, call: object, arguments: dict[str, Any], text: str
) -> None:
    async with opened(config()) as peer:
        asker = await program(peer.config.data)
        assert text in (await asker.ask(call, **arguments))["error"]["text"]
        assert "result" in await asker.ask("status")


@pytest.mark.parametrize(
    "sent", [b"hello\n", b"[]\n", b"x" * (MAX_REQUEST + 1), b"\xff\n", b"[" * 60_000 + b"\n"]
)
async def test_nonsense_is_hung_up_on_and_others_are_still_answered(config: Make, sent: bytes) -> None:
    async with opened(config()) as peer:
        vandal, asker = await program(peer.config.data), await program(peer.config.data)
        await vandal.stream.send_all(sent)
        try:
            assert await vandal.hear() == {}
        except trio.BrokenResourceError:
            pass
        assert "result" in await asker.ask("status")


async def test_an_idle_connection_makes_room_for_a_new_one(config: Make) -> None:
    async with opened(config()) as peer:
        programs = [await program(peer.config.data) for _ in range(MOST_CONNECTIONS)]
        for each in programs:
            await each.ask("health_check")
        newcomer = await program(peer.config.data)
        assert "result" in await newcomer.ask("status")
        assert await programs[0].hear() == {}  # it was idle longest
        assert "result" in await programs[1].ask("status")


async def test_busy_connections_are_bounded_and_a_hang_up_ends_its_call(config: Make) -> None:
    async with opened(config()) as peer:
        programs = [await program(peer.config.data) for _ in range(MOST_CONNECTIONS)]
        for each in programs:
            await each.say("wait_for", kind="models", name="never.pth", timeout=600)
        await trio.sleep(0.2)
        refused = await program(peer.config.data)
        assert "try again when some have ended" in (await refused.hear())["error"]["text"]
        await programs[0].stream.aclose()
        with trio.fail_after(5):
            while True:
                newcomer = await program(peer.config.data)
                if "result" in await newcomer.ask("status"):
                    break


async def test_a_program_that_floods_during_its_call_is_hung_up_on(config: Make) -> None:
    async with opened(config()) as peer:
        vandal = await program(peer.config.data)
        await vandal.say("wait_for", kind="models", name="never.pth", timeout=600)
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):
            while True:
                await vandal.stream.send_all(b"x" * 65536)


class Thing:
    """An artifact as far as the socket cares."""

    def as_dict(self) -> dict[str, int]:
        return {"size": 1}


class Odd:
    """A peer with a bug, and with more artifacts than one line should hold."""

    def status(self) -> dict[str, object]:
        raise ZeroDivisionError("a bug")

    def artifacts(self, kind: str | None, **filters: object) -> list[Thing]:
        return [Thing()] * 450


@asynccontextmanager
async def odd_program(data: Path) -> AsyncIterator[Program]:
    async with trio.open_nursery() as nursery, control_socket(cast("Peer", Odd()), data, nursery):
        yield await program(data)
        nursery.cancel_scope.cancel()


async def test_a_long_list_comes_in_parts(tmp_path: Path) -> None:
    async with odd_program(tmp_path) as asker:
        await asker.say("artifacts")
        parts = [await asker.hear() for _ in range(4)]
        assert [len(message.get("part", ())) for message in parts] == [200, 200, 50, 0]
        assert parts[-1] == {"result": None}


async def test_a_program_that_takes_no_answer_does_not_keep_the_peer_from_closing(tmp_path: Path) -> None:
    with trio.fail_after(5):
        async with odd_program(tmp_path) as asker:
            await asker.stream.send_all(b'{"call": "artifacts"}\n' * 500)
            await trio.testing.wait_all_tasks_blocked(0.05)


async def test_a_bug_in_one_call_is_told_and_the_peer_goes_on(tmp_path: Path) -> None:
    async with odd_program(tmp_path) as asker:
        error = (await asker.ask("status"))["error"]
        assert error["kind"] == "OperationFailed"
        assert "a bug in status: ZeroDivisionError: a bug" in error["text"]
        assert "part" in await asker.ask("artifacts")


async def test_listening_says_that_it_listens_and_then_tells(config: Make) -> None:
    async with opened(config()) as peer:
        asker = await program(peer.config.data)
        assert await asker.ask("listen") == {"progress": {}}
        stranger = await trio.open_tcp_stream(peer.address.host, peer.address.port)
        await stranger.send_all(b"GET / HTTP/1.1\r\n\r\n")
        [event] = (await asker.hear())["part"]
        assert (event["event"], event["reason"]) == ("StrangerRefused", "it spoke plain HTTP, not TLS")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can pretend to be somebody else")
async def test_another_user_is_turned_away_even_where_the_mode_lets_him_in(config: Make) -> None:
    async with opened(config()) as peer:
        path = Path((peer.config.data / "socket").read_text().strip())
        path.chmod(0o777)
        path.parent.chmod(0o711)
        stranger = socket.socket(socket.AF_UNIX)
        folder = os.open(path.parent, os.O_RDONLY)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.fchdir(folder)
                os.setuid(65534)
                stranger.connect(path.name)
                stranger.sendall(b'{"call": "status"}\n')
                code = 0 if stranger.recv(100) == b"" else 2
            except ConnectionError:
                code = 0
            except BaseException:
                code = 3
            finally:
                os._exit(code)
        status = await trio.to_thread.run_sync(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status[1]) == 0
        stranger.close()
        os.close(folder)


@pytest.mark.trio
async def test_every_call_has_a_method_of_the_client() -> None:
    from ringgossip.client import Client

    assert set(CALLS) <= set(dir(Client))


async def test_a_program_that_hangs_up_while_it_is_told_of_progress_is_no_bug(caplog) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    talk = _Talk(_Connection(cast(trio.SocketStream, ours), trio.CancelScope(), Lines(MAX_REQUEST)))

    async def publish(peer: Peer, given: Any, talk: Any) -> None:
        async with _Steps(talk) as note:
            await theirs.aclose()
            note("hash", 1, 2)
            await trio.sleep_forever()

    # Nothing looks whether it hung up: whoever tells of progress meets it first.
    talk._watch = lambda scope: trio.sleep_forever()  # type: ignore[method-assign]
    with pytest.raises(HangUp), trio.fail_after(5):
        await talk.during(publish, cast(Peer, None), {})
    assert not caplog.records
