"""How does pulling behave? The settings of `transfer`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How pulling behaves; seconds and bytes."""

    in_flight: int = 64 * 2**20  # bytes asked for and not yet stored, in the whole process
    window_seconds: float = 0.25  # of a link's rate; long enough to hide a round trip across an ocean
    largest_window: int = 16 * 2**20
    batch: int = 4 * 2**20  # bytes that one request covers, half a window at most
    most_chunks: int = 384  # asked of one holder at a time: below the queue it keeps for us
    active: int = 16  # pulls at the same time
    silence: float = 10.0  # a holder without any progress for so long loses its requests
    slow: float = 30.0  # and is asked last for so long
    second_ask: float = 0.25  # how long a chunk must be overdue before an idle holder is asked for it too
    look_again: float = 0.02  # an idle holder is considered for what others owe us no more often than this
    look_at_least: float = 0.25  # and so often, though nothing we know makes it worth while
    asked_of: int = 8  # holders asked for one chunk that nobody begins to send
    very_late: float = 2.0  # and how long until it is asked for many
    swarm_chunks: int = 4  # below this size looking for partial holders costs more than it brings
    # Below this size only known holders hear of a pull at first: 16 chunks are mostly here before it helps
    # that all who are linked know of it, and that is two words to each of them for every pull.
    swarm_at_once: int = 32
    swarm_after: float = 1.0  # seconds after which all hear of such a pull too
    new_links: int = 4  # holders to dial at once for one pull
    look_interval: float = 5.0  # how often to look for more holders
    retry: float = 5.0  # first retry after our own disk refused; doubles
    longest_retry: float = 300.0
    starving: float = 5.0  # a pull that is overtaken for so long goes first, once in `mercy` seconds
    mercy: float = 1.0
    request_chunks: int = 64  # named by one request at most
    receive_bytes_per_second: float | None = None
