"""How does a world begin in the middle, where everybody has known everybody for long?

For stories that are not about meeting: a thousand peers that come to know each
other are a million greetings, which `cold_start` and `mass_rejoin` are about.
"""

from collections.abc import Sequence

from ringgossip.content.catalog import Catalog
from ringgossip.protocol.cards import read_card
from ringgossip.protocol.peer_core import PeerCore
from ringgossip.simulation.node import Node


def acquaint(nodes: Sequence[Node]) -> None:
    """Let all of these who run know each other's cards and certificates; links are still to be opened."""
    running = [(node, core) for node in nodes if (core := node.core) is not None]
    cards = tuple(read_card(core.membership.own_card) for _, core in running)
    first: Catalog | None = None
    for node, core in running:
        core.membership.acquaint(cards)
        if not isinstance(core, PeerCore):
            continue  # it knows members, and nothing else
        if first is None:
            first = core.catalog
            for other, _ in running:
                first.add_certificate(other.certificate)
        else:
            core.catalog.share_certificates(first)
        core.membership.set_catalog_root(core.catalog.root)
        core.rules.members_changed(node.clock())
