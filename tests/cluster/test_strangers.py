"""Is whoever is no member refused in one clear line, counted, and without any effect? Promise S7.

And members that break the rules: a modified peer publishes names that leave the store.
"""

import contextlib
import random
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster, Node, Program, each, until

from ringgossip.cli.demo_matter import write_npz
from ringgossip.identity.authority import enroll
from ringgossip.identity.credentials import ALPN

# A peer whose author took the checks of names out.
ROGUE: Program = (
    "-c",
    """
import ringgossip.content.record as record
import ringgossip.runtime.peer as peer
import ringgossip.runtime.storage.publishing as publishing
record.check_artifact_name = lambda name: None
peer.require_artifact_name = publishing.require_artifact_name = lambda name: name
from ringgossip.cli import main
main()
""",
)
HOSTILE = [
    "../../../../escaped.npz",
    "/tmp/ringgossip-escaped.npz",
    "a/../../../b.npz",
    "nul\0byte.npz",
    "NUL.npz",
    "taken.npz@7",
    "n" * 254 + ".npz",
    "back\\slash.npz",
    ".ringgossip/x.npz",
]


@pytest.fixture(scope="module")
def nodes(shared_cluster: Cluster) -> Iterator[list[Node]]:
    yield shared_cluster.start(3)


@pytest.fixture(autouse=True)
def they_go_on(nodes: list[Node], tmp_path: Path) -> Iterator[None]:
    """After whatever a stranger did, everybody sees everybody and data still moves."""
    yield
    each(nodes, lambda node: node.sees(other.name for other in nodes), "to see all others")
    name = f"after-{random.getrandbits(40):x}.npz"
    write_npz(tmp_path / name, 10)
    assert nodes[0].client.publish("npz", tmp_path / name, copies=2, timeout=30).fulfilled


def refused(node: Node, reason: str) -> list[str]:
    """Return its log lines about strangers that were refused for this reason."""
    return [line for line in node.lines if "refused a stranger at" in line and reason in line]


def place(node: Node) -> tuple[str, int]:
    host, _, port = node.address.rpartition(":")
    return host, int(port)


def test_plain_text_is_refused_in_one_line_however_often_it_comes(nodes: list[Node]) -> None:
    node = nodes[0]
    before = node.counter("strangers_refused")
    for _ in range(8):
        with socket.create_connection(place(node), timeout=10) as stranger:
            stranger.sendall(b"hello, is anybody there?\r\n\r\n" * 10)
            with contextlib.suppress(OSError):
                stranger.recv(100)
    until(lambda: node.counter("strangers_refused") >= before + 8, "all of them to be counted")
    until(lambda: refused(node, "plain text"), "the line")
    assert len(refused(node, "plain text")) == 1


def test_silent_connections_neither_keep_members_out_nor_stay(nodes: list[Node], tmp_path: Path) -> None:
    node = nodes[1]
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(place(node), timeout=10)) for _ in range(40)]
        nodes[2].kill()
        nodes[2].start()
        until(lambda: node.sees(["node-3"]), "a member to come in beside silent strangers")
        write_npz(tmp_path / "beside.npz", 10)
        assert nodes[2].client.publish("npz", tmp_path / "beside.npz", copies=2, timeout=30).fulfilled
        for stranger in silent[:8]:
            stranger.settimeout(30)
            with contextlib.suppress(ConnectionError):
                assert stranger.recv(1) == b""


def test_random_datagrams_are_counted_and_told_once(nodes: list[Node]) -> None:
    node = nodes[0]
    before = node.counter("strangers_refused")
    rng = random.Random(1)
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        for _ in range(100):
            for _ in range(10):
                sender.sendto(rng.randbytes(rng.randrange(0, 1500)), place(node))
            time.sleep(0.002)  # Else the kernel's buffer drops them before anybody can count.
    until(lambda: node.counter("strangers_refused") >= before + 900, "them to be counted")
    lines = [line for line in node.lines if "refused a stranger" in line]
    # One for each way in which garbage can be wrong.
    assert len(lines) <= 10
    assert all(len(line) < 200 and line.isprintable() for line in lines)


def test_an_expired_certificate_is_refused_and_said_so(
    nodes: list[Node], shared_cluster: Cluster, tmp_path: Path
) -> None:
    folder = enroll(
        shared_cluster.authority,
        "late",
        tmp_path / "late",
        not_before=time.time() - 20 * 86400,
        validity=-86400,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cafile=str(folder / "authority.crt"))
    context.load_cert_chain(folder / "node.crt", folder / "node.key")
    context.set_alpn_protocols([ALPN])
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        socket.create_connection(place(nodes[0]), timeout=10) as plain,
        context.wrap_socket(plain) as tls,
    ):
        tls.sendall(b"\0\0\0\1x")
        assert tls.recv(1000) == b""
        raise ConnectionError("it was closed")
    until(lambda: refused(nodes[0], "its certificate has expired"), "the line")
    assert "late" not in nodes[0].states()


@pytest.mark.parametrize("name", ["ringrift", "elsewhere"])
def test_a_peer_of_another_cluster_stays_outside(
    nodes: list[Node], second_cluster: Callable[..., Cluster], name: str
) -> None:
    foreign = second_cluster(name)
    stranger = foreign.node(f"stranger-{name}", seeds=[nodes[0].address]).start()
    before = nodes[0].counter("strangers_refused")
    until(lambda: nodes[0].counter("strangers_refused") >= before + 3, "it to be counted")
    until(lambda: refused(nodes[0], ""), "a line here")
    until(lambda: stranger.lines, "a line there")
    each(nodes, lambda node: stranger.name not in node.states(), "to know it not")
    assert list(stranger.states()) == [stranger.name]
    time.sleep(2)
    # Datagrams and connections, each way, each reason: few lines, whatever is tried.
    assert len(stranger.lines) <= 6
    assert len([line for line in nodes[0].lines if "refused a stranger" in line]) <= 20
    assert not stranger.client.artifacts()
    assert stranger.stop() < 3


def test_a_wrong_gossip_key_is_refused_counted_and_named(
    nodes: list[Node], shared_cluster: Cluster, second_cluster: Callable[..., Cluster]
) -> None:
    wrong = shared_cluster.node("wrong-key")
    credentials = Path(wrong.keys["credentials"])
    shutil.copy(second_cluster().authority / "gossip.keys", credentials / "gossip.keys")
    before = nodes[0].counter("strangers_refused")
    wrong.start()
    until(lambda: nodes[0].counter("strangers_refused") >= before + 2, "it to be counted, again and again")
    until(lambda: refused(nodes[0], "'wrong-key' has a certificate of this cluster, but none"), "a line here")
    until(lambda: [line for line in wrong.lines if "accepts none of our gossip keys" in line], "a line there")
    # It knows nobody, nobody knows it, and it says so itself.
    assert list(wrong.states()) == ["wrong-key"]
    each(nodes, lambda node: "wrong-key" not in node.states(), "to know it not")
    status = wrong.client.status()
    assert not status["healthy"]
    assert "no member accepts our gossip key (node-1 said so): copy gossip.keys" in status["verdict"]
    assert len(refused(nodes[0], "'wrong-key'")) <= 3
    # What it says is what helps.
    assert wrong.stop() < 3
    shutil.copy(shared_cluster.authority / "gossip.keys", credentials / "gossip.keys")
    wrong.start()
    shared_cluster.meet(*nodes, wrong)
    assert wrong.stop() < 3
    del shared_cluster.nodes["wrong-key"]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_refused_on_publish(nodes: list[Node], tmp_path: Path, name: str) -> None:
    from ringgossip.errors import UsageError

    write_npz(tmp_path / "innocent.npz", 10)
    with pytest.raises(UsageError) as refusal:
        nodes[0].client.publish("npz", tmp_path / "innocent.npz", name=name)
    assert "cannot name an artifact" in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_hostile_names_are_refused_on_receipt(
    nodes: list[Node], shared_cluster: Cluster, tmp_path: Path
) -> None:
    rogue = shared_cluster.node("rogue").start(program=ROGUE)
    shared_cluster.meet(*nodes, rogue)
    before = [node.counter("protocol_errors") for node in nodes]
    for number, name in enumerate(HOSTILE):
        write_npz(tmp_path / f"evil-{number}.npz", 10)
        with contextlib.suppress(Exception):
            rogue.client.publish("npz", tmp_path / f"evil-{number}.npz", name=name, timeout=5)
    assert rogue.catalog(), "the rogue could publish nothing: nothing was shown"
    heard = [node for node, count in zip(nodes, before)]
    until(
        lambda: any(node.counter("protocol_errors") > count for node, count in zip(heard, before)), "a count"
    )
    until(lambda: any("rogue broke the protocol" in line for node in nodes for line in node.lines), "a line")
    time.sleep(2)
    for node in nodes:
        assert not [text for text in node.catalog() if text.startswith("npz/rogue/")]
        assert not (node.data / "replicas/npz/rogue").exists()
        assert len([line for line in node.lines if "rogue broke the protocol" in line]) <= 3
    assert not list(shared_cluster.folder.rglob("escaped.npz"))
    assert not Path("/tmp/ringgossip-escaped.npz").exists()
    rogue.kill()
    del shared_cluster.nodes["rogue"]
