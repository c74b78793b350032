"""What may each key of node.yaml say? Pydantic models, so that all errors come at once.

Loads pydantic: import this module only when a file is read. Validators raise
`ValueError` (`UsageError` is one); `loading` adds file, line and column.
"""

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo

from ringgossip.config.settings import (
    DEFAULT_PORT,
    LONGEST_PATIENCE,
    ROLES,
    STRATEGIES,
    plural_kind,
)
from ringgossip.identity.names import Address, check_cluster_name, check_node_name

_ANY_INTERFACE = ("0.0.0.0", "::")
_SIZES = {"B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` or nothing."""
    close = difflib.get_close_matches(word[:100], list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {value!r}; put it in quotes")
    if not value.strip():
        raise ValueError("is empty")
    return value


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"{value!r} is none of {', '.join(words)}{did_you_mean(str(value), words)}")
        return str(value)

    return check


def _address(default_port: int | None, any_port: bool = False) -> Callable[[Any], Address]:
    def check(value: Any) -> Address:
        address = Address.parse(_text(value), default_port)
        if not any_port and (address.port == 0 or address.host in _ANY_INTERFACE):
            raise ValueError(f"{value!r} cannot be reached from outside: write a real host and port")
        return address

    return check


def _path(value: Any, info: ValidationInfo) -> Path:
    text = _text(value)
    if "\0" in text:
        raise ValueError("a path has no NUL in it")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    assert isinstance(info.context, Path)
    return info.context / path


def _bytes(value: Any) -> float:
    """Read a number of bytes, or a number with a unit: `64 MiB`."""
    if isinstance(value, str):
        number, unit = value.rstrip("BKMGiIbkmg").strip(), value.lstrip("0123456789._ ").upper()
        try:
            value = float(number) * _SIZES[unit]
        except (KeyError, ValueError):
            pass
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 2**63:
        raise ValueError(f"must be a number of bytes above 0, for example 67108864 or 64 MiB, not {value!r}")
    return value


def _kind(value: Any) -> str:
    word = _text(value)
    try:
        return plural_kind(word)
    except ValueError as error:
        raise ValueError(f"{error}{did_you_mean(word, ('games', 'models', 'npz'))}") from None


def _kinds(value: Any) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list):
        raise ValueError("must be a list of kinds, for example [models, npz]")
    kinds = ["games", "models", "npz"] if "all" in words else [_kind(word) for word in words]
    return list(dict.fromkeys(kinds))


def _metadata(value: Any) -> dict[str, str | int | float | bool]:
    if not isinstance(value, dict):
        raise ValueError("must be keys and values, for example {board_type: hex8, num_players: 2}")
    for key, entry in value.items():
        if not isinstance(entry, str | int | float | bool):
            raise ValueError(f"{key!r} must be text, a number, true or false")
    return value


_Seconds = Annotated[float, Field(gt=0, le=30 * 86400, allow_inf_nan=False)]
_Path = Annotated[Path, PlainValidator(_path)]
_Kinds = Annotated[list[str], PlainValidator(_kinds)]
_Text = Annotated[str, PlainValidator(_text)]
_Bytes = Annotated[float, PlainValidator(_bytes)]
_Reachable = Annotated[Address, PlainValidator(_address(DEFAULT_PORT))]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ShareBlock(_Block):
    kind: Annotated[str, PlainValidator(_kind)]
    folder: _Path
    match: _Text = "*"
    settle_seconds: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] | None = None
    metadata: Annotated[dict[str, str | int | float | bool], PlainValidator(_metadata)] | None = None


class BandwidthBlock(_Block):
    send_bytes_per_second: _Bytes | None = None
    receive_bytes_per_second: _Bytes | None = None


class MemoryBlock(_Block):
    # Below two chunks of 1 MiB nothing could ever be on its way while another is being stored.
    in_flight_bytes: Annotated[_Bytes, Field(ge=2 * 1024 * 1024)] | None = None


class NodeFile(_Block):
    """node.yaml as it may be written; None: not said, the default of `settings` holds."""

    cluster: Annotated[_Text, AfterValidator(check_cluster_name)]
    node: Annotated[_Text, AfterValidator(check_node_name)]
    role: Annotated[str, PlainValidator(_one_of(ROLES))] | None = None
    ephemeral: bool | None = None
    provider: _Text | None = None
    storage_group: _Text | None = None
    data: _Path
    credentials: _Path | None = None
    listen: Annotated[Address, PlainValidator(_address(DEFAULT_PORT, any_port=True))] | None = None
    advertise: Annotated[list[_Reachable], Field(max_length=16)] | None = None
    seeds: Annotated[list[_Reachable], Field(max_length=1000)] | None = None
    patience: Annotated[float, Field(gt=0, le=LONGEST_PATIENCE, allow_inf_nan=False)] | None = None
    strategy: Annotated[str, PlainValidator(_one_of(STRATEGIES))] | None = None
    share: Annotated[list[ShareBlock], Field(max_length=1000)] | None = None
    want: _Kinds | None = None
    receive: _Kinds | None = None
    copies: Annotated[int, Field(ge=0, le=1000)] | None = None
    interval_seconds: _Seconds | None = None
    gossip_interval_seconds: _Seconds | None = None
    sync_timeout_seconds: _Seconds | None = None
    max_concurrent_syncs: Annotated[int, Field(ge=1, le=1000)] | None = None
    drain_seconds: _Seconds | None = None
    bandwidth: BandwidthBlock | None = None
    memory: MemoryBlock | None = None
    status: Annotated[Address, PlainValidator(_address(8790, any_port=True))] | None = None
    chunks: Annotated[Address, PlainValidator(_address(8770, any_port=True))] | None = None


def block_fields(path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that may stand beside the last key of `path`."""
    blocks: dict[str | int, type[_Block]] = {
        "share": ShareBlock,
        "bandwidth": BandwidthBlock,
        "memory": MemoryBlock,
    }
    model = NodeFile if len(path) < 2 else blocks.get(path[0], NodeFile)
    return list(model.model_fields)
