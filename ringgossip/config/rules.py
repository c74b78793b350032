"""What do users already say about their cluster? `distributed_hosts.yaml` as frozen values.

Only keys that mean something here; `hosts_file` reads them. Bytes and seconds
are the silent units: what the file calls mbps is megabytes a second there and
bytes a second here. Source: field notes, section 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ringgossip.config.blocks import Rates
from ringgossip.config.words import provider_of
from ringgossip.identity.names import Address


@dataclass(frozen=True, slots=True)
class Notice:
    """A key that means nothing here, or less than its author may think."""

    line: int
    key: str
    text: str

    def __str__(self) -> str:
        """Return `line 12: key: what about it`."""
        return f"line {self.line}: {self.key}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRules:
    """One host of the file."""

    name: str
    role: str = "selfplay"  # in our words
    state: str = "ready"
    ephemeral: bool = False
    bandwidth: float | None = None
    addresses: tuple[Address, ...] = ()  # tailscale_ip, then ssh_host
    reachable: bool = True  # accepts connections, as far as the file knows
    receives: bool = True  # False: skip_sync_receive
    shares_disk: bool = False  # storage_type says that it is a network disk
    storage_paths: Mapping[str, str] = field(default_factory=dict, hash=False)
    external_storage: bool | None = None  # use_external_storage; None: not said

    @property
    def provider(self) -> str:
        """The prefix of its name."""
        return provider_of(self.name)


@dataclass(frozen=True, slots=True)
class ExternalStorage:
    """A disk on which a coordinator may keep these kinds."""

    host: str
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRules:
    """The whole file. `lines` says where each key stands that the file says: the rest are its defaults."""

    file: str
    enabled: bool = True
    strategy: str = "auto"
    interval_seconds: float = 60.0
    gossip_interval_seconds: float = 15.0
    max_concurrent_syncs: int = 12
    bandwidth_limit: float = 100e6
    bandwidth_overrides: Rates = ()
    min_games_to_sync: int = 10
    skip_shared_disks: bool = True
    max_disk_usage_percent: float = 70.0
    target_disk_usage_percent: float = 60.0
    min_free_disk_percent: float = 15.0
    replication_target: int = 3
    excluded: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)  # name -> kinds
    priority_hosts: tuple[str, ...] = ()
    external_storage: tuple[ExternalStorage, ...] = ()
    hosts: Mapping[str, HostRules] = field(default_factory=dict, hash=False)
    lines: Mapping[str, int] = field(default_factory=dict, hash=False)
    notices: tuple[Notice, ...] = ()

    def storage_group(self, name: str) -> str | None:
        """Return what the hosts share that share a disk with `name`; None: it shares none.

        Hosts of one provider whose `storage_type` is a network disk, with the
        same `storage_paths` where the file says any. If that is wrong for some
        host it costs nothing but a look: a file counts as shared only where it
        can be read.
        """
        host = self.hosts[name]
        if not (self.skip_shared_disks and host.shares_disk):
            return None
        return "-".join(("nfs", host.provider, *sorted(set(host.storage_paths.values()))))[:128]
