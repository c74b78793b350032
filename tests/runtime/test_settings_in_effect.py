"""Does every setting do what it says, wherever it comes from? Each is given as the variable users export.

Source: reference, "Environment Variables" and "Troubleshooting"; field notes, section 4.
"""

from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
import trio
from artifacts import manifest_of, peer
from cores import core
from peers import CLUSTER, make_cluster
from puller import Puller

from ringgossip.config import PeerConfig, ShareFolder, load_config
from ringgossip.content.catalog import Catalog
from ringgossip.events import CopiesMissing
from ringgossip.protocol.anti_entropy import AntiEntropy
from ringgossip.protocol.core import NeedLink, Send
from ringgossip.runtime.facts import rules_of, settings_of
from ringgossip.runtime.folders import SharedFolder
from ringgossip.runtime.opening import open_runtime_peer
from ringgossip.simulation.world import PeerSpec, World
from ringgossip.wire.messages import GetChunks

A = peer(1)
SMALL = "cluster: ringrift\nnode: gpu-1\ndata: /d\ncredentials: /c\n"


def configured(tmp_path: Path, yaml: str = "", **environment: str) -> PeerConfig:
    """Read what a node with this file and these variables is told."""
    path = tmp_path / "node.yaml"
    path.write_text(SMALL + yaml)
    return load_config(path, environment)


def pulling(config: PeerConfig, artifacts: int, chunks: int = 40) -> Puller:
    transfer = settings_of(config).transfer
    puller = Puller(
        1, active=transfer.active, new_links=transfer.new_links, request_chunks=transfer.request_chunks
    )
    puller.link(A)
    for number in range(artifacts):
        manifest = manifest_of(chunks, f"npz {number}")
        puller.manifests[manifest.root] = manifest
        puller.want(puller.origin.record(manifest, f"{number}.npz", "npz"), A)
    return puller


@pytest.mark.parametrize("prefix", ["RINGRIFT_", "RINGGOSSIP_"])
def test_so_many_artifacts_are_pulled_at_a_time(tmp_path: Path, prefix: str) -> None:
    few = configured(tmp_path, **{f"{prefix}AUTO_SYNC_MAX_CONCURRENT": "3"})
    assert len(pulling(few, 20).transfer.pulls()) == 3
    said = configured(tmp_path, "max_concurrent_syncs: 5\n", **{f"{prefix}AUTO_SYNC_MAX_CONCURRENT": "3"})
    assert len(pulling(said, 20).transfer.pulls()) == 5, "the file wins"
    assert len(pulling(configured(tmp_path), 20).transfer.pulls()) == 12


def test_places_are_for_all_kinds_together_but_what_nobody_serves_takes_none(tmp_path: Path) -> None:
    puller = pulling(configured(tmp_path, RINGRIFT_AUTO_SYNC_MAX_CONCURRENT="2"), 5)
    for number in range(5):
        puller.want(puller.origin.record(manifest_of(40, f"games {number}"), f"{number}.db"), A)
    kinds = sorted(pull.record.kind for pull in puller.transfer.pulls())
    assert kinds == ["games", "npz", "npz"], "the first of its kind goes beside the others"
    puller.see(puller.transfer.link_broken(A, puller.now))
    puller.wake(400.0)
    assert len(puller.transfer.pulls()) == 10, "whatever waits for a holder keeps out nothing"


def test_a_request_names_so_many_chunks(tmp_path: Path) -> None:
    puller = pulling(configured(tmp_path, RINGRIFT_SYNC_BATCH_SIZE="5"), 1)
    named = [len(send.message.indices) for send in puller.sent(GetChunks)]  # type: ignore[union-attr]
    assert named and max(named) == 5


def test_so_many_holders_are_asked_to_link_for_one_pull(tmp_path: Path) -> None:
    for parallel in (1, 3):
        puller = pulling(configured(tmp_path, RINGGOSSIP_SYNC_PARALLEL=str(parallel)), 0)
        manifest = manifest_of(40, "wanted")
        puller.want(puller.origin.record(manifest), *map(peer, range(10, 20)))
        assert sum(isinstance(effect, NeedLink) for effect in puller.log) == parallel


@pytest.mark.parametrize(
    ("variables", "ephemeral", "cycle"),
    [
        ({}, False, 60.0),
        ({}, True, 30.0),
        ({"RINGRIFT_DATA_SYNC_INTERVAL": "10"}, False, 10.0),
        ({"RINGGOSSIP_DATA_SYNC_INTERVAL": "150"}, False, 150.0),
        ({"RINGRIFT_FAST_SYNC_INTERVAL": "10"}, True, 10.0),
        ({"RINGRIFT_FAST_SYNC_INTERVAL": "10"}, False, 60.0),
    ],
)
def test_copies_are_looked_after_once_in_each_cycle(
    tmp_path: Path, variables: Mapping[str, str], ephemeral: bool, cycle: float
) -> None:
    rules = rules_of(configured(tmp_path, "copies: 1\n", **variables))
    world = World([PeerSpec("alone", ephemeral=ephemeral, rules=rules)], seed=1)
    world.start()
    world.run(1.0)
    world.publish(0, "npz", "x.npz", size=1000)
    world.run(3.2 * cycle + 10.0)
    (told,) = [at for at, event in world.nodes[0].told if isinstance(event, CopiesMissing)]
    assert 2 * cycle <= told <= 3.2 * cycle + 10.0, "after two cycles with too few copies"


def test_catalogs_are_compared_at_least_so_often(tmp_path: Path) -> None:
    asked = {}
    for seconds in ("2", "30"):
        config = configured(tmp_path, RINGGOSSIP_GOSSIP_INTERVAL_SECONDS=seconds)
        machine = AntiEntropy(settings_of(config).anti_entropy, Catalog("ringrift"), Random(1), 0.0)
        machine.link_opened(A, 0.0)
        times = []
        while machine.next_wakeup() < 120.0:
            now = machine.next_wakeup()
            times += [now for effect in machine.wake(now) if isinstance(effect, Send)]
        asked[seconds] = len(times)
    assert 48 <= asked["2"] <= 80 and 3 <= asked["30"] <= 6, asked


def test_a_database_with_fewer_games_is_not_pushed(tmp_path: Path) -> None:
    pushed = {}
    for least in ("5", "50"):
        rules = rules_of(configured(tmp_path, RINGGOSSIP_MIN_GAMES_TO_SYNC=least))
        world = World([PeerSpec(name, role="training", rules=rules) for name in ("one", "two")], seed=1)
        world.start()
        world.run(6.0)
        world.publish(0, "games", "g.db", size=1000, metadata={"games_completed": 20})
        world.run(0.5)
        origin = core(world, 0)
        (record,) = origin.catalog.records("games")
        pushed[least] = len(origin.rules.push_targets(record, world.now)[0])
        world.run(30.0)
        assert len(world.nodes[1].disk.holdings) == 1, "gossip brings it in any case"
    assert pushed == {"5": 1, "50": 0}


@pytest.mark.trio
async def test_a_shared_file_that_changes_all_the_time_is_published_once_in_so_many_seconds(
    tmp_path: Path,
) -> None:
    config = configured(tmp_path, RINGRIFT_MIN_SYNC_INTERVAL="20")
    published = []

    async def publish(kind: str, source: Path, name: str, metadata: object, **_: object) -> None:
        published.append(name)

    share = ShareFolder(kind="models", folder=tmp_path)
    folder = SharedFolder(share, publish, None, None, config.min_interval_seconds)  # type: ignore[arg-type]
    now = trio.current_time()
    renamed = {"a.pth": (10, 5, 6, 1)}
    folder.finished(renamed, now - 1.0)
    assert folder.finished(renamed, now) == ["a.pth"]
    await folder._publish_one("a.pth", renamed["a.pth"])
    changed = {"a.pth": (10, 5, 7, 2)}
    assert folder.finished(changed, now + 1.0) == folder.finished(changed, now + 19.0) == []
    assert folder.finished(changed, now + 21.0) == ["a.pth"]
    assert published == ["a.pth"]


@pytest.mark.trio
async def test_a_sync_gives_up_after_its_timeout_and_the_node_is_called_what_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cluster(tmp_path, "alice", "bob")
    model = tmp_path / "net.safetensors"
    model.write_bytes(bytes(3_000_000))
    shared = f"cluster: {CLUSTER}\nlisten: 127.0.0.1:0\ncopies: 0\nwant: []\n"

    def config(name: str, yaml: str, **environment: str) -> PeerConfig:
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"{shared}data: {tmp_path}/{name}-data\ncredentials: {tmp_path}/{name}\n{yaml}")
        return load_config(path, environment)

    named = config("alice", "", RINGRIFT_NODE_ID="alice", RINGRIFT_SYNC_TIMEOUT="1.5")
    async with open_runtime_peer(named) as alice:
        assert alice.name == "alice"
        slow = f"node: bob\nbandwidth: {{receive_bytes_per_second: 20000}}\nseeds: ['{alice.address}']\n"
        async with open_runtime_peer(config("bob", slow)) as bob:
            with trio.fail_after(20):
                while len(alice.members()) < 2 or not alice.status()["links"] or not bob.status()["links"]:
                    await trio.sleep(0.02)
            await alice.publish("models", model)
            began = trio.current_time()
            result = await alice.sync("models", ["bob"])
            assert [item["outcome"] for item in result.details["items"]] == ["timed_out"]
            assert not result.success and 1.5 <= trio.current_time() - began <= 10.0
