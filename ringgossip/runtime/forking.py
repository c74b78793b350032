"""What may a forked child of our program not keep? Our sockets and our lock: they would outlive the peer.

Training programs with an embedded peer fork workers. A child that keeps a copy
holds the port and the store for as long as it lives, although the peer has ended.
"""

import contextlib
import os
from typing import Protocol
from weakref import WeakSet


class _Closable(Protocol):
    def close(self) -> None: ...


_ours: WeakSet[_Closable] = WeakSet()


def close_in_children(thing: _Closable) -> None:
    """Have a socket or file closed in every process that is forked off this one."""
    _ours.add(thing)


def _close_all() -> None:
    for thing in list(_ours):
        with contextlib.suppress(OSError):
            thing.close()
    _ours.clear()


os.register_at_fork(after_in_child=_close_all)
