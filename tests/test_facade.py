"""Programs of the reference call its names, from asyncio and from trio, on a running peer or their own."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from peers import PeerProcess, make_cluster, until, write_config

import ringgossip
from ringgossip.errors import UsageError
from ringgossip.facade import AutoSyncDaemon, DaemonStatus, SyncFacade, SyncStrategy, sync

Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]

in_both_loops = pytest.mark.parametrize(
    "run", [lambda main: asyncio.run(main()), lambda main: trio.run(main)], ids=["asyncio", "trio"]
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PeerProcess, PeerProcess]]:
    folder = tmp_path_factory.mktemp("facade")
    make_cluster(folder, "one", "two")
    quiet = {"copies": 0, "want": []}
    one = PeerProcess(write_config(folder, "one", **quiet)).ready()
    two = PeerProcess(write_config(folder, "two", seeds=[one.address], **quiet)).ready()
    until(lambda: all(len(peer.client.members()) == 2 for peer in (one, two)))
    until(lambda: one.client.status()["links"])
    yield one, two
    one.kill()
    two.kill()


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    SyncFacade.reset_instance()
    AutoSyncDaemon._instance = None


@in_both_loops
def test_a_sync_moves_data_from_either_loop(
    run: Run,
    pair: tuple[PeerProcess, PeerProcess],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    one, two = pair
    name = f"{request.node.callspec.id}.safetensors"
    (tmp_path / name).write_bytes(name.encode() * 1000)
    one.client.publish("models", tmp_path / name)
    monkeypatch.setenv("RINGGOSSIP_DATA", str(one.data))

    async def main() -> None:
        facade = SyncFacade.get_instance()
        assert facade is SyncFacade.get_instance()
        response = await facade.sync(
            data_type="models", targets=["two"], priority="high", bandwidth_limit_mbps=100
        )
        assert response.success and response.nodes_synced == ("two",)
        assert "moved" in {item["outcome"] for item in response.details["items"]}
        again = await sync("models", targets=["all"])
        assert again.success and again.bytes_transferred == 0
        assert facade.health_check().healthy
        refused = await sync("models", targets=["nobody"])
        assert not refused.success and "nobody" in refused.errors[0]
        with pytest.raises(UsageError, match="bandwidth_limit must be above 0"):
            await sync("models", bandwidth_limit_mbps=0)

    run(main)
    assert two.client.artifacts("models", name=name)[0].complete


@in_both_loops
def test_a_priority_sync_pulls_from_the_source(
    run: Run,
    pair: tuple[PeerProcess, PeerProcess],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    one, two = pair
    name = f"priority-{request.node.callspec.id}.safetensors"
    (tmp_path / name).write_bytes(name.encode() * 1000)
    one.client.publish("models", tmp_path / name, board_type="hex8", num_players=2)
    monkeypatch.setenv("RINGGOSSIP_DATA", str(two.data))

    async def main() -> None:
        response = await SyncFacade.get_instance().trigger_priority_sync(
            reason="orphan_games_recovery", source_node="one", config_key="hex8_2p", data_type="models"
        )
        assert response.success, response

    run(main)
    assert two.client.artifacts("models", name=name)[0].complete


@in_both_loops
def test_a_daemon_runs_a_peer_of_its_own_where_none_runs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cluster(tmp_path, "solo")
    monkeypatch.delenv("RINGGOSSIP_DATA", raising=False)
    monkeypatch.setenv("RINGGOSSIP_CONFIG", str(write_config(tmp_path, "solo")))

    async def main() -> None:
        daemon = AutoSyncDaemon(strategy=SyncStrategy.EPHEMERAL)
        assert daemon.health_check().status is DaemonStatus.STOPPED
        await daemon.start()
        assert AutoSyncDaemon.get_instance() is daemon
        health = daemon.health_check()
        assert (health.healthy, health.status) == (True, DaemonStatus.RUNNING)
        client = ringgossip.connect(tmp_path / "solo-data")
        assert client.status()["sync"]["strategy"] == "ephemeral"
        response = await daemon.sync_now()
        assert response.success and "nothing to move" in response.details["message"]
        assert (await sync("models")).success, "the same peer serves the facade"
        await daemon.stop()

    run(main)


def test_a_daemon_warns_that_the_peer_that_runs_has_another_strategy(
    pair: tuple[PeerProcess, PeerProcess], recwarn: pytest.WarningsRecorder
) -> None:
    for strategy in (None, "auto", SyncStrategy.BROADCAST):
        assert not recwarn.list
        daemon = AutoSyncDaemon(strategy, data=pair[0].data)
        trio.run(daemon.start)
        trio.run(daemon.stop)
    [warned] = recwarn.list
    assert "has strategy auto, and keeps it: for broadcast write" in str(warned.message)


def test_without_a_peer_one_line_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RINGGOSSIP_DATA", raising=False)
    monkeypatch.delenv("RINGGOSSIP_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="RINGGOSSIP_DATA"):
        trio.run(sync, "models")
    assert not SyncFacade.get_instance().health_check().healthy
    with pytest.raises(UsageError, match="carrier_pigeon"):
        AutoSyncDaemon(strategy="carrier_pigeon")
