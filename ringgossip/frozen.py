"""How is a frozen thing made fast? Messages, effects and records are made by the million.

`frozen` makes a dataclass like the standard library's frozen one with slots, the same to `fields`, `replace`,
`asdict` and `match`, with two differences. It is frozen for mypy, which refuses whoever changes a field,
while at run time nothing stands in the way: that is what makes such an object dear. And the class itself is
made in a quarter of the time, since only its `__init__` is compiled: there are hundreds, and every start
of a peer and of a command makes them.
"""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

_T = TypeVar("_T")


class Untouched:
    """A base for what goes to other people's programs: nobody changes a field of it at run time either."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), tuple(getattr(self, each.name) for each in fields(self))  # type: ignore[arg-type]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(kind: type[_T]) -> type[_T]:
    """Make a class a frozen dataclass with slots."""
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True)(kind)
    made.__init__ = _init(made)
    made.__frozen__ = True  # for whoever looks for what may change
    for method in _shared(fields(made)):
        if method.__name__ not in vars(kind):
            setattr(made, method.__name__, method)
    return made  # type: ignore[no-any-return]


def _init(made: Any) -> Any:
    space: dict[str, Any] = {}
    arguments, body = ["self"], []
    for each in fields(made):
        name = each.name
        assert each.default_factory is MISSING, f"{made.__name__}.{name}: a default is made anew"
        if not each.init:
            continue
        if made.__setattr__ is object.__setattr__:
            body.append(f" self.{name} = {name}")
        else:  # Untouched
            space[f"set_{name}"] = getattr(made, name).__set__
            body.append(f" set_{name}(self, {name})")
        if each.default is MISSING:
            arguments.append(name)
        else:
            space[f"default_{name}"] = each.default
            arguments.append(f"{name}=default_{name}")
    if hasattr(made, "__post_init__"):
        body.append(" self.__post_init__()")
    exec("\n".join([f"def __init__({', '.join(arguments)}):", *(body or [" pass"])]), space)
    return space["__init__"]


def _shared(all_fields: "tuple[Field[Any], ...]") -> Iterator[Callable[..., Any]]:
    """Yield the methods that need no code of their own."""
    compared = [each.name for each in all_fields if each.compare]
    hashed = [each.name for each in all_fields if (each.compare if each.hash is None else each.hash)]
    shown = [each.name for each in all_fields if each.repr]
    compare, digest = _values(compared), _values(hashed)

    def __eq__(self: object, other: object) -> Any:
        return compare(self) == compare(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: object) -> int:
        return hash(digest(self))

    def __repr__(self: object) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{self.__class__.__qualname__}({told})"

    yield from (__eq__, __hash__, __repr__)


def _values(names: list[str]) -> Callable[[object], Any]:
    return attrgetter(*names) if names else lambda thing: ()
