"""How do peers ask each other to hold things, and tell each other what users say? On links only."""

from typing import Annotated

from ringgossip.frozen import frozen
from ringgossip.wire.fields import Bytes, Count, Message, Request, Text, Whole

# An entry (72 bytes) names a version as in `Holding`: key hash, sequence, root.

Entries = Annotated[bytes, Bytes(72 * 1000, multiple=72)]
Entry = Annotated[bytes, Bytes(72, 72, multiple=72)]


@frozen
class Offer(Message):
    """Please hold these versions; each is answered by `OfferAnswered`, and at the end by `Holding`.

    `asked`: a user wants it, so that it counts as wanted whatever the role says.
    `priority` is a place in `config.words.PRIORITIES`; `rate` limits all of them
    together, in bytes a second, 0: no limit.
    """

    entries: Entries
    priority: Annotated[int, Whole(4)]
    asked: bool
    rate: Count


@frozen
class OfferAnswered(Message):
    """`code` is empty: they are being pulled; `present`: held already; `failed: why`; else a rule's."""

    entries: Entries
    code: Annotated[str, Text(200)]


@frozen
class SignalTold(Message):
    """A program said that this happened at `node`: a word of `events.SIGNALS`."""

    kind: Annotated[str, Text(64)]
    node: Annotated[str, Text(128)]
    config_key: Annotated[str, Text(128)]


@frozen
class PledgeWanted(Message):
    """Will you keep these for ten minutes? The sender would let its own copies go."""

    entries: Entries


@frozen
class Pledged(Message):
    """These are kept (`granted`), or are not to be counted on."""

    entries: Entries
    granted: bool


@frozen
class SyncWanted(Message):
    """Which whole versions of this kind do you hold? Empty: of every kind. Answered by `SyncDone`."""

    request: Request
    kind: Annotated[str, Text(32)]


@frozen
class SyncDone(Message):
    """A part of what the sender holds; `last` ends the list."""

    request: Request
    last: bool
    entries: Entries


@frozen
class PlaceWanted(Message):
    """Where on the disk that we share does your copy of this very version lie? Answered by `Placed`."""

    entry: Entry


@frozen
class Placed(Message):
    """`place` is relative to the root of the shared disk, wherever that is mounted; empty: not on it."""

    entry: Entry
    place: Annotated[str, Text(4096)]
