"""Which machines of a core must be asked when they are due? Those that were taken in hand since.

Every world asks a core after every input when to wake it, and most inputs concern one
machine or two. A machine's deadline moves only by what is done with it, so the attribute
of the core through which everybody reaches a machine notes that somebody did.
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from ringgossip.protocol.core import NEVER


class Timed(Protocol):
    """A machine that has deadlines."""

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        ...


Kind = TypeVar("Kind")


class Dues:
    """When the machines of one core are due, in the order in which they are woken."""

    __slots__ = ("_asks", "_at", "_next", "moved")

    def __init__(self) -> None:
        self.moved: dict[str, None] = {}  # taken in hand since they were asked
        self._asks: dict[str, Callable[[], float]] = {}
        self._at: dict[str, float] = {}
        self._next = NEVER

    def add(self, name: str, machine: Timed) -> None:
        """Ask this machine from now on, after the others."""
        self._asks[name] = machine.next_wakeup
        self._at[name] = NEVER
        self.moved[name] = None

    def ask_all(self) -> None:
        """Something changed that deadlines of several machines depend on."""
        self.moved.update(dict.fromkeys(self._asks))

    def of(self, name: str) -> float:
        """Return when one machine is due."""
        return self._asks[name]() if name in self.moved else self._at[name]

    def next(self) -> float:
        """Return the nearest deadline of all."""
        moved = self.moved
        if moved:
            asks, at, nearest = self._asks, self._at, self._next
            for name in tuple(moved):
                if name in asks:
                    due, was = asks[name](), at[name]
                    if due != was:
                        at[name] = due
                        if due < nearest:
                            nearest = due
                        elif was == nearest:
                            nearest = min(at.values())
            moved.clear()  # asking takes other machines in hand, to look at them only
            self._next = nearest
        return self._next

    def due(self, now: float) -> list[str]:
        """Return who is due."""
        self.next()
        return [name for name, at in self._at.items() if at <= now]


class Beheld:
    """A core as whoever looks sees it, by `beheld`: what it has, and no machine is taken in hand."""

    __slots__ = ("__dict__",)


def beheld(core: object) -> Any:
    """Return the attributes of a core for one who only looks: nobody need be asked again when it is due."""
    seen = Beheld()
    seen.__dict__ = core.__dict__
    return seen


class InHand(Generic[Kind]):
    """An attribute of a core that holds a machine."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, core: Any, machine: Kind) -> None:
        core.__dict__[self._name] = machine

    def __get__(self, core: Any, kind: type | None = None) -> Kind:
        inside = core.__dict__
        inside["dues"].moved[self._name] = None
        machine: Kind = inside[self._name]
        return machine
