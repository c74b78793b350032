"""How fast is a link? Bytes a second while there was something to move, smoothed."""

_SAMPLE = 0.05  # Shorter samples measure the scheduler, not the link.
_PAUSE = 0.25  # A direction in which nothing moved for so long was idle, not slow.

SMALLEST_PIECE = 16 * 1024
LARGEST_PIECE = 1 << 20
PIECE_SECONDS = 0.010
_FIRST_PIECE = 64 * 1024  # While nothing was measured: 50 ms on 10 Mbit/s, for one sample.


class Meter:
    """Measures one direction of a link; idle time does not count."""

    __slots__ = ("_amount", "_last", "_start", "rate")

    def __init__(self) -> None:
        self.rate = 0.0  # bytes a second, 0 while unknown
        self._start = self._last = -1.0
        self._amount = 0

    def begin(self, now: float) -> None:
        """Something begins to move, perhaps after a pause."""
        if self._start < 0 or now - self._last > _PAUSE:
            self._start, self._last, self._amount = now, now, 0

    def pause(self) -> None:
        """Nothing is left to move: the sample under way would count waiting as slowness."""
        self._start = -1.0

    def moved(self, amount: int, now: float) -> None:
        """Count bytes that have passed since `begin`."""
        self._amount += amount
        self._last = now
        seconds = now - self._start
        if self._start >= 0 and seconds >= _SAMPLE:
            sample = self._amount / seconds
            self.rate = sample if not self.rate else 0.5 * (self.rate + sample)
            self._start, self._amount = now, 0

    def piece(self) -> int:
        """Return how many bytes of a body to send at once: about 10 ms worth.

        Whole chunks in one queue delay most probes on a slow uplink (design, section 5).
        """
        if not self.rate:
            return _FIRST_PIECE
        return min(LARGEST_PIECE, max(SMALLEST_PIECE, int(self.rate * PIECE_SECONDS)))
