"""What may each key of node.yaml say? Pydantic models, so that all errors come at once.

Loads pydantic: import this module only when a file is read. Validators raise
`ValueError` (`UsageError` is one); `loading` adds file, line and column.
"""

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ringgossip.config.blocks import DiskRules
from ringgossip.config.settings import DEFAULT_PORT, LONGEST_PATIENCE
from ringgossip.config.words import KINDS, ROLES, STATES, STRATEGIES, plural_kind
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
    """Read a number of bytes, or a number with a unit: `64 MiB`; of a rate, `5 MB/s`."""
    if isinstance(value, str):
        value = value.removesuffix("/s")
        number, unit = value.rstrip("BKMGiIbkmg").strip(), value.lstrip("0123456789._ ").upper()
        try:
            value = float(number) * _SIZES[unit]
        except (KeyError, ValueError):
            pass
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 2**63:
        raise ValueError(f"must be a number of bytes above 0, for example 67108864 or 64 MiB, not {value!r}")
    return value


def _whole_bytes(value: Any) -> int:
    return int(_bytes(value))


def _floor_bytes(value: Any) -> int:
    return 0 if value == 0 and not isinstance(value, bool) else _whole_bytes(value)


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
    kinds = list(KINDS) if "all" in words else [_kind(word) for word in words]
    return list(dict.fromkeys(kinds))


def _metadata(value: Any) -> dict[str, str | int | float | bool]:
    if not isinstance(value, dict):
        raise ValueError("must be keys and values, for example {board_type: hex8, num_players: 2}")
    for key, entry in value.items():
        if not isinstance(entry, str | int | float | bool):
            raise ValueError(f"{key!r} must be text, a number, true or false")
    return value


_MOST_ENTRIES = 1000  # of one map: a cluster has tens of nodes


def _map(value: Any, example: str) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > _MOST_ENTRIES:
        raise ValueError(f"must be at most {_MOST_ENTRIES} names and values, for example {example}")
    return value


def _node_names(value: Any) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or len(words) > _MOST_ENTRIES:
        raise ValueError("must be a list of node names, for example [gpu-1, gpu-2]")
    return tuple(dict.fromkeys(check_node_name(_text(word)) for word in words))


def _rates(value: Any) -> tuple[tuple[str, float], ...]:
    entries = _map(value, "{vast-*: 50 MB/s}")
    try:
        return tuple((_text(name), float(_bytes(rate))) for name, rate in entries.items())
    except ValueError as error:
        raise ValueError(f"a rate {error}") from None


def _excluded(value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    entries = _map(value, "{gpu-7: all, gpu-8: [games]}")
    return tuple((check_node_name(_text(name)), tuple(_kinds(kinds))) for name, kinds in entries.items())


def _copies_per_kind(value: Any) -> tuple[tuple[str, int], ...]:
    entries = _map(value, "{models: 5}")
    for kind, copies in entries.items():
        if isinstance(copies, bool) or not isinstance(copies, int) or not 0 <= copies <= 1000:
            raise ValueError(f"{kind}: must be 0 to 1000 copies, not {copies!r}")
    return tuple((_kind(kind), copies) for kind, copies in entries.items())


_Seconds = Annotated[float, Field(gt=0, le=30 * 86400, allow_inf_nan=False)]
_Path = Annotated[Path, PlainValidator(_path)]
_Kinds = Annotated[list[str], PlainValidator(_kinds)]
_Text = Annotated[str, PlainValidator(_text)]
_Bytes = Annotated[float, PlainValidator(_bytes)]
_WholeBytes = Annotated[int, PlainValidator(_whole_bytes)]
_FloorBytes = Annotated[int, PlainValidator(_floor_bytes)]
_Rates = Annotated[tuple[tuple[str, float], ...], PlainValidator(_rates)]
_Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
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
    hosts: _Rates | None = None
    globs: _Rates | None = None
    providers: _Rates | None = None
    peer_bytes_per_second: _Bytes | None = None


class BudgetBlock(_Block):
    send_bytes_per_day: _WholeBytes | None = None
    send_bytes_per_month: _WholeBytes | None = None


class MemoryBlock(_Block):
    # Below two chunks of 1 MiB nothing could ever be on its way while another is being stored.
    in_flight_bytes: Annotated[_WholeBytes, Field(ge=2 * 1024 * 1024)] | None = None


class ScrubBlock(_Block):
    bytes_per_second: _FloorBytes | None = None
    rest_seconds: _Seconds | None = None


class DiskBlock(_Block):
    stop_percent: _Percent | None = None
    resume_percent: _Percent | None = None
    min_free_bytes: _FloorBytes | None = None
    floor_percent: _Percent | None = None
    floor_bytes: _FloorBytes | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "DiskBlock":
        DiskRules(**{key: value for key, value in self if value is not None})
        return self


class KeepBlock(_Block):
    kind: Annotated[str, PlainValidator(_kind)]
    newest: Annotated[int, Field(ge=1, le=10**9)] | None = None
    seconds: Annotated[float, Field(gt=0, le=100 * 366 * 86400, allow_inf_nan=False)] | None = None
    bytes: _WholeBytes | None = None


class TerminationBlock(_Block):
    file: _Path | None = None
    url: _Text | None = None
    every_seconds: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] | None = None

    @field_validator("url")
    @classmethod
    def _plain_http(cls, url: str | None) -> str | None:
        # The notices of cloud providers are served by the machine's own host, without TLS.
        if url is not None and not url.startswith("http://"):
            raise ValueError(f"{url!r} must start with http://")
        return url


class NodeFile(_Block):
    """node.yaml as it may be written; None: not said, the default of `settings` holds."""

    cluster: Annotated[_Text, AfterValidator(check_cluster_name)]
    node: Annotated[_Text, AfterValidator(check_node_name)]
    role: Annotated[str, PlainValidator(_one_of(ROLES))] | None = None
    state: Annotated[str, PlainValidator(_one_of(STATES))] | None = None
    ephemeral: bool | None = None
    provider: _Text | None = None
    storage_group: _Text | None = None
    shared_folder: _Path | None = None
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
    copies_per_kind: Annotated[tuple[tuple[str, int], ...], PlainValidator(_copies_per_kind)] | None = None
    exclude: Annotated[tuple[tuple[str, tuple[str, ...]], ...], PlainValidator(_excluded)] | None = None
    priority_nodes: Annotated[tuple[str, ...], PlainValidator(_node_names)] | None = None
    min_games_to_sync: Annotated[int, Field(ge=0, le=10**9)] | None = None
    disk: DiskBlock | None = None
    keep: Annotated[list[KeepBlock], Field(max_length=100)] | None = None
    interval_seconds: _Seconds | None = None
    ephemeral_interval_seconds: _Seconds | None = None
    min_interval_seconds: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] | None = None
    gossip_interval_seconds: _Seconds | None = None
    sync_timeout_seconds: _Seconds | None = None
    max_concurrent_syncs: Annotated[int, Field(ge=1, le=1000)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    parallel: Annotated[int, Field(ge=1, le=1000)] | None = None
    drain_seconds: _Seconds | None = None
    bandwidth: BandwidthBlock | None = None
    budget: BudgetBlock | None = None
    memory: MemoryBlock | None = None
    scrub: ScrubBlock | None = None
    termination: TerminationBlock | None = None
    status: Annotated[Address, PlainValidator(_address(8790, any_port=True))] | None = None
    chunks: Annotated[Address, PlainValidator(_address(8770, any_port=True))] | None = None


def block_fields(path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that may stand beside the last key of `path`."""
    block = _BLOCKS.get(path[0]) if len(path) > 1 else NodeFile
    return list((block or NodeFile).model_fields)


_BLOCKS: dict[str | int, type[_Block]] = {
    "share": ShareBlock,
    "keep": KeepBlock,
    "disk": DiskBlock,
    "bandwidth": BandwidthBlock,
    "budget": BudgetBlock,
    "memory": MemoryBlock,
    "scrub": ScrubBlock,
    "termination": TerminationBlock,
}
