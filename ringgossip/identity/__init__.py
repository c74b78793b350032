"""Who is who: names, addresses, certificates, and the authority that signs them.

`names` is light and may be imported anywhere; the others load `cryptography`,
so import them where they are needed.
"""

from ringgossip.identity.names import PEER_ID_BYTES, Address, PeerId, check_cluster_name, check_node_name

__all__ = ["PEER_ID_BYTES", "Address", "PeerId", "check_cluster_name", "check_node_name"]
