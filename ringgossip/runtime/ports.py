"""Which sockets does a peer listen on? TCP and UDP at one address and port."""

import errno
import socket
from dataclasses import dataclass

from ringgossip.errors import OperationFailed
from ringgossip.identity import Address
from ringgossip.runtime.forking import close_in_children

_BACKLOG = 512
_TRIES = 50
_UDP_BUFFER = 1 << 20  # fifty peers that answer at once fill the default


@dataclass(frozen=True, slots=True)
class Ports:
    """Two bound sockets, not blocking; the caller closes them."""

    tcp: socket.socket
    udp: socket.socket
    address: Address

    def close(self) -> None:
        self.tcp.close()
        self.udp.close()


def open_ports(listen: Address) -> Ports:
    """Bind TCP and UDP; port 0 finds one that is free for both. Raises `OperationFailed`."""
    last: OSError | None = None
    for _ in range(_TRIES if listen.port == 0 else 1):
        try:
            return _open(listen)
        except UnicodeError as error:
            raise OperationFailed(f"cannot listen on {listen}: {listen.host!r} is no host name") from error
        except OSError as error:
            last = error
            if error.errno != errno.EADDRINUSE:
                break
    assert last is not None
    hint = "; is another peer running there?" if last.errno == errno.EADDRINUSE else ""
    raise OperationFailed(f"cannot listen on {listen}: {last.strerror or last}{hint}") from last


def _open(listen: Address) -> Ports:
    [family, _, _, _, place] = socket.getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    tcp = socket.socket(family, socket.SOCK_STREAM)
    udp = socket.socket(family, socket.SOCK_DGRAM)
    close_in_children(tcp)
    close_in_children(udp)
    try:
        for sock in (tcp, udp):
            sock.setblocking(False)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UDP_BUFFER)
        tcp.bind(place)
        port = tcp.getsockname()[1]
        udp.bind((place[0], port, *place[2:]))
        tcp.listen(_BACKLOG)
    except OSError:
        tcp.close()
        udp.close()
        raise
    return Ports(tcp, udp, Address(listen.host, port))


def plain_address(place: tuple[object, ...]) -> Address:
    """Return where somebody is; IPv4 seen through an IPv6 socket is IPv4."""
    host = str(place[0])
    return Address(host.removeprefix("::ffff:") if "." in host else host, int(str(place[1])))


def socket_place(address: Address, family: int) -> tuple[str, int]:
    """Return the place to send to from a socket of `family`; raises `OSError` if it cannot get there."""
    six = ":" in address.host
    if family == socket.AF_INET and six:
        raise OSError(errno.EAFNOSUPPORT, "this peer listens on IPv4 only")
    if family == socket.AF_INET6 and not six:
        return f"::ffff:{address.host}", address.port
    return address.host, address.port
