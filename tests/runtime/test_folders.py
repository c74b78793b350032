"""Shared folders: what counts as finished, and what never leaves the folder."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from games import create_games_db

from ringgossip.config import KINDS, PeerConfig, ShareFolder
from ringgossip.errors import CredentialsError, StoreError
from ringgossip.events import ArtifactCompleted, StorageTrouble
from ringgossip.identity import Address
from ringgossip.runtime import folders
from ringgossip.runtime.background import run_in_thread
from ringgossip.runtime.folders import SharedFolder, look_through
from ringgossip.runtime.opening import open_runtime_peer
from ringgossip.runtime.storage.store import Store


def watcher(kind: str = "models") -> SharedFolder:
    return SharedFolder(ShareFolder(kind=kind, folder=Path("/shared")), None, None, None)


def test_a_file_that_lies_still_is_published_after_the_settle_time() -> None:
    folder = watcher()
    growing, still = {"a.pth": (10, 5, 5, 1)}, {"a.pth": (20, 6, 6, 1)}
    assert folder.finished(growing, 0.0) == []
    assert folder.finished(still, 4.0) == []
    assert folder.finished(still, 8.9) == []
    assert folder.finished(still, 9.0) == ["a.pth"]


def test_a_file_that_was_renamed_into_place_is_published_at_the_second_look() -> None:
    folder = watcher()
    renamed = {"a.pth": (10, 5, 6, 1)}
    assert folder.finished(renamed, 0.0) == []
    assert folder.finished(renamed, 0.5) == ["a.pth"]


def test_what_is_done_is_published_again_only_when_it_changes() -> None:
    folder = watcher()
    first, second = {"a.pth": (10, 5, 6, 1)}, {"a.pth": (10, 5, 7, 2)}
    folder.finished(first, 0.0)
    assert folder.finished(first, 1.0) == ["a.pth"]
    folder._seen["a.pth"].done = first["a.pth"]
    assert folder.finished(first, 100.0) == []
    assert folder.finished(second, 101.0) == []
    assert folder.finished(second, 102.0) == ["a.pth"]


def test_a_live_database_is_due_at_once_and_then_when_its_wal_changes() -> None:
    folder = watcher("games")
    before, after = {"games.db": (10, 5, 5, 1, 7, 5, 5, 2)}, {"games.db": (10, 5, 5, 1, 9, 6, 6, 2)}
    assert folder.finished(before, 0.0) == ["games.db"]
    folder._seen["games.db"].done = before["games.db"]
    assert folder.finished(before, 1.0) == []
    assert folder.finished(after, 2.0) == ["games.db"]


def test_links_out_of_the_folder_and_sidecars_are_not_seen(tmp_path) -> None:
    shared, outside = tmp_path / "shared", tmp_path / "secret.pth"
    (shared / "deep").mkdir(parents=True)
    outside.write_bytes(b"secret")
    (shared / "deep" / "inside.pth").write_bytes(b"x")
    (shared / "best.pth").symlink_to("deep/inside.pth")
    (shared / "stolen.pth").symlink_to(outside)
    (shared / "loop").symlink_to(shared)
    (shared / "notes.txt").write_bytes(b"x")
    (shared / "games.pth-wal").write_bytes(b"x")
    share = ShareFolder(kind="models", folder=shared, match="*.pth*")
    assert sorted(name for name, _ in look_through(share)) == ["best.pth", "deep/inside.pth"]


@pytest.fixture
def configs(nodes, tmp_path):
    def make(name: str, **more) -> PeerConfig:
        return PeerConfig(
            cluster="ringrift",
            node=name,
            data=tmp_path / "data" / name,
            credentials=getattr(nodes, name),
            listen=Address("127.0.0.1", 0),
            want=KINDS,
            **more,
        )

    return make


@pytest.mark.trio
async def test_a_file_renamed_into_a_shared_folder_arrives_at_the_other_peer(configs, tmp_path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    share = ShareFolder(kind="models", folder=shared, match="*.pth", metadata={"board_type": "hex8"})
    async with (
        open_runtime_peer(configs("alice", share=(share,)), embedded=False) as alice,
        open_runtime_peer(configs("bob", seeds=(alice.address,)), embedded=False) as bob,
    ):
        (shared / "best.tmp").write_bytes(os.urandom(100_000))
        await trio.sleep(0.02)
        (shared / "best.tmp").rename(shared / "best.pth")
        artifact = await bob.wait_for("models", "best.pth", timeout=15)
        assert artifact.metadata["board_type"] == "hex8"
        assert Path(artifact.path).read_bytes() == (shared / "best.pth").read_bytes()


@pytest.mark.trio
async def test_a_folder_whose_link_leads_in_a_circle_is_told_and_ends_nothing(configs, tmp_path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    share = ShareFolder(kind="models", folder=circle)
    async with (
        open_runtime_peer(configs("alice", share=(share,)), embedded=False) as alice,
        alice.listen() as told,
    ):
        with trio.fail_after(5):
            async for event in told:
                if isinstance(event, StorageTrouble):
                    assert "circle cannot be read" in event.reason
                    break
        assert not alice.closed


@pytest.mark.trio
async def test_what_our_disk_refused_is_published_when_it_takes_it(configs, tmp_path, monkeypatch) -> None:
    # The file does not change any more: whoever gives up at the first attempt never publishes it.
    monkeypatch.setattr(folders, "_TRY_AGAIN", 0.1)
    shared = tmp_path / "shared"
    shared.mkdir()
    persist, refusals = Store.persist, ["the index cannot be written: the disk is full"] * 2
    monkeypatch.setattr(
        Store, "persist", lambda *given: _refuse(refusals.pop()) if refusals else persist(*given)
    )
    share = ShareFolder(kind="models", folder=shared, match="*.pth", settle_seconds=0.2)
    async with (
        open_runtime_peer(configs("bob"), embedded=False) as bob,
        open_runtime_peer(configs("alice", share=(share,), seeds=(bob.address,)), embedded=False) as alice,
    ):
        (shared / "best.pth").write_bytes(os.urandom(100_000))
        with trio.fail_after(15):
            while not alice.artifacts("models", name="best.pth"):
                await trio.sleep(0.05)
        assert not refusals


@pytest.mark.trio
@pytest.mark.parametrize("hung", ["look_through", "prepare"])
async def test_a_folder_whose_file_server_does_not_answer_holds_up_no_other(
    configs, tmp_path, monkeypatch, hung
) -> None:
    away, shared = tmp_path / "away", tmp_path / "shared"
    for folder in (away, shared):
        folder.mkdir()
    for number in range(8):
        (away / f"{number}.pth").write_bytes(os.urandom(1000))
    answers = threading.Event()
    owner = folders if hung == "look_through" else Store
    real, waiting = getattr(owner, hung), []

    def hangs(*given):
        if any(str(away) in str(each) for each in given):
            waiting.append(given)
            answers.wait(30)
        return real(*given)

    monkeypatch.setattr(owner, hung, hangs)
    shares = tuple(ShareFolder(kind="models", folder=each, settle_seconds=0.1) for each in (away, shared))
    async with (
        open_runtime_peer(configs("bob"), embedded=False) as bob,
        open_runtime_peer(configs("alice", share=shares, seeds=(bob.address,)), embedded=False) as alice,
    ):
        try:
            with trio.fail_after(15):
                while not waiting:
                    await trio.sleep(0.02)
                await trio.sleep(0.2)
                (shared / "best.pth").write_bytes(os.urandom(1000))
                while not alice.artifacts("models", name="best.pth"):
                    await trio.sleep(0.05)
        finally:
            answers.set()


@pytest.mark.trio
async def test_a_restart_opens_only_what_changed_in_a_folder(configs, tmp_path, monkeypatch) -> None:
    shared, opened = tmp_path / "shared", []
    shared.mkdir()
    for number in range(4):
        (shared / f"{number}.pth").write_bytes(os.urandom(1000))
    share = ShareFolder(kind="models", folder=shared, match="*.pth", settle_seconds=0.1)
    prepare = Store.prepare

    def noted(self, kind, path, *more):
        opened.append(path.name)
        return prepare(self, kind, path, *more)

    async def all_are(sequence: int) -> None:
        with trio.fail_after(20):
            while [one.sequence for one in alice.artifacts("models", name="3.pth")] != [sequence]:
                await trio.sleep(0.05)
            while len(alice.artifacts("models")) < 4:
                await trio.sleep(0.05)

    async with open_runtime_peer(configs("alice", share=(share,)), embedded=False) as alice:
        await all_are(1)
    (shared / "3.pth").write_bytes(os.urandom(1000))
    monkeypatch.setattr(Store, "prepare", noted)
    async with open_runtime_peer(configs("alice", share=(share,)), embedded=False) as alice:
        await all_are(2)
    other = replace(share, metadata={"board_type": "hex8"})
    assert opened == ["3.pth"]
    async with open_runtime_peer(configs("alice", share=(other,)), embedded=False) as alice:
        await all_are(3)
        while len(opened) < 5:
            await trio.sleep(0.05)
    assert sorted(opened[1:]) == ["0.pth", "1.pth", "2.pth", "3.pth"]


@pytest.mark.trio
async def test_an_index_that_does_not_answer_ends_no_folder(configs, tmp_path, monkeypatch) -> None:
    (tmp_path / "a.pth").write_bytes(b"weights")
    monkeypatch.setattr(Store, "published_sources", lambda *_: _refuse("the disk reports an I/O error"))
    share = ShareFolder(kind="models", folder=tmp_path, match="*.pth", settle_seconds=0.1)
    async with open_runtime_peer(configs("alice", share=(share,)), embedded=False) as alice:
        await alice.wait_for("models", "a.pth", timeout=15)


def _refuse(reason: str) -> None:
    raise StoreError(reason)


@pytest.mark.trio
async def test_a_publication_that_is_taken_back_leaves_no_copy_behind(configs, tmp_path, monkeypatch) -> None:
    # Of a database of 50 GB a snapshot is as large: a few of them fill the disk.
    create_games_db(tmp_path / "games.db")
    prepare, go, made = Store.prepare, threading.Event(), threading.Event()

    def slowly(*given):
        prepared = prepare(*given)
        made.set()
        go.wait(5)
        return prepared

    monkeypatch.setattr(Store, "prepare", slowly)
    async with (
        open_runtime_peer(configs("bob"), embedded=False) as bob,
        open_runtime_peer(configs("alice", seeds=(bob.address,)), embedded=False) as alice,
    ):
        snapshots = alice.config.data / "snapshots"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.publish, "games", tmp_path / "games.db")
            await trio.to_thread.run_sync(made.wait, 10)
            assert len(list(snapshots.iterdir())) == 1
            nursery.cancel_scope.cancel()
        go.set()
        with trio.fail_after(5):
            while list(snapshots.iterdir()):
                await trio.sleep(0.02)
        receipt = await alice.publish("games", tmp_path / "games.db")
        assert receipt.artifact.complete and len(list(snapshots.iterdir())) == 1


def test_a_program_without_trio_has_a_peer_in_a_thread(configs, tmp_path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(os.urandom(100_000))
    with (
        run_in_thread(configs("alice")) as alice,
        run_in_thread(configs("bob", seeds=(alice.address,))) as bob,
        bob.listen() as events,
    ):
        receipt = alice.publish("models", path, copies=1, timeout=20)
        assert receipt.holders == ("bob",)
        assert bob.wait_for("models", "model.pth", timeout=5).complete
        assert any(isinstance(event, ArtifactCompleted) for event in events)
        assert alice.status()["healthy"]


def test_what_opening_raises_comes_out_of_the_thread(configs, tmp_path) -> None:
    config = PeerConfig(cluster="ringrift", node="alice", data=tmp_path, credentials=tmp_path / "none")
    with pytest.raises(CredentialsError), run_in_thread(config):
        pass
