"""Which knobs has a peer, and who turned them? Every key with unit, default and origin.

`settings` holds what a peer reads and is light; `load_config` loads pyyaml and
pydantic only when a file is really read.
"""

from ringgossip.config.blocks import Bandwidth, Budget, DiskRules, Keep, Memory, ShareFolder, Termination
from ringgossip.config.loading import load_config
from ringgossip.config.settings import DEFAULT_PORT, Knob, PeerConfig, knobs
from ringgossip.config.words import KINDS, PRIORITIES, ROLES, STATES, STRATEGIES, plural_kind

__all__ = [
    "DEFAULT_PORT",
    "KINDS",
    "PRIORITIES",
    "ROLES",
    "STATES",
    "STRATEGIES",
    "Bandwidth",
    "Budget",
    "DiskRules",
    "Keep",
    "Knob",
    "Memory",
    "PeerConfig",
    "ShareFolder",
    "Termination",
    "knobs",
    "load_config",
    "plural_kind",
]
