"""How fast do bytes travel when we do not look at every piece? A local fair share, and the exact answer.

`Fluid` gives every body the smaller of its sender's and its receiver's equal
share; one change touches only the flows of two peers. `max_min_rates` is the
exact max-min fair answer by progressive filling: too dear to run always, it is
what the tests compare both carriers with.
Source: Bertsekas and Gallager, Data Networks (1992), section 6.5.2.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import fsum
from typing import Any

from ringgossip.simulation.bandwidth import PIECE, Carrier, Pieces, Stream, Unlimited
from ringgossip.simulation.kernel import ANY_BOOT, Action, Kernel

INFINITE = float("inf")


def max_min_rates(
    flows: Sequence[tuple[int, int]], up: Sequence[float | None], down: Sequence[float | None]
) -> list[float]:
    """Return the max-min fair rate of every flow `(source, target)`; `inf` where nothing limits it.

    Fills all flows alike until a link is full, fixes the flows on it, goes on with the rest.
    """
    rates = [INFINITE] * len(flows)
    room: dict[tuple[str, int], float] = {}
    users: dict[tuple[str, int], list[int]] = {}
    for number, (source, target) in enumerate(flows):
        for key, limit in ((("up", source), up[source]), (("down", target), down[target])):
            if limit is not None:
                room.setdefault(key, float(limit))
                users.setdefault(key, []).append(number)
    active = dict.fromkeys(number for members in users.values() for number in members)
    while active:
        share, tightest = min(
            (room[key] / count, key)
            for key, members in users.items()
            if (count := sum(1 for number in members if number in active))
        )
        for number in [number for number in users[tightest] if number in active]:
            rates[number] = share
            del active[number]
            source, target = flows[number]
            for key in (("up", source), ("down", target)):
                if key in room:
                    room[key] = max(0.0, room[key] - share)
    return rates


class _Flow:
    """One body under way at a rate that changes."""

    __slots__ = ("item", "left", "rate", "since", "size", "stream", "version")

    def __init__(self, stream: Stream, item: Any, size: int, now: float) -> None:
        self.stream = stream
        self.item = item
        self.size = size
        self.left = float(size)
        self.rate = 0.0
        self.since = now
        self.version = 0


class Fluid:
    """Bodies flow at a local fair share, one per stream at a time; datagrams and messages pass at once."""

    __slots__ = ("_down", "_in", "_kernel", "_out", "_queues", "_sent", "_up")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._up: list[float | None] = []
        self._down: list[float | None] = []
        self._out: list[dict[_Flow, None]] = []
        self._in: list[dict[_Flow, None]] = []
        self._queues: dict[Stream, deque[_Flow]] = {}
        self._sent: list[float] = []  # What flows under way have sent is added when one asks.

    def add(self, up: float | None, down: float | None) -> None:
        self._up.append(up)
        self._down.append(down)
        self._out.append({})
        self._sent.append(0.0)
        self._in.append({})

    def datagram(
        self, source: int, target: int, size: int, delay: float, action: Action, a: tuple[Any, ...] = ()
    ) -> None:
        kernel = self._kernel
        self._sent[source] += size
        kernel.queue(kernel.now + delay, target, ANY_BOOT, action, a)

    def message(self, stream: Stream, item: Any, size: int) -> None:
        self._sent[stream.source] += size
        arrival = stream.clear_at(self._kernel.now)
        self._kernel.queue(arrival, stream.target, ANY_BOOT, stream.arrive, (item, size, True, True))

    def body(self, stream: Stream, item: Any, size: int) -> None:
        flow = _Flow(stream, item, size, self._kernel.now)
        queue = self._queues.setdefault(stream, deque())
        queue.append(flow)
        if len(queue) == 1:
            self._start(flow)

    def _start(self, flow: _Flow) -> None:
        stream = flow.stream
        flow.since = self._kernel.now
        self._out[stream.source][flow] = None
        self._in[stream.target][flow] = None
        self._share(stream)
        if flow.size > PIECE and flow.rate != INFINITE:
            first = stream.clear_at(self._kernel.now + PIECE / flow.rate)
            self._kernel.at(first, stream.target, ANY_BOOT, stream.arrive, flow.item, 0, True, False)

    def _share(self, stream: Stream) -> None:
        """Settle and rate anew all flows that leave the source or reach the target."""
        now = self._kernel.now
        touched = dict(self._out[stream.source])
        touched.update(self._in[stream.target])
        for flow in touched:
            if now > flow.since:
                flow.left = max(0.0, flow.left - flow.rate * (now - flow.since))
            flow.since = now
            source, target = flow.stream.source, flow.stream.target
            up, down = self._up[source], self._down[target]
            rate = min(
                INFINITE if up is None else up / len(self._out[source]),
                INFINITE if down is None else down / len(self._in[target]),
            )
            if rate != flow.rate or flow.version == 0:
                flow.rate = rate
                flow.version += 1
                done = now + (flow.left / rate if rate != INFINITE else 0.0)
                self._kernel.at(done, source, ANY_BOOT, self._finish, flow, flow.version)

    def _finish(self, flow: _Flow, version: int) -> None:
        if version != flow.version or flow.stream.closed:
            return
        stream = flow.stream
        flow.version += 1
        whole = flow.size <= PIECE or flow.rate == INFINITE
        arrives = stream.clear_at(self._kernel.now)
        self._kernel.at(arrives, stream.target, ANY_BOOT, stream.arrive, flow.item, flow.size, whole, True)
        self._end(flow)
        stream.departed(flow.item)

    def _end(self, flow: _Flow) -> None:
        stream = flow.stream
        self._sent[stream.source] += self._through(flow)
        self._out[stream.source].pop(flow, None)
        self._in[stream.target].pop(flow, None)
        queue = self._queues.get(stream)
        if queue and queue[0] is flow:
            queue.popleft()
            if queue:
                self._start(queue[0])
                return
            del self._queues[stream]
        self._share(stream)

    def _through(self, flow: _Flow) -> float:
        """Return how much of a body has left by now."""
        if flow.rate == INFINITE:
            return flow.size
        return min(float(flow.size), flow.size - flow.left + flow.rate * (self._kernel.now - flow.since))

    def sent(self, owner: int) -> float:
        # Python 3.12 adds floats in another way than 3.11; exactly is alike on both.
        return fsum([self._sent[owner], *(self._through(flow) for flow in self._out[owner])])

    def delivered(self, stream: Stream, size: int) -> None:
        pass

    def close(self, stream: Stream) -> None:
        queue = self._queues.pop(stream, None)
        if queue:
            queue[0].version += 1
            self._end(queue[0])


def carrier_of(word: str | None, kernel: Kernel, *, limited: bool) -> Carrier:
    """Return the carrier of this name; of none: queues of pieces where a line has a limit."""
    known: dict[str, Callable[[Kernel], Carrier]] = {"unlimited": Unlimited, "pieces": Pieces, "fluid": Fluid}
    return known[word or ("pieces" if limited else "unlimited")](kernel)
