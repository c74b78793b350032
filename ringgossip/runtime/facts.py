"""What does a configuration mean for the core? What we say of ourselves, and how its machines are set."""

import ipaddress
import socket

import ringgossip
from ringgossip.config import PeerConfig
from ringgossip.identity import Address
from ringgossip.protocol.anti_entropy import AntiEntropySettings
from ringgossip.protocol.asking import TransferSettings
from ringgossip.protocol.cards import MemberFacts
from ringgossip.protocol.peer_core import CoreSettings
from ringgossip.protocol.rule_settings import rules_of
from ringgossip.protocol.serving import ServingSettings

_MOST_ASKED = 64  # chunks that one request may name on the wire


def settings_of(config: PeerConfig) -> CoreSettings:
    """Return the settings of the machines."""
    return CoreSettings(
        anti_entropy=AntiEntropySettings(interval=config.gossip_interval_seconds),
        transfer=TransferSettings(
            in_flight=config.memory.in_flight_bytes,
            active=config.max_concurrent_syncs,
            new_links=config.parallel,
            request_chunks=min(config.batch_size or _MOST_ASKED, _MOST_ASKED),
            receive_bytes_per_second=config.bandwidth.receive_bytes_per_second,
        ),
        serving=ServingSettings(send_bytes_per_second=config.bandwidth.send_bytes_per_second),
        rules=rules_of(config),
    )


def facts_of(config: PeerConfig, bound: Address, embedded: bool) -> MemberFacts:
    """Return what we tell about ourselves; a standalone peer has no host that could stall it."""
    return MemberFacts(
        addresses=config.advertise or own_addresses(bound),
        role=config.role,
        ephemeral=config.ephemeral,
        provider=config.provider,
        storage_group=config.storage_group,
        patience=config.patience if embedded else 0.0,
        software=f"ringgossip {ringgossip.__version__}",
    )


def own_addresses(bound: Address) -> tuple[Address, ...]:
    """Return where others may reach a socket bound to `bound`: for a wildcard, our main address."""
    try:
        if not ipaddress.ip_address(bound.host).is_unspecified:
            return (bound,)
    except ValueError:
        return (bound,)
    found = []
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        if family == socket.AF_INET6 and ":" not in bound.host:
            continue
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                # Nothing is sent: this only asks which address would be used.
                sock.connect((outside, 9))
                found.append(Address(sock.getsockname()[0], bound.port))
        except OSError:
            continue
    return tuple(found) or (Address("127.0.0.1", bound.port),)
