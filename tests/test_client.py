"""Can a program talk to its peer from threads, forks and other processes, before and after restarts?"""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from peers import PeerProcess, make_cluster, until, write_config

import ringgossip
from ringgossip.client import Client
from ringgossip.errors import ArtifactRefused, PeerGone, RinggossipError, TimedOut, UsageError
from ringgossip.events import ArtifactCompleted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    make_cluster(folder, "alice", "bob", "carol")
    return folder


@pytest.fixture(scope="module")
def pair(folder: Path) -> Iterator[tuple[Client, Client]]:
    """Two peers that know each other, as clients."""
    alice = PeerProcess(write_config(folder, "alice", role="training"))
    try:
        alice.ready()
        bob = PeerProcess(write_config(folder, "bob", seeds=[alice.address]))
        try:
            bob.ready()
            until(lambda: sum(entry["state"] == "alive" for entry in alice.client.members()) == 2)
            yield ringgossip.connect(alice.data), ringgossip.connect(str(bob.data))
        finally:
            bob.kill()
    finally:
        alice.kill()


def model(folder: Path, name: str, size: int = 200_000) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def test_what_one_publishes_the_other_waits_for_and_reads(
    pair: tuple[Client, Client], tmp_path: Path
) -> None:
    alice, bob = pair
    heard: list[tuple[str, int, int]] = []
    path = model(tmp_path, "a.pth", 3_000_000)
    receipt = alice.publish(
        "checkpoint",
        path,
        board_type="hex8",
        num_players=2,
        copies=1,
        timeout=30,
        progress=lambda *said: heard.append(said),
    )
    assert (receipt.copies, receipt.holders, receipt.missing, receipt.fulfilled) == (1, ("bob",), (), True)
    assert receipt.artifact.text == "models/alice/a.pth"
    artifact = bob.wait_for("models", "a.pth", timeout=10)
    assert artifact.path is not None
    assert Path(artifact.path).read_bytes() == path.read_bytes()
    assert artifact.root == receipt.artifact.root
    assert {phase for phase, _, _ in heard} <= {"hash", "copies"}
    assert heard[-1] == ("copies", 1, 1)
    assert [entry.name for entry in bob.artifacts("models", board_type="hex8")] == ["a.pth"]
    assert bob.artifacts("models", board_type="square8") == []
    assert bob.artifacts("npz") == []


def test_the_other_verbs_answer_in_the_shapes_of_the_command_line(pair: tuple[Client, Client]) -> None:
    alice, _ = pair
    members = {entry["name"]: entry for entry in alice.members()}
    assert members["alice"]["role"] == "training"
    assert members["bob"]["state"] == "alive"
    assert members["bob"]["addresses"][0].startswith("127.0.0.1:")
    assert alice.transfers() == []
    status = alice.status()
    assert (status["node"], status["healthy"]) == ("alice", True)
    assert {"verdict", "sync", "counters"} <= set(status)
    health = alice.health_check()
    assert set(health) == {"healthy", "status", "message", "timestamp", "details"}
    assert health["message"] == alice.status()["verdict"]


def test_errors_come_with_their_class_and_one_line(pair: tuple[Client, Client], tmp_path: Path) -> None:
    alice, _ = pair
    for kind, call in (
        (UsageError, lambda: alice.publish("modles", model(tmp_path, "x.pth"))),
        (UsageError, lambda: alice.publish("models", tmp_path / "x.pth", name="../x")),
        (ArtifactRefused, lambda: alice.publish("models", tmp_path / "none.pth")),
        (UsageError, lambda: alice.publish("models", tmp_path / "x.pth", copies="two")),
        (UsageError, lambda: alice.publish("models", "x" * 100_000)),
        (TimedOut, lambda: alice.wait_for("models", "nobody.pth", timeout=0.05)),
    ):
        with pytest.raises(RinggossipError) as caught:
            call()
        assert type(caught.value) is kind
        assert "\n" not in str(caught.value)
    assert alice.status()["healthy"]


def test_a_listener_hears_what_happens_and_ends_in_silence(
    pair: tuple[Client, Client], tmp_path: Path
) -> None:
    alice, bob = pair
    with bob.listen(10) as events:
        alice.publish("models", model(tmp_path, "heard.pth"))
        done = next(event for event in events if isinstance(event, ArtifactCompleted))
    assert done.artifact == "models/alice/heard.pth"
    began = time.monotonic()
    with alice.listen(0.2) as events:
        assert list(events) == []
    assert 0.2 <= time.monotonic() - began < 3


def test_threads_share_one_client(pair: tuple[Client, Client]) -> None:
    alice, _ = pair
    with ThreadPoolExecutor(16) as pool:
        names = list(pool.map(lambda _: alice.status()["node"], range(200)))
    assert names == ["alice"] * 200
    assert len(alice._idle) <= 4


def test_a_client_is_pickled_and_survives_a_fork(pair: tuple[Client, Client]) -> None:
    alice, _ = pair
    assert pickle.loads(pickle.dumps(alice)).status()["node"] == "alice"
    alice.status()
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            assert {status["node"] for status in pool.map(Client.status, [alice] * 8)} == {"alice"}
    assert alice.status()["node"] == "alice"


def test_a_forked_child_does_not_keep_its_parents_conversations(pair: tuple[Client, Client]) -> None:
    alice, _ = pair
    alice.status()
    [kept] = alice._idle[-1:]
    descriptor = kept._socket.fileno()
    child = os.fork()
    if child == 0:
        try:
            os.fstat(descriptor)
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_where_no_peer_runs_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PeerGone, match=r"there is no folder .*/none: give the `data:` folder"):
        ringgossip.connect(tmp_path / "none")
    with pytest.raises(PeerGone, match=r"no peer runs on .*: start it with `ringgossip peer --config"):
        ringgossip.connect(tmp_path)


def test_a_killed_peer_is_gone_and_a_restarted_one_is_found_again(folder: Path) -> None:
    config = write_config(folder, "carol")
    peer = PeerProcess(config).ready()
    try:
        client = ringgossip.connect(peer.data)
        assert client.status()["node"] == "carol"
        with client.listen(20) as events:
            peer.kill()
            with pytest.raises(PeerGone):
                list(events)
        with pytest.raises(PeerGone, match="no peer runs on"):
            client.status()
        peer = PeerProcess(config).ready()
        assert client.status()["node"] == "carol"
        (peer.data / "socket").rename(peer.data / "socket.removed")
        with pytest.raises(PeerGone, match=f"process {peer.process.pid} has .*control socket was removed"):
            ringgossip.connect(peer.data).status()
        (peer.data / "socket.removed").rename(peer.data / "socket")
        # A peer that hangs is no reason to hang.
        impatient = ringgossip.connect(peer.data, patience=0.3)
        peer.send(signal.SIGSTOP)
        with pytest.raises(TimedOut, match=r"has said nothing for 0\.3 s"):
            impatient.status()
        peer.send(signal.SIGCONT)
        assert impatient.status()["node"] == "carol"
    finally:
        peer.kill()


def test_importing_the_client_is_light() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(ringgossip.__file__).parent.parent)}
    code = (
        "import sys, ringgossip.client\n"
        "rss = next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM'))\n"
        "print(rss, *sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    resident, *modules = done.stdout.split()
    assert not {"trio", "msgpack", "cryptography", "pydantic", "dataclasses", "asyncio"} & set(modules)
    assert int(resident) <= 18 * 1024
