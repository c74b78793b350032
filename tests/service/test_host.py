"""Are all doors of a real peer open while it runs, and closed afterwards?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import ringgossip
from ringgossip.config import PeerConfig
from ringgossip.errors import OperationFailed, PeerGone, StoreError
from ringgossip.identity import Address
from ringgossip.runtime.ports import open_ports

pytestmark = pytest.mark.trio

Make = Callable[..., PeerConfig]


def free_address() -> Address:
    ports = open_ports(Address("127.0.0.1", 0))
    ports.close()
    return ports.address


async def fetch(address: Address, path: str) -> tuple[int, bytes]:
    with trio.fail_after(10):
        async with await trio.open_tcp_stream(address.host, address.port) as stream:
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join([part async for part in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_the_status_address_shows_health_status_and_metrics(config: Make) -> None:
    address = free_address()
    async with ringgossip.open_peer(config(status=address)) as peer:
        code, body = await fetch(address, "/health")
        health = json.loads(body)
        assert (code, health["status"]) == (200, "healthy")
        assert health["message"] == peer.health_check().message == peer.status()["verdict"]
        code, body = await fetch(address, "/status")
        whole = json.loads(body)
        assert code == 200
        assert {"artifacts", "missing", "transfers"} <= set(whole["sync"])
        assert whole["process"]["resident_bytes"] > 0
        code, body = await fetch(address, "/metrics")
        assert code == 200
        assert b"ringgossip_members_alive 1.0" in body
        assert b"ringgossip_chunk_bytes_received_total 0.0" in body
        await peer.close()
        assert (await fetch(address, "/health"))[0] == 503


async def test_an_embedded_peer_is_seen_from_the_command_line_too(config: Make) -> None:
    settings = config()
    async with ringgossip.open_peer(settings):
        client = await trio.to_thread.run_sync(ringgossip.connect, settings.data)
        assert (await trio.to_thread.run_sync(client.status))["node"] == "alice"
    with pytest.raises(PeerGone, match="no peer runs on"):
        client.status()
    assert not (settings.data / "socket").exists()


async def test_a_node_yaml_is_enough(config: Make, tmp_path: Path) -> None:
    settings = config()
    path = tmp_path / "node.yaml"
    path.write_text(
        f"cluster: {settings.cluster}\nnode: alice\ndata: {settings.data}\n"
        f"credentials: {settings.credentials}\nlisten: 127.0.0.1:0\n"
    )
    async with ringgossip.open_peer(str(path)) as peer:
        assert peer.name == "alice"


async def test_what_goes_wrong_inside_comes_out_as_it_is(config: Make) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with ringgossip.open_peer(config()):
            raise KeyError("mine")
    with pytest.raises(ExceptionGroup) as caught:
        async with ringgossip.open_peer(config()), trio.open_nursery():
            raise KeyError("mine")
    assert isinstance(caught.value.exceptions[0], KeyError)


async def test_two_peers_on_one_folder_are_one_too_many(config: Make) -> None:
    settings = config()
    async with ringgossip.open_peer(settings) as peer:
        with pytest.raises(StoreError):
            async with ringgossip.open_peer(settings):
                pass
        # The loser has not taken the control socket away.
        client = await trio.to_thread.run_sync(ringgossip.connect, settings.data)
        assert (await trio.to_thread.run_sync(client.status))["pid"] == peer.status()["pid"]


async def test_a_status_port_in_use_is_one_line_and_the_peer_is_gone(config: Make) -> None:
    settings: dict[str, Any] = {"status": free_address()}
    ports = open_ports(settings["status"])
    try:
        with pytest.raises(OperationFailed, match="status: cannot listen on"):
            async with ringgossip.open_peer(config(**settings)):
                pass
    finally:
        ports.close()
    async with ringgossip.open_peer(config()):
        pass
