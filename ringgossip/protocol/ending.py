"""How does an artifact, or a name, come to its end? By a record of its origin, by an order of the authority.

A part of the switchboard. Both end the listing, the wanting and the alarm, and
never a file: what is here stays where it is, is served to who asks for it, and
is let go by nobody but this node's own `keep`. A publication after a withdrawal,
or by a later generation of a retired name, begins anew.

Source: design section 4 (No remote deletion); incident 3.
"""

from typing import TYPE_CHECKING

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.errors import PeerMisbehaved, UsageError
from ringgossip.events import ArtifactWithdrawn, NodeRetired
from ringgossip.identity import PeerId
from ringgossip.protocol.core import Draft, Effect, Notice, PublishRefused, Tell
from ringgossip.protocol.keeping import Keeping

if TYPE_CHECKING:
    from ringgossip.identity.certificate import NodeCertificate

Out = list[Effect | Notice]


class Ending(Keeping):
    """The switchboard with what ends."""

    def withdraw(self, ticket: int, key: ArtifactKey, now: float) -> list[Effect]:
        """End an artifact of ours; `Published` with its last record, or `PublishRefused`, answers."""
        known = self.catalog.get(key)
        if key.origin != self.name:
            reason = f"only {key.origin} may withdraw {key.text}; if it is gone, `ringgossip retire` it"
            return [PublishRefused(ticket, reason)]
        if known is None:
            return [PublishRefused(ticket, f"nobody has published {key.text}: see `ringgossip artifacts`")]
        draft = Draft(
            ticket, key.kind, key.name, known.size, known.chunk_size, known.root, known.metadata,
            withdrawn=True,
        )  # fmt: skip
        return self._settle(self.authorship.publish(draft, now), now)

    def order(self, der: bytes, now: float) -> tuple["NodeCertificate", list[Effect]]:
        """Take an order of the authority that retires a name; it spreads as certificates do.

        Raises `UsageError` for what is none of our cluster's.
        """
        try:
            order = self._notary.read_certificate(der)
        except PeerMisbehaved as error:
            raise UsageError(f"this is no order of the cluster's authority: {error}") from None
        if not order.retires:
            raise UsageError(f"this is a certificate of {order.name}, no order that retires a name")
        return order, self._settle(self._certificate_arrived(order, now), now)

    # --- what follows from what ----------------------------------------------------------------

    def _certificate_arrived(self, certificate: "NodeCertificate", now: float) -> Out:
        name, before = certificate.name, self.catalog.retired(certificate.name)
        out = super()._certificate_arrived(certificate, now)
        if self.catalog.retired(name) == before:
            return out
        out.append(Tell(NodeRetired(name, certificate.generation)))
        for record in [record for record in self.catalog.records() if record.origin == name]:
            if self.catalog.unlisted(record):
                out += self._ended(record, now)
        return out

    def _entered(self, record: Record, before: Record | None, sender: PeerId | None, now: float) -> Out:
        if not self.catalog.unlisted(record):
            return super()._entered(record, before, sender, now)
        told = [Tell(ArtifactWithdrawn(record.key.text, record.sequence))] if record.withdrawn else []
        out = [*told, *self._spread(record, before, sender, now), *self.requests.entered(record, now)]
        return out + self._ended(record, now)

    def _ended(self, record: Record, now: float) -> Out:
        """Nobody wants it any more, however it was asked for."""
        key = record.key
        self.rules.forget(key)
        self.offering.gone(key)
        out = self.marks.forget(key) + self.transfer.unwant(key, now)
        return out + self.requests.ended(key.hash, self.catalog.unlisted(record), now)
