"""Which files in shared folders has nobody else, because no rule of `share:` matches them?

A typing error in `match` would otherwise be found when the machine is gone. Each
folder is looked through once a minute, in a thread; what lies still from one
look to the next is counted, and told when there is twice as much as was told.
Source: field notes, incident 13.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import trio

from ringgossip.config import ShareFolder
from ringgossip.runtime.folders import Look, look_through
from ringgossip.runtime.workers import Workers

log = logging.getLogger("ringgossip")

_INTERVAL = 60.0
_MOST = 1000  # files that are remembered: more are not told more exactly


class Unshared:
    """One folder, with all the rules that are about it."""

    def __init__(self, shares: list[ShareFolder]) -> None:
        self._shares = shares
        self._before: dict[str, Look] = {}
        self._told = 0

    def look(self) -> str | None:
        """Look through the folder; return what is to be told. Blocks; raises `OSError`."""
        everything = replace(self._shares[0], match="*")
        found: dict[str, Look] = {}
        for name, look in look_through(everything):
            last = name.rpartition("/")[2]
            marks = last.startswith(".") or last.endswith(".writing")
            if not marks and not any(fnmatchcase(name, share.match) for share in self._shares):
                found[name] = look
                if len(found) >= _MOST:
                    break
        still = [name for name, look in found.items() if self._before.get(name) == look]
        self._before = found
        if not still:
            self._told = 0
        if not still or len(still) < 2 * self._told:
            return None
        self._told = len(still)
        count = f"{len(still)} files there match" if len(still) > 1 else "a file there matches"
        return (
            f"shared folder {self._shares[0].folder}: {count} no rule of `share:`, so no other node "
            f"has it: {min(still)}"
        )


def by_folder(shares: Iterable[ShareFolder]) -> list[Unshared]:
    """Return one for each folder, wherever it is named."""
    folders: dict[Path, list[ShareFolder]] = {}
    for share in shares:
        folders.setdefault(share.folder, []).append(share)
    return [Unshared(rules) for rules in folders.values()]


async def warn_of_unshared(shares: Iterable[ShareFolder], workers: Workers) -> None:
    """Say so in the log, for ever."""
    folders = by_folder(shares)
    while True:
        for folder in folders:
            try:
                told = await workers.call(folder.look)
            except (OSError, RuntimeError):
                continue  # whoever shares it tells what is the matter with the folder itself
            if told is not None:
                log.warning("%s", told)
        await trio.sleep(_INTERVAL)
