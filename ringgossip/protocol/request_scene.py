"""What must a `sync` know of everything else? The questions that `Requests` asks; the switchboard answers."""

from collections.abc import Iterable
from typing import Protocol

from ringgossip.content.record import Record
from ringgossip.identity import PeerId
from ringgossip.protocol.core import Effect, Notice
from ringgossip.protocol.pacing import TokenBucket

Out = list[Effect | Notice]


class Scene(Protocol):
    """What a request must know of everything else; the switchboard does."""

    @property
    def me(self) -> PeerId: ...

    @property
    def name(self) -> str: ...

    def name_of(self, peer: PeerId) -> str: ...

    def node(self, name: str) -> PeerId | None:
        """Return who owns a name."""
        ...

    def reachable(self) -> tuple[PeerId, ...]:
        """Return who is alive or suspect, ourselves included."""
        ...

    def linked(self, peer: PeerId) -> bool: ...

    def eligible(self, peer: PeerId, record: Record) -> str:
        """Return the code of the rule by which `peer` does not receive this; empty: it may."""
        ...

    def ephemeral(self, node: str) -> bool: ...

    def records(self, kind: str) -> Iterable[Record]:
        """Return what is listed of a kind."""
        ...

    def record_of(self, key_hash: bytes) -> Record | None:
        """Return the newest record of the artifact with this key hash."""
        ...

    def unlisted(self, record: Record) -> str: ...

    def holders_of(self, record: Record) -> list[PeerId]:
        """Return who holds this or a later version, ourselves included."""
        ...

    def sources_of(self, record: Record) -> list[PeerId]:
        """Return who may be asked for it: its holders and its origin."""
        ...

    def keep(self, record: Record, target: PeerId, priority: int) -> Out:
        """Offer it to a target that is not linked as soon as it is, also after a restart."""
        ...

    def ask_here(
        self, record: Record, priority: int, limit: TokenBucket | None, now: float
    ) -> tuple[str, Out]:
        """Pull it here because somebody asks; return `present`, a rule's code, or nothing, and effects."""
        ...
