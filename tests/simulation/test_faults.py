"""Every fault that a story may name: it begins, does what it says, and leaves nothing behind."""

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ringgossip.events import ArtifactCompleted, BadChunk, Event, PeerLeft, PeerLost, PeerProtocolError
from ringgossip.simulation.disk import Disk, DiskTimes
from ringgossip.simulation.faults import Fault
from ringgossip.simulation.faults_network import Swizzle
from ringgossip.simulation.latency import Constant
from ringgossip.simulation.liars import LIES
from ringgossip.simulation.links import Presence, ends_of
from ringgossip.simulation.network import Weather
from ringgossip.simulation.node import Node
from ringgossip.simulation.plans import FAULTS, build
from ringgossip.simulation.world import EPOCH, PeerSpec, World
from ringgossip.wire.messages import TAGS, Gossip

MB = 1_000_000


def fault(word: str, **keys: Any) -> Fault:
    """Return a fault as a story says it."""
    return build(word, {"at": 0.0, **keys}, [f"peer-{number}" for number in range(6)])


def running(peers: int = 5, **more: Any) -> World:
    """Return a world in which all have seen all."""
    world = World(peers, seed=1, **more)
    world.start()
    world.run(3.0)
    assert not world.problems()
    return world


def begin(world: World, word: str, **keys: Any) -> None:
    """Let a fault begin at once, and end by itself."""
    keys.setdefault("at", world.now)
    world.plan([fault(word, **keys)])
    world.run(0.0)


def told(world: World, peer: int, kind: type[Event]) -> list[Event]:
    return [event for _, event in world.nodes[peer].told if isinstance(event, kind)]


def passes(world: World) -> set[tuple[int, int]]:
    """Return the ways that are open."""
    peers, network = range(len(world.nodes)), world.network
    return {(i, j) for i in peers for j in peers if i != j and network.wall_between(i, j) is None}


def test_every_fault_has_a_test_here() -> None:
    source = Path(__file__).read_text()
    assert [word for word in FAULTS if f'"{word}"' not in source] == []


# --- walls ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "keys", "cut"),
    [
        ("partition", {"group": [0, 1]}, {(i, j) for i in (0, 1) for j in (2, 3, 4)}),
        ("partition", {"group": [3]}, {(3, j) for j in (0, 1, 2, 4)}),
        ("partition", {"group": [0, 1], "others": [4]}, {(0, 4), (1, 4)}),
        ("ring_cut", {"reach": 1}, {(0, 2), (0, 3), (1, 3), (1, 4), (2, 4)}),
        ("bridge", {"peer": 4}, {(0, 2), (0, 3), (1, 2), (1, 3)}),
        ("bridge", {"peer": 0}, {(1, 2), (1, 3), (1, 4)}),
    ],
)
def test_a_wall_stands_between_whom_it_names_both_ways_and_falls(
    word: str, keys: dict[str, Any], cut: set[tuple[int, int]]
) -> None:
    world = World(5, seed=1)
    everything = passes(world)
    begin(world, word, seconds=10.0, **keys)
    assert everything - passes(world) == cut | {(j, i) for i, j in cut}
    world.run(10.1)
    assert passes(world) == everything


@pytest.mark.parametrize(
    ("word", "keys", "cut"),
    [
        ("partition", {"group": [0, 1]}, {(i, j) for i in (0, 1) for j in (2, 3, 4)}),
        ("ring_cut", {"reach": 2}, {(i, (i + step) % 5) for i in range(5) for step in (3, 4)}),
        ("bridge", {"peer": 4}, {(0, 2), (0, 3), (1, 2), (1, 3)}),
    ],
)
def test_a_wall_of_one_way_lets_the_other_way_pass(
    word: str, keys: dict[str, Any], cut: set[tuple[int, int]]
) -> None:
    world = World(5, seed=1)
    begin(world, word, seconds=10.0, one_way=True, **keys)
    assert passes(World(5)) - passes(world) == cut


@pytest.mark.parametrize(
    ("word", "keys"),
    [("partition", {"group": [0]}), ("ring_cut", {"reach": 1}), ("bridge", {"peer": 4})],
)
@pytest.mark.parametrize("one_way", [False, True])
def test_walls_cut_what_is_in_flight(word: str, keys: dict[str, Any], one_way: bool) -> None:
    world = World(5, seed=1, weather=Weather(latency=Constant(1.0)))
    got: list[str] = []
    world.network.listen(2, lambda payload, source, damaged: got.append(payload))
    world.network.send(0, world.network.addresses[2], "in flight", 100)
    world.run(0.5)
    begin(world, word, seconds=5.0, one_way=one_way, **keys)
    world.run(9.0)
    assert got == [] and world.network.fate == {"wall": 1}


def test_a_stream_stalls_at_a_wall_and_goes_on_when_it_falls_in_time() -> None:
    world = running(2, carrier="pieces")
    world.limit(0, up=1.0 * MB, down=None)
    world.publish(0, "models", "best.pth", size=5 * MB)
    world.run(1.0)
    before = world.counter("chunk_bytes_received")
    begin(world, "partition", group=[0], seconds=8.0)
    world.run(7.9)
    assert world.counter("chunk_bytes_received") - before < 1.1 * MB  # what had passed already
    world.run(10.0)
    assert told(world, 1, ArtifactCompleted)


def test_a_partition_may_hold_what_it_stops() -> None:
    world = World(3, seed=1)
    got: list[str] = []
    world.network.listen(2, lambda payload, source, damaged: got.append(payload))
    begin(world, "partition", group=[0], hold=True, seconds=5.0)
    world.network.send(0, world.network.addresses[2], "late", 100)
    world.run(4.9)
    assert got == []
    world.run(1.0)
    assert got == ["late"]


def test_a_clog_holds_one_way_and_gives_up_what_it_held() -> None:
    world = World(3, seed=1)
    got: list[str] = []
    for index in range(3):
        world.network.listen(index, lambda payload, source, damaged: got.append(payload))
    begin(world, "clog", one=0, other="peer-1", seconds=5.0)
    for source, target in ((0, 1), (1, 0), (0, 2)):
        world.network.send(source, world.network.addresses[target], f"{source} to {target}", 100)
    world.run(4.0)
    assert sorted(got) == ["0 to 2", "1 to 0"]
    world.run(2.0)
    assert "0 to 1" in got


def test_swizzled_peers_are_clogged_one_by_one_and_freed_one_by_one_in_orders_of_chance() -> None:
    def course(seed: int) -> tuple[list[int], list[int]]:
        """Return who was cut off after each second, first to last, and who was free again."""
        world = World(4, seed=seed)
        begin(world, "swizzle", peers=[0, 1, 2, 3], step=1.0, seconds=6.0)
        clogged: list[int] = []
        freed: list[int] = []
        while world.now < 11.0:
            world.run(0.5)
            names = {wall.name: wall for wall in world.network.walls if len(wall.sources) == 1}
            now = {next(iter(wall.sources)) for wall in world.network.walls if len(wall.targets) == 3}
            assert all(wall.hold for wall in names.values())
            clogged += sorted(now - set(clogged))
            freed += sorted(set(clogged) - now - set(freed)) if world.now > 5.0 else []
        return clogged, freed

    courses = [course(seed) for seed in range(6)]
    assert any(freed != sorted(freed) for _, freed in courses), "not all at one instant"
    assert all(sorted(one) == sorted(other) == [0, 1, 2, 3] for one, other in courses)
    assert len({tuple(one) for one, _ in courses}) > 2 and any(one != other for one, other in courses)
    # Who is not named is drawn: about half of all.
    world = World(40, seed=1)
    world.plan([Swizzle(0.0, step=0.1, seconds=10.0)])
    world.run(9.0)
    assert 10 <= len({wall.name for wall in world.network.walls}) <= 30


def test_a_flapping_peer_comes_and_goes() -> None:
    world = World(3, seed=1)
    begin(world, "flap", peer=1, up=2.0, down=1.0, seconds=8.0)
    seen = []
    for _ in range(10):
        world.run(0.5)
        seen.append(world.network.reachable(0, 1))
        world.run(0.5)
    assert seen == [False, True, True, False, True, True, False, True, True, True]
    assert world.network.reachable(0, 2)


# --- links, doors, addresses ------------------------------------------------------------------


def test_a_reset_takes_both_ends_and_a_half_open_link_only_one() -> None:
    world = running(3)
    assert ends_of(world.links, 0, 1) and ends_of(world.links, 1, 0)
    begin(world, "half_open", one=0, other=1)
    assert not ends_of(world.links, 0, 1) and ends_of(world.links, 1, 0)
    world.run(30.0)
    assert not world.problems()
    begin(world, "reset_links", one=1, other=2)
    assert not ends_of(world.links, 1, 2) and not ends_of(world.links, 2, 1)


def test_a_closed_door_keeps_open_links_and_opens_again_though_two_overlap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = running(3)
    begin(world, "close_door", peer=1, seconds=10.0)
    links = len(ends_of(world.links, 0, 1))
    world.run(3.0)
    begin(world, "close_door", peer=1, seconds=10.0)
    failed: list[str] = []
    monkeypatch.setattr(Node, "on_dial_failed", lambda node, address, expected, reason: failed.append(reason))
    world.links.dial(world.nodes[0], world.network.addresses[1], None)
    world.run(6.0)
    assert failed == ["timed out"] and len(ends_of(world.links, 0, 1)) == links
    world.run(2.0)
    assert not world.network.accepts[1], "the second lasts longer than the first"
    world.run(4.0)
    assert world.network.accepts[1]


def test_of_two_faults_that_overlap_each_lasts_as_long_as_it_says() -> None:
    world = World([PeerSpec("peer-0", up=4e6), PeerSpec("peer-1")], seed=1, carrier="pieces")
    world.start()
    node, network = world.nodes[0], world.network

    def seen() -> list[object]:
        disk = node.disk
        weather = (network.weather.loss, network.weather.duplication)
        line = world.carrier._up[0].rate  # type: ignore[attr-defined]
        state = [node.paused, node.service, disk.trouble is not None, disk.unreadable, disk.times.sync]
        return [*state, network.udp_blocked[0], weather, line, round(node.clock._drift, 3)]

    usual = seen()
    for seconds, much in ((10.0, 1.0), (5.0, 0.5)):
        for word, keys in {
            "slow": {"service": much / 1000}, "disk_trouble": {"reads": much == 1.0}, "pause": {},
            "slow_disk": {"sync": much}, "block_udp": {}, "thin_line": {"up": 1e6 * much},
            "bad_weather": {"loss": much / 4} if much == 1.0 else {"duplication": 0.5},
            "clock_drift": {"share": much / 10},
        }.items():  # fmt: skip
            begin(world, word, seconds=seconds, **(keys if word == "bad_weather" else {"peer": 0, **keys}))
    assert seen() == [True, 0.001, True, True, 1.0, True, (0.25, 0.5), 5e5, 0.05]
    world.run(6.0)
    assert seen() == [True, 0.001, True, True, 1.0, True, (0.25, 0.0), 1e6, 0.1]
    world.run(5.0)
    assert seen() == usual


def test_a_firewall_blocks_datagrams_and_leaves_those_blocked_that_always_were() -> None:
    world = World([PeerSpec("peer-0"), PeerSpec("peer-1", udp_blocked=True), PeerSpec("peer-2")], seed=1)
    for peer in (0, 1):
        begin(world, "block_udp", peer=peer, seconds=5.0)
    assert world.network.udp_blocked == [True, True, False]
    world.run(6.0)
    assert world.network.udp_blocked == [False, True, False]


def test_who_moves_is_found_at_its_new_address() -> None:
    world = running(4)
    old = world.network.addresses[3]
    begin(world, "move", peer=3)
    assert world.network.addresses[3] != old and world.network.owner_at.get(old) is None
    assert world.run_until(lambda: not world.problems(), 10.0) is not None
    core = world.nodes[0].core
    assert core is not None
    [member] = [member for member in core.members() if member.name == "peer-3"]
    assert member.facts.addresses[0] == world.network.addresses[3]


def test_who_gets_another_address_and_is_not_told_is_found_there_all_the_same() -> None:
    world = running(5)
    old, boot = world.network.addresses[3], world.kernel.boot(3)
    begin(world, "move", peer=3, restart=False)
    assert world.network.owner_at.get(old) is None and world.kernel.boot(3) == boot
    assert not ends_of(world.links, 3, 0), "its own ends are gone at once"
    world.publish(3, "models", "best.pth", size=1_000_000)
    assert world.run_until(lambda: all(node.disk.holdings for node in world.nodes), 20.0) is not None
    world.run(20.0)
    assert not world.problems()
    assert not [event for node in world.nodes for _, event in node.told if isinstance(event, PeerLost)]
    world.crash(1)
    world.restart(1)
    assert world.run_until(lambda: not world.problems(), 20.0) is not None


def test_bad_weather_adds_to_the_weather_that_is_and_goes_away() -> None:
    world = World(2, seed=1, weather=Weather(loss=0.2, corruption=0.1))
    begin(world, "bad_weather", loss=0.1, duplication=0.3, reordering=0.4, burst=True, seconds=5.0)
    weather = world.network.weather
    assert (weather.loss, weather.corruption, weather.duplication, weather.reordering) == (0.2, 0.1, 0.3, 0.4)
    assert weather.burst is not None
    world.run(6.0)
    assert world.network.weather == world.fair_weather


def test_a_thin_line_is_thin_for_a_while() -> None:
    specs = [PeerSpec("peer-0", up=4.0 * MB), PeerSpec("peer-1")]
    world = World(specs, seed=1, carrier="pieces")

    def seconds() -> float:
        done: list[float] = []
        world.carrier.datagram(0, 1, 2 * MB, 0.0, lambda: done.append(world.now))
        start = world.now
        assert world.run_until(lambda: bool(done), 60.0) is not None
        return done[0] - start

    assert seconds() == pytest.approx(0.5, abs=0.1)
    begin(world, "thin_line", peer=0, up=100_000, seconds=30.0)
    assert seconds() == pytest.approx(20.0, rel=0.05)
    world.run(20.0)
    assert seconds() == pytest.approx(0.5, abs=0.1)


# --- processes, machines, clocks ------------------------------------------------------------------


def test_a_crash_takes_the_process_the_machine_or_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    world = running(4)
    world.publish(0, "games", "games.db", size=300_000)
    world.run(5.0)
    lost: list[tuple[int, bool]] = []
    crash = Disk.crash
    for peer, more in ((1, {}), (2, {"machine": True}), (3, {"wipe": True})):

        def note(disk: Disk, generator: Random, *, lose_unsynced: bool, peer: int = peer) -> None:
            lost.append((peer, lose_unsynced))
            crash(disk, generator, lose_unsynced=lose_unsynced)

        monkeypatch.setattr(Disk, "crash", note)
        begin(world, "crash", peer=peer, seconds=4.0, **more)
    assert [node.running for node in world.nodes] == [True, False, False, False]
    presences = [node.presence for node in world.nodes[1:]]
    assert presences == [Presence.REFUSING, Presence.SILENT, Presence.REFUSING]
    assert [bool(node.disk.holdings) for node in world.nodes] == [True, True, True, False]
    assert lost == [(1, False), (2, True), (3, False)], "only a machine loses what it had not synced"
    world.run(4.1)
    assert all(node.running for node in world.nodes)


def test_who_leaves_is_not_taken_for_dead() -> None:
    world = running(3)
    begin(world, "leave", peer=2, seconds=5.0)
    world.run(2.0)
    assert told(world, 0, PeerLeft) and not world.nodes[2].running
    world.run(4.0)
    assert world.nodes[2].running and not world.problems()


def test_a_paused_process_does_nothing_and_then_all_that_waited() -> None:
    world = running(3)
    node = world.nodes[1]
    begin(world, "pause", peer=1, seconds=5.0)
    sent, heard = world.network.packets_sent[1], len(node.told)
    world.run(4.9)
    assert world.network.packets_sent[1] == sent and len(node.told) == heard and len(node._inbox) > 3
    world.run(0.2)
    assert not node._inbox and world.network.packets_sent[1] > sent


def test_a_slow_process_takes_its_time_for_every_input() -> None:
    world = running(3)
    steps: list[float] = []
    core = world.nodes[1].core
    assert core is not None
    receive = core.receive
    core.receive = lambda *given: steps.append(world.now) or receive(*given)  # type: ignore[method-assign, func-returns-value]
    begin(world, "slow", peer=1, service=0.05, seconds=20.0)
    world.run(0.2)
    steps.clear()
    sender, home = world.nodes[0], world.network.addresses[1]
    words, size = sender.shared.wire.datagram(Gossip(b"", (), ()))
    for _ in range(10):  # all at once
        packet = sender.sealed(words, TAGS[Gossip], sender.certificate.peer_id)
        world.network.send(0, home, packet, size)
    world.run(15.0)
    assert len(steps) > 10 and min(b - a for a, b in pairwise(steps)) > 0.0499
    world.run(10.0)
    assert world.nodes[1].service == 0.0


def test_clocks_jump_drift_and_step() -> None:
    world = running(4)
    shown = [node.clock() for node in world.nodes]
    begin(world, "clock_jump", peer=1, by=100.0)
    begin(world, "clock_drift", peer=2, share=0.2, seconds=10.0)
    begin(world, "wall_clock", peer=3, by=-1000.0)
    world.run(20.0)
    gone = [node.clock() - before for node, before in zip(world.nodes, shown, strict=True)]
    assert gone == pytest.approx([20.0, 120.0, 22.0, 20.0])
    world.crash(3)
    world.restart(3)
    core = world.nodes[3].core
    assert core is not None
    # The wall clock is a thousand seconds behind, and yet the new life is a later one.
    assert core._boot == EPOCH + 1
    assert world.run_until(lambda: not world.problems(), 10.0) is not None


def test_the_power_goes_for_many_and_all_boot_within_a_moment() -> None:
    world = running(5)
    begin(world, "power_cut", peers=[1, 2, 3, 4], seconds=5.0, within=1.0)
    assert [node.running for node in world.nodes] == [True, False, False, False, False]
    world.run(5.05)
    booted = []
    while world.now < 9.3:
        booted.append(sum(node.running for node in world.nodes))
        world.run(0.05)
    assert booted[-1] == 5 and len(set(booted)) > 2  # together, and not at one instant
    begin(world, "power_cut", seconds=1.0)
    assert not any(node.running for node in world.nodes)


def test_churn_takes_one_after_the_other_and_leaves_two() -> None:
    world = running(4)
    begin(world, "churn", every=1.0, away=4.0, seconds=20.0)
    down = []
    for _ in range(100):
        world.run(0.2)
        down.append(sum(not node.running for node in world.nodes))
    assert max(down) == 2 and min(down[20:]) < 2
    world.run(1.0)
    assert all(node.running for node in world.nodes)


# --- disks ---------------------------------------------------------------------------------------


def test_a_disk_in_trouble_takes_nothing_and_can_also_refuse_to_be_read() -> None:
    world = running(3)
    begin(world, "disk_trouble", peer=1, reason="input/output error", seconds=6.0)
    begin(world, "disk_trouble", peer=0, reads=True, seconds=3.0)
    disks = [node.disk for node in world.nodes]
    assert [disk.trouble is not None for disk in disks] == [True, True, False]
    assert [disk.unreadable for disk in disks] == [True, False, False]
    world.run(3.5)
    assert disks[0].trouble is None and not disks[0].unreadable
    begin(world, "disk_trouble", peer=0, reads=True, seconds=4.0)
    world.publish(2, "models", "best.pth", size=2 * MB)
    world.run(1.0)
    assert not told(world, 0, ArtifactCompleted) and not told(world, 1, ArtifactCompleted)
    assert world.settle(60.0) is not None


def test_a_copy_that_cannot_be_read_is_got_from_somebody_else() -> None:
    world = running(4)
    world.crash(3)
    world.publish(0, "models", "best.pth", size=4 * MB)
    assert world.run_until(lambda: bool(told(world, 2, ArtifactCompleted)), 10.0) is not None
    begin(world, "disk_trouble", peer=0, reads=True, seconds=60.0)
    world.restart(3)
    assert world.run_until(lambda: bool(told(world, 3, ArtifactCompleted)), 30.0) is not None


def test_a_slow_disk_makes_every_sync_wait() -> None:
    world = running(2)
    begin(world, "slow_disk", peer=0, sync=0.5, seconds=5.0)
    ticket = world.publish(0, "models", "best.pth", size=MB)
    assert world.run_until(lambda: world.publications[ticket].answered_at is not None, 9.0) is not None
    publication = world.publications[ticket]
    assert publication.answered_at is not None and publication.answered_at - publication.asked_at > 0.5
    world.run(6.0)
    assert world.nodes[0].disk.times == DiskTimes()


def test_rot_damages_one_chunk_of_one_copy() -> None:
    world = running(3)
    world.publish(0, "games", "games.db", size=MB)
    world.run(5.0)
    begin(world, "bit_rot", peer=1, chance=0.5)
    [(root, index)] = world.nodes[1].disk.damaged
    manifest = world.nodes[1].disk.manifests[root]
    assert world.nodes[1].disk.read(root, index) != manifest.chunk_hash(index)


@pytest.mark.parametrize("word", ["torn_writes", "lost_writes"])
def test_what_a_power_cut_tore_or_a_lying_disk_lost_is_found_out_and_fetched_again(word: str) -> None:
    world = running(3, carrier="pieces")
    world.limit(0, up=2.0 * MB, down=None)
    world.publish(0, "npz", "data.npz", size=20 * MB)
    world.run(4.0)
    [partial] = world.nodes[1].disk.partials.values()
    begin(world, word, peer=1, seconds=5.0, **({"lying": 2.0} if word == "lost_writes" else {}))
    if word == "lost_writes":
        world.run(1.9)
        assert world.nodes[1].running and partial.synced != partial.have
        world.run(0.2)
    assert not world.nodes[1].running
    kept = partial.have.bit_count()
    assert 0 < kept < 20 and not world.nodes[1].disk.damaged  # what was torn does not count
    assert world.settle(60.0) is not None
    assert told(world, 1, ArtifactCompleted)


# --- liars --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", LIES)
def test_a_liar_is_found_out_and_all_others_agree(way: str) -> None:
    world = running(5, carrier="pieces")
    for index in range(5):
        world.limit(index, up=3.0 * MB, down=None)
    world.publish(0, "models", "best.pth", size=12 * MB)
    core = world.nodes[1].core
    assert core is not None
    records = core.catalog.records
    before = list(world.network.packets_sent)
    begin(world, "liar", peer=2, ways=[way], rate=20.0, seconds=12.0)
    world.run(13.0)
    assert world.settle(90.0) is not None, world.problems()
    seen = {
        "chunks": any(told(world, peer, BadChunk) for peer in range(5)),
        # Nobody can tell an old word from a late one: it only does no harm.
        "replay": len(world.nodes[2].caught) > 5 and world.network.packets_sent[2] > 200 + before[2],
        "digests": any(told(world, peer, PeerProtocolError) for peer in range(5)),
        "records": world.counter("protocol_errors") > 0,
        "slander": True,  # refuted, see `test_slander_is_refuted`
    }
    assert seen[way]
    assert [(record.name, record.sequence) for record in records()] == [("best.pth", 1)]
    assert not world.nodes[2].catching and not world.nodes[2].false_chunks


def test_slander_is_refuted() -> None:
    world = running(4)
    core = world.nodes[0].core
    assert core is not None

    def incarnations() -> int:
        return sum(member.incarnation for member in core.members())

    before = incarnations()
    begin(world, "liar", peer=2, ways=["slander"], rate=10.0, seconds=10.0)
    world.run(15.0)
    assert incarnations() > before and not world.problems()


def test_a_knock_is_turned_away_and_counted() -> None:
    world = running(3)
    begin(world, "knocking", peer=1, rate=20.0, seconds=5.0)
    world.run(6.0)
    core = world.nodes[1].core
    assert core is not None and 50 < core.counters["strangers_refused"] < 200
    assert not world.problems()
