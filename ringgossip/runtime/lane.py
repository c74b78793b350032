"""A second, plain connection beside a fast link, for sealed bodies only.

Control messages stay on the TLS link, so they never wait behind a body. The
side that dialled the link opens the lane and names it by a token that went over
the link, together with the keys; both then prove that they have them. Where it
cannot be opened bodies go on over TLS; when it breaks the link ends with it.

Once it is open two threads do all of a body's work, one for each direction: read,
prove, seal and send; receive, open, prove and write. Trio hears of it afterwards.
Why: its bytes then stay in the cache of one core. Handed from thread to thread a GiB
took 5.7 to 7.9 CPU seconds where it takes 4.0 to 6.1 so (`benchmarks/one_file.py`),
and under trio a body takes ten turns of the loop.
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
from ringgossip.protocol.core import SendChunk
from ringgossip.runtime.forking import close_in_children
from ringgossip.runtime.inbox import Inbox
from ringgossip.runtime.sealed import HEAD_BYTES, KEY_BYTES, TAG_BYTES, BodyOpener, BodySealer, Cipher
from ringgossip.runtime.tls import limit_unsent, tune

if TYPE_CHECKING:
    from ringgossip.runtime.link import Link
    from ringgossip.runtime.outbox import Outbox

# What a lane says first, then one byte for its cipher, then its name; TLS begins with another byte.
MAGIC = b"ringlane"
TOKEN_BYTES = 16
# Slower links gain nothing: pieces of bodies over TLS are cheap there, and one connection is fairer.
# In a swarm that is as fast as its processors each link has a small part of what they can do: with 40 MB/s
# none of 5 peers on 2 cores opened a lane, and trio's thread was busy for 4.6 CPU seconds a GiB (2.2 with 8).
LEAST_RATE = 8e6

_MOST_UNSENT = 1 << 20
_LOOK_SECONDS = 5  # So often a thread that waits in the kernel says how far it is.


class Lane:
    """One lane. `greet` it, then `start` it beside its link, and `close` it."""

    def __init__(self, sock: socket.socket, keys: bytes, cipher: Cipher, dialled: bool, inbox: Inbox) -> None:
        tune(sock)
        limit_unsent(sock, _MOST_UNSENT)
        ours, theirs = keys[:KEY_BYTES], keys[KEY_BYTES:]
        if not dialled:
            ours, theirs = theirs, ours
        self.sealer = BodySealer(ours, cipher)
        self._opener = BodyOpener(theirs, cipher)
        self._socket = sock
        close_in_children(sock)
        self._inbox = inbox
        self._mailbox = inbox.mailbox
        # Threads read the same clock as trio's, but have no trio to ask.
        self._clock_offset = trio.current_time() - time.perf_counter()
        self._sending_at: float | None = None  # when the body under way moved last
        self._receiving_since: float | None = None  # when the one that comes began to
        self._chunks: queue.SimpleQueue[SendChunk | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
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
        """End both threads; what they have not sent is for nobody."""
        with self._lock:
            self._closed = True
            if not self._threads:
                self._socket.close()
                return
        # What blocks in the kernel returns at once.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._chunks.put(None)

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

    def post(self, chunk: SendChunk) -> None:
        """Read and send a chunk, or tell its problem, when all before it have left."""
        self._chunks.put(chunk)

    def _send(self, link: "Link") -> str:
        assert link.outbox is not None
        while (chunk := self._chunks.get()) is not None and not self._closed:
            self._send_body(link, link.outbox, chunk)
        return "closed"

    def _send_body(self, link: "Link", outbox: "Outbox", chunk: SendChunk) -> None:
        body = outbox.read(chunk, lambda: self._closed)
        if body is None:
            return
        began = moved = self._now()
        try:
            if body.problem is None:
                assert body.buffer is not None
                sealed = body.buffer[: body.length + TAG_BYTES]
                counter = self.sealer.reserve()
                self.sealer.seal(counter, sealed)
                began = self._now()
                moved = self._push(self.sealer.head(counter, body.request, body.index, body.length), sealed)
        finally:
            outbox.give_back(body)
        if body.problem is None:
            self._mailbox.post_later(partial(link.sent, body, began, moved))
        else:
            self._mailbox.post(partial(link.unreadable, body))

    def _push(self, head: bytes, sealed: memoryview) -> float:
        """Hand all bytes to the kernel; return when it took the last."""
        moved = self._sending_at = self._now()
        rest = [memoryview(head), sealed]
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
        return moved

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
            kept = False
            try:
                sealed = buffer[: head.length + TAG_BYTES]
                if not self._fill(sealed):
                    return "it ended in the middle of a chunk"
                self._receiving_since = None
                ended = self._now()
                if not self._opener.open(head, sealed):
                    # As with TLS: what was damaged on the way ends the link, and accuses nobody.
                    return "a chunk was damaged on its way"
                verdict = self._inbox.prove(head, buffer)
                kept = verdict is None
            finally:
                if not kept:
                    self._inbox.give_back(buffer)
            self._mailbox.post_later(
                partial(link.received, head, began, ended, buffer if verdict is None else verdict)
            )

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
