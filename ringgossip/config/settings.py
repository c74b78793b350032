"""What does a peer read at its start? One frozen dataclass per block of node.yaml.

A field's metadata says its unit and its meaning, so that `ringgossip config`
and this file cannot drift apart. Seconds and bytes are the silent units. The
checks here hold for a `PeerConfig` made by a program too; a file is checked
again key by key (`schema`), because a file deserves line numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from ringgossip.errors import UsageError
from ringgossip.identity.names import Address, check_cluster_name, check_node_name

KINDS = ("games", "models", "npz")
ROLES = ("selfplay", "training", "coordinator")
STRATEGIES = ("hybrid", "ephemeral", "broadcast", "auto")

DEFAULT_PORT = 7946

# Words for kinds that are in use; stored and sent is always the plural.
_KIND_WORDS = {"game": "games", "model": "models", "checkpoint": "models", "checkpoints": "models"}

LONGEST_PATIENCE = 60.0


def _about(meaning: str, unit: str = "") -> dict[str, str]:
    return {"meaning": meaning, "unit": unit}


def plural_kind(word: str) -> str:
    """Return `games`, `models` or `npz` for any word in use for it.

    Raises `UsageError` for another word.
    """
    kind = _KIND_WORDS.get(word, word)
    if kind not in KINDS:
        raise UsageError(f"{word!r} is no kind of artifact: use one of {', '.join(KINDS)}")
    return kind


def provider_of(node: str) -> str:
    """Return the provider that a node's name tells: its prefix before the first `-`."""
    return node.partition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareFolder:
    """A folder whose finished files are published."""

    kind: str = field(metadata=_about("games, models or npz"))
    folder: Path = field(metadata=_about("where the files appear"))
    match: str = field(default="*", metadata=_about("glob that a file's path below the folder must match"))
    settle_seconds: float = field(
        # A guess: longer than the pauses of a writer on a slow disk, shorter than a person's patience.
        default=5.0,
        metadata=_about("a file not renamed into place must stay still this long", "seconds"),
    )
    metadata: Mapping[str, str | int | float | bool] = field(
        default_factory=dict,
        hash=False,
        metadata=_about("published with every file: board_type, num_players, quality, ..."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """The peer's total limits; None: no limit."""

    send_bytes_per_second: float | None = field(default=None, metadata=_about("total sent", "bytes/second"))
    receive_bytes_per_second: float | None = field(
        default=None, metadata=_about("total received", "bytes/second")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the process may hold at most."""

    in_flight_bytes: int = field(
        default=64 * 1024 * 1024, metadata=_about("chunks asked for or held in memory", "bytes")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """Everything that one peer is told at its start. Made by a program or by `load_config`.

    Raises `UsageError` for values that no peer could run with.
    """

    # --- who we are
    cluster: str = field(metadata=_about("name of the cluster, as given to `init`"))
    node: str = field(metadata=_about("name of this node, as given to `enroll`"))
    role: str = field(default="selfplay", metadata=_about("selfplay, training or coordinator"))
    ephemeral: bool = field(default=False, metadata=_about("may vanish at any time; SIGTERM drains"))
    provider: str = field(default="", metadata=_about("who rents it out; else the name's prefix before '-'"))
    storage_group: str | None = field(
        default=None, metadata=_about("peers with the same value share a disk (NFS)")
    )

    # --- where things lie
    data: Path = field(metadata=_about("folder of replicas, partial files and the index; made if missing"))
    credentials: Path = field(metadata=_about("folder that `enroll` wrote"))

    # --- how we are reached
    listen: Address = field(
        default=Address("0.0.0.0", DEFAULT_PORT),
        metadata=_about("address of TCP and UDP; port 0: any free one"),
    )
    advertise: tuple[Address, ...] = field(
        default=(), metadata=_about("addresses told to others, where ports are mapped")
    )
    seeds: tuple[Address, ...] = field(default=(), metadata=_about("peers to ask first"))
    patience: float = field(
        default=15.0,
        metadata=_about("nobody declares us dead earlier: for hosts that may stall; at most 60", "seconds"),
    )

    # --- what we hold and give
    strategy: str = field(default="auto", metadata=_about("hybrid, ephemeral, broadcast or auto"))
    share: tuple[ShareFolder, ...] = field(default=(), metadata=_about("folders to publish from"))
    want: tuple[str, ...] | None = field(
        default=None, metadata=_about("kinds this node pulls; none: as its role says")
    )
    receive: tuple[str, ...] | None = field(
        default=None, metadata=_about("kinds this node may be given; none: as the rules say")
    )
    copies: int = field(default=3, metadata=_about("copies wanted of everything", "copies"))

    # --- how fast
    interval_seconds: float = field(default=60.0, metadata=_about("main cycle", "seconds"))
    gossip_interval_seconds: float = field(
        default=15.0, metadata=_about("longest time between two comparisons of catalogs", "seconds")
    )
    sync_timeout_seconds: float = field(
        default=300.0, metadata=_about("how long a `sync` tries before it reports", "seconds")
    )
    # The users' file says 12, their environment 6; 12 is the explicit one.
    max_concurrent_syncs: int = field(
        default=12, metadata=_about("artifacts pulled at the same time", "artifacts")
    )
    drain_seconds: float = field(
        # docker kills 10 s after SIGTERM.
        default=8.0,
        metadata=_about("deadline of the drain at SIGTERM", "seconds"),
    )
    bandwidth: Bandwidth = field(default=Bandwidth(), metadata=_about("total limits; none: no limit"))
    memory: Memory = field(default=Memory(), metadata=_about("what the process may hold"))

    # --- who may look at us
    status: Address | None = field(
        default=None, metadata=_about("HTTP status, health and metrics; none: off")
    )
    chunks: Address | None = field(default=None, metadata=_about("serve chunks over HTTPS too; none: off"))

    origins: Mapping[str, str] = field(
        default_factory=dict,
        compare=False,
        metadata=_about("key -> `node.yaml:12`, `environment NAME` or `default`"),
    )

    def __post_init__(self) -> None:
        check_cluster_name(self.cluster)
        check_node_name(self.node)
        for word, allowed, key in (
            (self.role, ROLES, "role"),
            (self.strategy, STRATEGIES, "strategy"),
        ):
            if word not in allowed:
                raise UsageError(f"{key}: {word!r} is none of {', '.join(allowed)}")
        if not 0 < self.patience <= LONGEST_PATIENCE:
            raise UsageError(f"patience: {self.patience} is not above 0 and at most {LONGEST_PATIENCE:g} s")
        for kind in (*(self.want or ()), *(self.receive or ()), *(folder.kind for folder in self.share)):
            if kind not in KINDS:
                raise UsageError(f"{kind!r} is no kind of artifact: use one of {', '.join(KINDS)}")
        if not self.provider:
            object.__setattr__(self, "provider", provider_of(self.node))

    def origin(self, key: str) -> str:
        """Return who set `key` (dotted for blocks, `bandwidth.send_bytes_per_second`)."""
        return self.origins.get(key, "default" if self.origins else "the program")


@dataclass(frozen=True, slots=True)
class Knob:
    """One key of node.yaml as `ringgossip config` shows it."""

    key: str
    unit: str
    meaning: str
    required: bool
    default: Any


def knobs() -> Iterator[Knob]:
    """Yield every key of node.yaml in the order of this file; keys of blocks are dotted."""
    for entry in fields(PeerConfig):
        if entry.name == "origins":
            continue
        block = {"bandwidth": Bandwidth, "memory": Memory}.get(entry.name)
        if block is None:
            yield _knob(entry.name, entry)
        else:
            yield from (_knob(f"{entry.name}.{inner.name}", inner) for inner in fields(block))


def _knob(key: str, entry: "Field[Any]") -> Knob:
    return Knob(
        key,
        entry.metadata["unit"],
        entry.metadata["meaning"],
        entry.default is MISSING,
        None if entry.default is MISSING else entry.default,
    )
