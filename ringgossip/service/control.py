"""How does a running peer answer the programs of its own machine? On a unix socket, only for its own user.

The words are those of `wire.control`. Everything is bounded: connections, the
length of a request, the parts of a long answer. A connection that asks nothing
costs nothing, and is closed when others need its place: clients open a new one.
"""

import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from ringgossip.errors import OperationFailed, PeerMisbehaved, RinggossipError, UsageError
from ringgossip.service.calls import CALLS, Conversation, Run
from ringgossip.service.place import bound_socket
from ringgossip.wire.control import MAX_REQUEST, STILL_AT_IT, Lines, pack, pack_error, unpack

if TYPE_CHECKING:
    from ringgossip.runtime.peer import Peer

logger = logging.getLogger("ringgossip.service")

MOST_CONNECTIONS = 64
_READ = 64 * 1024
_SLOW_READER = 30.0  # A program that takes nothing for this long is hung up on.


@asynccontextmanager
async def control_socket(peer: "Peer", data: Path, nursery: trio.Nursery) -> AsyncIterator[None]:
    """Answer on the control socket of `data`, with tasks of `nursery`, for as long as the context is open."""
    with bound_socket(data) as bound:
        bound.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        server = _Server(peer)
        nursery.start_soon(server.accept, listener, nursery)
        try:
            yield
        finally:
            server.stop()


@dataclass(slots=True, eq=False)
class _Connection:
    """One program at the other end. `scope` ends it; `busy` while a call is under way."""

    stream: trio.SocketStream
    scope: trio.CancelScope
    lines: Lines
    busy: bool = False


class _Server:
    def __init__(self, peer: "Peer") -> None:
        self._peer = peer
        self._connections: dict[_Connection, None] = {}  # the one that was idle longest first
        self._accepting = trio.CancelScope()

    def stop(self) -> None:
        """Accept nobody and hang up on everybody."""
        self._accepting.cancel()
        for connection in self._connections:
            connection.scope.cancel()
            connection.stream.socket.close()

    async def accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        with self._accepting:
            await self._accept(listener, nursery)

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError:
                # Out of descriptors, most likely; the backlog waits.
                await trio.sleep(0.1)
                continue
            if not _same_user(stream.socket):
                stream.socket.close()
                continue
            connection = _Connection(stream, trio.CancelScope(), Lines(MAX_REQUEST))
            if len(self._connections) >= MOST_CONNECTIONS and not self._hang_up_on_an_idle_one():
                nursery.start_soon(_turn_away, stream)
                continue
            self._connections[connection] = None
            nursery.start_soon(self._serve, connection)

    def _hang_up_on_an_idle_one(self) -> bool:
        for connection in self._connections:
            if not connection.busy and not connection.lines.size:
                connection.scope.cancel()
                del self._connections[connection]
                return True
        return False

    async def _serve(self, connection: _Connection) -> None:
        try:
            with connection.scope:
                async with connection.stream:
                    await self._converse(connection)
        except (trio.BrokenResourceError, trio.ClosedResourceError, HangUp, PeerMisbehaved):
            # It hung up, or spoke nonsense; neither is ours to mend.
            pass
        finally:
            self._connections.pop(connection, None)

    async def _converse(self, connection: _Connection) -> None:
        while True:
            line = connection.lines.next()
            if line is None:
                data = await connection.stream.receive_some(_READ)
                if not data:
                    return
                connection.lines.feed(data)
                continue
            connection.busy = True
            await self._answer(connection, unpack(line))
            connection.busy = False
            if connection in self._connections:
                # Now it is the one that was idle shortest.
                del self._connections[connection]
                self._connections[connection] = None

    async def _answer(self, connection: _Connection, request: Mapping[str, Any]) -> None:
        talk = _Talk(connection)
        answer: dict[str, Any]
        try:
            name, arguments = request.get("call"), request.get("with", {})
            call = CALLS.get(name) if isinstance(name, str) else None
            if call is None:
                raise OperationFailed(
                    f"this peer knows no call {str(name)[:40]!r}: is it an older ringgossip?"
                )
            if not isinstance(arguments, dict):
                raise UsageError("the arguments of a call are no object")
            if call.waits:
                answer = await talk.during(call.run, self._peer, arguments)
            else:
                answer = {"result": await call.run(self._peer, arguments, talk)}
        except HangUp:
            raise
        except Exception as error:
            answer = {"error": pack_error(_as_ours(error, request.get("call")))}
        await talk.send(answer)


class HangUp(Exception):
    """The program at the other end is gone, or might as well be."""


class _Talk(Conversation):
    """One call under way: says what the call wants said, and notices when the program hangs up."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._lock = trio.Lock()

    async def send(self, message: Mapping[str, Any]) -> None:
        async with self._lock:
            try:
                # Shielded: half a line would spoil all that follow. `stop` closes the socket under it.
                with trio.fail_after(_SLOW_READER) as scope:
                    scope.shield = True
                    await self._connection.stream.send_all(pack(message))
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                raise HangUp from None

    async def during(self, run: Run, peer: "Peer", arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of a call that may last; it is cancelled when the program hangs up."""
        answer: dict[str, Any] | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            try:
                answer = {"result": await run(peer, arguments, self)}
            except Exception as error:
                # Whatever told of progress met it first, in a nursery of its own.
                if not isinstance(_single(error), HangUp):
                    answer = {"error": pack_error(_as_ours(error, run.__name__))}
            nursery.cancel_scope.cancel()
        if answer is None:
            raise HangUp
        return answer

    async def _watch(self, scope: trio.CancelScope) -> None:
        """Say now and then that we are still at it, and notice the hang-up."""
        stream, lines = self._connection.stream, self._connection.lines
        try:
            while True:
                with trio.move_on_after(STILL_AT_IT):
                    data = await stream.receive_some(_READ)
                    lines.feed(data)
                    if not data or lines.size > MAX_REQUEST:
                        break
                    continue
                await self.send({"progress": {}})
        except (trio.BrokenResourceError, trio.ClosedResourceError, HangUp):
            pass
        scope.cancel()


async def _turn_away(stream: trio.SocketStream) -> None:
    busy = OperationFailed(f"{MOST_CONNECTIONS} programs talk to this peer: try again when some have ended")
    with trio.move_on_after(1.0):
        async with stream:
            try:
                await stream.send_all(pack({"error": pack_error(busy)}))
            except trio.BrokenResourceError:
                pass


def _same_user(connected: "trio.socket.SocketType") -> bool:
    """Tell whether the other end runs as our user or as root; the kernel knows."""
    peercred = getattr(socket, "SO_PEERCRED", None)
    if peercred is None:
        return True  # Not Linux: the mode of the socket must do.
    _, uid, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, peercred, struct.calcsize("3i")))
    return uid in (os.geteuid(), 0)


def _as_ours(error: Exception, call: object) -> RinggossipError:
    """Return what the program is told; a bug of ours stays one call's, and its traceback goes to the log."""
    found = _single(error)
    if isinstance(found, RinggossipError):
        return found
    if isinstance(found, OSError):
        where = f"{found.filename}: " if found.filename else ""
        return OperationFailed(f"{where}{found.strerror or found}")
    logger.error("bug: call %s failed", call, exc_info=error)
    return OperationFailed(f"a bug in {call}: {type(found).__name__}: {found}; the peer's log says more")


def _single(error: BaseException) -> BaseException:
    """Return what went wrong, out of the groups that nurseries make."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
