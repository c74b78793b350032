"""A way for bodies that never opens, on real sockets: is it left alone, and do bodies come all the same?"""

import os
from pathlib import Path

import pytest
import trio
from peers import CLUSTER, make_cluster

from ringgossip.config import PeerConfig
from ringgossip.identity import Address
from ringgossip.runtime import link as link_module
from ringgossip.runtime.link import Link
from ringgossip.runtime.links import Links
from ringgossip.runtime.opening import open_runtime_peer
from ringgossip.runtime.peer import Peer

pytestmark = pytest.mark.trio


def failed(peer: Peer) -> int:
    return int(peer.status()["counters"].get("lanes_not_opened", 0))


async def test_a_lane_that_failed_five_times_in_a_row_is_not_tried_a_sixth_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "LEAST_RATE", 1.0)
    monkeypatch.setattr("ringgossip.runtime.rates._SAMPLE", 1e-6)

    # As behind a firewall that knows TLS and nothing else: who asks for a lane is no member.
    async def no_lane(links: Links, sock: object) -> bool:
        return False

    monkeypatch.setattr(Links, "_is_lane", no_lane)

    # Links that asked for a lane and know what became of it.
    decided: list[Link] = []
    open_lane = Links._open_lane

    async def noted(links: Links, link: Link) -> None:
        await open_lane(links, link)
        decided.append(link)

    monkeypatch.setattr(Links, "_open_lane", noted)
    make_cluster(tmp_path, "alice", "bob")

    def config(node: str, *seeds: Address) -> PeerConfig:
        return PeerConfig(
            cluster=CLUSTER,
            node=node,
            data=tmp_path / f"{node}-data",
            credentials=tmp_path / node,
            listen=Address("127.0.0.1", 0),
            seeds=seeds,
        )

    async with (
        open_runtime_peer(config("alice")) as alice,
        open_runtime_peer(config("bob", alice.address)) as bob,
    ):

        async def round_of(number: int, breaks: bool = True) -> None:
            """Move a file, wait until the link's lane has failed, and let whoever is quicker dial again."""
            before = sum(map(failed, (alice, bob)))
            file = tmp_path / f"{number}.pth"
            file.write_bytes(os.urandom(300_000))
            await alice.publish("models", file)
            await bob.wait_for("models", file.name, timeout=10)
            if breaks:
                while sum(map(failed, (alice, bob))) == before:
                    await trio.sleep(0.01)
                for link in bob._engine.links.all():
                    link.break_off("the test breaks it")
                while not (bob._engine.links.all() and alice._engine.links.all()):
                    await trio.sleep(0.01)

        with trio.fail_after(30):
            for number in range(9):  # one of two fails five times in at most nine
                await round_of(number)
                seen = [*alice.breakers(), *bob.breakers()]
                if opened := [breaker for breaker in seen if breaker.state == "open"]:
                    break
            [breaker] = opened
            assert (breaker.route, breaker.failures) == ("lane", 5)
            blocked = next(peer for peer in (alice, bob) if peer.name != breaker.peer)
            assert failed(blocked) == 5
            # Let that one dial, which is left to chance, and bodies come without another try.
            while True:
                number += 1
                for link in blocked._engine.links.all():
                    link.break_off("the test breaks it")
                while not blocked._engine.links.all():
                    await trio.sleep(0.01)
                await round_of(number, breaks=False)
                [link] = blocked._engine.links.all()
                if link.dialled:
                    break
            while link not in decided:
                await trio.sleep(0.01)
        assert failed(blocked) == 5
