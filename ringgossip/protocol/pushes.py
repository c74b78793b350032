"""What did our own plans begin to spread, and has it arrived? The events that programs of the reference hear.

Whatever is published is told to some peers first. That is a synchronisation of
its own: it begins with them, is complete when each has confirmed its copy of
this or a later version, and has failed when one has not in the time a sync has.

Source: reference, "Events Emitted"; field notes, section 1 (events).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ringgossip.config.words import KINDS
from ringgossip.content.record import Record
from ringgossip.events import DataSyncCompleted, DataSyncFailed, DataSyncStarted
from ringgossip.protocol.core import NEVER, Effect, Notice, Tell

Out = list[Effect | Notice]

_PATIENCE = 300.0
_MOST = 10_000


@dataclass(slots=True)
class _Push:
    record: Record
    plan: str
    targets: tuple[str, ...]
    missing: dict[str, None]
    began: float

    def common(self, node: str) -> tuple[str, str, tuple[str, ...], str, str, str]:
        """Return the first fields of each of its events."""
        metadata = self.record.metadata
        board, players = metadata.get("board_type"), metadata.get("num_players")
        config_key = f"{board}_{players}p" if board is not None and players is not None else ""
        return self.plan, self.record.kind, self.targets, node, node, config_key


class Pushes:
    """The machine that tells of them; a newer version of an artifact takes the place of an older one."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._pushes: dict[bytes, _Push] = {}  # key hash -> push, in the order in which they began

    def began(self, record: Record, plan: str, targets: Sequence[str], now: float) -> Out:
        """A version of ours is told to these nodes first."""
        self._pushes.pop(record.key.hash, None)
        if not targets or record.kind not in KINDS or len(self._pushes) >= _MOST:
            return []
        push = _Push(record, plan, tuple(targets), dict.fromkeys(targets), now)
        self._pushes[record.key.hash] = push
        return [Tell(DataSyncStarted(*push.common(self._node)))]

    def confirmed(self, key_hash: bytes, sequence: int, holder: str, now: float) -> Out:
        """A node has a verified copy."""
        push = self._pushes.get(key_hash)
        if push is None or sequence < push.record.sequence:
            return []
        push.missing.pop(holder, None)
        if push.missing:
            return []
        del self._pushes[key_hash]
        count = len(push.targets)
        target = push.targets[0] if count == 1 else ""
        moved = (now - push.began, count, count * push.record.size)
        return [Tell(DataSyncCompleted(*push.common(self._node), target, *moved))]

    def wake(self, now: float) -> Out:
        """Tell what has taken too long; it is offered again in each cycle, whatever is told."""
        out: Out = []
        while self._pushes and now >= self.next_wakeup():
            push = self._pushes.pop(next(iter(self._pushes)))
            done = len(push.targets) - len(push.missing)
            error = f"{push.record.key.text}: {', '.join(push.missing)} did not confirm a copy in time"
            moved = (now - push.began, done, done * push.record.size)
            first = next(iter(push.missing))
            out.append(Tell(DataSyncFailed(*push.common(self._node), first, *moved, error)))
        return out

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        return next(iter(self._pushes.values())).began + _PATIENCE if self._pushes else NEVER
