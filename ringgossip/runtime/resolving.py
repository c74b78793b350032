"""Which IP address has this name? Asked in a thread, remembered for a while.

Seeds and advertised addresses may be names. A name that does not answer must
not hold up a probe, so datagrams to it wait here, a few at a time.
"""

import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

import trio

from ringgossip.identity import Address
from ringgossip.runtime.workers import Workers

KEPT = 60.0  # seconds; rented machines change addresses, name servers do not like to be asked often
KEPT_FAILURE = 5.0
# ... and so many times as long as it took: names that do not answer must not occupy all threads.
FAILURE_FACTOR = 10.0
MOST_NAMES = 1024
MOST_WAITING = 16  # datagrams for one name that is being asked for


@lru_cache(maxsize=4096)
def is_literal(host: str) -> bool:
    """Tell whether `host` is an IP address already, with no zone: zones are words that others choose.

    What is one, sockets take as it is; everything else they would look up, in trio's thread.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def look_up(host: str) -> str:
    """Return the first address of a name, IPv4 preferred; blocks; raises `OSError`."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    found.sort(key=lambda row: row[0] != socket.AF_INET)
    return str(found[0][4][0])


class Resolver:
    """A bounded cache of names."""

    def __init__(self, workers: Workers, ask: Callable[[str], str] = look_up) -> None:
        self._workers = workers
        self._ask = ask
        self._known: OrderedDict[str, tuple[float, str | OSError]] = OrderedDict()
        self._waiting: dict[str, list[Callable[[str | OSError], None]]] = {}

    def known(self, host: str) -> str | OSError | None:
        """Return the literal for `host`, the error it ended in lately, or None if it must be asked for."""
        if is_literal(host):
            return host
        entry = self._known.get(host)
        if entry is None or entry[0] < trio.current_time():
            return None
        return entry[1]

    def resolve(self, host: str, then: Callable[[str | OSError], None]) -> bool:
        """Call `then` at once or later; return False, and do not, if too many wait already."""
        answer = self.known(host)
        if answer is not None:
            then(answer)
            return True
        waiting = self._waiting.get(host)
        if waiting is not None:
            if len(waiting) >= MOST_WAITING:
                return False
            waiting.append(then)
            return True
        if len(self._waiting) >= MOST_NAMES:
            return False
        self._waiting[host] = [then]
        asked = trio.current_time()
        self._workers.submit(
            lambda: self._ask(host),
            lambda literal: self._answered(host, literal, asked),
            lambda error: self._answered(
                host, error if isinstance(error, OSError) else OSError(str(error)), asked
            ),
        )
        return True

    def _answered(self, host: str, answer: str | OSError, asked: float) -> None:
        now = trio.current_time()
        kept = KEPT if isinstance(answer, str) else KEPT_FAILURE + FAILURE_FACTOR * (now - asked)
        self._known.pop(host, None)
        self._known[host] = (now + kept, answer)
        if len(self._known) > MOST_NAMES:
            self._known.popitem(last=False)
        for then in self._waiting.pop(host, ()):
            then(answer)

    async def find(self, address: Address) -> Address:
        """Return `address` with a literal host, or raise `OSError`."""
        ready = trio.Event()
        answers: list[str | OSError] = []

        def then(answer: str | OSError) -> None:
            answers.append(answer)
            ready.set()

        if not self.resolve(address.host, then):
            raise OSError(f"too many wait for the address of {address.host}")
        await ready.wait()
        if isinstance(answers[0], OSError):
            raise answers[0]
        return Address(answers[0], address.port)
