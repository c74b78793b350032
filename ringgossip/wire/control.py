"""How do a peer and the programs of its own machine speak? One JSON object a line.

A connection to the control socket carries one conversation at a time:

    -> {"call": "publish", "with": {"kind": "models", "path": "/srv/a.pth"}}
    <- {"progress": {...}}   any number of them; an empty one says "still at it"
    <- {"part": [...]}       any number of them: long lists, and streams of events
    <- {"result": ...}   or  {"error": {"kind": "ArtifactRefused", "text": "..."}}

A program that hangs up takes its call back. Errors cross by the name of their
class in `errors`. The client imports this module, so it loads nothing heavy.
"""

import json
from collections.abc import Mapping
from typing import Any

from ringgossip import errors
from ringgossip.errors import OperationFailed, PeerMisbehaved, RinggossipError

MAX_REQUEST = 64 * 1024
MAX_ANSWER = 4 * 1024 * 1024
# A call that takes longer says so this often; a program may give up after some of them.
STILL_AT_IT = 5.0

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False).encode


def pack(message: Mapping[str, Any]) -> bytes:
    """Return `message` as one line."""
    return _encode(message).encode("ascii") + b"\n"


def unpack(line: bytes) -> dict[str, Any]:
    """Return the object in one line; raise `PeerMisbehaved` if there is none."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PeerMisbehaved(f"a line is no JSON: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise PeerMisbehaved("a line is no JSON object")
    return message


class Lines:
    """Cuts a stream into lines of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next whole line, or None; raise `PeerMisbehaved` when it is longer than the limit."""
        end = self._buffer.find(b"\n", self._searched)
        if (end if end >= 0 else len(self._buffer)) > self._limit:
            raise PeerMisbehaved(f"a line is longer than {self._limit} bytes")
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    @property
    def size(self) -> int:
        """How many bytes came that were not taken."""
        return len(self._buffer)


def pack_error(error: RinggossipError) -> dict[str, str]:
    """Return an error as it crosses the socket."""
    kind = type(error)
    while getattr(errors, kind.__name__, None) is not kind:
        kind = kind.__mro__[1]
    return {"kind": kind.__name__, "text": str(error)}


def unpack_error(packed: Mapping[str, Any]) -> RinggossipError:
    """Return the error that crossed; one of a class we do not know is an `OperationFailed`."""
    kind = getattr(errors, str(packed.get("kind")), None)
    if not isinstance(kind, type) or not issubclass(kind, RinggossipError):
        kind = OperationFailed
    return kind(str(packed.get("text", "")))
