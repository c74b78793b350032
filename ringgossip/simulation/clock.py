"""What time is it at one node? A clock that may be off, run too fast or too slow, and never goes back."""

from ringgossip.simulation.kernel import NEVER, Kernel


class Clock:
    """The clock of one machine; `offset` in seconds, `drift` as a share: 0.01 is a hundredth too fast."""

    __slots__ = ("_kernel", "_shown", "drift", "offset", "wall_offset")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._shown = 0.0
        self.offset = 0.0
        self.drift = 0.0
        self.wall_offset = 0.0  # of the wall clock alone, which may go back

    def __call__(self) -> float:
        """Return what the clock shows."""
        now = self._kernel.now * (1.0 + self.drift) + self.offset
        if now > self._shown:
            self._shown = now
        return self._shown

    def set_drift(self, share: float) -> None:
        """Run too fast by a share from now on, without a jump."""
        self.offset += self._kernel.now * (self.drift - share)
        self.drift = share

    def in_world_time(self, when: float) -> float:
        """Return when the clock will show `when`, in the world's time."""
        return when if when == NEVER else (when - self.offset) / (1.0 + self.drift)

    def round_up_to(self, due: float) -> None:
        """Rounding must not wake a machine a moment before its own deadline, again and again."""
        if self() < due < self._shown + 1e-6:
            self._shown = due
