"""What did users here want other nodes to have, that those have not been told of yet?

A `sync` offers artifacts to its targets. What a target that is not linked should
have becomes an errand: it is on disk, so that neither its absence nor a restart
of ours loses it, and is offered as soon as there is a link. An errand is over
when the target answers, whatever it says, or has a copy: what it accepted it
remembers itself.

Source: field notes, incident 13 (the outbox is durable per item) and 15.
"""

from collections.abc import Iterable

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.protocol.core import Effect, Notice, Remember

Out = list[Effect | Notice]

_MARK = "for "
_PRIORITIES = 8  # the priority shares the number of the mark with the sequence
_MOST = 10_000


def _mark_of(node: str) -> str:
    return _MARK + node


class Errands:
    """The machine that keeps them; targets are named by node, since an absent one has nothing else."""

    def __init__(self, restored: Iterable[tuple[ArtifactKey, str, int]] = ()) -> None:
        self._errands: dict[str, dict[ArtifactKey, tuple[int, int]]] = {}  # node -> key -> sequence, priority
        self._count = 0
        for key, mark, number in restored:
            if mark.startswith(_MARK):
                self._put(mark.removeprefix(_MARK), key, number // _PRIORITIES, number % _PRIORITIES)

    def __len__(self) -> int:
        return self._count

    def _put(self, node: str, key: ArtifactKey, sequence: int, priority: int) -> Out:
        out: Out = []
        known = key in self._errands.get(node, {})
        if not known and self._count >= _MOST:
            # The oldest goes: a node that never comes back must not keep out what is for the others.
            oldest = next(iter(self._errands))
            first, (number, _) = next(iter(self._errands[oldest].items()))
            out = self.over(oldest, first, number)
        self._count += not known
        self._errands.setdefault(node, {})[key] = (sequence, priority)
        return out

    def keep(self, record: Record, node: str, priority: int) -> Out:
        """This node is to be offered this version when it can be."""
        known, before = self._errands.get(node, {}).get(record.key, (0, 0))
        sequence, urgent = max(known, record.sequence), max(before, priority)
        if (sequence, urgent) == (known, before):
            return []
        number = sequence * _PRIORITIES + urgent
        return [*self._put(node, record.key, sequence, urgent), Remember(record.key, _mark_of(node), number)]

    def over(self, node: str, key: ArtifactKey, sequence: int) -> Out:
        """The node answered an offer of this version, or has it."""
        of_node = self._errands.get(node)
        if of_node is None or of_node.get(key, (sequence + 1, 0))[0] > sequence:
            return []
        del of_node[key]
        self._count -= 1
        if not of_node:
            del self._errands[node]
        return [Remember(key, _mark_of(node), 0)]

    def of(self, node: str) -> list[tuple[ArtifactKey, int, int]]:
        """Return what a node is to be offered: artifact, sequence, priority."""
        return [(key, *what) for key, what in self._errands.get(node, {}).items()]
