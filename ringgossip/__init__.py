"""What is the door of the library? Its public names, each loaded at first use.

`import ringgossip` costs a host program next to nothing: no trio, no
cryptography, no yaml until a name that needs them is touched. To add a name,
add its line in three places: for type checkers, to the table, to `__all__`; a
test compares them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringgossip import errors, events
    from ringgossip.client import connect
    from ringgossip.config import PeerConfig
    from ringgossip.errors import RinggossipError
    from ringgossip.service.host import open_peer, run_in_thread

__version__ = "0.1.0"

# name -> the module that defines it; a name that is itself a module stands with itself.
_HOMES = {
    "PeerConfig": "ringgossip.config",
    "RinggossipError": "ringgossip.errors",
    "connect": "ringgossip.client",
    "errors": "ringgossip.errors",
    "events": "ringgossip.events",
    "open_peer": "ringgossip.service.host",
    "run_in_thread": "ringgossip.service.host",
}

__all__ = [
    "PeerConfig",
    "RinggossipError",
    "connect",
    "errors",
    "events",
    "open_peer",
    "run_in_thread",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ringgossip' has no name {name!r}")
    module = import_module(home)
    value = module if home == f"ringgossip.{name}" else getattr(module, name)
    # Kept, so that this function runs once for each name.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
