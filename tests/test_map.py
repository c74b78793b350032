"""Does the map show the house as it is? Every path on it exists, and no room is missing."""

import re
from pathlib import Path

import ringgossip

PACKAGE = Path(ringgossip.__file__).parent
REPOSITORY = Path(__file__).parent.parent
MAP = PACKAGE / "README.md"
OUTSIDE = ("tests", "benchmarks", "simulations", ".ci")
TREE = re.compile(r"```.*?```", re.DOTALL)


def paths_of(text: str) -> set[str]:
    """Return what stands in backticks and is the path of one file or folder."""
    words = re.findall(r"`([\w./-]+)`", TREE.sub("", text))
    return {word for word in words if "/" in word or word.endswith((".py", ".yaml", ".json"))}


def wrong_paths(text: str) -> list[str]:
    return sorted(path for path in paths_of(text) if not place_of(path).exists())


def place_of(path: str) -> Path:
    return (REPOSITORY if path.partition("/")[0] in OUTSIDE else PACKAGE) / path


def rooms(package: Path) -> set[str]:
    """Return every folder with modules, as `protocol/` or `content/kinds/`."""
    folders = {path.parent.relative_to(package) for path in package.rglob("*.py")}
    return {f"{folder.as_posix()}/" for folder in folders if folder != Path()}


def missing_rooms(text: str, package: Path) -> list[str]:
    named = set(re.findall(r"`([\w./-]+/)`", text))
    return sorted(rooms(package) - named)


def test_every_path_on_the_map_exists() -> None:
    text = MAP.read_text(encoding="utf-8")
    assert len(paths_of(text)) > 100
    # A settings file of users, named where its keys are explained.
    assert [path for path in wrong_paths(text) if path != "node.yaml"] == []


def test_every_room_is_on_the_map() -> None:
    assert {"protocol/", "runtime/storage/"} <= rooms(PACKAGE)
    assert missing_rooms(MAP.read_text(encoding="utf-8"), PACKAGE) == []


def test_a_path_that_leads_nowhere_is_seen() -> None:
    assert wrong_paths("see `protocol/core.py`, `protocol/gone.py` and `tests/attic/`") == [
        "protocol/gone.py",
        "tests/attic/",
    ]


def test_a_room_that_is_not_on_the_map_is_seen(tmp_path: Path) -> None:
    for room in ("wire", "attic/box"):
        (tmp_path / room).mkdir(parents=True)
        (tmp_path / room / "thing.py").touch()
    assert missing_rooms("only `wire/` here", tmp_path) == ["attic/box/"]
