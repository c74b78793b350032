"""Is it told that a file in a shared folder is shared by no rule?"""

from pathlib import Path

from ringgossip.config import ShareFolder
from ringgossip.runtime.unshared import by_folder


def test_what_lies_still_and_matches_no_rule_of_its_folder_is_told_once_and_again_when_it_doubled(
    tmp_path: Path,
) -> None:
    rules = [ShareFolder(kind=kind, folder=tmp_path, match=match)
             for kind, match in (("models", "*.pth"), ("npz", "*.npz"))]  # fmt: skip
    (folder,) = by_folder(rules)
    for name in ("a.pth", "b.npz", "games.db.writing", ".hidden", "c.ptj"):
        (tmp_path / name).write_bytes(b"x")
    assert folder.look() is None, "it may be written still"
    told = folder.look()
    assert told is not None
    assert told.endswith("a file there matches no rule of `share:`, so no other node has it: c.ptj")
    assert folder.look() is None, "it was told"
    (tmp_path / "d.ptj").write_bytes(b"x")
    folder.look()
    assert "2 files" in (folder.look() or "it is told that there is twice as much")
    (tmp_path / "c.ptj").unlink()
    (tmp_path / "d.ptj").unlink()
    assert folder.look() is None
    assert len(by_folder([*rules, ShareFolder(kind="npz", folder=tmp_path / "other")])) == 2
