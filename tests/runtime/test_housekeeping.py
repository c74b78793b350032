"""Does a peer look after its copies, its disk and its certificate? Whole peers on loopback."""

import os
import time
from pathlib import Path

import pytest
import trio

from ringgossip.config import KINDS, PeerConfig
from ringgossip.config.blocks import DiskRules, Scrub
from ringgossip.errors import CredentialsError
from ringgossip.events import CertificateExpires, Event, StorageTrouble
from ringgossip.identity import Address
from ringgossip.identity.authority import enroll
from ringgossip.identity.credentials import Credentials
from ringgossip.runtime import housekeeping
from ringgossip.runtime.opening import open_runtime_peer
from ringgossip.runtime.peer import Peer

pytestmark = pytest.mark.trio


@pytest.fixture
def config(nodes, tmp_path):
    def make(name: str, *seeds: Address, **more) -> PeerConfig:
        return PeerConfig(
            **{
                "cluster": "ringrift",
                "node": name,
                "data": tmp_path / "data" / name,
                "credentials": getattr(nodes, name),
                "listen": Address("127.0.0.1", 0),
                "seeds": seeds,
                "want": KINDS,
                "disk": DiskRules(stop_percent=100),
                **more,
            }
        )

    return make


async def gather(peer: Peer, heard: list[Event], task_status=trio.TASK_STATUS_IGNORED) -> None:
    async with peer.listen() as events:
        task_status.started()
        async for event in events:
            heard.append(event)


async def until(true, seconds: float = 10.0) -> None:
    with trio.fail_after(seconds):
        while not true():
            await trio.sleep(0.02)


async def test_a_copy_that_rotted_is_found_moved_aside_and_pulled_again(
    config, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(housekeeping, "SCRUB_INTERVAL", 0.1)
    scrub = Scrub(rest_seconds=0.1)
    path = tmp_path / "best.pth"
    path.write_bytes(os.urandom(3_000_000))
    heard: list[Event] = []
    async with (
        open_runtime_peer(config("alice")) as alice,
        open_runtime_peer(config("bob", alice.address, scrub=scrub)) as bob,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(gather, bob, heard)
        await alice.publish("models", path, copies=1, timeout=20)
        replica = Path(bob.artifacts("models")[0].path)
        with replica.open("r+b") as file:
            file.seek(2_500_000)
            byte = file.read(1)
            file.seek(2_500_000)
            file.write(bytes([byte[0] ^ 1]))
        await until(lambda: bob.counters.get("damaged_copies"))
        await until(lambda: [a.complete for a in bob.artifacts("models")] == [True])
        assert replica.read_bytes() == path.read_bytes()
        [trouble] = [event for event in heard if isinstance(event, StorageTrouble)]
        assert "is not what was signed; moved to" in trouble.reason
        nursery.cancel_scope.cancel()
    assert len(list((tmp_path / "data" / "bob" / "damaged").iterdir())) == 1


async def test_copies_are_never_read_again_if_that_is_what_the_owner_wants(config, monkeypatch) -> None:
    monkeypatch.setattr(housekeeping, "SCRUB_INTERVAL", 0.01)
    async with (
        open_runtime_peer(config("alice", scrub=Scrub(bytes_per_second=0))) as alice,
        open_runtime_peer(config("bob")) as bob,
    ):
        await until(lambda: bob.counters.get("scrub_rounds"))
        assert "scrub_rounds" not in alice.counters


async def test_a_certificate_that_ends_is_told_before_and_ends_the_links(config, nodes, tmp_path) -> None:
    folder = enroll(nodes.alice.parent.parent, "carol", tmp_path / "short", validity=4.0)
    heard: list[Event] = []
    async with (
        open_runtime_peer(config("alice")) as alice,
        open_runtime_peer(config("carol", alice.address, credentials=folder)) as carol,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(gather, carol, heard)
        await until(lambda: alice.status()["links"])

        def told() -> list[str]:
            return [event.reason for event in heard if isinstance(event, CertificateExpires)]

        await until(told)
        assert "certificate of carol expires in less than a day; run `ringgossip enroll" in told()[0]
        await until(lambda: len(told()) > 1)
        assert "has expired: nobody links with this peer any more; run" in told()[1]
        await until(lambda: not alice.status()["links"])
        assert alice.counters["strangers_refused"] >= 1
        nursery.cancel_scope.cancel()
    with pytest.raises(CredentialsError, match="has expired: run `ringgossip enroll DIR --node carol"):
        async with open_runtime_peer(config("carol", credentials=folder)):
            pass


async def test_days_are_said_as_people_say_them(nodes) -> None:
    certificate = Credentials.load(nodes.alice).certificate
    left = certificate.not_after - time.time()
    assert "expires in 730 days; run" in housekeeping.expiry(certificate, left, Path("/x"))
    assert "expires in a day;" in housekeeping.expiry(certificate, 86500.0, Path("/x"))


async def test_a_data_folder_that_was_removed_under_the_peer_is_told(config, monkeypatch) -> None:
    monkeypatch.setattr(housekeeping, "FOLDER_INTERVAL", 0.05)
    heard: list[Event] = []
    async with open_runtime_peer(config("alice")) as alice, trio.open_nursery() as nursery:
        await nursery.start(gather, alice, heard)
        await trio.sleep(0.2)
        assert not any(isinstance(event, StorageTrouble) for event in heard)
        data = alice.config.data
        data.rename(data.with_name("elsewhere"))
        await until(lambda: any("restart this peer" in getattr(event, "reason", "") for event in heard))
        data.mkdir()
        (data / "lock").touch()
        await trio.sleep(0.2)
        heard.clear()  # what was seen before the lock was there
        await until(lambda: any("another lies there" in getattr(event, "reason", "") for event in heard))
        nursery.cancel_scope.cancel()
