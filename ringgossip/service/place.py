"""Where is the control socket of the peer on this data folder?

`<data>/socket` is a small file that names it. The socket itself lies beside
it; where that path is too long (the kernel ends them at 107 bytes) or the
filesystem has no sockets, it lies in a private folder among the temporary
files. Whoever finds the file but no listener knows that the peer was killed.
"""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ringgossip.errors import StoreError

NAMING_FILE = "socket"
_BESIDE = "control.sock"
_MOST_PATH_BYTES = 107
_BACKLOG = 64


@contextmanager
def bound_socket(data: Path) -> Iterator[socket.socket]:
    """Give a listening socket that only this user can reach, named in `data`; remove both at the end.

    The caller holds the lock of `data`: what an earlier peer left is replaced.
    """
    data = data.absolute()
    naming = data / NAMING_FILE
    _remove_leftovers(naming)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = _bind(listener, data)
        try:
            try:
                path.chmod(0o600)
                listener.listen(_BACKLOG)
                _write(naming, f"{path}\n")
            except OSError as error:
                raise StoreError(
                    f"{naming} cannot be written ({error.strerror or error}): programs of this machine would "
                    "not find the peer; free some space, or look at the folder's owner and mode"
                ) from error
            yield listener
        finally:
            naming.unlink(missing_ok=True)
            _remove(path)


def _bind(listener: socket.socket, data: Path) -> Path:
    # Between bind and listen nobody can connect: the mode is set in time.
    beside = data / _BESIDE
    if len(os.fsencode(beside)) <= _MOST_PATH_BYTES:
        try:
            listener.bind(str(beside))
            return beside
        except OSError:
            # Some network and container filesystems have no sockets.
            pass
    try:
        path = Path(tempfile.mkdtemp(prefix="ringgossip-", dir=_runtime_folder())) / _BESIDE
        listener.bind(str(path))
        return path
    except OSError as error:
        raise StoreError(f"cannot make a control socket for {data}: {error.strerror or error}") from error


def _runtime_folder() -> str | None:
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return folder if 0 < len(folder) <= 60 and os.access(folder, os.W_OK) else None


def _write(naming: Path, text: str) -> None:
    beside = naming.with_name(f".{naming.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        beside.chmod(0o600)
        beside.rename(naming)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _remove_leftovers(naming: Path) -> None:
    (naming.parent / _BESIDE).unlink(missing_ok=True)
    try:
        path = Path(naming.read_text().strip())
    except (OSError, UnicodeDecodeError):
        return
    if path.name == _BESIDE and path.parent.name.startswith("ringgossip-") and path.is_socket():
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.name.startswith("ringgossip-") and path.parent != path.parent.parent:
        try:
            path.parent.rmdir()
        except OSError:
            # The data folder itself may have such a name; it is never empty.
            pass
