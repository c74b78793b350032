"""Can somebody who may write to a shared folder make us publish what lies elsewhere, by turning links?"""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ringgossip.errors import ArtifactRefused
from ringgossip.runtime.storage import inside
from ringgossip.runtime.storage.inside import open_inside, place_inside
from ringgossip.runtime.storage.store import Store


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A shared folder with `deep/real.pth`, and a secret beside it."""
    top = tmp_path / "shared"
    (top / "deep").mkdir(parents=True)
    (top / "deep/real.pth").write_bytes(b"ours")
    (tmp_path / "secret").write_bytes(b"secret")
    return top


def content(fd: int) -> bytes:
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_files_and_links_that_stay_inside_are_opened(shared: Path) -> None:
    (shared / "best.pth").symlink_to("deep/real.pth")
    (shared / "also").symlink_to(shared / "deep")
    for name in ("deep/real.pth", "best.pth", "also/real.pth"):
        assert content(open_inside(shared, shared / name, os.O_RDONLY)) == b"ours"
    # The folder itself may be reached through a link.
    (shared.parent / "link").symlink_to(shared)
    linked = shared.parent / "link"
    assert content(open_inside(linked, linked / "best.pth", os.O_RDONLY)) == b"ours"
    assert place_inside(shared, shared / "best.pth")[0] == shared.resolve() / "deep/real.pth"


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "deep/../../secret", "."])
def test_links_that_lead_out_are_refused_in_one_line(shared: Path, target: str) -> None:
    (shared / "evil.pth").symlink_to(target)
    with pytest.raises(ArtifactRefused, match="leads out of the shared folder"):
        open_inside(shared, shared / "evil.pth", os.O_RDONLY)
    with pytest.raises(ArtifactRefused, match="leads out of the shared folder"):
        place_inside(shared, shared / "evil.pth")


def test_a_link_that_is_turned_between_looking_and_opening_is_not_followed(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Path.resolve

    def turn_then(self: Path, strict: bool = False) -> Path:
        found = looked(self, strict)
        if self.name == "real.pth":
            # Now that it was looked at: the file, then the folder, become links.
            found.unlink()
            found.symlink_to(shared.parent / "secret")
        if self.name == "other.pth":
            (shared / "deep").rename(shared.parent / "moved")
            (shared / "deep").symlink_to(shared.parent)
        return found

    monkeypatch.setattr(inside.Path, "resolve", turn_then)
    with pytest.raises(OSError, match="symbolic links"):
        open_inside(shared, shared / "deep/real.pth", os.O_RDONLY)
    (shared.parent / "other.pth").write_bytes(b"secret")
    (shared / "deep/other.pth").write_bytes(b"ours")
    with pytest.raises(OSError, match="Not a directory"):
        open_inside(shared, shared / "deep/other.pth", os.O_RDONLY)


def test_whoever_turns_a_link_all_the_time_gets_nothing_of_the_outside_published(
    shared: Path, tmp_path: Path
) -> None:
    """A race for real: another thread turns a link while files are prepared."""
    ours, theirs, link = shared / "deep/real.pth", tmp_path / "secret", shared / "best.pth"
    link.symlink_to(ours)
    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            for target in (theirs, ours):
                beside = shared / "beside"
                beside.symlink_to(target)
                beside.rename(link)

    turner = threading.Thread(target=turn)
    with closing(Store.open(tmp_path / "data")) as store:
        turner.start()
        roots, refused = set(), 0
        try:
            for _ in range(300):
                try:
                    roots.add(store.prepare("models", link, "best.pth", inside=shared).root)
                except ArtifactRefused:
                    refused += 1
        finally:
            over.set()
            turner.join()
        assert refused
        expected = store.prepare("models", ours, "real.pth").root
        assert roots <= {expected}
        assert store.prepare("models", theirs, "secret.pth").root != expected


def test_a_database_that_a_link_outside_leads_to_is_not_published(shared: Path, tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "private.db")
    database.execute("CREATE TABLE games (game_id TEXT)")
    database.commit()
    database.close()
    (shared / "games.db").symlink_to(tmp_path / "private.db")
    with closing(Store.open(tmp_path / "data")) as store:
        with pytest.raises(ArtifactRefused, match="leads out of the shared folder"):
            store.prepare("games", shared / "games.db", "games.db", inside=shared)
        assert store.prepare("games", shared / "games.db", "games.db").size
