"""What have all nodes of a made world in common?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringgossip.content.record import Record
from ringgossip.protocol.core import Published, PublishRefused
from ringgossip.simulation.kernel import Kernel
from ringgossip.simulation.links import Links
from ringgossip.simulation.network import Network
from ringgossip.simulation.wire import Wire

if TYPE_CHECKING:
    from ringgossip.simulation.checks import Checks
    from ringgossip.simulation.node import Node


@dataclass(slots=True)
class Shared:
    """One of each, for everybody."""

    kernel: Kernel
    network: Network
    links: Links
    wire: Wire
    cluster: str
    checks: "Checks | None" = None
    lies: bool = False  # Somebody lies: a broken limit is no bug of ours then.
    published: Callable[["Node", Published | PublishRefused], None] = lambda node, answer: None
    look: Callable[["Node", Record, str], str] = lambda node, record, place: "nothing is there"
