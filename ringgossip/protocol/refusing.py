"""What is said of those who are turned away: strangers, members without our key, and who breaks the rules?

A part of the core. Each of these is counted, and told once in a while.
"""

from ringgossip.events import GossipKeysRefused, PeerProtocolError, StrangerRefused
from ringgossip.identity import PeerId
from ringgossip.protocol.core import Effect
from ringgossip.protocol.looking import Looking


class Refusing(Looking):
    """The inputs of the world that are about others' faults."""

    def packet_refused(self, address: str, reason: str, now: float) -> list[Effect]:
        """A stranger's datagram or connection was turned away."""
        self._count("strangers_refused")
        host = address.rsplit(":", 1)[0]
        return self._settle(self._troubles.tell(host + reason, StrangerRefused(address, reason), now), now)

    def keys_refused(self, address: str, name: str, reason: str, now: float) -> list[Effect]:
        """A member we dialled accepts none of our gossip keys."""
        self._count("strangers_refused")
        event = GossipKeysRefused(name, address, reason)
        return self._settle(self._troubles.tell(name, event, now), now)

    def misbehaved(self, sender: PeerId, reason: str, now: float) -> list[Effect]:
        """A member broke the protocol: counted, told once in a while."""
        self._count("protocol_errors")
        name = self.name_of(sender)
        return self._settle(self._troubles.tell(name, PeerProtocolError(name, reason), now), now)
