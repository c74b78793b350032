"""A child that our program forks must not keep what ends with the peer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ringgossip.identity import Address
from ringgossip.runtime.ports import open_ports
from ringgossip.runtime.storage.layout import Layout


@contextmanager
def forked_child() -> Iterator[None]:
    """A child that runs when the block begins, and lives until it ends."""
    waits, ends = os.pipe()
    hears, tells = os.pipe()
    child = os.fork()
    if not child:
        os.close(ends)
        os.write(tells, b".")
        os.read(waits, 1)
        os._exit(0)
    os.close(waits)
    os.close(tells)
    os.read(hears, 1)
    os.close(hears)
    try:
        yield
    finally:
        os.close(ends)
        os.waitpid(child, 0)


def test_a_workers_copies_hold_neither_the_ports_nor_the_store(tmp_path: Path) -> None:
    ports, lock = open_ports(Address("127.0.0.1", 0)), Layout(tmp_path / "data").lock()
    with forked_child():
        ports.close()
        lock.close()
        open_ports(ports.address).close()
        Layout(tmp_path / "data").lock().close()
