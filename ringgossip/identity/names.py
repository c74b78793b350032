"""What is a peer called, and where is it? Names and addresses, with no cryptography.

A peer is identified by its certificate, never by its address: `PeerId` is the
first half of the SHA-256 fingerprint of the certificate (openssl prints the
whole one). Its name is what people write in files.
"""

import re
from typing import NamedTuple, NewType

from ringgossip.errors import UsageError

# 16 bytes: long enough that nobody finds a second certificate with the same prefix.
PeerId = NewType("PeerId", bytes)

PEER_ID_BYTES = 16

_NODE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?\Z")


def check_node_name(name: str) -> str:
    """Return `name` if it may name a node, else raise `UsageError`.

    Letters, digits, `.`, `_`, `-`; 1 to 64 of them; a letter or digit at both
    ends, because origins become folder names on every disk of the cluster.
    """
    if not _NODE_NAME.match(name) or ".." in name:
        raise UsageError(
            f"{name!r} is no node name: use 1 to 64 letters, digits, '.', '_' or '-', "
            "with a letter or digit at both ends and no '..'"
        )
    return name


def check_cluster_name(name: str) -> str:
    """Return `name` if it may name a cluster, else raise `UsageError`.

    The rule of node names: it stands in certificates, and in what is signed.
    """
    if not _NODE_NAME.match(name) or ".." in name:
        raise UsageError(
            f"{name!r} is no cluster name: use 1 to 64 letters, digits, '.', '_' or '-', "
            "with a letter or digit at both ends and no '..'"
        )
    return name


class Address(NamedTuple):
    """A host (name or IP literal) and a port; UDP and TCP share it.

    A tuple, because every packet is looked up by its address.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> "Address":
        """Read `host:port`, `[v6]:port` or, given a default port, a bare host.

        Raises `UsageError` with what is wrong.
        """
        host, colon, port = text.rpartition(":")
        if text.startswith("["):
            literal, bracket, rest = text[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise UsageError(f"{text!r} is no address: write [IPv6]:port")
            host, port, colon = literal, rest[1:], ":" if rest else ""
        elif text.count(":") > 1:
            raise UsageError(f"{text!r} is no address: put an IPv6 address in brackets, [::1]:7946")
        if not colon:
            host, port = (host or text) if text.startswith("[") else text, ""
        if not port and default_port is not None:
            port = str(default_port)
        if (
            not host
            or len(host) > 255
            or any(map(str.isspace, text))
            or not port.isdecimal()
            or not 0 <= int(port) <= 65535
        ):
            raise UsageError(f"{text!r} is no address: write host:port, for example 10.0.0.7:7946")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
