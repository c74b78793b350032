"""How does a command find the peer of this machine? By its data folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from ringgossip.errors import UsageError

if TYPE_CHECKING:
    from ringgossip.client import Client


def local_client(data: Path | None) -> "Client":
    """Return a client of the peer on `data`. Raises `UsageError` for None, `PeerGone` if none runs."""
    from ringgossip.client import connect

    if data is None:
        raise UsageError("which peer? give its data folder with --data DIR, or set RINGGOSSIP_DATA")
    return connect(data)
