"""A core that writes down all that was put into it and all that came out, and another that must say the same.

Recorded is what a world gives to a core: how it was made, each call with its
arguments and `now`, and when it asked to be woken. A fresh core that is given
the same must return the same, effect by effect, whichever world recorded it.
"""

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from random import Random
from typing import Any

from ringgossip.content.manifest import Manifest
from ringgossip.protocol.peer_core import PeerCore


@dataclass(frozen=True)
class Step:
    """One call: what went in, what came out, and the deadline after it."""

    method: str
    arguments: tuple[Any, ...]
    answer: Any
    wakeup: float


def plain(value: Any) -> Any:
    """Return the same in a form that compares by value, whatever it is made of."""
    if isinstance(value, Manifest):
        return (value.size, value.chunk_size, value.hashes)
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__name__, *[plain(getattr(value, each.name)) for each in fields(value)])
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return [(plain(key), plain(each)) for key, each in value.items()]
    return value


def inputs() -> list[str]:
    """Return the names of all public methods that are told the time."""
    return [
        name
        for name, method in inspect.getmembers(PeerCore, inspect.isfunction)
        if not name.startswith("_") and "now" in inspect.signature(method).parameters
    ]


class RecordedCore(PeerCore):
    """The core itself; only calls from outside are written down, not those it makes of its own methods."""

    def __init__(self, **made_of: Any) -> None:
        self.made_of = {**made_of, "rng": copy.deepcopy(made_of["rng"])}
        self.steps: list[Step] = []
        self.busy = False
        super().__init__(**made_of)


def _recorded(name: str) -> Callable[..., Any]:
    method = getattr(PeerCore, name)

    @wraps(method)
    def call(self: RecordedCore, *arguments: Any, **named: Any) -> Any:
        if self.busy:
            return method(self, *arguments, **named)
        self.busy = True
        try:
            bound = inspect.signature(method).bind(self, *arguments, **named)
            answer = method(self, *arguments, **named)
            self.steps.append(Step(name, bound.args[1:], plain(answer), self.next_wakeup()))
            return answer
        finally:
            self.busy = False

    return call


for _name in inputs():
    setattr(RecordedCore, _name, _recorded(_name))


def recorder(kept: list[RecordedCore]) -> Callable[..., RecordedCore]:
    """Return what makes cores in place of `PeerCore`; each draws from a known generator of its own."""

    def make(**made_of: Any) -> RecordedCore:
        if type(made_of["rng"]) is not Random:  # a SystemRandom cannot be known
            made_of["rng"] = Random(len(kept))
        core = RecordedCore(**made_of)
        kept.append(core)
        return core

    return make


def differences(core: RecordedCore) -> Iterator[str]:
    """Give a fresh core all that this one was given; yield where it says something else."""
    fresh = PeerCore(**{**core.made_of, "rng": copy.deepcopy(core.made_of["rng"])})
    for number, step in enumerate(core.steps):
        answer = plain(getattr(fresh, step.method)(*step.arguments))
        where = f"step {number} of {len(core.steps)}, {step.method}{step.arguments!r:.200}"
        if answer != step.answer:
            yield f"{where}: {answer!r:.300} instead of {step.answer!r:.300}"
        if fresh.next_wakeup() != step.wakeup:
            yield f"{where}: wakes at {fresh.next_wakeup()} instead of {step.wakeup}"
