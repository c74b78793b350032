"""Loading credentials: one clear line for everything that can be wrong. And TLS with real sockets."""

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from ringgossip.errors import CredentialsError, PeerMisbehaved
from ringgossip.identity.authority import create_cluster, enroll
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.identity.credentials import Credentials, why_refused
from ringgossip.identity.pem import private_pem


@pytest.fixture
def folder(cluster, tmp_path: Path) -> Path:
    """A copy of alice's credentials, to be spoilt."""
    return Path(shutil.copytree(cluster.alice, tmp_path / "alice"))


def test_credentials_know_who_we_are_and_sign_for_us(cluster) -> None:
    alice = Credentials.load(cluster.alice)
    assert (alice.cluster, alice.name, alice.peer_id) == ("ringrift", "alice", alice.certificate.peer_id)
    signature = alice.sign(b"a record")
    assert len(signature) == 64
    assert alice.certificate.verify_signature(signature, b"a record")
    assert not alice.certificate.verify_signature(signature, b"another record")
    assert not Credentials.load(cluster.bob).certificate.verify_signature(signature, b"a record")
    assert not alice.certificate.verify_signature(b"", b"a record")


def test_all_nodes_of_a_cluster_share_the_gossip_key(cluster) -> None:
    alice, bob = Credentials.load(cluster.alice), Credentials.load(cluster.bob)
    assert alice.gossip_keys.text() == bob.gossip_keys.text()


def test_secrets_do_not_show_when_credentials_are_printed(cluster) -> None:
    alice = Credentials.load(cluster.alice)
    assert alice.gossip_keys.text().strip() not in repr(alice)
    assert "PrivateKey" not in repr(alice)


def test_a_folder_that_this_user_may_not_look_into_is_said_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(CredentialsError, match="run the peer as its owner"):
        Credentials.load(folder)


@pytest.mark.parametrize("name", ["node.key", "node.crt", "authority.crt", "gossip.keys"])
def test_a_missing_file_is_named_together_with_what_to_run(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CredentialsError, match=rf"{name} is missing: .*ringgossip enroll") as caught:
        Credentials.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["node.key", "node.crt", "authority.crt", "gossip.keys"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_damaged_file_is_named_together_with_what_to_run(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(CredentialsError, match=rf"{name} is damaged: .*ringgossip enroll") as caught:
        Credentials.load(folder)
    assert "\n" not in str(caught.value)


def test_no_folder_at_all_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"no credentials in .*ringgossip enroll"):
        Credentials.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["node.key", "gossip.keys"])
def test_a_secret_that_everybody_can_read_is_refused(folder: Path, name: str) -> None:
    (folder / name).chmod(0o644)
    with pytest.raises(CredentialsError, match=rf"run `chmod 600 .*{name}`"):
        Credentials.load(folder)


def test_a_key_of_another_node_does_not_fit(cluster, folder: Path) -> None:
    shutil.copy(cluster.bob / "node.key", folder / "node.key")
    with pytest.raises(CredentialsError, match=r"node\.key does not belong to the certificate beside it"):
        Credentials.load(folder)


def test_a_foreign_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    create_cluster(tmp_path / "other", "ringrift")
    shutil.copy(tmp_path / "other" / "authority.crt", folder / "authority.crt")
    with pytest.raises(CredentialsError, match="not signed by this cluster's authority"):
        Credentials.load(folder)


def test_expired_credentials_say_how_to_get_new_ones(cluster, tmp_path: Path) -> None:
    old = enroll(cluster.folder, "late", tmp_path / "late", validity=-60)
    with pytest.raises(CredentialsError, match="has expired: run `ringgossip enroll DIR --node late"):
        Credentials.load(old)


def test_a_clock_far_in_the_past_is_suspected(cluster) -> None:
    with pytest.raises(CredentialsError, match="is this machine's clock right"):
        Credentials.load(cluster.alice, wall=lambda: 0.0)


def test_importing_identity_loads_no_cryptography() -> None:
    program = "import sys, ringgossip.identity; sys.exit(bool({'cryptography', 'ssl'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], timeout=20).returncode == 0


# --- TLS, with real sockets ----------------------------------------------------


def shake_hands(
    server: ssl.SSLContext,
    client: Callable[[socket.socket], object],
    look: Callable[[ssl.SSLSocket], object] = lambda tls: None,
) -> tuple[object, object]:
    """Let `client` talk to a TLS server; return what each side saw: a result or an exception."""
    left, right = socket.socketpair()
    left.settimeout(5)
    right.settimeout(5)
    seen: list[object] = []

    def serve() -> None:
        try:
            with server.wrap_socket(left, server_side=True) as tls:
                tls.sendall(b"welcome")
                seen.append(look(tls))
        except Exception as error:
            seen.append(error)
        finally:
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        result = client(right)
    except Exception as error:
        result = error
    finally:
        right.close()
    thread.join(10)
    return seen[0], result


def dial(context: ssl.SSLContext, look: Callable[[ssl.SSLSocket], object] = lambda tls: None):
    def client(sock: socket.socket) -> object:
        with context.wrap_socket(sock) as tls:
            # In TLS 1.3 a client hears at its first read that it was refused.
            if tls.recv(7) != b"welcome":
                raise ConnectionError("closed")
            return look(tls)

    return client


def anonymous() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["ringgossip/1"])
    return context


def with_credentials(folder: Path) -> ssl.SSLContext:
    """A client that shows whatever certificate lies in `folder`, and believes everything."""
    context = anonymous()
    context.load_cert_chain(folder / "node.crt", folder / "node.key")
    return context


def test_two_members_know_each_other_by_certificate(cluster) -> None:
    alice, bob = Credentials.load(cluster.alice), Credentials.load(cluster.bob)

    def details(who: Credentials) -> Callable[[ssl.SSLSocket], object]:
        return lambda tls: (who.peer_certificate(tls), tls.version(), tls.selected_alpn_protocol())

    served, dialled = shake_hands(
        alice.ssl_context(server=True), dial(bob.ssl_context(server=False), details(bob)), details(alice)
    )
    assert served == (bob.certificate, "TLSv1.3", "ringgossip/1")
    assert dialled == (alice.certificate, "TLSv1.3", "ringgossip/1")


def test_a_server_of_another_cluster_is_not_talked_to(cluster, tmp_path: Path) -> None:
    create_cluster(tmp_path / "other", "ringrift")
    stranger = Credentials.load(enroll(tmp_path / "other", "alice"))
    bob = Credentials.load(cluster.bob)
    served, dialled = shake_hands(stranger.ssl_context(server=True), dial(bob.ssl_context(server=False)))
    assert isinstance(served, OSError)
    assert isinstance(dialled, ssl.SSLCertVerificationError)
    assert "not of this cluster" in why_refused(dialled)


def test_a_client_of_another_cluster_is_not_let_in(cluster, tmp_path: Path) -> None:
    create_cluster(tmp_path / "other", "elsewhere")
    stranger = enroll(tmp_path / "other", "mallory")
    alice = Credentials.load(cluster.alice)
    served, dialled = shake_hands(alice.ssl_context(server=True), dial(with_credentials(stranger)))
    assert isinstance(served, ssl.SSLCertVerificationError)
    assert "not of this cluster" in why_refused(served)
    assert isinstance(dialled, OSError)
    assert "another cluster" in why_refused(dialled)


def test_a_client_with_an_expired_certificate_is_not_let_in(cluster, tmp_path: Path) -> None:
    old = enroll(cluster.folder, "veteran", tmp_path / "veteran", validity=-60)
    alice = Credentials.load(cluster.alice)
    served, dialled = shake_hands(alice.ssl_context(server=True), dial(with_credentials(old)))
    assert isinstance(served, ssl.SSLCertVerificationError)
    assert why_refused(served) == "its certificate has expired"
    assert isinstance(dialled, OSError)


def test_a_client_without_a_certificate_is_not_let_in(cluster) -> None:
    alice = Credentials.load(cluster.alice)
    served, dialled = shake_hands(alice.ssl_context(server=True), dial(anonymous()))
    assert isinstance(served, ssl.SSLError)
    assert why_refused(served) == "it showed no certificate"
    assert isinstance(dialled, OSError)


def test_a_member_cannot_vouch_for_somebody_else(cluster, tmp_path: Path) -> None:
    # Mallory holds bob's key, and signs a certificate with it in bob's name.
    bob = x509.load_pem_x509_certificate((cluster.bob / "node.crt").read_bytes())
    bobs_key = load_pem_private_key((cluster.bob / "node.key").read_bytes(), None)
    assert isinstance(bobs_key, Ed25519PrivateKey)
    mallory = Ed25519PrivateKey.generate()
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mallory")]))
        .issuer_name(bob.subject)
        .public_key(mallory.public_key())
        .serial_number(7)
        .not_valid_before(bob.not_valid_before_utc)
        .not_valid_after(bob.not_valid_after_utc)
        .sign(bobs_key, None)
    )
    chain = forged.public_bytes(Encoding.PEM) + bob.public_bytes(Encoding.PEM)
    (tmp_path / "node.crt").write_bytes(chain)
    (tmp_path / "node.key").write_bytes(private_pem(mallory))
    folder = tmp_path
    alice = Credentials.load(cluster.alice)
    served, _ = shake_hands(alice.ssl_context(server=True), dial(with_credentials(folder)))
    assert isinstance(served, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00\x00\x00\x05hello"])
def test_a_plain_text_client_is_told_apart(cluster, greeting: bytes) -> None:
    alice = Credentials.load(cluster.alice)

    def shout(sock: socket.socket) -> object:
        sock.sendall(greeting)
        return sock.recv(100)

    served, _ = shake_hands(alice.ssl_context(server=True), shout)
    assert isinstance(served, ssl.SSLError)
    assert "not TLS" in why_refused(served)


def test_older_tls_is_not_spoken(cluster) -> None:
    alice = Credentials.load(cluster.alice)
    context = with_credentials(cluster.bob)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    served, _ = shake_hands(alice.ssl_context(server=True), dial(context))
    assert isinstance(served, ssl.SSLError)
    assert why_refused(served) == "it offered an older TLS than 1.3"


def test_a_member_that_speaks_another_protocol_is_refused(cluster) -> None:
    alice = Credentials.load(cluster.alice)
    context = with_credentials(cluster.bob)
    context.set_alpn_protocols(["http/1.1"])
    served, _ = shake_hands(alice.ssl_context(server=True), dial(context), alice.peer_certificate)
    assert isinstance(served, PeerMisbehaved)
    assert "ringgossip/1" in str(served)


def test_a_link_is_refused_at_the_moment_its_certificate_ends(cluster) -> None:
    alice, bob = Credentials.load(cluster.alice), Credentials.load(cluster.bob)
    later: NodeCertificate = bob.certificate

    served, _ = shake_hands(
        alice.ssl_context(server=True),
        dial(bob.ssl_context(server=False)),
        lambda tls: alice.peer_certificate(tls, wall_now=later.not_after + 1.0),
    )
    assert isinstance(served, PeerMisbehaved)
    assert "has expired" in str(served)
