"""What time is it at one node? A clock that may be off, run too fast or too slow, and never goes back."""

from typing import TYPE_CHECKING

from ringgossip.identity.certificate import expired
from ringgossip.simulation.kernel import NEVER, OTHER, Kernel

if TYPE_CHECKING:
    from ringgossip.simulation.node import Node

# Wall clocks start here; only that they are far from 0 matters.
EPOCH = 1_700_000_000
_LOOK = 30.0  # seconds between two looks at the wall clock


class Clock:
    """The clock of one machine; `offset` in seconds, `drift` as a share: 0.01 is a hundredth too fast."""

    __slots__ = ("_drift", "_kernel", "_offset", "_shown", "off", "wall_offset")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._shown = 0.0
        self._offset = 0.0
        self._drift = 0.0
        self.off = False  # Somebody has put it out of order. Until then it shows the world's time.
        self.wall_offset = 0.0  # of the wall clock alone, which may go back

    @property
    def offset(self) -> float:
        """Seconds that it is ahead."""
        return self._offset

    @offset.setter
    def offset(self, seconds: float) -> None:
        self._put_out_of_order()
        self._offset = seconds

    def _put_out_of_order(self) -> None:
        if not self.off:
            self.off = True
            self._shown = self._kernel.now

    def __call__(self) -> float:
        """Return what the clock shows."""
        if not self.off:
            return self._kernel.now
        now = self._kernel.now * (1.0 + self._drift) + self._offset
        if now > self._shown:
            self._shown = now
        return self._shown

    def wall(self) -> int:
        """Return what the wall clock shows, in Unix seconds."""
        return EPOCH + int(self._kernel.now + self.offset + self.wall_offset)

    def set_drift(self, share: float) -> None:
        """Run too fast by a share from now on, without a jump."""
        self.offset += self._kernel.now * (self._drift - share)
        self._drift = share

    def in_world_time(self, when: float) -> float:
        """Return when the clock will show `when`, in the world's time."""
        if when == NEVER or not self.off:
            return when
        return (when - self._offset) / (1.0 + self._drift)

    def round_up_to(self, due: float) -> None:
        """Rounding must not wake a machine a moment before its own deadline, again and again."""
        if self() < due < self._shown + 1e-6:
            self._shown = due


def follow_calendar(node: "Node") -> None:
    """Tell a peer what its wall clock shows, now and again and again; links end with certificates."""
    if node.core is None:
        return
    kernel, wall = node.kernel, node.clock.wall()
    for end in list(node.shared.links.ends[node.index].values()):
        if end.peer is not None and expired(end.peer, wall):
            node.shared.links.reset(end)
    node.give(OTHER, 3, node.core.clock_read, wall)
    kernel.at(kernel.now + _LOOK, node.index, kernel.boot(node.index), follow_calendar, node)
