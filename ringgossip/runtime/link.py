"""One TLS connection to one peer: control messages ahead of chunk bodies, both ways.

Two tasks: one receives, one sends. A body is cut into pieces worth about 10 ms
of what the link moves, and before every piece all control messages go first.
At most one body is under way in each direction.
"""

import ssl
from collections import deque
from collections.abc import Awaitable, Callable

import trio

from ringgossip.errors import PeerMisbehaved
from ringgossip.identity import Address
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.identity.credentials import why_refused
from ringgossip.protocol.core import LinkId, SendChunk
from ringgossip.runtime.board import Board
from ringgossip.runtime.inbox import Arriving, Inbox, Verdict
from ringgossip.runtime.lane import LEAST_RATE, Lane
from ringgossip.runtime.outbox import Body, Outbox
from ringgossip.runtime.rates import SMALLEST_PIECE, Meter
from ringgossip.runtime.sealed import Head
from ringgossip.runtime.tls import TlsStream, limit_unsent
from ringgossip.wire.codec import UnknownMessage, decode, encode
from ringgossip.wire.frames import FrameReader, pack_frame
from ringgossip.wire.messages import BodyLane, ChunkPiece

# A peer that reads nothing while so much waits for it is cut off at once, ...
MOST_CONTROL_BYTES = 64 * 2**20
# ... with so much after a short pause, with anything after a long one.
MUCH_CONTROL_BYTES = 8 * 2**20
SHORT_PATIENCE = 5.0
PATIENCE = 30.0

_BATCH = 64 * 1024  # control bytes joined for one call of OpenSSL
_MOST_UNSENT = 256 * 1024
_FLUSH = 1.0  # seconds that a closed link has to send what is queued
_TURN = 0.010  # seconds after which what came in one go waits for everybody else's turn


class Link:
    """A verified connection. `run` it; the other methods never wait."""

    def __init__(
        self,
        number: LinkId,
        stream: TlsStream,
        reader: FrameReader,
        certificate: NodeCertificate,
        address: Address,
        dialled: bool,
        board: Board,
        inbox: Inbox,
    ) -> None:
        self.number = number
        self.peer = certificate.peer_id
        self.certificate = certificate
        self.address = address
        self.dialled = dialled
        self.sending = Meter()
        self.receiving = Meter()
        self.outbox: Outbox | None = None
        self.end_reason: str | None = None
        self.pages_asked = 0
        self._board = board
        self._stream = stream
        self._reader = reader
        self._inbox = inbox
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._body: Body | None = None
        self._offset = 0
        self._arriving: Arriving | None = None
        self._header: ChunkPiece | None = None  # the last piece of the body under way
        self._bell = trio.Event()
        self._resting = False  # nothing is being sent, and the bell has not rung
        self._closing = False
        self._sent_at = trio.current_time()
        self._body_at = trio.current_time()
        self._scope = trio.CancelScope()
        self._unsent = 0
        self._lane: Lane | None = None
        self._lane_wanted = False
        self._nursery: trio.Nursery | None = None
        self.offered: tuple[bytes, bytes] | None = None  # token and keys that the other side told
        self.open_lane: Callable[[Link], Awaitable[None]] | None = None

    # --- what others ask of it --------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether it is closed, broken, or about to be."""
        return self._closing or self.end_reason is not None

    @property
    def has_control(self) -> bool:
        """Whether control messages wait to be sent."""
        return self._control_bytes > 0

    def send(self, frame: bytes) -> None:
        """Queue a control message, and wake who sends."""
        self.queue(frame)
        self._bell.set()

    def queue(self, frame: bytes) -> None:
        """Queue a control message; `flush` must follow."""
        if self.ended:
            return
        if not self._control and self._body is None:
            self._sent_at = trio.current_time()
        self._control.append(frame)
        self._control_bytes += len(frame)
        if self._control_bytes > MOST_CONTROL_BYTES:
            self.break_off("it does not read what we send")

    def flush(self) -> None:
        """Send what is queued, if nothing is in its way: to wake a task for it costs more than to send."""
        if self._control and self._resting and not self._bell.is_set() and self._control_bytes <= _BATCH:
            batch = b"".join(self._control)
            sent = self._stream.send_some(batch)
            self._control.clear()
            if sent < len(batch):
                # In one piece: OpenSSL wants to be given again at least what it did not take.
                self._control.append(batch[sent:])
            self._control_bytes -= sent
            self._sent_at = trio.current_time()
        if self._control:
            self._bell.set()

    def send_chunk(self, chunk: SendChunk) -> None:
        """Queue a body."""
        if not self.ended and self.outbox is not None:
            self.outbox.add(chunk)

    def wake_sender(self) -> None:
        """There may be something to send."""
        self._bell.set()

    def close(self, reason: str) -> None:
        """End it after what is queued was sent, or after a second."""
        if not self.ended:
            self.end_reason = reason
            self._closing = True
            self._scope.deadline = trio.current_time() + _FLUSH
            self._bell.set()

    def break_off(self, reason: str) -> None:
        """End it now."""
        if self.end_reason is None:
            self.end_reason = reason
        self._scope.cancel()

    def watch(self, now: float) -> bool:
        """Break off if the other side takes nothing, or stops within a body; tell whether anything moves."""
        if self._control or self._body is not None:
            waited = now - self._sent_at
            if waited > PATIENCE or (waited > SHORT_PATIENCE and self._control_bytes > MUCH_CONTROL_BYTES):
                self.break_off("it does not read what we send")
        if self._lane is not None and self._lane.stalled(now, PATIENCE):
            self.break_off("its lane for bodies does not move")
        if self._arriving is not None and now - self._body_at > PATIENCE:
            self.break_off("it stopped in the middle of a chunk")
        return bool(self._control) or self._body is not None or self._arriving is not None

    # --- life ----------------------------------------------------------------------------

    async def run(self) -> str:
        """Move messages until the end; return the reason."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._guarded, self._send)
                    nursery.start_soon(self._guarded, self._receive)
        finally:
            if self._arriving is not None:
                self._inbox.abandon(self._arriving)
                self._arriving = None
            if self.outbox is not None:
                if self._body is not None:
                    self.outbox.finished(self._body)
                self.outbox.close()
            self._body = None
            self._control.clear()
            if self._lane is not None:
                self._lane.close()
            self._stream.say_goodbye()
            self._stream.close()
        return self.end_reason or "this peer stops"

    async def _guarded(self, work: Callable[[], Awaitable[str]]) -> None:
        try:
            reason = await work()
        except (PeerMisbehaved, OSError) as error:
            reason = self._explain(error)
        self.break_off(reason)

    def _explain(self, error: PeerMisbehaved | OSError) -> str:
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {why_refused(error)}"
        if isinstance(error, OSError):
            return error.strerror or str(error)
        self._board.perform(self._board.core.misbehaved(self.peer, str(error), trio.current_time()))
        return str(error)

    # --- the lane for bodies --------------------------------------------------------------

    def _consider_lane(self) -> None:
        """Ask for a lane once the link has proven to be fast; the side that dialled does."""
        if self._lane_wanted or not self.dialled or self.open_lane is None or self._nursery is None:
            return
        if max(self.sending.rate, self.receiving.rate) >= LEAST_RATE:
            self._lane_wanted = True
            self._nursery.start_soon(self.open_lane, self)

    def attach(self, lane: Lane) -> bool:
        """Send bodies over a lane from now on; False if that is too late, `OSError` if it cannot be."""
        if self.ended or self._lane is not None or self._nursery is None or self.outbox is None:
            return False
        self._lane = self.outbox.lane = lane
        try:
            lane.start(self)
        except OSError:
            self._lane = self.outbox.lane = None
            lane.close()
            raise
        return True

    def lane_ended(self, ending: str | PeerMisbehaved | OSError) -> None:
        """Its lane is over, and so is the link."""
        if self.end_reason is None:
            self.break_off(ending if isinstance(ending, str) else self._explain(ending))

    def place(self) -> tuple[str, int]:
        """Return where the other side of this connection is."""
        return self._stream.place

    # --- sending ---------------------------------------------------------------------------

    async def _send(self) -> str:
        while True:
            if self._control:
                await self._send_control()
            elif self._closing:
                return "closed"
            elif self._body is not None:
                await self._send_piece(self._body)
            elif not self._next_body():
                self.sending.pause()
                self._bell = trio.Event()
                self._resting = True
                await self._bell.wait()
                self._resting = False

    async def _send_control(self) -> None:
        batch = [self._control.popleft()]
        size = len(batch[0])
        while self._control and size + len(self._control[0]) <= _BATCH:
            size += len(self._control[0])
            batch.append(self._control.popleft())
        await self._stream.send_all(batch[0] if len(batch) == 1 else b"".join(batch))
        self._control_bytes -= size
        self._sent_at = trio.current_time()

    def _next_body(self) -> bool:
        body = self.outbox.take() if self.outbox is not None else None
        if body is None:
            return False
        now = trio.current_time()
        if body.problem is None:
            self._body, self._offset = body, 0
            self._sent_at = now
            self.sending.begin(now)
            return True
        self.unreadable(body)
        return True

    def unreadable(self, body: Body) -> None:
        """A body could not be read."""
        assert self.outbox is not None
        self.outbox.finished(body)
        if self.end_reason is not None:
            return
        now = trio.current_time()
        self._board.perform(
            self._board.core.chunk_unreadable(self.peer, body.request, body.root, body.index, now)
        )

    def sent(self, body: Body, began: float, ended: float) -> None:
        """A body left on the lane."""
        if self.end_reason is not None:
            return
        self.sending.begin(began)
        self.sending.moved(body.length, ended)
        now = trio.current_time()
        self._board.perform(
            self._board.core.chunk_sent(self.peer, body.request, body.index, body.length, now)
        )

    def received(self, head: Head, began: float, ended: float, came: memoryview | Verdict) -> None:
        """A body came on the lane: it is proven, or lies in a borrowed buffer."""
        if self.end_reason is not None:
            if isinstance(came, Verdict):
                self._inbox.kept(self.peer, head, came)
            else:
                self._inbox.give_back(came)
            return
        self.receiving.begin(began)
        self.receiving.moved(head.length, ended)
        self._inbox.arrived(self.peer, head, began, came)

    async def _send_piece(self, body: Body) -> None:
        size = min(self.sending.piece(), body.length - self._offset)
        self._limit_unsent()
        header = ChunkPiece(body.request, body.index, body.length, self._offset, size)
        await self._stream.send_all(pack_frame(encode(header)))
        await self._stream.send_all(body.data[self._offset : self._offset + size])
        self._offset += size
        now = self._sent_at = trio.current_time()
        self.sending.moved(size, now)
        self._consider_lane()
        if self._offset < body.length:
            return
        self._body = None
        assert self.outbox is not None
        self.outbox.finished(body)
        self._board.perform(
            self._board.core.chunk_sent(self.peer, body.request, body.index, body.length, now)
        )

    def _limit_unsent(self) -> None:
        wanted = min(_MOST_UNSENT, self.sending.piece())
        if not self._unsent / 2 <= wanted <= self._unsent * 2:
            self._unsent = wanted
            limit_unsent(self._stream.socket, wanted)

    # --- receiving ---------------------------------------------------------------------------

    async def _receive(self) -> str:
        reader, board = self._reader, self._board
        turn = trio.current_time()
        while not self.ended:
            now = trio.current_time()
            if now - turn > _TURN:
                # A megabyte of short messages is seconds of work, in which nobody would answer a probe.
                await trio.lowlevel.checkpoint()
                turn = trio.current_time()
            frame = reader.next_frame()
            if frame is None:
                count = await self._stream.receive_into(reader.writable())
                if not count:
                    return "the other side closed it" if reader.between_frames else "it ended in mid-sentence"
                reader.received(count)
                if self._stream.rested:
                    turn = trio.current_time()  # everybody else had theirs while we waited
                continue
            message = decode(frame)
            if isinstance(message, UnknownMessage):
                board.count("unknown_messages")
            elif isinstance(message, BodyLane):
                self.offered = (message.token, message.dialler_key + message.acceptor_key)
            elif isinstance(message, ChunkPiece):
                if not await self._receive_piece(message):
                    return "it ended in the middle of a chunk"
            else:
                board.perform(board.core.receive(message, self.peer, self.number, trio.current_time()))
        if self._closing:
            # What the other side still says is for nobody, but our last words must get out.
            await trio.sleep_forever()
        return "broken"

    async def _receive_piece(self, piece: ChunkPiece) -> bool:
        """Take or read away one piece; return False if the stream ended."""
        before = self._header
        if piece.offset == 0:
            if before is not None:
                raise PeerMisbehaved("began a chunk before the last was whole")
            if not piece.total:
                raise PeerMisbehaved("sent a chunk of no bytes")
            self._arriving = await self._inbox.begin(self.peer, piece.request, piece.index, piece.total)
        elif before is None or (
            (before.request, before.index, before.total, before.offset + before.length)
            != (piece.request, piece.index, piece.total, piece.offset)
        ):
            raise PeerMisbehaved("sent a piece that does not follow the one before")
        if piece.offset + piece.length > piece.total:
            raise PeerMisbehaved("sent more of a chunk than it announced")
        self._body_at = trio.current_time()
        self.receiving.begin(self._body_at)
        self._reader.expect_body(piece.length)
        if not await self._receive_bytes(piece):
            return False
        self._body_at = trio.current_time()
        self.receiving.moved(piece.length, self._body_at)
        self._consider_lane()
        if piece.offset + piece.length < piece.total:
            self._header = piece
            return True
        self._header = None
        if self._arriving is not None:
            arriving, self._arriving = self._arriving, None
            self._inbox.complete(arriving)
        return True

    async def _receive_bytes(self, piece: ChunkPiece) -> bool:
        reader = self._reader
        early = reader.take_body()
        if self._arriving is None:
            scrap = memoryview(bytearray(min(piece.length, SMALLEST_PIECE)))
            while reader.body_left:
                count = await self._stream.receive_into(scrap[: reader.body_left])
                if not count:
                    return False
                reader.body_received(count)
            return True
        place = self._arriving.data[piece.offset : piece.offset + piece.length]
        place[: len(early)] = early
        rest = place[len(early) :]
        count = await self._stream.receive_all_into(rest)
        if count:
            reader.body_received(count)
        return count == len(rest)
