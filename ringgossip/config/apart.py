"""How is a configuration read without keeping in memory what reads it?

In a child that ends at once: pydantic and PyYAML stay resident for as long as a
process lives, 5 MiB of the 60 that a standalone peer may take (targets, section 4).
For a program that has no threads yet: only then is it safe to fork.
"""

import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ringgossip.config.loading import load_config
from ringgossip.config.settings import PeerConfig


def load_config_apart(
    path: Path, *, node: str | None = None, data: str | None = None, credentials: str | None = None
) -> PeerConfig:
    """Return what `load_config` returns, and raise what it raises."""
    read = partial(load_config, path, node=node, data=data, credentials=credentials)
    packed = _ask_child(read)
    if packed:
        config: PeerConfig = pickle.loads(packed)
        return config
    # Whatever is wrong is told from here, where everybody can hear it.
    return read()


def _ask_child(read: Callable[[], PeerConfig]) -> bytes:
    """Return the configuration, pickled, or nothing if it could not be read."""
    answer, told = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(answer)
        os.close(told)
        return b""
    if not child:
        try:
            with os.fdopen(told, "wb") as pipe:
                pipe.write(pickle.dumps(read()))
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(told)
    with os.fdopen(answer, "rb") as pipe:
        packed = pipe.read()
    _, status = os.waitpid(child, 0)
    return packed if status == 0 else b""
