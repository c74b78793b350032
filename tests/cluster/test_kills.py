"""Does a peer that is killed at any instant lose nothing, show nothing torn, and fetch nothing twice?

Five real processes, a writer that fills a database all the while, and SIGKILL at
random instants of transfers. Source: design section 7 (crash model), promises S1 and S3.
"""

import random
import time
from pathlib import Path

import pytest
from cluster import Cluster, Node, everywhere
from games import read_committed, start_writer, stop
from remains import Remains, read_index, visible, was_committed

from ringgossip.cli.demo_checks import look_into
from ringgossip.cli.demo_matter import write_checkpoint
from ringgossip.client import Artifact

pytestmark = pytest.mark.slow

KILLS = 20
SIZE = 40 * 2**20
# A transfer of some seconds: the store syncs each 2 s, and only what was synced can be proven to be kept.
RATE = 10 * 2**20
GAMES = "games/node-1/selfplay.db"
MODEL = "models/node-1/best.pth"


class Versions:
    """Every version that was published, and the root of its bytes."""

    def __init__(self) -> None:
        self.roots: dict[str, dict[int, str]] = {}

    def add(self, artifact: Artifact) -> Artifact:
        self.roots.setdefault(artifact.text, {})[artifact.sequence] = artifact.root
        return artifact

    def check_visible(self, node: Node) -> None:
        """Every file that is visible must be, byte for byte, some version that was published."""
        for name, root in visible(node.data).items():
            known = self.roots[name.rpartition("@")[0] if "@" in name else name]
            assert root in known.values(), f"{node.name} shows {name}, which nobody published"


def test_twenty_kills_at_random_instants_lose_and_tear_nothing(cluster: Cluster, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    nodes = cluster.start(5)
    origin, others, victims = nodes[0], nodes[1:3], nodes[3:]
    for victim in victims:
        victim.kill()
        victim.start(bandwidth={"receive_bytes_per_second": RATE})
    cluster.meet(*nodes)
    database, log = tmp_path / "selfplay.db", tmp_path / "committed"
    cluster.others.append(start_writer(database, log, "wal", seconds=300, pause=0.05))
    versions, kills, kept = Versions(), 0, 0
    while kills < KILLS:
        write_checkpoint(tmp_path / "best.pth", SIZE)
        model = versions.add(origin.client.publish("models", tmp_path / "best.pth").artifact)
        games = versions.add(origin.client.publish("games", database).artifact)
        left: dict[str, Remains] = {}
        while kills < KILLS and not all(victim.holds(model) for victim in victims):
            time.sleep(rng.uniform(0.0, 3.0))
            before = {victim.name: victim.catalog() for victim in victims}
            for victim in victims:
                if victim.name in left:
                    check_fetched_once(victim, left[victim.name])
                victim.kill()
                kills += 1
            left = {victim.name: read_index(victim.data) for victim in victims}
            for victim in victims:
                versions.check_visible(victim)
                check_kept(before[victim.name], left[victim.name])
                kept += left[victim.name].synced.get(model.root, 0)
                victim.start(wait=False)
            for victim in victims:
                check_nothing_lost(victim.ready(), left[victim.name])
        everywhere(nodes, games)
        everywhere(nodes, model)
        for victim in victims:
            check_fetched_once(victim, left[victim.name])
    stop(cluster.others[0])
    last = versions.add(origin.client.publish("games", database).artifact)
    everywhere(nodes, last)
    committed = read_committed(log)
    for node in [*others, *victims]:
        versions.check_visible(node)
        path = node.catalog()[GAMES].path
        assert path is not None
        integrity, count = look_into(Path(path))
        assert integrity == "ok"
        assert was_committed(count, committed)
    # Else the kills came before anything was synced, and nothing was shown.
    assert kept > 0
    print(f"{kills} kills, {kept / 2**20:.0f} MiB were synced at them")


def check_kept(before: dict[str, Artifact], left: Remains) -> None:
    """What a peer said it holds is in the index of its remains; nothing it knew is older there."""
    for text, artifact in before.items():
        if artifact.complete:
            assert left.held[text] >= artifact.sequence, f"{text}@{artifact.sequence} was complete"
        # A record is written in the background: a sequence that was heard of may be heard of again.
        assert artifact.sequence - left.known.get(text, 0) <= 1


def check_nothing_lost(node: Node, left: Remains) -> None:
    """A peer that has just started holds what its index said."""
    catalog = node.catalog()
    for text, sequence in left.held.items():
        artifact = catalog[text]
        assert artifact.sequence >= sequence, f"{text} went back from {sequence} to {artifact.sequence}"
        assert artifact.path is not None, f"{text}@{sequence} was complete and is not visible"
    for text, sequence in left.known.items():
        assert catalog[text].sequence >= sequence, f"{text} went back from {sequence}"


def check_fetched_once(node: Node, left: Remains) -> None:
    """What a process has fetched since its start is no more than what had not been synced before."""
    fetched = node.counter("chunk_bytes_received")
    rest = 0
    for text, artifact in node.catalog().items():
        if left.held.get(text, 0) < artifact.sequence:
            rest += artifact.size - left.synced.get(artifact.root, 0)
    assert fetched <= rest, f"{node.name} fetched {fetched} bytes, and only {rest} were missing"
