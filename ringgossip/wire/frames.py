"""How do messages and chunk bodies share one stream?

A frame is 4 bytes of length, big endian, and that many bytes: one packed message
of at most 1 MiB. After a frame whose message announces a body (`ChunkPiece`)
that many raw bytes follow, at most 16 MiB, and then the next frame.

`FrameReader` never touches a socket, and copies no body it need not: frames are
received into its own buffer, bodies by the runtime straight to where they belong.

    while True:
        frame = reader.next_frame()
        if frame is None:                                  # NEED_HEADER or NEED_FRAME
            reader.received(sock.recv_into(reader.writable()))
            continue
        message = codec.decode(frame)
        if isinstance(message, ChunkPiece):
            reader.expect_body(message.length)             # BODY
            early = reader.take_body()                     # came along with the header
            target[: len(early)] = early
            while reader.body_left:
                reader.body_received(sock.recv_into(target[-reader.body_left :]))
"""

from ringgossip.errors import PeerMisbehaved

HEADER_BYTES = 4
MAX_FRAME_BYTES = 1 << 20
MAX_BODY_BYTES = 1 << 24

# One TLS record: more than a record is never received at once.
_BUFFER_BYTES = 16 * 1024


def pack_frame(message: bytes) -> bytes:
    """Return a packed message as a frame; raises `ValueError` if it is empty or over 1 MiB."""
    if not 0 < len(message) <= MAX_FRAME_BYTES:
        raise ValueError(f"a frame holds 1 to {MAX_FRAME_BYTES} bytes, not {len(message)}")
    return len(message).to_bytes(HEADER_BYTES, "big") + message


class FrameReader:
    """Cuts one direction of a link into frames and bodies. Memory: 16 KiB, or the frame under way."""

    __slots__ = ("_body_left", "_buffer", "_end", "_need", "_start", "limit")

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        """`limit` is the longest frame to accept; it may be changed between frames."""
        self.limit = limit
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._start = 0  # the bytes from here to `_end` were received and not yet given out
        self._end = 0
        self._need = 0  # length of the frame under way; 0 while its header is incomplete
        self._body_left = 0

    @property
    def body_left(self) -> int:
        """How many bytes of the announced body were neither taken nor received yet."""
        return self._body_left

    @property
    def between_frames(self) -> bool:
        """True where a stream may end: no frame and no body is half here."""
        return self._start == self._end and not self._need and not self._body_left

    def writable(self) -> memoryview:
        """Return where to receive next; never empty. Frames given out before become invalid.

        Not while a body is under way: its bytes go to where they belong.
        """
        if self._body_left:
            raise RuntimeError("a body is under way: receive it into its own buffer")
        held = self._end - self._start
        room = max(_BUFFER_BYTES, self._need)
        if room != len(self._buffer) and held <= room:
            # Not resized: whoever still looks at an old frame must not make us fail.
            fresh = memoryview(bytearray(room))
            fresh[:held] = self._buffer[self._start : self._end]
            self._buffer, self._start, self._end = fresh, 0, held
        elif not held:
            self._start = self._end = 0
        elif self._start and len(self._buffer) - self._end < _BUFFER_BYTES // 4:
            # Before the room is so small that a frame takes many tiny reads.
            self._buffer[:held] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, held
        return self._buffer[self._end :]

    def received(self, count: int) -> None:
        """Note that `count` bytes were put where `writable` said."""
        if not 0 <= count <= len(self._buffer) - self._end:
            raise RuntimeError(f"{count} bytes cannot have been received")
        self._end += count

    def next_frame(self) -> memoryview | None:
        """Return the next whole frame, valid until `writable` is called; None: receive more.

        Raises `PeerMisbehaved` for a length of 0 or above the limit, before there
        is memory for it. The stream is lost then.
        """
        if self._body_left:
            raise RuntimeError("a body is under way: take or receive it first")
        held = self._end - self._start
        if not self._need:
            if held < HEADER_BYTES:
                return None
            need = int.from_bytes(self._buffer[self._start : self._start + HEADER_BYTES], "big")
            if not 0 < need <= self.limit:
                raise PeerMisbehaved(f"frame of {need} bytes, 1 to {self.limit} are allowed")
            self._need = need
            self._start += HEADER_BYTES
            held -= HEADER_BYTES
        if held < self._need:
            return None
        frame = self._buffer[self._start : self._start + self._need]
        self._start += self._need
        self._need = 0
        return frame

    def expect_body(self, length: int) -> None:
        """Say that `length` raw bytes follow the frame just read; `PeerMisbehaved` if over 16 MiB."""
        if self._need or self._body_left:
            raise RuntimeError("a body follows a whole frame")
        if not 0 < length <= MAX_BODY_BYTES:
            raise PeerMisbehaved(f"body of {length} bytes, 1 to {MAX_BODY_BYTES} are allowed")
        self._body_left = length

    def take_body(self) -> memoryview:
        """Return what of the body has already been received with frames; valid until `writable` is called."""
        count = min(self._body_left, self._end - self._start)
        early = self._buffer[self._start : self._start + count]
        self._start += count
        self._body_left -= count
        return early

    def body_received(self, count: int) -> None:
        """Note that `count` more bytes of the body went straight to their place."""
        if self._start != self._end:
            raise RuntimeError("take what is already here first")
        if not 0 <= count <= self._body_left:
            raise RuntimeError(f"{count} bytes are more than the body has left")
        self._body_left -= count
