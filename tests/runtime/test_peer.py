"""Whole peers on loopback: sockets, threads, disks and the real core."""

import os
import socket
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from games import large_games

from ringgossip.config import KINDS, PeerConfig
from ringgossip.config.blocks import DiskRules
from ringgossip.errors import CredentialsError, OperationFailed, PeerGone, StoreError, TimedOut, UsageError
from ringgossip.events import ArtifactCompleted, EventsMissed, PeerJoined, StrangerRefused
from ringgossip.identity import Address
from ringgossip.identity.authority import create_cluster, enroll
from ringgossip.runtime.links import Links
from ringgossip.runtime.listening import Audience, Listener
from ringgossip.runtime.opening import open_runtime_peer
from ringgossip.runtime.peer import Peer

pytestmark = pytest.mark.trio


@pytest.fixture
def config(nodes, tmp_path):
    def make(name: str, *seeds: Address) -> PeerConfig:
        return PeerConfig(
            cluster="ringrift",
            node=name,
            data=tmp_path / "data" / name,
            credentials=getattr(nodes, name),
            listen=Address("127.0.0.1", 0),
            seeds=seeds,
            gossip_interval_seconds=1.0,
            want=KINDS,
            disk=DiskRules(stop_percent=100),
        )

    return make


@asynccontextmanager
async def two_peers(config):
    async with (
        open_runtime_peer(config("alice"), embedded=False) as alice,
        open_runtime_peer(config("bob", alice.address), embedded=False) as bob,
    ):
        await know_each_other(alice, bob)
        yield alice, bob


async def know_each_other(*peers: Peer) -> None:
    with trio.fail_after(10):
        for peer in peers:
            while sum(member.state == "alive" for member in peer.members()) < len(peers):
                await trio.sleep(0.01)


def model(folder: Path, size: int = 3_000_000, name: str = "canonical_hex8_2p.pth") -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


async def test_a_model_that_is_published_is_held_by_the_other_byte_for_byte(config, tmp_path) -> None:
    async with two_peers(config) as (alice, bob):
        path = model(tmp_path)
        receipt = await alice.publish(
            "checkpoint", path, board_type="hex8", num_players=2, copies=1, timeout=20
        )
        assert (receipt.holders, receipt.missing, receipt.fulfilled) == (("bob",), (), True)
        [artifact] = bob.artifacts("models", board_type="hex8")
        assert (artifact.origin, artifact.sequence, artifact.complete) == ("alice", 1, True)
        assert artifact.holders == ("alice", "bob")
        assert Path(artifact.path).read_bytes() == path.read_bytes()
        assert bob.status()["counters"]["chunk_bytes_received"] == path.stat().st_size
        assert bob.artifacts("models", config_key="square8_2p") == []


async def test_a_live_database_arrives_as_a_whole_snapshot(config, tmp_path) -> None:
    async with two_peers(config) as (alice, bob):
        source = tmp_path / "games.db"
        writer = sqlite3.connect(source, isolation_level=None)
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE games(game_id TEXT PRIMARY KEY, game_status TEXT)")
        writer.executemany("INSERT INTO games VALUES (?, 'completed')", [(str(n),) for n in range(500)])
        await alice.publish("games", source, copies=1, timeout=20)
        writer.execute("INSERT INTO games VALUES ('one more', 'completed')")
        await alice.publish("games", source)
        artifact = await bob.wait_for("games", "games.db", newer_than=1, timeout=20)
        with sqlite3.connect(artifact.path) as replica:
            assert replica.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert replica.execute("SELECT count(*) FROM games").fetchone() == (501,)
        writer.close()


async def test_a_receipt_says_who_lacks_it(config, tmp_path) -> None:
    async with two_peers(config) as (alice, _):
        receipt = await alice.publish("models", model(tmp_path), copies=2, timeout=2)
        assert not receipt.fulfilled
        assert receipt.as_dict()["receipt"]["wanted"] == 2
        assert receipt.copies == 1


async def test_unchanged_bytes_are_the_same_version_and_other_metadata_a_new_one(config, tmp_path) -> None:
    async with two_peers(config) as (alice, bob):
        path = model(tmp_path)
        first = await alice.publish("models", path, copies=1)
        again = await alice.publish("models", path)
        assert (again.unchanged, again.artifact.sequence) == (True, 1)
        told = await alice.publish("models", path, quality=0.9, copies=1)
        assert (told.artifact.sequence, told.artifact.root) == (2, first.artifact.root)
        moved = bob.status()["counters"]["chunk_bytes_received"]
        assert moved == path.stat().st_size


async def test_a_name_belongs_to_one_source_unless_replaced(config, tmp_path) -> None:
    async with two_peers(config) as (alice, _):
        one, other = model(tmp_path, 1000, "one.pth"), model(tmp_path, 1000, "other.pth")
        await alice.publish("models", one, name="best.pth", timeout=20)
        with pytest.raises(OperationFailed, match="was published from"):
            await alice.publish("models", other, name="best.pth")
        receipt = await alice.publish("models", other, name="best.pth", replace=True)
        assert receipt.artifact.sequence == 2
        with pytest.raises(OperationFailed, match=r"cannot lie beside best\.pth"):
            await alice.publish("models", one, name="BEST.pth")
        with pytest.raises(UsageError):
            await alice.publish("models", one, name="../outside.pth")


async def test_waiting_for_what_nobody_has_ends_with_what_is_known(config) -> None:
    async with open_runtime_peer(config("alice")) as alice:
        with pytest.raises(TimedOut, match="nobody has published it"):
            await alice.wait_for("models", "none.pth", timeout=0.05)


async def test_events_are_told_in_order_and_listening_ends_with_the_peer(config, tmp_path) -> None:
    async with open_runtime_peer(config("alice"), embedded=False) as alice:
        async with open_runtime_peer(config("bob", alice.address), embedded=False) as bob:
            await know_each_other(alice, bob)
            async with bob.listen() as events:
                await alice.publish("models", model(tmp_path, 1000), copies=1)
                await bob.close()
                told = [type(event) async for event in events]
        assert ArtifactCompleted in told
        with trio.fail_after(5):
            while [member.state for member in alice.members() if member.name == "bob"] != ["left"]:
                await trio.sleep(0.01)
    assert PeerJoined not in told


async def test_a_slow_listener_loses_the_oldest_and_is_told_how_many() -> None:
    listener = Listener(most=2)
    for number in range(5):
        listener.put(PeerJoined(str(number), ""))
    listener.close()
    assert [event async for event in listener] == [
        EventsMissed(3),
        PeerJoined("3", ""),
        PeerJoined("4", ""),
    ]


async def test_who_opens_a_peer_hears_also_what_came_before_he_listened() -> None:
    audience = Audience()
    audience.tell(PeerJoined("bob", ""))
    late, whole = audience.add(), audience.add(opening=True)
    audience.opened()
    after = audience.add(opening=True)
    audience.tell(PeerJoined("carol", ""))
    audience.close()
    assert [event.name async for event in whole] == ["bob", "carol"]
    assert [event.name async for event in late] == [event.name async for event in after] == ["carol"]


async def test_after_a_restart_nothing_is_fetched_again(config, tmp_path) -> None:
    async with open_runtime_peer(config("alice"), embedded=False) as alice:
        async with open_runtime_peer(config("bob", alice.address), embedded=False) as bob:
            await know_each_other(alice, bob)
            await alice.publish("models", model(tmp_path), copies=1, timeout=20)
        async with open_runtime_peer(config("bob", alice.address), embedded=False) as bob:
            artifact = await bob.wait_for("models", "canonical_hex8_2p.pth", timeout=5)
            await know_each_other(alice, bob)
            assert artifact.complete
            assert bob.status()["counters"]["chunk_bytes_received"] == 0


async def test_a_late_comer_learns_of_everything_and_pulls_it(config, tmp_path) -> None:
    async with two_peers(config) as (alice, _):
        for number in range(30):
            await alice.publish("models", model(tmp_path, 5000, f"{number}.pth"), timeout=20)
        async with open_runtime_peer(config("carol", alice.address), embedded=False) as carol:
            with trio.fail_after(20):
                while sum(artifact.complete for artifact in carol.artifacts()) < 30:
                    await trio.sleep(0.05)


async def test_one_store_has_one_peer(config) -> None:
    async with open_runtime_peer(config("alice")):
        with pytest.raises(StoreError):
            async with open_runtime_peer(config("alice")):
                pass


async def test_credentials_of_another_node_are_refused_in_one_line(config, nodes) -> None:
    wrong = PeerConfig(
        cluster="ringrift", node="bob", data=config("bob").data, credentials=nodes.alice,
        listen=Address("127.0.0.1", 0),
    )  # fmt: skip
    with pytest.raises(CredentialsError, match="belongs to node alice"):
        async with open_runtime_peer(wrong):
            pass


async def test_the_users_own_exception_comes_out_as_it_is(config) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_runtime_peer(config("alice")):
            _ = 1 // 0


async def test_a_bug_in_the_core_ends_the_peer_with_one_clear_error(config) -> None:
    with pytest.raises(OperationFailed, match="a bug of ringgossip stopped this peer"):
        async with open_runtime_peer(config("alice")) as alice:

            def broken(now: float) -> list[object]:
                raise LookupError("no such thing")

            alice._engine.core.wake = broken
            alice._engine.core.next_wakeup = lambda: 0.0
            await trio.sleep(5)


async def test_a_closed_peer_says_so(config, tmp_path) -> None:
    async with open_runtime_peer(config("alice")) as alice:
        await alice.close()
        with pytest.raises(PeerGone):
            await alice.publish("models", model(tmp_path))
        assert not alice.health_check().healthy


async def test_a_member_whose_certificate_ends_is_none_any_more_and_its_files_stay(
    config, tmp_path, monkeypatch
):
    monkeypatch.setattr("ringgossip.runtime.watching._LOOK", 0.1)
    monkeypatch.setattr("ringgossip.runtime.links._WATCH_INTERVAL", 0.1)
    create_cluster(tmp_path / "authority", "ringrift")
    here = [enroll(tmp_path / "authority", name) for name in ("alice", "bob")]
    late = enroll(tmp_path / "authority", "carol", validity=4)
    settings = [
        replace(config(name), credentials=folder)
        for name, folder in zip(("alice", "bob", "carol"), (*here, late))
    ]
    async with open_runtime_peer(settings[0], embedded=False) as alice:
        seeds = (alice.address,)
        async with (
            open_runtime_peer(replace(settings[1], seeds=seeds), embedded=False) as bob,
            open_runtime_peer(replace(settings[2], seeds=seeds), embedded=False) as carol,
        ):
            await know_each_other(alice, bob, carol)
            assert (await carol.publish("models", model(tmp_path), copies=2, timeout=10)).fulfilled
            async with alice.listen() as events:
                with trio.fail_after(10):
                    while {state(peer, "carol") for peer in (alice, bob)} != {"left"}:
                        await trio.sleep(0.05)
                # Carol goes on to probe: each packet is refused and counted, one line tells of it.
                before = alice.counters["strangers_refused"]
                with trio.fail_after(10):
                    while alice.counters["strangers_refused"] < before + 3:
                        await trio.sleep(0.05)
                reasons = []
                with trio.move_on_after(0.2):
                    async for event in events:
                        reasons += [event.reason] if isinstance(event, StrangerRefused) else []
            assert sum("is a clock wrong?): enroll it again" in reason for reason in reasons) >= 1
            assert len(reasons) <= 4
            assert state(alice, "bob") == state(bob, "alice") == "alive"
            [artifact] = alice.artifacts("models")
            assert (artifact.origin, artifact.complete) == ("carol", True)


def state(peer: Peer, name: str) -> str:
    return next((member.state for member in peer.members() if member.name == name), "unknown")


async def test_a_receipt_counts_holders_with_which_no_link_is_possible(config, tmp_path, monkeypatch):
    listen = Links.listen

    async def only_alice(self: Links, sock: socket.socket) -> None:
        if self._greeter._credentials.name == "alice":
            await listen(self, sock)
        await trio.sleep_forever()

    monkeypatch.setattr(Links, "listen", only_alice)
    async with (
        open_runtime_peer(config("alice"), embedded=False) as alice,
        open_runtime_peer(config("bob", alice.address), embedded=False) as bob,
        open_runtime_peer(config("carol", alice.address), embedded=False) as carol,
    ):
        await know_each_other(alice, bob, carol)
        receipt = await bob.publish("models", model(tmp_path), copies=2, timeout=10)
        assert receipt.holders == ("alice", "carol")
        assert {link.peer for link in bob._engine.links.all()} == {alice._engine.core.me}


async def test_a_version_is_a_whole_file_only_where_others_read_it(config, tmp_path, monkeypatch) -> None:
    """In a storage group members open what we published; elsewhere changes are enough."""
    monkeypatch.setattr("ringgossip.runtime.opening.CHANGES_FROM", 0)
    source = large_games(tmp_path / "g.db", 20)
    for group in (None, "nfs"):
        settings = replace(config("alice"), storage_group=group, data=tmp_path / str(group))
        async with open_runtime_peer(settings, embedded=False) as peer:
            await peer.publish("games", source)
            with closing(sqlite3.connect(source)) as database, database:
                database.execute("UPDATE games SET body = randomblob(40000) WHERE game_id = 1")
            await peer.publish("games", source)
            [artifact] = peer.artifacts("games")
            assert artifact.sequence == 2 and artifact.complete
            assert (artifact.path is not None) == (group is not None)
