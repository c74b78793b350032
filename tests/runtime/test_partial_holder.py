"""May a peer that has only a part of something hand on what it has, its manifest first?"""

import os

import pytest
import trio

from ringgossip.config import KINDS, PeerConfig
from ringgossip.config.blocks import Bandwidth, DiskRules
from ringgossip.identity import Address
from ringgossip.runtime.opening import open_runtime_peer

pytestmark = pytest.mark.trio

MB = 2**20


@pytest.fixture
def config(nodes, tmp_path):
    def make(name: str, *seeds: Address, **more) -> PeerConfig:
        return PeerConfig(
            cluster="ringrift",
            node=name,
            data=tmp_path / "data" / name,
            credentials=getattr(nodes, name),
            listen=Address("127.0.0.1", 0),
            seeds=seeds,
            want=KINDS,
            disk=DiskRules(stop_percent=100),
            **more,
        )

    return make


async def test_pages_and_chunks_come_from_a_peer_that_is_still_pulling_when_the_origin_is_gone(
    config, tmp_path
) -> None:
    path = tmp_path / "best.pth"
    path.write_bytes(os.urandom(8 * MB))
    slow = Bandwidth(receive_bytes_per_second=3e6)

    def done(peer) -> int:
        return sum(transfer.done for transfer in peer.transfers())

    with trio.fail_after(20):
        async with open_runtime_peer(config("alice"), embedded=False) as alice:
            bob_config = config("bob", alice.address, bandwidth=slow)
            async with open_runtime_peer(bob_config, embedded=False) as bob:
                await alice.publish("models", path)
                while not done(bob):
                    await trio.sleep(0.01)
                await alice.close(graceful=False)
                held = done(bob)
                assert held < 8 * MB
                async with open_runtime_peer(config("carol", bob.address), embedded=False) as carol:
                    while done(carol) < held:
                        await trio.sleep(0.02)
                    assert not any(artifact.complete for artifact in carol.artifacts())
