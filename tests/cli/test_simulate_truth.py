"""Does `simulate --truth` print what it ran, and judge it by its exit code?"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ringgossip.cli import main
from ringgossip.simulation.truth import studies

Captured = pytest.CaptureFixture[str]

SMALL = """\
study: small
family: epidemics
source: nobody
setup: {epidemic: simple, style: push-pull, n: 20}
runs: 6
quick_runs: 3
batch: 2
cases:
  - {case: "n=20", quantities: {cycles: "5.2"}}
"""
WRONG = SMALL.replace("study: small", "study: wrong").replace('"5.2"', '"7.9"')
ENDLESS = SMALL.replace("study: small", "study: tedious").replace("runs: 6", "runs: 100000")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "wrong.yaml").write_text(WRONG)
    monkeypatch.setattr(studies, "folder_of_studies", lambda: tmp_path)
    return tmp_path


def truth(*arguments: str) -> int:
    return main(["simulate", "--truth", *arguments])


def test_a_table_of_what_is_as_published_ends_with_0(folder: Path, capsys: Captured) -> None:
    assert truth("--study", "small") == 0
    told = capsys.readouterr()
    head, row, *_ = told.out.splitlines()
    assert head.split() == ["study", "quantity", "published", "theory", "measured", "std.err", "within"]
    assert row.split()[:4] == ["small", "n=20:", "cycles", "5.2"] and row.endswith("yes")
    assert "1 of 1 judged rows are within" in told.out
    assert "small: 6 of 6 runs; in all 6 of 6" in told.err


def test_a_figure_that_is_not_the_published_one_ends_with_1(folder: Path, capsys: Captured) -> None:
    assert truth("--study", "small", "--study", "wrong", "--quick") == 1
    told = capsys.readouterr()
    assert "1 of 2 judged rows are within" in told.out
    assert [line.split()[0] for line in told.out.splitlines() if line.endswith("NO")] == ["wrong"]
    assert "small: 3 of 3 runs" in told.err


def test_scripts_read_rows_and_nothing_else(folder: Path, capsys: Captured) -> None:
    assert truth("--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert [(row["study"], row["within"]) for row in said["rows"]] == [("small", True), ("wrong", False)]
    assert set(said["rows"][0]) >= {
        "study", "quantity", "published", "measured", "standard_error", "within"}  # fmt: skip
    assert said["rows"][0]["published"] == 5.2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--truth", "story.yaml"], "--truth runs the experiments of the literature, not a story: leave"),
        (["--truth", "--seed", "0"], "leave out --seed"),
        (["--truth", "--seeds", "0..9"], "leave out --seeds"),
        (["--truth", "--nodes", "9"], "leave out --nodes"),
        (["--truth", "--shrink"], "leave out --shrink"),
        (["--truth", "--diff", "1", "2"], "leave out --diff"),
        (["--truth", "--trace", "t"], "leave out --trace"),
        (["--truth", "--report", "r.html"], "leave out --report"),
        (["story.yaml", "--study", "small"], "--study is about --truth: give that too"),
        (["--quick"], "--quick is about --truth: give that too"),
        ([], "which story? Name a file, such as simulations/flash_crowd.yaml, or give --truth"),
        (["--truth", "--study", "smal"], "there is no study 'smal'; did you mean 'small'?"),
        (["--truth", "--study", "alchemy"], "there is no study 'alchemy'; known are small, epidemics, wrong"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_line(
    folder: Path, capsys: Captured, arguments: list[str], complaint: str
) -> None:
    assert main(["simulate", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert complaint in told.err and len(told.err.splitlines()) == 1


def test_a_study_that_is_wrong_is_named_with_its_place(folder: Path, capsys: Captured) -> None:
    (folder / "wrong.yaml").write_text(WRONG.replace("runs: 6", "runs: many"))
    assert truth() == 2
    assert "wrong.yaml:5:1: runs: must be a whole number from 1 on" in capsys.readouterr().err


def test_ctrl_c_prints_what_is_finished(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text(SMALL)
    (tmp_path / "2.yaml").write_text(ENDLESS)
    code = (
        "import sys; from pathlib import Path; from ringgossip.cli import main;"
        "from ringgossip.simulation.truth import studies;"
        f"studies.folder_of_studies = lambda: Path({str(tmp_path)!r});"
        "sys.exit(main(['simulate', '--truth', '--json', '--jobs', '2']))"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert run.stderr is not None
        assert "small: 6 of 6 runs" in run.stderr.readline()
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        out, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert [row["study"] for row in json.loads(out)["rows"]] == ["small"]
    assert "stopped; 1 of 2 cases are finished and shown" in err
