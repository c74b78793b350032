"""How do small messages travel that may be lost? Sealed, in one UDP socket.

Whatever has arrived is received before anything else is awaited (1.5 us a
packet instead of 7), but at most a few hundred packets, so that links and
timers are never starved by a flood. A packet that cannot be sent is a lost one.
"""

import socket
from collections import deque

import trio

from ringgossip.errors import PeerMisbehaved
from ringgossip.identity import Address
from ringgossip.runtime.board import Board
from ringgossip.runtime.ports import plain_address, socket_place
from ringgossip.runtime.resolving import Resolver
from ringgossip.wire.codec import UnknownMessage, decode, encode
from ringgossip.wire.messages import Message
from ringgossip.wire.seal import MAX_PACKET_BYTES, MAX_PLAINTEXT_BYTES, Opener, Sealer

MOST_AT_ONCE = 256
# The kernel's buffer is 1 MiB; beyond as much again of ours, losing is better than waiting.
MOST_UNSENT = 512


class Datagrams:
    """The UDP lane of one peer."""

    def __init__(
        self, sock: socket.socket, sealer: Sealer, opener: Opener, resolver: Resolver, board: Board
    ) -> None:
        self._socket = sock
        self._sealer = sealer
        self._opener = opener
        self._resolver = resolver
        self._board = board
        self._unsent: deque[tuple[bytes, tuple[str, int]]] = deque(maxlen=MOST_UNSENT)
        self._has_unsent = trio.Event()
        # One more than allowed, to see that a packet was longer.
        self._buffer = bytearray(MAX_PACKET_BYTES + 1)

    async def run(self) -> None:
        """Receive, and send what the kernel did not take at once, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive)
            nursery.start_soon(self._send_late)

    # --- receiving --------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            for _ in range(MOST_AT_ONCE):
                try:
                    count, place = self._socket.recvfrom_into(self._buffer)
                except BlockingIOError:
                    break
                except OSError:
                    continue  # An ICMP error of something that was sent: the packet is lost, no more.
                self._received(memoryview(self._buffer)[:count], place)

    def _received(self, packet: memoryview, place: tuple[object, ...]) -> None:
        board, now = self._board, trio.current_time()
        source = plain_address(place)
        board.count("datagram_bytes_received", len(packet))
        board.count("datagrams_received")
        try:
            opened = self._opener.open(bytes(packet))
        except PeerMisbehaved as error:
            board.perform(board.core.packet_refused(str(source), str(error), now))
            return
        try:
            message = decode(opened.plaintext)
        except PeerMisbehaved as error:
            board.perform(board.core.misbehaved(opened.sender, str(error), now))
            return
        if isinstance(message, UnknownMessage):
            board.count("unknown_messages")
            return
        board.perform(board.core.receive(message, opened.sender, source, now))

    # --- sending ------------------------------------------------------------------------

    def send(self, message: Message, to: Address) -> None:
        """Seal and send; never waits, never fails."""
        plaintext = encode(message)
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            self._board.count("datagrams_too_long")
            return
        packet = self._sealer.seal(plaintext)
        if not self._resolver.resolve(to.host, lambda host: self._send_to(packet, host, to.port)):
            self._board.count("datagrams_unsent")

    def _send_to(self, packet: bytes, host: str | OSError, port: int) -> None:
        if isinstance(host, OSError):
            self._board.count("datagrams_unsent")
            return
        try:
            place = socket_place(Address(host, port), self._socket.family)
            if self._unsent:
                raise BlockingIOError  # Behind those that wait already.
            self._socket.sendto(packet, place)
        except BlockingIOError:
            if len(self._unsent) == MOST_UNSENT:
                self._board.count("datagrams_unsent")
            self._unsent.append((packet, place))
            self._has_unsent.set()
            return
        except (OSError, OverflowError):
            # No route, refused by a firewall, a port of 0: the lane may lose packets, and this one is lost.
            self._board.count("datagrams_unsent")
            return
        self._board.count("datagram_bytes_sent", len(packet))
        self._board.count("datagrams_sent")

    async def _send_late(self) -> None:
        while True:
            await self._has_unsent.wait()
            await trio.lowlevel.wait_writable(self._socket)
            waiting, self._unsent = self._unsent, deque(maxlen=MOST_UNSENT)
            self._has_unsent = trio.Event()
            for packet, place in waiting:
                self._send_to(packet, plain_address(place).host, place[1])
