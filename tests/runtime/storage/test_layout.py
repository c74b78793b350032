"""Names from strangers never lead out of the store, whatever else is broken."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import MIB, content, receive

from ringgossip.errors import StoreError
from ringgossip.runtime.storage.layout import Layout
from ringgossip.runtime.storage.store import Store

HOSTILE = [
    "..", ".", "", "/", "/etc/passwd", "../x", "a/../../x", "a/..", "a//b", "a/", "./a", "a\0b", "x" * 256,
    "a\\b", "../../../../../../tmp/x",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused(tmp_path: Path, name: str) -> None:
    layout = Layout(tmp_path / "data")
    with pytest.raises(StoreError, match="cannot be stored"):
        layout.replica_path("models", "alice", name)
    with (
        pytest.raises(StoreError, match="cannot be stored"),
        layout.replica_folder("models", "alice", name, create=True),
    ):
        pass


@pytest.mark.parametrize("origin", ["..", "a/b", "", ".", "a\0"])
def test_a_hostile_origin_or_kind_is_refused(tmp_path: Path, origin: str) -> None:
    layout = Layout(tmp_path / "data")
    with pytest.raises(StoreError):
        layout.replica_path("models", origin, "x")
    with pytest.raises(StoreError):
        layout.replica_path(origin, "alice", "x")


@given(
    st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "a", "", "b\0"]), max_size=6).map("/".join)
)
def test_any_name_is_refused_or_stays_below_its_origin(tmp_path: Path, name: str) -> None:
    layout = Layout(tmp_path / "data")
    try:
        path = layout.replica_path("models", "alice", name)
    except (StoreError, UnicodeEncodeError):
        return
    origin = layout.data / "replicas/models/alice"
    assert path.parent.resolve().is_relative_to(origin) and ".." not in path.parts


@pytest.mark.parametrize("link", ["models", "models/alice", "models/alice/deep"])
def test_links_inside_the_store_are_not_followed(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with Store.open(tmp_path / "data") as store:
        place = store.data / "replicas" / link
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(outside)
        with pytest.raises(StoreError, match="is no folder"):
            receive(store, content(MIB), "deep/net.bin")
    assert not list(outside.iterdir())


def test_a_link_where_the_replica_belongs_is_replaced_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    with Store.open(tmp_path / "data") as store:
        place = store.data / "replicas/models/alice/net.bin"
        place.parent.mkdir(parents=True)
        place.symlink_to(precious)
        _, path = receive(store, content(MIB))
        assert path == place and not place.is_symlink() and place.read_bytes() == content(MIB)
    assert precious.read_bytes() == b"mine"


def test_a_name_that_is_another_ones_folder_is_told_in_one_line(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        receive(store, content(MIB), "a/b")
        with pytest.raises(StoreError, match="is a folder"):
            receive(store, content(MIB, seed=1), "a")


def test_what_was_set_aside_before_is_not_overwritten(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    for number in range(3):
        path = layout.data / "replicas" / "x"
        path.write_bytes(bytes([number]))
        layout.set_aside(path)
    assert sorted(file.read_bytes() for file in layout.damaged.iterdir()) == [b"\0", b"\1", b"\2"]
    with pytest.raises(StoreError, match="not ours"):
        layout.set_aside(tmp_path)


def test_what_is_nobody_elses_business_is_private_and_replicas_follow_the_umask(tmp_path: Path) -> None:
    data = tmp_path / "made/ringgossip"
    before = os.umask(0o027)
    try:
        Store.open(data).close()
    finally:
        os.umask(before)
    made = (data.parent, *data.parent.glob("**/*"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made}
    assert modes["made"] == 0o750
    assert modes["replicas"] == 0o750
    private = ("ringgossip", "partial", "published", "snapshots", "damaged")
    assert {modes[name] for name in private} == {0o700}
    assert modes["index.db"] == modes["lock"] == 0o600


def test_new_folders_are_there_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("ringgossip.runtime.storage.layout.sync_folder", synced.append)
    Layout(tmp_path / "made/ringgossip")
    assert synced == [tmp_path, tmp_path / "made", tmp_path / "made/ringgossip"]
