"""Does the provider say that this machine goes away? A file that appears, or an address that answers.

Providers tell so in one of these two ways, 30 seconds to 2 minutes ahead. The
first notice starts the drain; there is no second one.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from ringgossip.config.blocks import Termination

_PATIENCE = 2.0  # seconds for an answer: it comes from the machine's own host


def notice_of(termination: Termination) -> str | None:
    """Return where a notice is to be seen now, or None; blocks."""
    if termination.file is not None and _exists(termination.file):
        return str(termination.file)
    if termination.url is not None and _answers(termination.url):
        return termination.url
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _answers(url: str) -> bool:
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener

    # No proxy: the address is the host's own, and a proxy would answer in its place.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url, timeout=_PATIENCE) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, HTTPException):  # an HTTP error is an OSError too; rubbish is none
        return False


async def watch_termination(termination: Termination, noticed: Callable[[str], Awaitable[None]]) -> None:
    """Look until there is a notice, and say where; return at once if there is nowhere to look."""
    if termination.file is None and termination.url is None:
        return
    while True:
        where = await trio.to_thread.run_sync(notice_of, termination, abandon_on_cancel=True)
        if where is not None:
            await noticed(where)
            return
        await trio.sleep(termination.every_seconds)
