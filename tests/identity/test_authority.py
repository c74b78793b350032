"""Making a cluster and enrolling nodes: what lies on disk afterwards, and what is never overwritten."""

import json
import stat
from pathlib import Path

import pytest

from ringgossip.errors import CredentialsError, UsageError
from ringgossip.identity.authority import create_cluster, enroll, retire
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.identity.credentials import Credentials
from ringgossip.identity.pem import pem_of, single_pem


def certificate_in(folder: Path) -> NodeCertificate:
    return NodeCertificate.parse(single_pem((folder / "node.crt").read_bytes()))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_cluster_folder_and_its_key_belong_to_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "cluster"
    create_cluster(folder, "ringrift")
    assert mode(folder) == 0o700
    assert mode(folder / "authority.key") == 0o600
    assert mode(folder / "gossip.keys") == 0o600


def test_an_empty_folder_that_others_could_enter_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    folder.chmod(0o755)
    create_cluster(folder, "ringrift")
    assert mode(folder) == 0o700


def test_a_folder_that_holds_anything_is_no_place_for_a_new_cluster(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    create_cluster(folder, "ringrift")
    before = contents(folder)
    with pytest.raises(CredentialsError, match="not empty"):
        create_cluster(folder, "ringrift")
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["", "a/b", "x" * 65, "-a", "a\n"])
def test_a_bad_cluster_name_makes_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no cluster name"):
        create_cluster(tmp_path / "cluster", name)
    assert not (tmp_path / "cluster").exists()


def test_enroll_writes_into_the_cluster_folder_or_where_it_is_told(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", "ringrift")
    assert enroll(tmp_path / "c", "alice") == tmp_path / "c" / "nodes" / "alice"
    there = enroll(tmp_path / "c", "bob", tmp_path / "not" / "yet" / "there")
    assert there == tmp_path / "not" / "yet" / "there"
    assert sorted(contents(there)) == ["authority.crt", "gossip.keys", "node.crt", "node.key"]
    assert mode(there / "node.key") == 0o600
    assert mode(there / "gossip.keys") == 0o600
    assert Credentials.load(there).name == "bob"


def test_a_name_enrolled_again_gets_the_next_generation_and_a_new_key(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", "ringrift")
    first = certificate_in(enroll(tmp_path / "c", "alice"))
    second = certificate_in(enroll(tmp_path / "c", "alice"))
    third = certificate_in(enroll(tmp_path / "c", "alice", tmp_path / "new-machine"))
    assert [first.generation, second.generation, third.generation] == [1, 2, 3]
    assert len({first.public_key_bytes, second.public_key_bytes, third.public_key_bytes}) == 3


def test_credentials_of_another_node_are_never_overwritten(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", "ringrift")
    folder = enroll(tmp_path / "c", "alice", tmp_path / "here")
    before = contents(folder)
    with pytest.raises(CredentialsError, match="holds the credentials of node alice"):
        enroll(tmp_path / "c", "bob", folder)
    assert contents(folder) == before


def test_credentials_of_another_cluster_are_never_overwritten(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", "ringrift")
    create_cluster(tmp_path / "d", "ringrift")
    folder = enroll(tmp_path / "c", "alice", tmp_path / "here")
    before = contents(folder)
    with pytest.raises(CredentialsError, match="another cluster"):
        enroll(tmp_path / "d", "alice", folder)
    assert contents(folder) == before


def test_a_key_whose_certificate_is_gone_is_never_overwritten(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", "ringrift")
    folder = enroll(tmp_path / "c", "alice", tmp_path / "here")
    (folder / "node.crt").unlink()
    before = contents(folder)
    with pytest.raises(CredentialsError, match="cannot be read"):
        enroll(tmp_path / "c", "alice", folder)
    assert contents(folder) == before


def test_a_refused_enrolment_uses_up_no_generation(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", "ringrift")
    folder = enroll(tmp_path / "c", "alice", tmp_path / "here")
    with pytest.raises(CredentialsError):
        enroll(tmp_path / "c", "bob", folder)
    assert certificate_in(enroll(tmp_path / "c", "bob")).generation == 1


def test_a_node_is_not_enrolled_into_the_authoritys_own_folder(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", "ringrift")
    with pytest.raises(CredentialsError, match="holds the authority's key"):
        enroll(tmp_path / "c", "alice", tmp_path / "c")


def test_names_that_differ_only_in_case_would_share_a_folder(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", "ringrift")
    enroll(tmp_path / "c", "GPU-1")
    with pytest.raises(CredentialsError, match="differs from enrolled node GPU-1 only in case"):
        enroll(tmp_path / "c", "gpu-1", tmp_path / "elsewhere")


def test_enrolling_without_an_authority_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"authority\.key is missing.*ringgossip init"):
        enroll(tmp_path / "nowhere", "alice")


def test_a_changed_ledger_is_noticed(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", "ringrift")
    enroll(tmp_path / "c", "alice")
    ledger = json.loads((tmp_path / "c" / "ledger.json").read_text())
    ledger["generations"]["alice"] = 0
    (tmp_path / "c" / "ledger.json").write_text(json.dumps(ledger))
    with pytest.raises(CredentialsError, match=r"ledger\.json is damaged"):
        enroll(tmp_path / "c", "alice")


def test_a_lost_ledger_is_not_begun_anew(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", "ringrift")
    (tmp_path / "c" / "ledger.json").unlink()
    with pytest.raises(CredentialsError, match="old generation"):
        enroll(tmp_path / "c", "alice")


def test_an_order_retires_a_name_as_far_as_it_was_given_out_and_admits_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    authority = create_cluster(folder, "ringrift")
    enroll(folder, "gpu-1", tmp_path / "gpu-1")
    enroll(folder, "gpu-1", tmp_path / "gpu-1")
    der, generation = retire(folder, "gpu-1")
    order = NodeCertificate.parse(der)
    assert (order.name, order.generation, order.retires) == ("gpu-1", 2, True) == ("gpu-1", generation, True)
    assert authority.verify(order) is None
    assert not certificate_in(tmp_path / "gpu-1").retires
    assert order.public_key_bytes == authority.public_key_bytes, "nobody else could use it"
    again = NodeCertificate.parse(retire(folder, "gpu-1")[0])
    assert (again.name, again.generation) == (order.name, order.generation)
    (tmp_path / "gpu-1" / "node.crt").write_bytes(pem_of(der))
    with pytest.raises(CredentialsError, match="an order that retires a name"):
        Credentials.load(tmp_path / "gpu-1")


def test_a_name_that_was_never_given_out_cannot_be_retired(tmp_path: Path) -> None:
    create_cluster(tmp_path / "cluster", "ringrift")
    enroll(tmp_path / "cluster", "gpu-1")
    with pytest.raises(CredentialsError, match="did you mean 'gpu-1'"):
        retire(tmp_path / "cluster", "gpu1")
    with pytest.raises(CredentialsError, match="made by `ringgossip init`"):
        retire(tmp_path / "elsewhere", "gpu-1")
