"""A second, plain connection beside a fast link, for sealed bodies only.

Control messages stay on the TLS link, so they never wait behind a body. The
side that dialled the link opens the lane and names it by a token that went over
the link, together with the keys; both then prove that they have them. Where it
cannot be opened bodies go on over TLS; when it breaks the link ends with it.

Once it is open two threads block in the kernel for whole bodies, one for each
direction. Why: under trio a body of 1 MiB takes some ten turns of the loop at
either end, and these cost more than sealing and proving it (measured).
"""

import contextlib
import errno
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from ringgossip.errors import PeerMisbehaved
from ringgossip.runtime.forking import close_in_children
from ringgossip.runtime.inbox import Inbox
from ringgossip.runtime.sealed import HEAD_BYTES, KEY_BYTES, TAG_BYTES, BodyOpener, BodySealer, Head
from ringgossip.runtime.tls import limit_unsent, tune

if TYPE_CHECKING:
    from ringgossip.runtime.link import Link
    from ringgossip.runtime.outbox import Body

# What a lane says first; TLS begins with another byte.
MAGIC = b"ringlane"
TOKEN_BYTES = 16
# Slower links gain nothing: pieces of bodies over TLS are cheap there, and one connection is fairer.
LEAST_RATE = 40e6

_MOST_UNSENT = 1 << 20
_LOOK_SECONDS = 5  # So often a thread that waits in the kernel says how far it is.


class Lane:
    """One lane. `greet` it, then `start` it beside its link, and `close` it."""

    def __init__(self, sock: socket.socket, keys: bytes, dialled: bool, inbox: Inbox) -> None:
        tune(sock)
        limit_unsent(sock, _MOST_UNSENT)
        ours, theirs = keys[:KEY_BYTES], keys[KEY_BYTES:]
        if not dialled:
            ours, theirs = theirs, ours
        self.sealer = BodySealer(ours)
        self._opener = BodyOpener(theirs)
        self._socket = sock
        close_in_children(sock)
        self._inbox = inbox
        self._mailbox = inbox.mailbox
        # Threads read the same clock as trio's, but have no trio to ask.
        self._clock_offset = trio.current_time() - time.perf_counter()
        self._sending_at: float | None = None  # when the body under way moved last
        self._receiving_since: float | None = None  # when the one that comes began to
        self._bodies: queue.SimpleQueue[Body | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._link: Link | None = None
        self._closed = False

    # --- its first words ------------------------------------------------------------------

    async def greet(self) -> None:
        """Prove that we have the key and hear the same; raises `OSError` or `PeerMisbehaved`."""
        await trio.lowlevel.checkpoint()
        self._socket.sendall(self.sealer.head(self.sealer.reserve(), 0, 0, 0))
        head = b""
        while len(head) < HEAD_BYTES:
            try:
                more = self._socket.recv(HEAD_BYTES - len(head))
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
                continue
            if not more:
                raise OSError("the lane ended before its first word")
            head += more
        self._opener.read_head(head)

    # --- life --------------------------------------------------------------------------------

    def start(self, link: "Link") -> None:
        """Move the bodies of a link from now on; raises `OSError` where no more threads may be started."""
        self._link = link
        trio.lowlevel.notify_closing(self._socket)
        self._socket.setblocking(True)
        patience = struct.pack("@ll", _LOOK_SECONDS, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        for work, name in ((self._send, "send"), (self._receive, "receive")):
            with self._lock:
                self._threads += 1
            try:
                threading.Thread(
                    target=self._run, args=(work, link), name=f"ringgossip-lane-{name}", daemon=True
                ).start()
            except RuntimeError as error:
                with self._lock:
                    self._threads -= 1
                raise OSError(errno.EAGAIN, "no more threads may be started here") from error

    def stalled(self, now: float, patience: float) -> bool:
        """Whether a body that leaves does not move, or one that comes is not whole in that time.

        It lies in a buffer of few that all lanes share: who lets it trickle would hold up everybody.
        """
        moved, since = self._sending_at, self._receiving_since
        return any(at is not None and now - at > patience for at in (moved, since))

    def close(self) -> None:
        """End both threads; what they have not sent comes back to the outbox."""
        with self._lock:
            self._closed = True
            if not self._threads:
                self._socket.close()
                return
        # What blocks in the kernel returns at once.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._bodies.put(None)

    def _run(self, work: Callable[["Link"], str], link: "Link") -> None:
        try:
            ending: str | PeerMisbehaved | OSError = work(link)
        except (PeerMisbehaved, OSError) as error:
            ending = error
        except Exception as error:
            self._mailbox.post(partial(_raise, error))
            ending = "a bug"
        self._mailbox.post(lambda: link.lane_ended(ending))
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._socket.close()

    def _now(self) -> float:
        return time.perf_counter() + self._clock_offset

    # --- sending, in a thread -------------------------------------------------------------------

    def post(self, body: "Body") -> None:
        """Send a body, or tell its problem, when all before it have left; from any thread."""
        with self._lock:
            if not self._closed:
                self._bodies.put(body)
                return
        self._return(body)

    def _return(self, body: "Body") -> None:
        assert self._link is not None and self._link.outbox is not None
        self._mailbox.post_later(partial(self._link.outbox.finished, body))

    def _send(self, link: "Link") -> str:
        early: dict[int, Body] = {}
        turn = self.sealer.step
        body: Body | None
        try:
            while (body := self._bodies.get()) is not None:
                early[body.counter] = body
                # They were counted in one order, and are read and sealed in another.
                while (next_ := early.get(turn)) is not None:
                    self._send_body(link, next_)
                    del early[turn]
                    turn += self.sealer.step
            return "closed"
        finally:
            with self._lock:
                self._closed = True
            for body in early.values():
                self._return(body)
            with contextlib.suppress(queue.Empty):
                while True:
                    body = self._bodies.get_nowait()
                    if body is not None:
                        self._return(body)

    def _send_body(self, link: "Link", body: "Body") -> None:
        if body.problem is not None:
            self._mailbox.post(partial(link.unreadable, body))
            return
        began = moved = self._sending_at = self._now()
        head = self.sealer.head(body.counter, body.request, body.index, body.length)
        rest = [memoryview(head), body.data]
        while rest:
            try:
                count = self._socket.sendmsg(rest)
            except BlockingIOError:
                continue  # Nothing moved for so long; others watch over how long that may last.
            moved = self._sending_at = self._now()
            while rest and count >= len(rest[0]):
                count -= len(rest.pop(0))
            if count:
                rest[0] = rest[0][count:]
        self._sending_at = None
        self._mailbox.post_later(partial(link.sent, body, began, moved))

    # --- receiving, in a thread -----------------------------------------------------------------

    def _receive(self, link: "Link") -> str:
        head_bytes = memoryview(bytearray(HEAD_BYTES))
        while True:
            if not self._fill(head_bytes):
                return "the other side closed it"
            head = self._opener.read_head(bytes(head_bytes))
            if not head.length:
                raise PeerMisbehaved("sent a chunk of no bytes")
            buffer = self._inbox.borrow(head.length, lambda: self._closed)
            if buffer is None:
                return "closed"
            began = self._receiving_since = self._now()
            sealed = buffer[: head.length + TAG_BYTES]
            whole = False
            try:
                whole = self._fill(sealed)
            finally:
                if not whole:
                    self._inbox.give_back(buffer)
            if not whole:
                return "it ended in the middle of a chunk"
            self._receiving_since = None
            unseal = partial(self._open, head, sealed)
            self._mailbox.post_later(partial(link.received, head, buffer, began, self._now(), unseal))

    def _open(self, head: Head, sealed: memoryview) -> bool:
        return self._opener.open(head, sealed)

    def _fill(self, buffer: memoryview) -> bool:
        done = 0
        while done < len(buffer):
            try:
                count = self._socket.recv_into(buffer[done:], 0, socket.MSG_WAITALL)
            except BlockingIOError:
                continue  # As with sending.
            if not count:
                return False
            done += count
        return True


def _raise(error: Exception) -> None:
    raise error


def new_token_and_keys() -> tuple[bytes, bytes]:
    """Return the name of a new lane and its keys."""
    return os.urandom(TOKEN_BYTES), os.urandom(2 * KEY_BYTES)
