"""Packets: delay, loss, doubling, damage, walls, translated addresses."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from ringgossip.identity import Address
from ringgossip.simulation.bandwidth import Unlimited
from ringgossip.simulation.kernel import Kernel
from ringgossip.simulation.latency import Constant, Lognormal, Regions, Uniform
from ringgossip.simulation.network import BurstLoss, Network, Wall, Weather


@dataclass
class Air:
    """A network of a few listeners that note what they get."""

    weather: Weather
    peers: int = 3
    seed: int = 1
    got: list[list[tuple[float, Any, bool]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kernel = Kernel(self.seed)
        self.network = Network(self.kernel, self.weather, Unlimited(self.kernel))
        for i in range(self.peers):
            index = self.network.add(Address("10.0.0.1", 1000 + i))
            assert index == self.kernel.add_owner() == i
            self.network.carrier.add(None, None)
            self.got.append([])
            self.network.listen(i, lambda payload, _, damaged, i=i: self.note(i, payload, damaged))

    def note(self, index: int, payload: Any, damaged: bool) -> None:
        self.got[index].append((self.kernel.now, payload, damaged))

    def send(self, source: int, target: int, payload: Any, size: int = 100) -> None:
        self.network.send(source, self.network.addresses[target], payload, size)

    def payloads(self, index: int) -> list[Any]:
        return [payload for _, payload, _ in self.got[index]]


def test_a_packet_arrives_after_the_delay() -> None:
    air = Air(Weather(latency=Constant(0.25)))
    air.send(0, 1, "hello")
    air.kernel.run(10.0)
    assert air.got == [[], [(0.25, "hello", False)], []]


@pytest.mark.parametrize("burst", [None, BurstLoss(enter=0.05, leave=0.2, loss=1.0)])
def test_the_stated_share_of_packets_is_lost(burst: BurstLoss | None) -> None:
    air = Air(Weather(loss=0.0 if burst else 0.2, burst=burst))
    for number in range(4000):
        air.send(0, 1, number)
    air.kernel.run(10.0)
    assert len(air.got[1]) == pytest.approx(3200, abs=150)
    assert air.network.fate["lost"] == 4000 - len(air.got[1])
    # In bursts a loss makes the next one likely.
    got = set(air.payloads(1))
    pairs = sum(1 for n in range(3999) if n not in got and n + 1 not in got)
    assert (pairs / (4000 - len(got)) > 0.6) is (burst is not None)


def test_packets_are_doubled_damaged_and_overtaken_when_the_weather_says_so() -> None:
    air = Air(Weather(latency=Constant(0.01), duplication=0.5, corruption=0.1, reordering=0.3))
    for number in range(1000):
        air.send(0, 1, number)
    air.kernel.run(10.0)
    payloads = air.payloads(1)
    assert len(payloads) == pytest.approx(1500, abs=80)
    assert payloads != sorted(payloads)
    damaged = sum(1 for _, _, bad in air.got[1] if bad)
    assert damaged / len(payloads) == pytest.approx(0.1, abs=0.04)


def test_a_packet_longer_than_the_path_allows_is_lost() -> None:
    air = Air(Weather(mtu=1280))
    air.send(0, 1, "fits", 1280)
    air.send(0, 1, "does not", 1281)
    air.kernel.run(1.0)
    assert air.payloads(1) == ["fits"]


def test_a_wall_stops_one_direction_and_what_is_in_flight() -> None:
    air = Air(Weather(latency=Constant(1.0)))
    air.send(0, 1, "in flight")
    air.kernel.run(0.5)
    air.network.raise_wall(Wall("w", frozenset({0}), frozenset({1})))
    air.send(1, 0, "other way")
    air.send(0, 2, "elsewhere")
    air.kernel.run(5.0)
    assert (air.payloads(0), air.payloads(1), air.payloads(2)) == (["other way"], [], ["elsewhere"])
    air.network.drop_wall("w")
    air.send(0, 1, "after")
    air.kernel.run(9.0)
    assert air.payloads(1) == ["after"]


def test_what_a_wall_holds_goes_on_when_it_is_gone() -> None:
    air = Air(Weather(latency=Constant(1.0)))
    air.network.raise_wall(Wall("hold", frozenset({0}), frozenset({1}), hold=True))
    air.network.raise_wall(Wall("other", frozenset({2}), frozenset({0})))
    for number in range(5):
        air.send(0, 1, number)
    air.kernel.run(5.0)
    air.network.drop_wall("other")
    air.kernel.run(9.0)
    assert air.payloads(1) == []
    air.network.drop_wall("hold")
    air.kernel.run(20.0)
    assert air.payloads(1) == [0, 1, 2, 3, 4]


def test_a_peer_behind_translation_hears_only_those_it_has_talked_to_lately() -> None:
    air = Air(Weather(latency=Constant(0.1), mapping_seconds=30.0))
    air.network.accepts[1] = False
    air.send(0, 1, "too early")
    air.kernel.run(0.5)
    air.send(1, 0, "opens")
    air.kernel.run(1.0)
    air.send(0, 1, "answer")
    air.send(2, 1, "a third")
    air.kernel.run(40.0)
    air.send(0, 1, "too late")
    air.kernel.run(50.0)
    assert air.payloads(1) == ["answer"]


def test_blocked_udp_loses_everything_in_both_directions() -> None:
    air = Air(Weather())
    air.network.udp_blocked[1] = True
    air.send(0, 1, "in")
    air.send(1, 0, "out")
    air.kernel.run(1.0)
    assert air.got == [[], [], []]


def test_a_peer_that_moves_is_found_only_at_its_new_address() -> None:
    air = Air(Weather(latency=Constant(1.0)))
    old = air.network.addresses[1]
    air.send(0, 1, "in flight")
    air.kernel.run(0.5)
    air.network.move(1, Address("10.9.9.9", 9))
    air.network.send(0, old, "old", 10)
    air.send(0, 1, "new")
    air.kernel.run(5.0)
    assert air.payloads(1) == ["new"]


def test_taking_one_fault_away_does_not_change_the_chance_of_others() -> None:
    def losses(extra: bool) -> list[Any]:
        air = Air(Weather(loss=0.3))
        for number in range(200):
            air.send(0, 1, number)
            if extra:
                air.send(2, 1, None)
        air.kernel.run(9.0)
        return [payload for payload in air.payloads(1) if payload is not None]

    assert sorted(losses(False)) == sorted(losses(True))


def test_senders_are_not_lucky_together() -> None:
    air = Air(Weather(loss=0.5))
    for number in range(200):
        for sender in (0, 2):
            air.send(sender, 1, (sender, number))
    air.kernel.run(9.0)
    arrived = [{number for who, number in air.payloads(1) if who == sender} for sender in (0, 2)]
    assert len(arrived[0] & arrived[1]) == pytest.approx(50, abs=25)


def test_what_a_stream_loses_is_sent_again_ever_later() -> None:
    air = Air(Weather(latency=Constant(0.1), loss=0.5, retransmit_after=0.2))
    delays = [round(air.network.stream_delay(0, 1), 6) for _ in range(2000)]
    for delay, share in ((0.1, 0.5), (0.3, 0.25), (0.7, 0.125), (1.5, 0.0625)):
        assert delays.count(delay) == pytest.approx(2000 * share, rel=0.25)
    air.network.weather = Weather(latency=Constant(0.1), burst=BurstLoss(0.2, 0.2, 1.0))
    assert max(air.network.stream_delay(0, 1) for _ in range(50)) > 0.1, "bursts hit streams too"


def test_latency_models_have_the_median_and_range_they_name() -> None:
    generator = Kernel(3).generator("latency")
    drawn = sorted(Lognormal(0.02, 0.5).delay(0, 1, generator) for _ in range(4001))
    assert drawn[2000] == pytest.approx(0.02, rel=0.05)
    # One deviation of the logarithm up: a share of 84 %.
    assert drawn[3365] == pytest.approx(0.02 * 2.718281828**0.5, rel=0.08)
    drawn = [Uniform(1.0, 2.0).delay(0, 1, generator) for _ in range(1000)]
    assert 1.0 <= min(drawn) < 1.05 < 1.95 < max(drawn) <= 2.0


def test_regions_keep_a_pair_at_its_distance_in_both_directions() -> None:
    regions = Regions(["eu", "us", "us"], {("us", "eu"): 0.09}, near=0.001, jitter=0.0)
    generator = Kernel(3).generator("latency")
    there = regions.delay(0, 1, generator)
    assert 0.06 <= there <= 0.12
    assert regions.delay(1, 0, generator) == there == regions.delay(0, 1, generator)
    assert regions.delay(1, 2, generator) < 0.0014
    assert regions.delay(0, 2, generator) != there
