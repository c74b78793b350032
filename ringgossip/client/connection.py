"""How does one conversation with a running peer go? Over its control socket, never shared with a child."""

import os
import socket
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from ringgossip.errors import OperationFailed, PeerGone, PeerMisbehaved, TimedOut, UsageError
from ringgossip.wire.control import MAX_ANSWER, MAX_REQUEST, STILL_AT_IT, Lines, pack, unpack

_READ = 64 * 1024
# A peer says every 5 s that it is still at it; one that says nothing for six times as long is stuck.
SILENCE = 6 * STILL_AT_IT


class Connection:
    """One connection to the control socket, for one conversation at a time."""

    def __init__(self, data: str) -> None:
        self._data = data
        self._lines = Lines(MAX_ANSWER)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _connections.add(self)
        try:
            with open(f"{data}/socket", encoding="utf-8") as naming:  # noqa: PTH123
                path = naming.read(4096).strip()
            self._socket.settimeout(SILENCE)
            self._socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError, UnicodeDecodeError):
            self.close()
            raise PeerGone(_nobody(data)) from None
        except OSError as error:
            self.close()
            raise PeerGone(f"cannot talk to the peer on {data}: {error.strerror or error}") from None

    def send(self, message: Mapping[str, Any]) -> None:
        line = pack(message)
        if len(line) > MAX_REQUEST:
            self.close()
            raise UsageError("the arguments of this call are too long")
        try:
            self._socket.sendall(line)
        except OSError:
            raise PeerGone(f"the peer on {self._data} has ended") from None

    def receive(self, patience: float) -> dict[str, Any]:
        """Return the next message; raise `TimedOut` after `patience` seconds, `PeerGone` at the end."""
        while True:
            try:
                line = self._lines.next()
                if line is not None:
                    return unpack(line)
                self._socket.settimeout(patience)
                data = self._socket.recv(_READ)
            except TimeoutError:
                raise TimedOut(
                    f"the peer on {self._data} has said nothing for {patience:g} s: is it paused?"
                ) from None
            except PeerMisbehaved as error:
                raise OperationFailed(f"{self._data}/socket leads to no peer: {error}") from None
            except OSError:
                data = b""
            if not data:
                raise PeerGone(f"the peer on {self._data} has ended")
            self._lines.feed(data)

    def close(self) -> None:
        self._socket.close()
        _connections.discard(self)


_connections: WeakSet[Connection] = WeakSet()


def _close_in_child() -> None:
    # They are our parent's conversations. While a child keeps a copy, the peer never sees them end.
    for connection in list(_connections):
        connection.close()


os.register_at_fork(after_in_child=_close_in_child)


def _nobody(data: str) -> str:
    if not os.path.isdir(data):  # noqa: PTH112
        return f"there is no folder {data}: give the `data:` folder of a running peer"
    process = _who_has(data)
    if process:
        return (
            f"process {process} has {data}, but does not listen there: it starts or ends right now, or "
            "its control socket was removed; wait a moment, then restart it"
        )
    why = _last_words(data)
    ended = f"; the last one stopped: {why}; when that is mended," if why else ":"
    return f"no peer runs on {data}{ended} start it with `ringgossip peer --config ...`"


def _last_words(data: str) -> str:
    """Return why the last peer ended by itself, one printable line; empty where it was told to, or killed."""
    try:
        with open(f"{data}/stopped", encoding="utf-8") as words:  # noqa: PTH123
            said = words.read(1000).strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in said)


def _who_has(data: str) -> str:
    """Return the process that holds the lock of a data folder; empty where none does, or nothing tells.

    Not by trying: a peer that starts at this very moment would be refused.
    """
    try:
        with open(f"{data}/lock", encoding="ascii") as lock:  # noqa: PTH123
            process, inode = lock.read(32).strip(), os.fstat(lock.fileno()).st_ino
        with open("/proc/locks", encoding="ascii") as locks:  # noqa: PTH123
            # 1: FLOCK  ADVISORY  WRITE 708 08:01:262150 0 EOF
            held = [line.split()[-4:-2] for line in locks]
    except (OSError, UnicodeDecodeError):
        return ""
    return process if any(row[0] == process and row[1].endswith(f":{inode}") for row in held) else ""
