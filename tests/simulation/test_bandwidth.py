"""Carriers against arithmetic, against each other, and against exact max-min fairness."""

from random import Random
from typing import Any

import pytest

from ringgossip.simulation.bandwidth import PIECE, Carrier, Pieces, Unlimited
from ringgossip.simulation.fluid import Fluid, max_min_rates
from ringgossip.simulation.kernel import Kernel
from ringgossip.simulation.world import PeerSpec, World

MB = 1_000_000.0


class Pipe:
    """A stream with no delay that notes what it gets."""

    def __init__(self, kernel: Kernel, carrier: Carrier, source: int, target: int) -> None:
        self.kernel, self.carrier, self.source, self.target = kernel, carrier, source, target
        self.closed = False
        self.clear = 0.0
        self.arrived: list[tuple[Any, float]] = []
        self.left: list[tuple[Any, float]] = []
        self.first: list[Any] = []
        self.bytes = 0

    def clear_at(self, departure: float) -> float:
        self.clear = max(departure, self.clear + 1e-9)
        return self.clear

    def arrive(self, item: Any, size: int, first: bool, last: bool) -> None:
        self.bytes += size
        self.carrier.delivered(self, size)
        if first:
            self.first.append(item)
        if last:
            self.arrived.append((item, self.kernel.now))

    def departed(self, item: Any) -> None:
        self.left.append((item, self.kernel.now))


def build(
    kind: type[Pieces] | type[Fluid], up: list[float | None], down: list[float | None]
) -> tuple[Kernel, Any]:
    kernel = Kernel(1)
    carrier = kind(kernel)
    for rates in zip(up, down, strict=True):
        kernel.add_owner()
        carrier.add(*rates)
    return kernel, carrier


@pytest.mark.parametrize("kind", [Pieces, Fluid])
@pytest.mark.parametrize(("up", "down"), [(MB, None), (None, MB), (MB, 4 * MB), (4 * MB, MB)])
def test_a_body_takes_its_length_over_the_slower_end(
    kind: type[Pieces] | type[Fluid], up: float | None, down: float | None
) -> None:
    kernel, carrier = build(kind, [up, None], [None, down])
    pipe = Pipe(kernel, carrier, 0, 1)
    carrier.body(pipe, "body", 2_000_000)
    kernel.run(100.0)
    assert pipe.first == ["body"]
    assert pipe.bytes == 2_000_000
    assert pipe.arrived == [("body", pytest.approx(2.0, rel=0.02))]


@pytest.mark.parametrize("kind", [Pieces, Fluid, Unlimited])
def test_bodies_of_one_stream_come_in_the_order_sent_and_each_says_when_it_left(kind: Any) -> None:
    kernel, carrier = build(kind, [MB, None], [None, MB])
    pipe = Pipe(kernel, carrier, 0, 1)
    for item in range(5):
        carrier.body(pipe, item, 100_000)
    kernel.run(100.0)
    assert [item for item, _ in pipe.arrived] == list(range(5)) == [item for item, _ in pipe.left]


def test_a_world_queues_where_a_line_has_a_limit() -> None:
    assert isinstance(World([PeerSpec("a", up=1e6), PeerSpec("b")]).carrier, Pieces)
    assert isinstance(World([PeerSpec("a", down=1e6)], carrier="fluid").carrier, Fluid)
    assert isinstance(World(2).carrier, Unlimited)


def test_without_limits_there_is_no_queue() -> None:
    kernel, carrier = build(Pieces, [None, None], [None, None])
    pipe = Pipe(kernel, carrier, 0, 1)
    carrier.body(pipe, "body", 10_000_000)
    kernel.run(1.0)
    assert pipe.arrived[0][1] < 1e-3


def test_control_passes_ahead_of_bodies_but_not_of_the_piece_under_way() -> None:
    kernel, carrier = build(Pieces, [MB, None], [None, None])
    bulk, other = Pipe(kernel, carrier, 0, 1), Pipe(kernel, carrier, 0, 1)
    carrier.body(bulk, "body", 1_000_000)
    heard: list[float] = []
    kernel.at(0.1, 0, -1, carrier.message, other, "message", 100)
    kernel.at(0.1, 0, -1, lambda: carrier.datagram(0, 1, 100, 0.0, lambda: heard.append(kernel.now)))
    kernel.run(10.0)
    one_piece = PIECE / MB
    assert 0.1 < other.arrived[0][1] < 0.1 + one_piece + 0.001
    assert 0.1 < heard[0] < 0.1 + one_piece + 0.001


def test_control_passes_ahead_of_bodies_in_the_receivers_queue_too() -> None:
    kernel, carrier = build(Pieces, [None, None, None], [None, MB, None])
    bulk, other = Pipe(kernel, carrier, 0, 1), Pipe(kernel, carrier, 2, 1)
    carrier.body(bulk, "body", 1_000_000)
    kernel.at(0.1, 2, -1, carrier.message, other, "message", 100)
    kernel.run(10.0)
    assert other.arrived[0][1] < 0.1 + PIECE / MB + 0.001


def test_streams_of_one_uplink_take_turns() -> None:
    kernel, carrier = build(Pieces, [MB, None, None], [None, None, None])
    pipes = [Pipe(kernel, carrier, 0, target) for target in (1, 2)]
    for pipe in pipes:
        carrier.body(pipe, "body", 1_000_000)
    kernel.run(1.0)
    assert pipes[0].bytes == pytest.approx(pipes[1].bytes, abs=2 * PIECE)


def test_a_slow_receiver_does_not_hold_up_the_others() -> None:
    kernel, carrier = build(Pieces, [MB, None, None], [None, 0.01 * MB, None])
    slow, quick = Pipe(kernel, carrier, 0, 1), Pipe(kernel, carrier, 0, 2)
    carrier.body(slow, "body", 10_000_000)
    carrier.body(quick, "body", 4_000_000)
    kernel.run(20.0)
    assert quick.arrived[0][1] < 4.0 / 0.99 + 0.6


@pytest.mark.parametrize("kind", [Pieces, Fluid])
def test_a_closed_stream_frees_its_share(kind: type[Pieces] | type[Fluid]) -> None:
    kernel, carrier = build(kind, [MB, None, None], [None, None, None])
    first, second = Pipe(kernel, carrier, 0, 1), Pipe(kernel, carrier, 0, 2)
    carrier.body(first, "body", 10_000_000)
    carrier.body(second, "body", 1_500_000)
    kernel.run(1.0)
    first.closed = True
    carrier.close(first)
    kernel.run(50.0)
    assert second.arrived[0][1] == pytest.approx(2.0, rel=0.05)
    assert not first.arrived


def test_max_min_gives_what_can_be_worked_out_by_hand() -> None:
    # 1 is limited by its own uplink; what it leaves of the shared downlink goes to 0.
    assert max_min_rates([(0, 2), (1, 2)], [100.0, 10.0, None], [None, None, 50.0]) == [40.0, 10.0]
    assert max_min_rates([(0, 1), (0, 2), (0, 1)], [30.0, None, None], [None] * 3) == [10.0] * 3
    assert max_min_rates([(0, 1)], [None, None], [None, None]) == [float("inf")]


@pytest.mark.parametrize("seed", range(6))
def test_pieces_share_as_exact_max_min_fairness_does(seed: int) -> None:
    generator = Random(seed)
    peers = 8
    rates: list[float | None] = [MB * (1 + 9 * generator.random()) for _ in range(2 * peers)]
    flows = [(i, j) for i in range(peers) for j in range(peers) if i != j and generator.random() < 0.3]
    exact = max_min_rates(flows, rates[:peers], rates[peers:])
    kernel, carrier = build(Pieces, rates[:peers], rates[peers:])
    pipes = [Pipe(kernel, carrier, *flow) for flow in flows]
    for pipe in pipes:
        carrier.body(pipe, "endless", 10**12)
    kernel.run(10.0)
    start = [pipe.bytes for pipe in pipes]
    kernel.run(40.0)
    measured = [(pipe.bytes - before) / 30.0 for pipe, before in zip(pipes, start, strict=True)]
    # Short queues make single shares a little unequal; the sum and the typical flow must be right.
    ratios = sorted(m / e for m, e in zip(measured, exact, strict=True))
    assert sum(measured) == pytest.approx(sum(exact), rel=0.03)
    assert ratios[len(ratios) // 2] == pytest.approx(1.0, abs=0.05)
    assert 0.8 < ratios[0] <= ratios[-1] < 1.25


@pytest.mark.parametrize("seed", range(4))
def test_the_fluid_share_never_exceeds_a_link_and_finishes_near_the_exact_time(seed: int) -> None:
    generator = Random(seed)
    peers = 6
    rates: list[float | None] = [MB * (1 + 3 * generator.random()) for _ in range(2 * peers)]
    flows = [(i, j) for i in range(peers) for j in range(peers) if i != j]
    finish = {}
    for kind in (Pieces, Fluid):
        kernel, carrier = build(kind, rates[:peers], rates[peers:])
        pipes = [Pipe(kernel, carrier, *flow) for flow in flows]
        for pipe in pipes:
            carrier.body(pipe, "body", 1_000_000)
        kernel.run(1000.0)
        finish[kind] = max(pipe.arrived[0][1] for pipe in pipes)
        bound = max((peers - 1) * MB / rate for rate in rates if rate)
        assert finish[kind] >= bound * 0.999
    assert finish[Fluid] == pytest.approx(finish[Pieces], rel=0.15)


def exact_times(
    flows: list[tuple[int, int]], sizes: list[float], up: list[float | None], down: list[float | None]
) -> list[float]:
    """When each flow ends if all share max-min fairly, worked out anew whenever one ends."""
    left, now, ends = dict(enumerate(sizes)), 0.0, [0.0] * len(flows)
    while left:
        rates = dict(zip(left, max_min_rates([flows[number] for number in left], up, down), strict=True))
        step = min(left[number] / rates[number] for number in left)
        now += step
        for number in list(left):
            left[number] -= rates[number] * step
            if left[number] <= 1.0:
                ends[number] = now
                del left[number]
    return ends


@pytest.mark.parametrize(("kind", "tolerance"), [(Pieces, 0.05), (Fluid, 0.10)])
@pytest.mark.parametrize("seed", range(3))
def test_half_and_nine_tenths_of_bodies_end_when_exact_max_min_fairness_says(
    kind: type[Pieces] | type[Fluid], tolerance: float, seed: int
) -> None:
    generator = Random(seed)
    peers = 16
    up: list[float | None] = [MB * (1 + 2 * generator.random()) for _ in range(peers)]
    down: list[float | None] = [3 * rate for rate in up if rate is not None]
    flows = [(generator.randrange(peers), target) for target in range(peers) for _ in range(6)]
    flows = list(dict.fromkeys((source, target) for source, target in flows if source != target))
    sizes = [MB * (1 + generator.random()) for _ in flows]
    exact = sorted(exact_times(flows, sizes, up, down))
    kernel, carrier = build(kind, up, down)
    pipes = [Pipe(kernel, carrier, *flow) for flow in flows]
    for pipe, size in zip(pipes, sizes, strict=True):
        carrier.body(pipe, "body", int(size))
    kernel.run(1000.0)
    measured = sorted(pipe.arrived[0][1] for pipe in pipes)
    for share in (0.5, 0.9):
        place = int(share * len(flows))
        assert measured[place] == pytest.approx(exact[place], rel=tolerance), share
