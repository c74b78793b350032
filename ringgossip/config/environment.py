"""Which environment variables set which key? One table.

Every key that is one value, or a list of words, is read from `RINGGOSSIP_<KEY>`;
the names that users of the reference already export are read under their own
prefix and ours. Explicit YAML wins over all of them, they win over defaults.
What sets nothing and looks like a slip of the pen is named, and never an error.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(text: str) -> Any:
    # What is no number stays text: the schema then says what the key wants.
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            pass
    return text


def _switch(text: str) -> Any:
    return True if text.lower() in _TRUE else False if text.lower() in _FALSE else text


_KEYS: dict[str, Callable[[str], Any]] = {
    "cluster": str,
    "node": str,
    "role": str,
    "state": str,
    "ephemeral": _switch,
    "provider": str,
    "storage_group": str,
    "shared_folder": str,
    "data": str,
    "credentials": str,
    "listen": str,
    "advertise": _words,
    "seeds": _words,
    "patience": _number,
    "strategy": str,
    "want": _words,
    "receive": _words,
    "copies": _number,
    "priority_nodes": _words,
    "min_games_to_sync": _number,
    "interval_seconds": _number,
    "ephemeral_interval_seconds": _number,
    "min_interval_seconds": _number,
    "gossip_interval_seconds": _number,
    "sync_timeout_seconds": _number,
    "max_concurrent_syncs": _number,
    "batch_size": _number,
    "parallel": _number,
    "drain_seconds": _number,
    "status": str,
    "chunks": str,
}

# Names of the reference, without prefix.
_REFERENCE_NAMES = {
    "NODE_ID": "node",
    "DATA_SYNC_INTERVAL": "interval_seconds",
    # 30 s in the reference, whose ephemeral nodes are the ones with a cycle of 30 s.
    "FAST_SYNC_INTERVAL": "ephemeral_interval_seconds",
    "SYNC_TIMEOUT": "sync_timeout_seconds",
    "MIN_SYNC_INTERVAL": "min_interval_seconds",
    "AUTO_SYNC_MAX_CONCURRENT": "max_concurrent_syncs",
    "SYNC_BATCH_SIZE": "batch_size",
    "SYNC_PARALLEL": "parallel",
}

# Read elsewhere: by the facade, and by our tests.
_ELSEWHERE = ("CONFIG", "OTHER_PYTHONS")


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """A value that a variable gives to a key."""

    variable: str
    value: Any


def variables_of(key: str) -> tuple[str, ...]:
    """Return the variables that may set `key`; the first that is set counts. May be none."""
    if key not in _KEYS:
        return ()
    reference = [name for name, theirs in _REFERENCE_NAMES.items() if theirs == key]
    return (
        f"RINGGOSSIP_{key.upper()}",
        *(f"RINGGOSSIP_{name}" for name in reference),
        *(f"RINGRIFT_{name}" for name in reference),
    )


def from_environment(environment: Mapping[str, str]) -> dict[str, FromEnvironment]:
    """Return key -> value for every key that `environment` sets; an empty variable sets nothing."""
    found: dict[str, FromEnvironment] = {}
    for key, read in _KEYS.items():
        for variable in variables_of(key):
            text = environment.get(variable, "").strip()
            if text:
                found[key] = FromEnvironment(variable, read(text))
                break
    return found


def slips(environment: Mapping[str, str], keys: Iterable[str]) -> tuple[str, ...]:
    """Return a line for every variable that sets nothing and is near one that would, or that names a key.

    `keys`: all of node.yaml, those included that no variable sets.
    """
    found = []
    written = {key.partition(".")[0].upper(): key.partition(".")[0] for key in keys}
    theirs = [f"RINGRIFT_{name}" for name in _REFERENCE_NAMES]
    ours = [f"RINGGOSSIP_{name}" for name in (*map(str.upper, _KEYS), *_REFERENCE_NAMES, *_ELSEWHERE)]
    for variable in sorted(environment):
        prefix, _, name = variable.partition("_")
        # Other programs of the reference have variables of their own, and many.
        known, nearness = (ours, 0.6) if prefix == "RINGGOSSIP" else (theirs, 0.8)
        if prefix not in ("RINGGOSSIP", "RINGRIFT") or variable in known:
            continue
        if prefix == "RINGGOSSIP" and name in written:
            found.append(f"environment {variable}: sets nothing; write `{written[name]}:` in node.yaml")
            continue
        tails = [one.partition("_")[2] for one in known]
        close = difflib.get_close_matches(name[:100], tails, n=1, cutoff=nearness)
        if close:
            found.append(f"environment {variable}: sets nothing; did you mean {prefix}_{close[0]}?")
    return tuple(found)
