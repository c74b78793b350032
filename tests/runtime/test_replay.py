"""Do the same inputs give the same history, whichever world they come from?

A cluster of real peers (sockets, threads, disks, SQLite, TLS) writes down what
each core is given and what it answers; then cores that are made as the made
world makes them are given the same. And the other way round.
"""

import sqlite3
from collections import Counter

import pytest
import trio
from replaying import RecordedCore, differences, recorder

from ringgossip.config import KINDS, PeerConfig
from ringgossip.config.blocks import DiskRules
from ringgossip.identity import Address
from ringgossip.runtime.opening import open_runtime_peer
from ringgossip.simulation.faults import BadWeather
from ringgossip.simulation.world import World

SEEN = {
    *("start", "wake", "leave", "receive", "link_opened", "link_broken", "publish", "record_persisted"),
    *("records_verified", "reserved", "partial_ready", "body_arrives", "chunk_stored", "chunk_sent"),
    *("finalised", "dial_failed", "day_changed", "clock_read", "packet_refused"),
}


def assert_replays(cores: list[RecordedCore]) -> None:
    for core in cores:
        assert next(differences(core), None) is None


@pytest.mark.trio
async def test_what_real_peers_were_given_gives_fresh_cores_the_same_history(
    nodes, tmp_path, monkeypatch
) -> None:
    cores: list[RecordedCore] = []
    monkeypatch.setattr("ringgossip.runtime.engine.PeerCore", recorder(cores))

    def config(name: str, *seeds: Address) -> PeerConfig:
        return PeerConfig(
            cluster="ringrift",
            node=name,
            data=tmp_path / name,
            credentials=getattr(nodes, name),
            listen=Address("127.0.0.1", 0),
            seeds=seeds,
            gossip_interval_seconds=1.0,
            want=KINDS,
            disk=DiskRules(stop_percent=100),
        )

    games = tmp_path / "selfplay.db"
    with sqlite3.connect(games) as database:
        database.execute("PRAGMA journal_mode = wal")
        database.execute("CREATE TABLE games (game_id TEXT PRIMARY KEY, game_status TEXT, moves BLOB)")
        database.executemany(
            "INSERT INTO games VALUES (?, 'completed', randomblob(2000))", [(str(n),) for n in range(300)]
        )
    model = tmp_path / "best.pth"
    async with open_runtime_peer(config("alice"), embedded=False) as alice:
        seeds = (alice.address, Address("127.0.0.1", 1))
        async with open_runtime_peer(config("bob", *seeds), embedded=False) as bob:
            for round_ in range(2):
                model.write_bytes(bytes([round_]) * 100 + bytes(range(256)) * 10_000)
                async with open_runtime_peer(config("carol", *seeds), embedded=False):
                    with trio.fail_after(20):
                        while sum(member.state == "alive" for member in alice.members()) < 3:
                            await trio.sleep(0.02)
                    for peer, kind, path in ((alice, "models", model), (bob, "games", games)):
                        assert (await peer.publish(kind, path, copies=2, timeout=20)).fulfilled
                with sqlite3.connect(games) as database:
                    database.execute(
                        "INSERT INTO games VALUES (?, 'completed', randomblob(9000))", [f"later {round_}"]
                    )
            bob._engine.links.all()[0].break_off("cut by the test")
            with trio.fail_after(20):
                async with await trio.open_tcp_stream("127.0.0.1", alice.address.port) as stranger:
                    await stranger.send_all(b"hello\n")
                    while not alice.counters.get("strangers_refused"):
                        await trio.sleep(0.02)
    assert [core.name for core in cores] == ["alice", "bob", "carol", "carol"]
    seen = Counter(step.method for core in cores for step in core.steps)
    assert SEEN - set(seen) == set()
    assert_replays(cores)


def test_what_simulated_peers_were_given_gives_fresh_cores_the_same_history(monkeypatch) -> None:
    cores: list[RecordedCore] = []
    monkeypatch.setattr("ringgossip.simulation.world.PeerCore", recorder(cores))
    world = World(5, seed=3, wire="real")
    world.plan([BadWeather(at=0.0, loss=0.1, duplication=0.05, seconds=20.0)])
    world.start()
    world.run(5)
    world.publish(0, "models", "best.pth", size=4_000_000)
    world.run(1)
    world.crash(3)
    world.publish(1, "games", "games.db", size=2_000_000)
    world.run(20)
    world.restart(3)
    assert world.settle(within=60) is not None
    assert len(cores) == 6
    assert_replays(cores)
