"""How do secrets reach the disk? Whole or not at all, and readable by their owner only."""

import os
import secrets
from pathlib import Path

from ringgossip.errors import CredentialsError

PRIVATE = 0o600
PUBLIC = 0o644
MAX_FILE_BYTES = 1 << 20


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Put `content` at `path` with exactly `mode`, replacing what is there.

    After a crash there is the old file or the new one. Raises `OSError`.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` last. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path, *, secret: bool, remedy: str) -> bytes:
    """Return the bytes of a small file.

    Raises `CredentialsError` ending in `remedy` if it is missing, unreadable or
    too big, and, for a `secret`, if every user of the machine can read or change it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise CredentialsError(f"{path} is missing: {remedy}") from None
    except OSError as error:
        raise CredentialsError(f"cannot read {path} ({error.strerror}): {remedy}") from error
    if secret and mode & 0o007:
        raise CredentialsError(f"{path} is a secret, and every user here can read it: run `chmod 600 {path}`")
    if len(content) > MAX_FILE_BYTES:
        raise CredentialsError(f"{path} is far too big for what it should be: {remedy}")
    return content
