"""A second, plain connection beside a fast link, for sealed bodies only.

Control messages stay on the TLS link, so they never wait behind a body. The
side that dialled the link opens the lane and names it by a token that went over
the link, together with the keys; both then prove that they have them. Where it
cannot be opened bodies go on over TLS; when it breaks the link ends with it.
"""

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from ringgossip.errors import PeerMisbehaved
from ringgossip.runtime.inbox import Arriving, Inbox
from ringgossip.runtime.sealed import HEAD_BYTES, KEY_BYTES, TAG_BYTES, BodyOpener, BodySealer, Head
from ringgossip.runtime.tls import limit_unsent, tune

if TYPE_CHECKING:
    from ringgossip.runtime.link import Link
    from ringgossip.runtime.outbox import Body, Outbox

# What a lane says first; TLS begins with another byte.
MAGIC = b"ringlane"
TOKEN_BYTES = 16
# Slower links gain nothing: pieces of bodies over TLS are cheap there, and one connection is fairer.
LEAST_RATE = 40e6

_MOST_UNSENT = 1 << 20
_SCRAP_BYTES = 256 * 1024


class Lane:
    """One lane. `greet` it, then `run` it beside its link."""

    def __init__(self, sock: socket.socket, keys: bytes, dialled: bool, inbox: Inbox) -> None:
        tune(sock)
        limit_unsent(sock, _MOST_UNSENT)
        ours, theirs = keys[:KEY_BYTES], keys[KEY_BYTES:]
        if not dialled:
            ours, theirs = theirs, ours
        self.sealer = BodySealer(ours)
        self._opener = BodyOpener(theirs)
        self._socket = sock
        self._inbox = inbox
        self._bell = trio.Event()
        self._moved_at = trio.current_time()
        self._sending = False
        self._arriving: Arriving | None = None

    # --- its first words ------------------------------------------------------------------

    async def greet(self) -> None:
        """Prove that we have the key and hear the same; raises `OSError` or `PeerMisbehaved`."""
        await self._send_all([self.sealer.head(self.sealer.reserve(), 0, 0, 0)])
        if await self._read_head() is None:
            raise OSError("the lane ended before its first word")

    # --- life --------------------------------------------------------------------------------

    def wake(self) -> None:
        """There may be a body to send."""
        self._bell.set()

    def stalled(self, now: float, patience: float) -> bool:
        """Whether something is under way and does not move."""
        return (self._sending or self._arriving is not None) and now - self._moved_at > patience

    def close(self) -> None:
        """Close the socket; buffers go back."""
        if self._arriving is not None:
            self._inbox.abandon(self._arriving)
            self._arriving = None
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def send(self, link: "Link", outbox: "Outbox") -> str:
        """Send bodies for ever; return why not."""
        while True:
            body = outbox.take(sealed=True)
            if body is None:
                self._bell = trio.Event()
                await self._bell.wait()
            elif body.problem is not None:
                link.unreadable(body)
            else:
                await self._send_body(link, body)

    async def _send_body(self, link: "Link", body: "Body") -> None:
        assert link.outbox is not None and body.head is not None
        self._sending, self._moved_at = True, trio.current_time()
        link.sending.begin(self._moved_at)
        try:
            await self._send_all([body.head, body.data])
        finally:
            self._sending = False
            link.outbox.finished(body)
        link.sent(body)

    async def _send_all(self, parts: list[bytes | memoryview]) -> None:
        await trio.lowlevel.checkpoint()
        rest = [memoryview(part) for part in parts]
        while rest:
            try:
                count = self._socket.sendmsg(rest)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
                continue
            self._moved_at = trio.current_time()
            while rest and count >= len(rest[0]):
                count -= len(rest.pop(0))
            if count:
                rest[0] = rest[0][count:]

    async def receive(self, link: "Link") -> str:
        """Receive bodies for ever; return why not."""
        while True:
            head = await self._read_head()
            if head is None:
                return "the other side closed it"
            if not head.length:
                raise PeerMisbehaved("sent a chunk of no bytes")
            sealed = head.length + TAG_BYTES
            arriving = await self._inbox.begin(link.peer, head.request, head.index, head.length)
            self._moved_at = trio.current_time()
            link.receiving.begin(self._moved_at)
            if arriving is None:
                if not await self._read_away(sealed):
                    return "it ended in the middle of a chunk"
                continue
            self._arriving = arriving
            buffer = arriving.buffer[:sealed]
            if not await self._fill(buffer):
                return "it ended in the middle of a chunk"
            self._arriving = None
            link.receiving.moved(head.length, trio.current_time())
            # As with TLS: what was damaged on the way ends the link, and accuses nobody.
            self._inbox.complete(
                arriving,
                self._opening(head, buffer),
                lambda: link.break_off("a chunk was damaged on its way"),
            )

    def _opening(self, head: Head, buffer: memoryview) -> Callable[[], bool]:
        return lambda: self._opener.open(head, buffer)

    async def _read_head(self) -> Head | None:
        data = bytearray(HEAD_BYTES)
        return self._opener.read_head(bytes(data)) if await self._fill(memoryview(data)) else None

    async def _read_away(self, length: int) -> bool:
        scrap = memoryview(bytearray(min(length, _SCRAP_BYTES)))
        while length:
            part = scrap[: min(length, len(scrap))]
            if not await self._fill(part):
                return False
            length -= len(part)
        return True

    async def _fill(self, buffer: memoryview) -> bool:
        done = 0
        while done < len(buffer):
            try:
                count = self._socket.recv_into(buffer[done:])
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
                continue
            if not count:
                return False
            done += count
            self._moved_at = trio.current_time()
        return True


def new_token_and_keys() -> tuple[bytes, bytes]:
    """Return the name of a new lane and its keys."""
    return os.urandom(TOKEN_BYTES), os.urandom(2 * KEY_BYTES)
