"""How often may wrongdoers make us speak? Every refusal is counted, few are told."""

from ringgossip.events import Event
from ringgossip.protocol.core import Effect, Notice, Tell

_MOST_SUBJECTS = 256


class Troubles:
    """Tells the first event about a subject, then at most one each `pause` seconds."""

    def __init__(self, pause: float = 30.0) -> None:
        self._pause = pause
        self._told: dict[tuple[str, str], float] = {}

    def tell(self, subject: str, event: Event, now: float) -> list[Effect | Notice]:
        """Return the event as an effect unless the same kind of event about this subject was told lately."""
        key = (subject, type(event).__name__)
        last = self._told.get(key)
        if last is not None and now < last + self._pause:
            return []
        if len(self._told) >= _MOST_SUBJECTS:
            # A flood from many addresses: forget the oldest, so that the table and the log stay bounded.
            oldest = next(iter(self._told))
            if now < self._told[oldest] + 1.0:
                return []
            del self._told[oldest]
        self._told.pop(key, None)
        self._told[key] = now
        return [Tell(event)]
