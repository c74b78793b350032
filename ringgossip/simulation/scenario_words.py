"""What may a value in a story be? Checks return what is meant, or raise `ValueError` with what is wrong."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from ringgossip.config.words import KINDS, ROLES, plural_kind
from ringgossip.content.names import check_artifact_name
from ringgossip.simulation.latency import Constant, Latency, Lognormal, Regions, Uniform
from ringgossip.simulation.network import BurstLoss
from ringgossip.simulation.plans import close_to

Check = Callable[[Any], Any]

_SIZES = {"B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_BITS = {"KBIT": 10**3, "MBIT": 10**6, "GBIT": 10**9}
_AMOUNT = re.compile(r"([0-9.]+(?:e[0-9]+)?)\s*([A-Za-z]+)(?:/s)?\Z")


def number(low: float = 0.0, high: float = 1e9, *, or_none: bool = False) -> Check:
    """Return a check for a number between two bounds."""

    def check(value: Any) -> float | None:
        if value is None and or_none:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"must be a number, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"must be from {low:g} to {high:g}, not {value:g}")
        return float(value)

    return check


def whole(low: int = 0, high: int = 10**9) -> Check:
    """Return a check for a whole number between two bounds."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"must be a whole number, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}, not {value}")
        return value

    return check


def text(value: Any) -> str:
    """Check for text."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be text, not {value!r}")
    return value.strip()


def truth(value: Any) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def one_of(words: Iterable[str]) -> Check:
    """Return a check for one of some words."""
    known = tuple(words)

    def check(value: Any) -> str:
        if value not in known:
            raise ValueError(f"{value!r} is none of {', '.join(known)}{close_to(str(value), known)}")
        return str(value)

    return check


def several_of(words: Iterable[str]) -> Check:
    """Return a check for a list of some words; `all` means all of them."""
    known = tuple(words)
    single = one_of(known)

    def check(value: Any) -> tuple[str, ...]:
        if value == "all":
            return known
        if not isinstance(value, list):
            raise ValueError(f"must be a list, for example [{known[0]}], not {value!r}")
        return tuple(single(each) for each in value)

    return check


def artifact_name(value: Any) -> str:
    """Check for the name of an artifact: peers would refuse to publish another."""
    name = text(value)
    problem = check_artifact_name(name)
    if problem is not None:
        raise ValueError(f"{name[:40]!r} cannot be published: {problem}")
    return name


def kind(value: Any) -> str:
    """Check for a kind of artifact, in any word in use."""
    return plural_kind(text(value))


def kind_or_all(value: Any) -> str:
    """Check for a kind, or all of them."""
    return "all" if value == "all" else kind(value)


def kinds(value: Any) -> tuple[str, ...]:
    """Check for a list of kinds."""
    if value == "all":
        return KINDS
    if not isinstance(value, list):
        raise ValueError(f"must be a list of kinds, not {value!r}")
    return tuple(kind(each) for each in value)


def exclusions(value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Check for nodes that must not be given some kinds: `{play-1: [games], play-2: all}`."""
    if not isinstance(value, dict):
        raise ValueError(f"must be nodes and kinds, for example {{node-1: [games]}}, not {value!r}")
    return tuple((str(node), kinds(each)) for node, each in value.items())


def amount(value: Any) -> float:
    """Check for bytes, or bytes a second: a number, or one with a unit: `64 MiB`, `5 MB/s`, `10 Mbit/s`."""
    if isinstance(value, str):
        found = _AMOUNT.match(value.strip())
        unit = found[2].upper() if found else ""
        if found is None or unit not in _SIZES | _BITS:
            raise ValueError(f"must be bytes, for example 200 MB, 5 MB/s or 10 Mbit/s, not {value!r}")
        value = float(found[1]) * _SIZES.get(unit, 0) or float(found[1]) * _BITS[unit] / 8
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise ValueError(f"must be bytes, for example 200 MB, not {value!r}")
    return float(value)


def size(value: Any) -> int:
    """Check for a number of bytes."""
    return int(amount(value))


def rate(value: Any) -> float | None:
    """Check for bytes a second, or nothing for no limit."""
    if value is None:
        return None
    checked = amount(value)
    if checked < 1000:
        raise ValueError(f"a line of {checked:g} bytes a second moves nothing: at least 1000")
    return checked


def latency(value: Any) -> Latency:
    """Check for a latency: seconds, `{uniform: [low, high]}`, `{lognormal: [median, spread]}`, regions."""
    seconds = number(0, 10)
    if not isinstance(value, dict):
        return Constant(seconds(value))
    if len(value) != 1:
        raise ValueError("must be one of uniform, lognormal and regions")
    [(word, bounds)] = value.items()
    if one_of(("uniform", "lognormal", "regions"))(word) == "regions":
        return _regions(bounds)
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise ValueError(f"{word} needs two numbers, for example [0.01, 0.05]")
    first, second = (seconds(each) for each in bounds)
    return Uniform(min(first, second), max(first, second)) if word == "uniform" else Lognormal(first, second)


def _regions(value: Any) -> Regions:
    """Check for near, far, jitter and `between: [[eu, us, seconds]]`; who is where, groups say."""
    if not isinstance(value, dict):
        raise ValueError("regions needs keys, for example {near: 0.001, far: 0.08}")
    known = ("near", "far", "jitter", "between")
    said: dict[str, Any] = {one_of(known)(key): entry for key, entry in value.items()}
    between = said.pop("between", [])
    if not isinstance(between, list) or not all(isinstance(row, list) and len(row) == 3 for row in between):
        raise ValueError("between needs rows of two regions and seconds, for example [[eu, us, 0.09]]")
    pairs = {(text(one), text(other)): number(0, 10)(delay) for one, other, delay in between}
    return Regions((), pairs, **{key: number(0, 10)(entry) for key, entry in said.items()})


def burst(value: Any) -> BurstLoss | None:
    """Check for loss in bursts: true, or `[enter, leave, loss]`."""
    if isinstance(value, bool):
        return BurstLoss() if value else None
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("must be true, or three shares: [enter, leave, loss]")
    share = number(0, 1)
    return BurstLoss(*(share(each) for each in value))


# What peers may be told apart by, and what each may say.
ALIKE: dict[str, Check] = {
    "role": one_of(ROLES), "provider": text, "region": text, "storage_group": text, "ephemeral": truth,
    "accepts": truth, "share": number(0, 1),
}  # fmt: skip


def who(value: Any) -> Any:
    """Check for peers: a number, a name, a list of these, `all`, or `{role: training}` and the like."""
    if isinstance(value, dict):
        for key, entry in value.items():
            try:
                ALIKE[one_of(ALIKE)(key)](entry)
            except ValueError as error:
                raise ValueError(f"{key}: {error}" if key in ALIKE else str(error)) from None
        if not set(value) - {"share"}:
            raise ValueError("must say of whom, for example {role: training} or {accepts: false, share: 0.5}")
        return value
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"must be peers: a number, a name, a list of these, all, or a role, not {value!r}")
    return value
