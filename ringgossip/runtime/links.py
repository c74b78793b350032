"""Who is linked to us, and how do links come to be?

One listening socket, one TLS connection per peer. Strangers cost a bounded
amount: so many handshakes at a time, each of a few seconds, and a source whose
handshakes fail waits longer and longer for the next (promise S7).
"""

import errno
import math
import os
import socket
import time

import trio
from cryptography.exceptions import UnsupportedAlgorithm

from ringgossip.errors import PeerMisbehaved
from ringgossip.events import StorageTrouble
from ringgossip.identity import Address, PeerId
from ringgossip.identity.certificate import expired
from ringgossip.identity.credentials import Credentials
from ringgossip.protocol.core import Dial, LinkId, SendChunk, Tell
from ringgossip.runtime.board import Board
from ringgossip.runtime.buffers import BufferPool
from ringgossip.runtime.gate import Gate
from ringgossip.runtime.greeting import HANDSHAKE_TIMEOUT, Greeted, Greeter, Refused
from ringgossip.runtime.inbox import Inbox
from ringgossip.runtime.lane import MAGIC, TOKEN_BYTES, Lane, new_token_and_keys
from ringgossip.runtime.link import Link
from ringgossip.runtime.outbox import ChunkReader, Outbox
from ringgossip.runtime.ports import plain_address
from ringgossip.runtime.resolving import Resolver
from ringgossip.runtime.sealed import CIPHERS, KEY_BYTES, quickest_cipher
from ringgossip.runtime.workers import Workers
from ringgossip.wire.codec import encode
from ringgossip.wire.frames import pack_frame
from ringgossip.wire.messages import BodyLane, GetChunks, Message

CONNECT_TIMEOUT = 5.0
MOST_DIALS = 64
_WATCH_INTERVAL = 2.0
_WHEN_RESTING = 4  # times as long: to wake for nothing is most of what an idle peer costs
_OFFER_POLL = 0.02
# Out of descriptors: let some links end before the next is accepted.
_NO_MORE_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_STARVED_TOLD_AGAIN = 30.0


class Links:
    """All links of one peer. Methods other than `run` and `listen` never wait."""

    def __init__(
        self,
        credentials: Credentials,
        board: Board,
        resolver: Resolver,
        inbox: Inbox,
        reader: ChunkReader,
        readers: Workers,
        sending: BufferPool,
        nursery: trio.Nursery,
    ) -> None:
        self._greeter = Greeter(credentials)
        self._board = board
        self._resolver = resolver
        self._inbox = inbox
        self._reader = reader
        self._readers = readers
        self._sending = sending
        self._nursery = nursery
        self._last = 0
        self._links: dict[LinkId, Link] = {}
        self._unflushed: dict[LinkId, Link] = {}
        # Of each peer the links in the order of opening; the last is current.
        self._current: dict[PeerId, list[Link]] = {}
        self._gate = Gate()
        self._dials = trio.CapacityLimiter(MOST_DIALS)
        self._starved_told = -math.inf
        self._framed: tuple[Message, bytes] | None = None

    # --- effects ------------------------------------------------------------------------

    def dial(self, effect: Dial) -> None:
        """Open a link; `link_opened` or `dial_failed` answers."""
        self._nursery.start_soon(self._dial, effect.address, effect.peer)

    def send(self, message: Message, peer: PeerId) -> None:
        """Queue a message on the peer's current link until `flush`; dropped without one."""
        link = self.current(peer)
        if link is None:
            return
        # One message often goes to many peers, one after the other.
        if self._framed is None or self._framed[0] is not message:
            self._framed = (message, pack_frame(encode(message)))
        if isinstance(message, GetChunks):
            self._inbox.expect(message.request, message.root)
        link.queue(self._framed[1])
        self._unflushed[link.number] = link

    def flush(self) -> None:
        """Send what was queued since the last time."""
        if self._unflushed:
            unflushed, self._unflushed = self._unflushed, {}
            for link in unflushed.values():
                link.flush()

    def send_chunk(self, effect: SendChunk) -> None:
        """Queue a body on the peer's current link."""
        link = self.current(effect.peer)
        if link is not None:
            link.send_chunk(effect)

    def close(self, number: LinkId, reason: str) -> None:
        """End a link; the core will not hear of it again."""
        link = self._links.pop(number, None)
        if link is not None:
            self._uncurrent(link)
            link.close(reason)

    # --- questions --------------------------------------------------------------------------

    def current(self, peer: PeerId) -> Link | None:
        """Return the link that is used for this peer."""
        links = self._current.get(peer)
        return links[-1] if links else None

    def all(self) -> list[Link]:
        """Return the open links."""
        return list(self._links.values())

    def flushed(self) -> bool:
        """Whether no control message waits to be sent on any link."""
        return not any(link.has_control for link in self._links.values())

    # --- accepting -----------------------------------------------------------------------------

    async def listen(self, sock: socket.socket) -> None:
        """Accept links for ever."""
        while True:
            await self._gate.wait_for_room()
            try:
                accepted, place = sock.accept()
            except BlockingIOError:
                # Only now: where many knock at once, a turn of the loop for each would be long for the last.
                await trio.lowlevel.wait_readable(sock)
                continue
            except OSError as error:
                if error.errno in _NO_MORE_FILES:
                    self._starved(error)
                await trio.sleep(0.1 if error.errno in _NO_MORE_FILES else 0.0)
                continue
            address = plain_address(place)
            if not self._gate.enter(address.host, trio.current_time()):
                accepted.close()
                self._board.count("connections_turned_away")
                await trio.lowlevel.checkpoint()
                continue
            self._nursery.start_soon(self._accept, accepted, address)

    def _starved(self, error: OSError) -> None:
        """The machine gives us nothing to accept a link with: say so now and then."""
        self._board.count("links_not_accepted")
        now = trio.current_time()
        if now >= self._starved_told + _STARVED_TOLD_AGAIN:
            self._starved_told = now
            what = (error.strerror or str(error)).lower()
            reason = f"no link can be accepted: {what}; raise ulimit -n, or close what else is open"
            self._board.perform([Tell(StorageTrouble(reason))])

    async def _accept(self, sock: socket.socket, address: Address) -> None:
        welcome = False
        opened: Greeted | Refused | None = Refused("it was too slow, and others waited", stranger=False)
        try:
            with self._gate.place():
                if await self._is_lane(sock):
                    opened = await self._accept_lane(sock)
                else:
                    opened = await self._greeter.greet(sock, server=True)
            welcome = not isinstance(opened, Refused)
        finally:
            if not welcome:
                sock.close()
            self._gate.leave(address.host, welcome, trio.current_time())
        if opened is None:
            return
        if isinstance(opened, Refused):
            # Whoever knocks and goes away is a stranger too: nothing proves the contrary.
            self._refused(address, opened.reason)
            return
        await self._run_link(opened, address, dialled=False)

    # --- lanes for bodies -------------------------------------------------------------------

    async def _is_lane(self, sock: socket.socket) -> bool:
        """Look at the first byte without taking it: TLS begins with another."""
        sock.setblocking(False)
        with trio.move_on_after(HANDSHAKE_TIMEOUT):
            await trio.lowlevel.wait_readable(sock)
        try:
            return sock.recv(1, socket.MSG_PEEK) == MAGIC[:1]
        except OSError:
            return False

    async def _accept_lane(self, sock: socket.socket) -> Refused | None:
        """Attach a lane to the link on which it was told; the refusal if there is none."""
        lane = None
        attached = False
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT):
                words = await _receive_exactly(sock, len(MAGIC) + 1 + TOKEN_BYTES)
                cipher = CIPHERS.get(words[len(MAGIC) : -TOKEN_BYTES])
                link = None
                while words[: len(MAGIC)] == MAGIC and cipher is not None and link is None:
                    # The token goes over the link, which may take longer than this connection.
                    token = words[-TOKEN_BYTES:]
                    link = next(
                        (link for link in self.all() if link.offered and link.offered[0] == token), None
                    )
                    if link is None:
                        await trio.sleep(_OFFER_POLL)
                if link is None or link.offered is None or cipher is None:
                    return Refused("it spoke plain text, not TLS", stranger=True)
                lane = Lane(sock, link.offered[1], cipher, False, self._inbox)
                link.offered = None
                await lane.greet()
            attached = link.attach(lane)
            return None
        except (OSError, trio.TooSlowError, PeerMisbehaved, UnsupportedAlgorithm):
            return Refused("it asked for a lane that nobody told of", stranger=True)
        finally:
            if not attached:
                sock.close()

    async def _open_lane(self, link: Link) -> None:
        """Open a lane beside a link that we dialled; without one, bodies go on over TLS."""
        core = self._board.core
        if not core.may_open_lane(link.peer, trio.current_time()):
            return
        token, keys = new_token_and_keys()
        sock = None
        attached = False
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT):
                place = link.place()
                sock = socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET)
                await _connect(sock, place)
                link.send(pack_frame(encode(BodyLane(token, keys[:KEY_BYTES], keys[KEY_BYTES:]))))
                cipher = quickest_cipher()
                lane = Lane(sock, keys, CIPHERS[cipher], True, self._inbox)
                sock.send(MAGIC + cipher + token)
                await lane.greet()
            attached = link.attach(lane)
            self._board.perform(core.lane_opened(link.peer, trio.current_time()))
        except (OSError, trio.TooSlowError, PeerMisbehaved) as error:
            self._board.count("lanes_not_opened")
            reason = "nobody answers" if isinstance(error, trio.TooSlowError) else str(error)
            self._board.perform(core.lane_failed(link.peer, reason, trio.current_time()))
        finally:
            if sock is not None and not attached:
                sock.close()

    # --- dialling ----------------------------------------------------------------------------------

    async def _dial(self, address: Address, peer: PeerId | None) -> None:
        async with self._dials:
            opened = await self._connect(address)
        if isinstance(opened, Refused):
            core, now = self._board.core, trio.current_time()
            if opened.keyless is not None:
                self._board.perform(core.keys_refused(str(address), opened.keyless.name, opened.reason, now))
            elif opened.stranger:
                self._refused(address, opened.reason)
            self._board.perform(core.dial_failed(address, peer, opened.reason, now))
            return
        if peer is not None and opened.certificate.peer_id != peer:
            reason = f"{opened.certificate.name} answered there"
            self._board.perform(self._board.core.dial_failed(address, peer, reason, trio.current_time()))
        await self._run_link(opened, address, dialled=True)

    async def _connect(self, address: Address) -> Greeted | Refused:
        sock = None
        try:
            with trio.fail_after(CONNECT_TIMEOUT):
                place = await self._resolver.find(address)
                family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
                sock = socket.socket(family, socket.SOCK_STREAM)
                await _connect(sock, (place.host, place.port))
        except trio.TooSlowError:
            return _closed(sock, "nobody answers")
        except (OSError, OverflowError, UnicodeError) as error:
            return _closed(sock, getattr(error, "strerror", None) or str(error))
        except BaseException:
            _closed(sock, "")
            raise
        return await self._greeter.greet(sock, server=False)

    def _refused(self, address: Address, reason: str) -> None:
        now = trio.current_time()
        self._board.perform(self._board.core.packet_refused(str(address), reason, now))

    # --- links ----------------------------------------------------------------------------------------

    async def _run_link(self, opened: Greeted, address: Address, dialled: bool) -> None:
        self._last += 1
        number = LinkId(self._last)
        certificate = opened.certificate
        link = Link(
            number, opened.stream, opened.reader, certificate, address, dialled, self._board, self._inbox
        )
        link.open_lane = self._open_lane
        link.outbox = Outbox(self._reader, self._readers, self._sending, link.wake_sender)
        self._links[number] = link
        self._current.setdefault(link.peer, []).append(link)
        self._board.perform(
            self._board.core.link_opened(
                number, link.peer, certificate, address, dialled, trio.current_time()
            )
        )
        try:
            reason = await link.run()
        finally:
            told = self._links.pop(number, None) is not None
            self._uncurrent(link)
        if told:
            self._board.perform(self._board.core.link_broken(number, reason, trio.current_time()))

    def _uncurrent(self, link: Link) -> None:
        links = self._current.get(link.peer, [])
        if link in links:
            links.remove(link)
        if not links:
            self._current.pop(link.peer, None)

    async def watch(self) -> None:
        """Break off links that stall or have expired, and let go of memory that nobody uses, for ever."""
        resting = False
        while True:
            await trio.sleep(_WATCH_INTERVAL * (_WHEN_RESTING if resting else 1))
            resting = self._sending.rest() & self._inbox.rest()
            now, wall = trio.current_time(), time.time()
            for link in self.all():
                resting &= not link.watch(now)
                if expired(link.certificate, wall):
                    reason = f"the certificate of {link.certificate.name!r} has expired (is a clock wrong?)"
                    self._refused(link.address, reason)
                    link.break_off(reason)


async def _receive_exactly(sock: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        try:
            more = sock.recv(length - len(received))
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
            continue
        if not more:
            raise OSError("it ended")
        received += more
    return received


async def _connect(sock: socket.socket, place: tuple[str, int]) -> None:
    sock.setblocking(False)
    try:
        sock.connect(place)
    except BlockingIOError:
        await trio.lowlevel.wait_writable(sock)
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, _words(problem)) from None


def _words(problem: int) -> str:
    return "nobody listens there" if problem == errno.ECONNREFUSED else os.strerror(problem)


def _closed(sock: socket.socket | None, reason: str) -> Refused:
    if sock is not None:
        sock.close()
    return Refused(reason, stranger=False)
