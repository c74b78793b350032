"""Which knobs has a peer, and who turned them? Every key with unit, default and origin.

`settings` holds what a peer reads and is light; `load_config` loads pyyaml and
pydantic only when a file is really read.
"""

from ringgossip.config.loading import load_config
from ringgossip.config.settings import (
    DEFAULT_PORT,
    KINDS,
    ROLES,
    STRATEGIES,
    Bandwidth,
    Knob,
    Memory,
    PeerConfig,
    ShareFolder,
    knobs,
    plural_kind,
)

__all__ = [
    "DEFAULT_PORT",
    "KINDS",
    "ROLES",
    "STRATEGIES",
    "Bandwidth",
    "Knob",
    "Memory",
    "PeerConfig",
    "ShareFolder",
    "knobs",
    "load_config",
    "plural_kind",
]
