"""What is a fault called in a story, and how does a plan become YAML and come back?

One table of words; the keys of each fault are the fields of its class, so a new
fault needs one class and one line here. Peers are named by number or by name.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from ringgossip.simulation.faults import (
    BadWeather,
    BitRot,
    BlockUdp,
    ClockJump,
    Crash,
    DiskTrouble,
    Fault,
    Flap,
    Leave,
    Move,
    Partition,
    Pause,
    ResetLinks,
    Slow,
)
from ringgossip.simulation.faults_disk import LostWrites, SlowDisk, TornWrites
from ringgossip.simulation.faults_life import Churn, ClockDrift, PowerCut, WallClockStep
from ringgossip.simulation.faults_network import (
    Bridge,
    Clog,
    CloseDoor,
    HalfOpen,
    RingCut,
    Swizzle,
    ThinLine,
)
from ringgossip.simulation.liars import LIES, Knocking, Liar

FAULTS: dict[str, type[Fault]] = {
    "crash": Crash,
    "pause": Pause,
    "slow": Slow,
    "leave": Leave,
    "move": Move,
    "churn": Churn,
    "power_cut": PowerCut,
    "clock_jump": ClockJump,
    "clock_drift": ClockDrift,
    "wall_clock": WallClockStep,
    "partition": Partition,
    "flap": Flap,
    "clog": Clog,
    "swizzle": Swizzle,
    "ring_cut": RingCut,
    "bridge": Bridge,
    "reset_links": ResetLinks,
    "half_open": HalfOpen,
    "bad_weather": BadWeather,
    "block_udp": BlockUdp,
    "close_door": CloseDoor,
    "thin_line": ThinLine,
    "disk_trouble": DiskTrouble,
    "slow_disk": SlowDisk,
    "bit_rot": BitRot,
    "torn_writes": TornWrites,
    "lost_writes": LostWrites,
    "liar": Liar,
    "knocking": Knocking,
}
WORD_OF = {fault: word for word, fault in FAULTS.items()}

ONE_PEER = ("peer", "one", "other")
SOME_PEERS = ("group", "others", "peers")


class PlanError(ValueError):
    """A fault says something wrong; `key` is where, empty for the fault itself."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def close_to(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` or nothing."""
    close = difflib.get_close_matches(str(word)[:100], list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def peer_number(value: Any, names: Sequence[str]) -> int:
    """Return the number of the peer that `value`, a number or a name, means; raises `ValueError`."""
    if isinstance(value, str):
        if value in names:
            return names.index(value)
        raise ValueError(f"there is no peer {value!r}{close_to(value, names)}")
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"must be the number or name of a peer, not {value!r}")
    if not 0 <= value < len(names):
        raise ValueError(f"there is no peer {value}: they are numbered 0 to {len(names) - 1}")
    return value


def build(word: str, given: Mapping[str, Any], names: Sequence[str]) -> Fault:
    """Return the fault that a story means; raises `PlanError` with the key that is wrong."""
    known = {field.name: field for field in fields(FAULTS[word])}
    made: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise PlanError(key, f"is no key of {word}{close_to(key, known)}")
        try:
            made[key] = _value(key, known[key].type, value, names)
        except ValueError as error:
            raise PlanError(key, str(error)) from None
    for key, field in known.items():
        if key not in made and field.default is MISSING and field.default_factory is MISSING:
            raise PlanError("", f"{word} needs {key!r}")
    return FAULTS[word](**made)


def _value(key: str, kind: Any, value: Any, names: Sequence[str]) -> Any:
    if key in ONE_PEER:
        return peer_number(value, names)
    if key in SOME_PEERS:
        if not isinstance(value, list):
            raise ValueError(f"must be a list of peers, not {value!r}")
        return tuple(peer_number(each, names) for each in value)
    if key == "ways":
        for way in value if isinstance(value, list) else [value]:
            if way not in LIES:
                raise ValueError(f"{way!r} is no way of lying: use {', '.join(LIES)}{close_to(way, LIES)}")
        return tuple(value) if isinstance(value, list) else (value,)
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {value!r}")
        return value
    if kind is str:
        return str(value)
    if value is None and kind == float | None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, not {value!r}")
    if value < 0 and key not in ("by", "share"):
        raise ValueError(f"must not be negative, but is {value}")
    return int(value) if kind is int else float(value)


def as_data(fault: Fault) -> dict[str, dict[str, Any]]:
    """Return a fault as a story says it: `{word: {key: value}}`, defaults left out."""
    said: dict[str, Any] = {}
    for field in fields(fault):
        value = getattr(fault, field.name)
        if field.default is MISSING or value != field.default:
            said[field.name] = list(value) if isinstance(value, tuple) else value
    return {WORD_OF[type(fault)]: said}


def as_text(fault: Fault) -> str:
    """Return a fault on one line, as a story says it."""
    [(word, said)] = as_data(fault).items()
    inner = ", ".join(f"{key}: {_yaml(value)}" for key, value in said.items())
    return f"{word}: {{{inner}}}"


def plan_text(plan: Iterable[Fault]) -> str:
    """Return a plan as the `faults:` block of a story."""
    lines = [f"  - {as_text(fault)}" for fault in plan]
    return "\n".join(["faults:", *lines]) if lines else "faults: []"


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(each) for each in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
