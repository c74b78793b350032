"""Which tables has a peer, and how large are they? Found by looking, so that a new one cannot be forgotten.

Whatever a machine keeps in a dict, list, deque or set is a table, if it can be
reached from the core by attributes. Tables in the entries of a table, or in the
objects that are its entries, have the path of that table with `[]` behind it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import islice
from operator import attrgetter
from typing import Any

from ringgossip.protocol.deadlines import beheld

_TABLES = (dict, list, deque, set)
_DEEPEST = 4
# The made world's own: it holds every certificate of a cluster; and a core as it sees itself.
_NOT_OURS = ("_notary", "_itself")


@cache
def _slots_of(kind: type) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for each in kind.__mro__:
        slots = each.__dict__.get("__slots__", ())
        names |= dict.fromkeys((slots,) if isinstance(slots, str) else slots)
    return tuple(sorted(names))


def names_of(thing: object) -> Sequence[str]:
    """Return the attributes of an object, in one order everywhere."""
    slots = _slots_of(type(thing))  # type: ignore[arg-type]  # a type has a hash
    others = getattr(thing, "__dict__", None)
    return sorted({**others, **dict.fromkeys(slots)}) if others else slots


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


_ENTRIES = 100  # of one table that are looked into: bugs do not choose theirs
_inner_names: dict[type, tuple[str, ...] | None] = dict.fromkeys(_TABLES)  # see `_names_inside`


def _names_inside(kind: type) -> tuple[str, ...] | None:
    """Return the attributes in which an entry may have tables, none of what is frozen; None: it is one."""
    if issubclass(kind, _TABLES):
        return None
    ours = kind.__module__.startswith("ringgossip.") and not issubclass(kind, tuple)
    params = getattr(kind, "__dataclass_params__", None)
    frozen = hasattr(kind, "__frozen__") or (params is not None and params.frozen)
    slots = [name for each in kind.__mro__ for name in each.__dict__.get("__slots__", ())]
    return tuple(sorted(slots)) if ours and not frozen else ()


def _largest_inside(table: Any, path: str, found: dict[str, int]) -> None:
    """Note the largest tables in the entries of a table, by path."""
    known = _inner_names
    entries: Iterable[Any] = table.values() if isinstance(table, dict) else table
    for entry in islice(entries, _ENTRIES):
        kind = type(entry)
        if kind not in known:
            known[kind] = _names_inside(kind)
        names = known[kind]
        if names is None:
            inside = f"{path}[]"
            found[inside] = max(found.get(inside, 0), len(entry))
            if entry:
                _largest_inside(entry, inside, found)
            continue
        for name in names:
            value = getattr(entry, name, None)
            if isinstance(value, _TABLES):
                inside = f"{path}[].{name}"
                found[inside] = max(found.get(inside, 0), len(value))


class Tables:
    """Looks at all tables of many cores; where they are is found once for each core."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, list[str], Callable[[], list[int]]]] = {}

    def _found(self, owner: int, core: object) -> tuple[list[str], list[int]]:
        known = self._known.get(owner)
        if known is not None and known[0] is core:
            try:
                return known[1], known[2]()
            except (AttributeError, TypeError):
                pass  # What held a table is gone, a walk that has ended: look for all of them again.
        paths = find_tables(core)
        # All of them in one call, in which no machine is taken in hand: it would be asked when it is due.
        get, seen = attrgetter(*paths), beheld(core)

        def sizes() -> list[int]:
            return list(map(len, get(seen)))

        self._known[owner] = (core, paths, sizes)
        return paths, sizes()

    def sizes(self, owner: int, core: object) -> list[tuple[str, int]]:
        """Return the path and the size of every table of the core that runs at `owner` now."""
        return list(zip(*self._found(owner, core), strict=True))

    def inside(self, owner: int, core: object) -> dict[str, int]:
        """Return the size of the largest table of each kind that lies in the entries of another."""
        found: dict[str, int] = {}
        seen = beheld(core)
        for path, size in zip(*self._found(owner, core), strict=True):
            if size and not path.startswith("dues."):  # the machines themselves, by name
                _largest_inside(attrgetter(path)(seen), path, found)
        return found

    def largest(self, owner: int, core: object) -> int:
        """Return the size of the largest of them."""
        return max(self._found(owner, core)[1])
