"""Which tables has a peer, and how large are they? Found by looking, so that a new one cannot be forgotten.

Whatever a machine keeps in a dict, list, deque or set is a table, if it can be
reached from the core by attributes. What lies in the entries of a table is not
looked at: it is bounded with its entry.
"""

from collections import deque
from operator import attrgetter
from typing import Any

_TABLES = (dict, list, deque, set)
_DEEPEST = 4
# The made world's own: it holds every certificate of a cluster.
_NOT_OURS = ("_notary",)


def names_of(thing: object) -> list[str]:
    """Return the attributes of an object, in one order everywhere."""
    names = dict.fromkeys(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names |= dict.fromkeys((slots,) if isinstance(slots, str) else slots)
    return sorted(names)


def find_tables(core: object) -> list[str]:
    """Return where the tables of a core are: `serving._askers`, one path for each."""
    found: list[str] = []
    seen: dict[int, None] = {id(core): None}  # machines may know the core as their scene

    def walk(thing: object, path: str, depth: int) -> None:
        for name in names_of(thing):
            value: Any = getattr(thing, name, None)
            if name in _NOT_OURS or id(value) in seen:
                continue
            if isinstance(value, _TABLES):
                seen[id(value)] = None
                found.append(path + name)
            elif depth < _DEEPEST and type(value).__module__.startswith("ringgossip."):
                seen[id(value)] = None
                walk(value, f"{path}{name}.", depth + 1)

    walk(core, "", 0)
    return found


class Tables:
    """Looks at all tables of many cores; where they are is found once for each core."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, list[str], Any]] = {}

    def sizes(self, owner: int, core: object) -> list[tuple[str, int]]:
        """Return the path and the size of every table of the core that runs at `owner` now."""
        known = self._known.get(owner)
        if known is not None and known[0] is core:
            try:
                return list(zip(known[1], map(len, known[2](core)), strict=True))
            except (AttributeError, TypeError):
                pass  # What held a table is gone, a walk that has ended: look for all of them again.
        paths = find_tables(core)
        get = attrgetter(*paths)  # all of them in one call
        self._known[owner] = (core, paths, get)
        return list(zip(paths, map(len, get(core)), strict=True))
