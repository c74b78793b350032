"""Do the demo's peers hold what was published? Looked at from outside: their answers and their files.

Nothing is taken from a peer's word that its files can tell: every replica is
hashed again, every database opened and counted.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringgossip.cli.demo_cluster import Node
from ringgossip.client import Artifact
from ringgossip.errors import RinggossipError

Catalog = Mapping[str, Artifact]  # by key


@dataclass(frozen=True, slots=True)
class Check:
    """One statement, whether it is true, and how we know."""

    name: str
    passed: bool
    detail: str


def catalogs(nodes: Sequence[Node]) -> dict[str, Catalog]:
    """Return what every node says there is."""
    return {node.name: {entry.text: entry for entry in node.client.artifacts()} for node in nodes}


def settled(nodes: Sequence[Node], artifacts: int) -> bool:
    """Tell whether all nodes name the same versions, so many, and have each of them whole."""
    try:
        views = catalogs(nodes)
    except RinggossipError:
        return False
    said = [{key: entry.sequence for key, entry in view.items()} for view in views.values()]
    whole = all(entry.complete for view in views.values() for entry in view.values())
    return whole and len(said[0]) == artifacts and all(view == said[0] for view in said)


def same_records(views: Mapping[str, Catalog]) -> Check:
    """Every peer names the same versions with the same content."""
    said = {
        name: {
            key: (entry.sequence, entry.root, entry.size, dict(entry.metadata)) for key, entry in view.items()
        }
        for name, view in views.items()
    }
    first = next(iter(said.values()))
    odd = sorted(name for name, view in said.items() if view != first)
    lines = ", ".join(f"{key}@{entry[0]}" for key, entry in sorted(first.items()))
    detail = f"{len(said)} peers agree on {lines}" if not odd else f"{', '.join(odd)} differ from the first"
    return Check("same records everywhere", bool(first) and not odd, detail)


def same_bytes(views: Mapping[str, Catalog], sources: Mapping[str, Path]) -> list[Check]:
    """Every replica, hashed again, is the same file; and the user's own, where that does not change."""
    checks = []
    for key in sorted(next(iter(views.values()))):
        hashes, lacking = {}, []
        for name, view in views.items():
            path = view[key].path if key in view else None
            if path is None or not view[key].complete or not Path(path).is_file():
                lacking.append(name)
            else:
                hashes[name] = file_hash(Path(path))
        if key in sources:
            hashes["the file that was published"] = file_hash(sources[key])
        same = len(set(hashes.values())) == 1 and not lacking
        found = f"{len(views) - len(lacking)} copies, sha256 {next(iter(hashes.values()), '')[:16]}"
        if lacking:
            found = f"no file on {', '.join(lacking)}"
        elif not same:
            found = "; ".join(f"{name}: {value[:16]}" for name, value in hashes.items())
        checks.append(Check(f"byte-identical files: {key}", same, found))
    return checks


def whole_databases(
    views: Mapping[str, Catalog], key: str, committed: Callable[[], Sequence[tuple[int, int]]]
) -> Check:
    """Every replica of the live database passes SQLite's check and has a count that was committed."""
    problems, counts = [], set()
    for name, view in views.items():
        path = view[key].path if key in view else None
        if path is None:
            problems.append(f"{name} has none")
            continue
        try:
            result, count = look_into(Path(path))
        except sqlite3.Error as error:
            problems.append(f"{name}: {error}")
            continue
        counts.add(count)
        if result != "ok":
            problems.append(f"{name}: {result}")
        elif count not in committed():
            problems.append(f"{name}: {count[0]} games, {count[1]} of them completed, were never committed")
    shown = ", ".join(f"{total} games, {completed} completed" for total, completed in sorted(counts))
    return Check(
        "whole databases with a committed count",
        not problems and bool(counts),
        "; ".join(problems) or f"integrity_check ok on {len(views)} replicas; {shown}",
    )


def look_into(path: Path) -> tuple[str, tuple[int, int]]:
    """Return what `PRAGMA integrity_check` says, and how many games there are and are completed."""
    # Not immutable=1: a replica must be readable as anybody would read it.
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        [result] = database.execute("PRAGMA integrity_check").fetchone()
        total, completed = database.execute(
            "SELECT count(*), coalesce(sum(game_status IN ('completed', 'finished')), 0) FROM games"
        ).fetchone()
    finally:
        database.close()
    return str(result), (int(total), int(completed))


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file: another function than the peers use."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
