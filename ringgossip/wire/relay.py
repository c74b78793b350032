"""What do members say to each other that have no link, through a third one that has a link to both?"""

from typing import Annotated

from ringgossip.frozen import frozen
from ringgossip.wire.fields import Bytes, Count, Message, Peer


@frozen
class Relayed(Message):
    """A word about holdings from `sender` to `to`; whoever gets it from `sender` passes it on to `to`, once.

    `body` is packed: `Holding`, `HoldingsDigest`, `HoldingsWanted` or `HoldingsList`. The signature is
    the sender's, over all of this, the cluster and the recipient's boot; (`boot`, `number`) only rises.
    """

    sender: Peer
    to: Peer
    boot: Count
    number: Count
    body: Annotated[bytes, Bytes(80_000)]
    signature: Annotated[bytes, Bytes(64, 64)]
