"""Does the demo tell the truth: can its checks fail, does it pass, and does nothing stay behind?"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from peers import until

import ringgossip
from ringgossip.cli import demo_cluster
from ringgossip.cli.demo_checks import Check, same_bytes, same_records, whole_databases
from ringgossip.cli.demo_games import add_games, count_committed, create_games_db
from ringgossip.cli.demo_matter import write_checkpoint, write_npz
from ringgossip.client import Artifact
from ringgossip.content.kinds import KINDS
from ringgossip.errors import OperationFailed

pytestmark = pytest.mark.slow

GAMES = "games/node-1/g.db"


def artifact(path: Path | None, name: str = "g.db", sequence: int = 1) -> Artifact:
    text = None if path is None else str(path)
    return Artifact("games", "node-1", name, sequence, 1, "00", {}, text, path is not None, ())


def views(*paths: Path | None) -> dict[str, Mapping[str, Artifact]]:
    """Return what nodes say that hold one artifact at these paths."""
    return {f"node-{number}": {GAMES: artifact(path)} for number, path in enumerate(paths, 1)}


def database(path: Path, games: int) -> tuple[int, int]:
    """Write a database as replicas are: one file, no sidecars."""
    connection = create_games_db(path, "delete")
    add_games(connection, games, random.Random(1))
    count = count_committed(connection)
    connection.close()
    return count


def test_records_that_differ_anywhere_are_seen(tmp_path: Path) -> None:
    same = views(tmp_path, tmp_path, tmp_path)
    assert same_records(same).passed
    older = {**same, "node-2": {GAMES: artifact(tmp_path, sequence=2)}}
    assert same_records(older) == Check("same records everywhere", False, "node-2 differ from the first")
    assert not same_records({**same, "node-3": {}}).passed
    assert not same_records({"node-1": {}, "node-2": {}}).passed


def test_files_that_differ_in_one_byte_or_are_missing_are_seen(tmp_path: Path) -> None:
    one, two, odd = (tmp_path / name for name in ("one", "two", "odd"))
    for path, content in ((one, b"same"), (two, b"same"), (odd, b"sane")):
        path.write_bytes(content)
    [good] = same_bytes(views(one, two), {})
    assert good.passed
    for nodes, sources in (
        (views(one, odd), {}),
        (views(one, None), {}),
        (views(one, tmp_path / "nowhere"), {}),
        (views(one, two), {GAMES: odd}),
        (views(None, None), {}),
    ):
        [bad] = same_bytes(nodes, sources)
        assert not bad.passed
        assert bad.detail


def test_a_count_that_was_never_committed_and_a_damaged_replica_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    count = database(path, 200)
    nodes = views(path)
    assert whole_databases(nodes, GAMES, lambda: [(0, 0), count]).passed
    assert not whole_databases(nodes, GAMES, lambda: [(0, 0)]).passed
    assert not whole_databases(views(path, None), GAMES, lambda: [count]).passed
    content = bytearray(path.read_bytes())
    content[4096 * 20 : 4096 * 21] = bytes(4096)
    path.write_bytes(content)
    assert not whole_databases(nodes, GAMES, lambda: [count]).passed


def test_what_the_demo_publishes_is_what_its_kinds_are(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "m.pth", 9_000_000)
    write_npz(tmp_path / "a.npz", 100)
    assert 9_000_000 <= (tmp_path / "m.pth").stat().st_size < 9_100_000
    for kind, name in (("models", "m.pth"), ("npz", "a.npz")):
        inspect = KINDS[kind].inspect_source
        assert inspect is not None
        assert inspect(tmp_path / name).warnings == ()
    numpy = pytest.importorskip("numpy")
    with numpy.load(tmp_path / "a.npz") as arrays:
        assert arrays["policy"].shape == (100, 96)
        assert set(arrays.files) == {"features", "policy", "values"}


# --- the whole of it ----------------------------------------------------------------------


def demo(*options: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "ringgossip", "demo", "--keep", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(ringgossip.__file__).parent.parent)},
    )


def processes_of(folder: Path) -> list[int]:
    """Return the processes whose command line names this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_the_demo_passes_and_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = demo("--json", "--seconds", "5", folder=folder)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, out + err
    shown = json.loads(out)
    assert shown["passed"] is True
    assert (shown["peers"], shown["artifacts"]) == (5, 3)
    assert shown["bytes_moved"] > 2 * 4 * 40_000_000 * 0.9
    assert shown["seconds"] < 60
    assert len(shown["checks"]) >= 12
    assert all(check["passed"] and check["detail"] for check in shown["checks"])
    assert "killed with SIGKILL when it had" in err
    assert processes_of(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    process = demo(folder=folder)
    try:
        until(lambda: len(processes_of(folder)) >= 4)
        time.sleep(0.5)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "error: stopped"
    until(lambda: processes_of(folder) == [], 5)


def test_whoever_is_slow_to_start_is_told_with_a_log_that_will_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_cluster, "_READY_SECONDS", 0.05)
    node = demo_cluster.Node("node-1", tmp_path)
    (tmp_path / "events-0.jsonl").touch()
    node.process = subprocess.Popen(["sleep", "60"])
    try:
        with pytest.raises(OperationFailed, match="see its log with --keep DIR"):
            node.wait_ready()
    finally:
        node.kill()


def test_a_folder_that_is_in_use_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    process = demo(folder=tmp_path)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err == f"error: {tmp_path} is there already: give --keep a new folder\n"
    assert (tmp_path / "mine").read_text() == "x"
