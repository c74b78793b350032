"""Two real peers: sync, signals, drain and a provider's notice, as programs use them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from peers import CLUSTER, make_cluster

from ringgossip.config import PeerConfig
from ringgossip.config.blocks import Termination
from ringgossip.errors import OperationFailed, UsageError
from ringgossip.events import DrainCompleted, TerminationNoticed, TrainingStarted
from ringgossip.identity import Address
from ringgossip.runtime.opening import open_runtime_peer
from ringgossip.runtime.peer import Peer
from ringgossip.runtime.termination import notice_of

pytestmark = pytest.mark.trio

Make = Callable[..., PeerConfig]


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbs")
    make_cluster(folder, "alice", "bob")
    return folder


@pytest.fixture
def config(enrolled: Path, tmp_path: Path) -> Make:
    def make(node: str, **more: Any) -> PeerConfig:
        return PeerConfig(
            cluster=CLUSTER,
            node=node,
            data=tmp_path / node,
            credentials=enrolled / node,
            listen=Address("127.0.0.1", 0),
            **{"copies": 0, "want": (), **more},
        )

    return make


async def met(one: Peer, two: Peer) -> None:
    with trio.fail_after(15):
        while not all(
            sum(member.state == "alive" for member in peer.members()) == 2 and peer.status()["links"]
            for peer in (one, two)
        ):
            await trio.sleep(0.02)


async def test_sync_moves_what_is_missing_and_says_so(config: Make, tmp_path: Path) -> None:
    model = tmp_path / "net.safetensors"
    model.write_bytes(bytes(300_000))
    async with (
        open_runtime_peer(config("alice")) as alice,
        open_runtime_peer(config("bob", seeds=(alice.address,))) as bob,
    ):
        await met(alice, bob)
        await alice.publish("models", model)
        result = await alice.sync("models", ["bob"], timeout=20)
        assert result.success and result.nodes_synced == ("bob",)
        assert result.bytes_transferred == 300_000
        (item,) = result.details["items"]
        assert (item["artifact"], item["target"], item["outcome"]) == (
            "models/alice/net.safetensors", "bob", "moved"
        )  # fmt: skip
        assert bob.artifacts("models")[0].complete
        again = await alice.sync("checkpoint", ["bob"])
        assert again.success and again.details["message"] == "nothing to move: everything was already there"
        assert again.as_dict()["bytes_transferred"] == 0


async def test_sync_from_a_node_brings_it_here_and_an_unknown_node_is_an_error(
    config: Make, tmp_path: Path
) -> None:
    model = tmp_path / "net.safetensors"
    model.write_bytes(bytes(1000))
    async with (
        open_runtime_peer(config("alice")) as alice,
        open_runtime_peer(config("bob", seeds=(alice.address,))) as bob,
    ):
        await met(alice, bob)
        await alice.publish("models", model)
        result = await bob.trigger_priority_sync("orphan_games_recovery", "alice", data_type="models")
        assert result.success, result
        assert bob.artifacts("models", complete=True)
        failed = await bob.sync("models", ["carol"])
        assert not failed.success and "carol" in failed.errors[0]
        with pytest.raises(UsageError, match="urgent"):
            await bob.sync("models", priority="urgent")
        with pytest.raises(OperationFailed, match="carol"):
            bob.notify("NODE_RECOVERED", node_id="carol")
        with pytest.raises(UsageError, match="'hex9' is no config key"):
            bob.notify("ORPHAN_GAMES_DETECTED", node_id="alice", config_key="hex9")
        with pytest.raises(UsageError, match="NO_SUCH"):
            bob.notify("NO_SUCH", node_id="alice")


async def test_a_signal_about_another_node_reaches_it(config: Make) -> None:
    async with (
        open_runtime_peer(config("alice")) as alice,
        open_runtime_peer(config("bob", seeds=(alice.address,))) as bob,
        bob.listen() as events,
    ):
        await met(alice, bob)
        alice.notify("TRAINING_STARTED", host="bob", config_key="hex8_2p")
        with trio.fail_after(10):
            async for event in events:
                if isinstance(event, TrainingStarted):
                    break
            while not next(m for m in alice.members() if m.name == "bob").facts.training:
                await trio.sleep(0.02)


async def test_a_notice_of_the_provider_starts_a_drain(config: Make, tmp_path: Path) -> None:
    model, notice = tmp_path / "net.safetensors", tmp_path / "notice"
    model.write_bytes(bytes(1000))
    going = Termination(file=notice, every_seconds=0.1)
    async with (
        open_runtime_peer(config("alice", termination=going, copies=1)) as alice,
        open_runtime_peer(config("bob", seeds=(alice.address,))) as bob,
        alice.listen() as events,
    ):
        await met(alice, bob)
        await alice.publish("models", model)
        notice.touch()
        told = []
        with trio.fail_after(10):
            async for event in events:
                told.append(event)
                if isinstance(event, DrainCompleted):
                    break
        assert TerminationNoticed(str(notice)) in told
        assert told[-1].below == ()
        assert bob.artifacts("models")[0].complete
        assert alice.status()["sync"]["below_copies"] == 0


async def test_an_address_that_answers_rubbish_gives_no_notice_and_does_no_harm() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), serve, 0)
        there = Termination(url=f"http://127.0.0.1:{listener.socket.getsockname()[1]}/notice")
        assert await trio.to_thread.run_sync(notice_of, there) is None
        nursery.cancel_scope.cancel()


async def test_a_notice_is_seen_at_an_address_that_answers_200_and_nowhere_else() -> None:
    answers = ["404 Not Found", "200 OK"]

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        status = answers.pop(0)
        await stream.send_all(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), serve, 0)
        port = listener.socket.getsockname()[1]
        there = Termination(url=f"http://127.0.0.1:{port}/notice")
        assert await trio.to_thread.run_sync(notice_of, there) is None
        assert await trio.to_thread.run_sync(notice_of, there) == there.url
        nursery.cancel_scope.cancel()
    assert notice_of(there) is None
