"""What does a peer read at its start? Every key of node.yaml; its blocks stand in `blocks`.

A field's metadata says its unit and its meaning, so that `ringgossip config`
and this file cannot drift apart. Seconds and bytes are the silent units. The
checks here hold for a `PeerConfig` made by a program too; a file is checked
again key by key (`schema`), because a file deserves line numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringgossip.config.blocks import (
    Bandwidth,
    Budget,
    DiskRules,
    Keep,
    Memory,
    Scrub,
    ShareFolder,
    Termination,
    about,
)
from ringgossip.config.words import KINDS, ROLES, STATES, STRATEGIES, provider_of
from ringgossip.errors import UsageError
from ringgossip.identity.names import Address, check_cluster_name, check_node_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DEFAULT_PORT = 7946
LONGEST_PATIENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """Everything that one peer is told at its start. Made by a program or by `load_config`.

    Raises `UsageError` for values that no peer could run with.
    """

    # --- who we are
    cluster: str = field(metadata=about("name of the cluster, as given to `init`"))
    node: str = field(metadata=about("name of this node, as given to `enroll`"))
    role: str = field(default="selfplay", metadata=about(f"one of {', '.join(ROLES)}"))
    state: str = field(default="ready", metadata=about("ready takes part; any other word receives nothing"))
    ephemeral: bool = field(default=False, metadata=about("may vanish at any time; SIGTERM drains"))
    provider: str = field(default="", metadata=about("who rents it out; else the name's prefix before '-'"))
    storage_group: str | None = field(
        default=None, metadata=about("peers with the same value share a disk (NFS)")
    )

    shared_folder: Path | None = field(
        default=None, metadata=about("where that disk is mounted; none: the mount that `data` lies on")
    )

    # --- where things lie
    data: Path = field(metadata=about("folder of replicas, partial files and the index; made if missing"))
    credentials: Path = field(metadata=about("folder that `enroll` wrote"))

    # --- how we are reached
    listen: Address = field(
        default=Address("0.0.0.0", DEFAULT_PORT),
        metadata=about("address of TCP and UDP; port 0: any free one"),
    )
    advertise: tuple[Address, ...] = field(
        default=(), metadata=about("addresses told to others, where ports are mapped")
    )
    seeds: tuple[Address, ...] = field(default=(), metadata=about("peers to ask first"))
    patience: float = field(
        default=15.0,
        metadata=about("nobody declares us dead earlier: for hosts that may stall; at most 60", "seconds"),
    )

    # --- what we hold and give
    strategy: str = field(default="auto", metadata=about("hybrid, ephemeral, broadcast or auto"))
    share: tuple[ShareFolder, ...] = field(default=(), metadata=about("folders to publish from"))
    want: tuple[str, ...] | None = field(
        default=None, metadata=about("kinds this node pulls; none: as its role says")
    )
    receive: tuple[str, ...] | None = field(
        default=None, metadata=about("kinds this node may be given; none: as the rules say")
    )
    copies: int = field(default=3, metadata=about("copies wanted beside the origin's own", "copies"))
    copies_per_kind: tuple[tuple[str, int], ...] = field(
        default=(), metadata=about("copies wanted of one kind", "copies")
    )
    exclude: tuple[tuple[str, tuple[str, ...]], ...] = field(
        default=(), metadata=about("nodes that receive nothing, or none of these kinds")
    )
    priority_nodes: tuple[str, ...] = field(
        default=(), metadata=about("nodes that weigh more and count as training nodes")
    )
    min_games_to_sync: int = field(
        default=10, metadata=about("a database with fewer games is not pushed, only offered", "games")
    )
    disk: DiskRules = field(default=DiskRules(), metadata=about("when a filling disk stops receiving"))
    keep: tuple[Keep, ...] = field(default=(), metadata=about("how much of a kind stays; none: everything"))

    # --- how fast
    interval_seconds: float = field(default=60.0, metadata=about("main cycle", "seconds"))
    ephemeral_interval_seconds: float = field(
        default=30.0, metadata=about("main cycle of what an ephemeral node holds", "seconds")
    )
    min_interval_seconds: float = field(
        default=2.0, metadata=about("shortest time between two publications of a shared file", "seconds")
    )
    gossip_interval_seconds: float = field(
        default=15.0, metadata=about("longest time between two comparisons of catalogs", "seconds")
    )
    sync_timeout_seconds: float = field(
        default=300.0, metadata=about("how long a `sync` tries before it reports", "seconds")
    )
    # The users' file says 12, their environment 6; 12 is the explicit one.
    max_concurrent_syncs: int = field(
        default=12,
        metadata=about("pulled at the same time; what is more urgent may go beside them", "artifacts"),
    )
    batch_size: int | None = field(
        default=None, metadata=about("chunks one request asks for; none: about a MiB", "chunks")
    )
    parallel: int = field(default=4, metadata=about("holders asked to link at once for one pull", "holders"))
    drain_seconds: float = field(
        # docker kills 10 s after SIGTERM.
        default=8.0,
        metadata=about("deadline of the drain at SIGTERM", "seconds"),
    )
    bandwidth: Bandwidth = field(default=Bandwidth(), metadata=about("limits; none: no limit"))
    budget: Budget = field(default=Budget(), metadata=about("bytes that may leave; none: no budget"))
    memory: Memory = field(default=Memory(), metadata=about("what the process may hold"))

    scrub: Scrub = field(default=Scrub(), metadata=about("how stored copies are read again"))

    # --- how the machine ends
    termination: Termination = field(
        default=Termination(), metadata=about("where the provider says that the machine goes away")
    )

    # --- who may look at us
    status: Address | None = field(default=None, metadata=about("HTTP status, health and metrics; none: off"))
    chunks: Address | None = field(
        default=None, metadata=about("not built yet: chunks travel over the peer port")
    )

    origins: Mapping[str, str] = field(
        default_factory=dict,
        compare=False,
        metadata=about("key -> `node.yaml:12`, `environment NAME` or `default`"),
    )
    notices: tuple[str, ...] = field(
        default=(), compare=False, metadata=about("keys that mean nothing here, or not yet")
    )

    def __post_init__(self) -> None:
        check_cluster_name(self.cluster)
        check_node_name(self.node)
        for word, allowed, key in (
            (self.role, ROLES, "role"),
            (self.state, STATES, "state"),
            (self.strategy, STRATEGIES, "strategy"),
        ):
            if word not in allowed:
                raise UsageError(f"{key}: {word!r} is none of {', '.join(allowed)}")
        if not 0 < self.patience <= LONGEST_PATIENCE:
            raise UsageError(f"patience: {self.patience} is not above 0 and at most {LONGEST_PATIENCE:g} s")
        kinds = [*(self.want or ()), *(self.receive or ()), *(kind for kind, _ in self.copies_per_kind)]
        kinds += [folder.kind for folder in self.share] + [rule.kind for rule in self.keep]
        kinds += [kind for _, excluded in self.exclude for kind in excluded]
        for kind in kinds:
            if kind not in KINDS:
                raise UsageError(f"{kind!r} is no kind of artifact: use one of {', '.join(KINDS)}")
        notice = f"{self.origin('chunks')}: chunks: is not built yet: chunks travel over the peer port"
        if self.chunks is not None and notice not in self.notices:
            object.__setattr__(self, "notices", (*self.notices, notice))
        if not self.provider:
            object.__setattr__(self, "provider", provider_of(self.node))

    def copies_of(self, kind: str) -> int:
        """Return how many copies of this kind are wanted, the origin's own not counted."""
        return dict(self.copies_per_kind).get(kind, self.copies)

    def origin(self, key: str) -> str:
        """Return who set `key` (dotted for blocks, `bandwidth.send_bytes_per_second`)."""
        return self.origins.get(key, "default" if self.origins else "the program")


# The keys that stand below another key.
BLOCKS: "dict[str, type[DataclassInstance]]" = {
    "disk": DiskRules,
    "bandwidth": Bandwidth,
    "budget": Budget,
    "memory": Memory,
    "scrub": Scrub,
    "termination": Termination,
}


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
        if entry.name in ("origins", "notices"):
            continue
        block = BLOCKS.get(entry.name)
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
