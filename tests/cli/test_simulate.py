"""`ringgossip simulate`: do the commands that it prints replay, shrink and resume as they say?"""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ringgossip.cli import main
from ringgossip.identity import PeerId
from ringgossip.protocol.anti_entropy import AntiEntropy
from ringgossip.protocol.receipts import Receipts

Captured = pytest.CaptureFixture[str]

# Nobody may be suspected, and whoever is paused is: some seeds fail, others do not.
STRICT = """
story: strict
peers: 3
workload:
  - publish: {by: 0, kind: models, name: best.pth, size: 1 MB, at: 2}
swarm: {kinds: [pause, partition, reset, clog], most: 4, start: 2, end: 8}
safety: 9
liveness: {within: 60}
promises: {limits: {suspicions: 0}}
"""


@pytest.fixture
def strict(tmp_path: Path) -> Path:
    path = tmp_path / "a story" / "strict.yaml"  # what is printed must be quoted
    path.parent.mkdir()
    path.write_text(STRICT)
    return path


def told(capsys: Captured, command: str, code: int) -> dict[str, Any]:
    """Run a command line as it was printed, and return what it says as JSON."""
    program, *arguments = shlex.split(command)
    assert program == "ringgossip"
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_a_failing_seed_prints_the_one_command_that_replays_it(strict: Path, capsys: Captured) -> None:
    story = shlex.quote(str(strict))
    batch = told(capsys, f"ringgossip simulate {story} --seeds 0..9 --jobs 2", code=1)
    assert 0 < len(batch["failed"]) < 10
    for failed, replay in zip(batch["failed"], batch["replay"], strict=True):
        assert replay == f"ringgossip simulate {story} --seed {failed['seed']}"
        again = told(capsys, replay, code=1)
        assert again["hash"] == batch["hashes"][str(failed["seed"])]
        [broken] = [promise for promise in again["promises"] if not promise["passed"]]
        assert broken["name"] == failed["promise"] == "suspicions"
    assert main(["simulate", str(strict), "--seeds", "0..9"]) == 1
    text = capsys.readouterr()
    for replay in batch["replay"]:
        assert replay in text.out and replay in text.err  # at once, and again in the verdict


def test_a_seed_shrinks_to_a_story_that_still_fails_and_needs_all_that_is_left(
    strict: Path, tmp_path: Path, capsys: Captured
) -> None:
    batch = told(capsys, f"ringgossip simulate {shlex.quote(str(strict))} --seeds 0..9", code=1)
    seed = max((each["seed"] for each in batch["failed"]), key=lambda seed: seed)
    assert main(["simulate", str(strict), "--seed", str(seed), "--shrink"]) == 1
    least = tmp_path / "least.yaml"
    least.write_text(capsys.readouterr().out)  # as `> least.yaml` does
    faults = yaml.safe_load(least.read_text())["faults"]
    assert 1 <= len(faults) <= 2
    run = told(capsys, f"ringgossip simulate {least} --seed {seed}", code=1)
    assert [promise["name"] for promise in run["promises"] if not promise["passed"]] == ["suspicions"]
    assert run["faults"] == faults
    for number in range(len(faults)):
        without = yaml.safe_load(least.read_text())
        del without["faults"][number]
        least.with_name("less.yaml").write_text(yaml.safe_dump(without))
        told(capsys, f"ringgossip simulate {least.with_name('less.yaml')} --seed {seed}", code=0)


def test_a_bug_that_needs_no_fault_shrinks_to_no_fault_at_all(
    strict: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(*_: object) -> tuple[list[Any], list[Any]]:
        return [], []

    monkeypatch.setattr(Receipts, "receive", deaf)
    promises = "promises: {eventually: {L3: 20}}"
    text = STRICT.replace("promises: {limits: {suspicions: 0}}", promises)
    strict.write_text(text.replace("peers: 3", "peers: 3\ncopies: 1"))
    story = shlex.quote(str(strict))
    said = told(capsys, f"ringgossip simulate {story} --seed 1 --shrink", code=1)
    assert (said["failure"], said["faults"]) == ("L3", 0)
    assert yaml.safe_load(said["yaml"])["faults"] == []


def test_a_crash_of_a_machine_says_where_also_when_it_is_an_assertion_and_the_sweep_goes_on(
    strict: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(self: AntiEntropy, peer: PeerId) -> None:
        raise AssertionError("planted\nat night")

    monkeypatch.setattr(AntiEntropy, "member_down", planted)
    faults = """faults:
  - pause: {at: 3, peer: 0, seconds: 1}
  - crash: {at: 3, peer: 2, seconds: 20}
  - pause: {at: 4, peer: 1, seconds: 1}
safety: 30
"""
    strict.write_text(STRICT.split("swarm:")[0] + faults + "promises: {limits: {suspicions: 99}}\n")
    story = shlex.quote(str(strict))
    batch = told(capsys, f"ringgossip simulate {story} --seeds 0..1", code=1)
    assert [each["promise"] for each in batch["failed"]] == ["crash", "crash"]
    # The line that raised it is in this test; what called it is said.
    assert all("AssertionError: planted at night (in protocol/" in each["detail"] for each in batch["failed"])
    least = told(capsys, f"ringgossip simulate {story} --seed 1 --shrink", code=1)
    [fault] = yaml.safe_load(least["yaml"])["faults"]
    assert list(fault) == ["crash"] and "about: Crashes with --seed 1" in least["yaml"]


def test_a_story_of_a_cluster_file_shrinks_to_one_that_may_lie_elsewhere(
    tmp_path: Path, capsys: Captured
) -> None:
    shipped = Path(__file__).parents[2] / "simulations"
    text = (shipped / "real_cluster.yaml").read_text()
    story = tmp_path / "here.yaml"
    story.write_text(text.replace("real_cluster/", f"{shipped}/real_cluster/").split("promises:")[0]
                     + "promises: {limits: {events: 1}}\n")  # fmt: skip
    said = told(capsys, f"ringgossip simulate {story} --nodes 5 --seed 1 --shrink", code=1)
    elsewhere = tmp_path / "folder" / "least.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(said["yaml"])
    assert told(capsys, f"ringgossip simulate {elsewhere} --nodes 5 --seed 1", code=1)["hash"] == said["hash"]


def test_nothing_to_shrink_is_said_in_a_line(strict: Path, capsys: Captured) -> None:
    strict.write_text("peers: 2\nsafety: 1\n")
    assert main(["simulate", str(strict), "--shrink"]) == 2
    assert capsys.readouterr().err.strip().endswith("seed 0 keeps every promise: there is nothing to shrink")


def test_two_seeds_differ_and_one_does_not_differ_from_itself_nor_from_its_trace(
    strict: Path, tmp_path: Path, capsys: Captured
) -> None:
    trace = tmp_path / "trace"
    assert main(["simulate", str(strict), "--seed", "3", "--trace", str(trace)]) in (0, 1)
    assert main(["simulate", str(strict), "--diff", "3", "3"]) == 0
    assert main(["simulate", str(strict), "--diff", str(trace), "3"]) == 0
    capsys.readouterr()
    assert main(["simulate", str(strict), "--diff", "3", "4"]) == 1
    out = capsys.readouterr().out
    assert "They differ first in event" in out and "both" in out


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("peers: 3\nsaftey: 9\n", ":2:1: saftey: is no key; did you mean 'safety'?"),
        (
            "liveness: {within: 9}\npromises:\n  eventually: {L1: 60}\n",
            ":3:20: promises.eventually.L1: cannot be seen: the liveness phase ends after 9 s",
        ),
        (
            "peers: 3\nfaults:\n  - crash: {at: 3, peer: 7}\n",
            ":3:20: crash.peer: there is no peer 7: they are numbered 0 to 2",
        ),
    ],
)
def test_a_wrong_story_is_one_line_with_its_place(
    strict: Path, capsys: Captured, text: str, line: str
) -> None:
    strict.write_text(text)
    assert main(["simulate", str(strict), "--seeds", "0..3"]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.endswith(f"{strict}{line}")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--seed 5 --seeds 0..2", "--seeds and --seed ask for two different things: leave out one"),
        ("--seeds 0..2 --trace t", "--seeds and --trace ask for two different things: leave out one"),
        ("--diff 1 2 --shrink", "--diff and --shrink ask for two different things: leave out one"),
        ("--shrink --report r.html", "--shrink and --report ask for two different things: leave out one"),
        ("--jobs 2", "--jobs is about many runs: give --seeds A..B too, or leave it out"),
        ("--seed 1 --engine dask", "--engine is about many runs: give --seeds A..B too, or leave it out"),
        ("--seeds 0..1 --scheduler tcp://a:1", "--scheduler is Dask's: give --engine dask too"),
        ("--report /nowhere/r.html", "--report /nowhere/r.html: there is no directory /nowhere"),
        ("--seeds 0..1 --report /tmp", "--report /tmp: is a directory; name a file"),
        ("--trace /proc/nothing/t", "--trace /proc/nothing/t: there is no directory /proc/nothing"),
    ],
)
def test_an_option_that_would_be_overheard_or_a_file_that_cannot_be_is_refused_before_anything_runs(
    strict: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, options: str, line: str
) -> None:
    monkeypatch.setattr("ringgossip.simulation.world.World.__init__", None)
    assert main(["simulate", str(strict), *options.split()]) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_scheduler_that_is_none_and_an_empty_trace_are_one_line(
    strict: Path, tmp_path: Path, capsys: Captured
) -> None:
    pytest.importorskip("distributed")
    many = ["--seeds", "0..1", "--engine", "dask", "--scheduler", "nonsense"]
    assert main(["simulate", str(strict), *many]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "no Dask scheduler answers at 'nonsense'" in line
    (tmp_path / "empty").touch()
    assert main(["simulate", str(strict), "--diff", "1", str(tmp_path / "empty")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "empty: is no trace; " in line


def test_a_name_that_no_peer_would_publish_is_an_error_of_the_story(strict: Path, capsys: Captured) -> None:
    strict.write_text(STRICT.replace("best.pth", "../best.pth"))
    assert main(["simulate", str(strict)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert ":5:42: workload[0].publish.name: '../best.pth' cannot be published: " in line


def test_a_sweep_that_was_stopped_does_not_say_that_it_failed(
    strict: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict.write_text(STRICT.replace("suspicions: 0", "suspicions: 99"))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ringgossip.cli.simulate_many._Teller.heard", interrupt)
    assert main(["simulate", str(strict), "--seeds", "0..1"]) == 130
    said = capsys.readouterr()
    assert said.out.rstrip().endswith("Every promise held in every seed that is finished.")
    assert "stopped; 1 seeds are finished" in said.err


def test_a_sweep_of_slow_seeds_tells_now_and_then_how_far_it_is(
    strict: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringgossip.cli.simulate_many._PAUSE", 0.0)
    assert main(["simulate", str(strict), "--seeds", "0..1"]) in (0, 1)
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("0 of 2 seeds, 0 failed, after ")]
    assert any("the next: safety, " in line and "of 9 virtual seconds" in line for line in told)
    assert any(line.startswith("1 of 2 seeds") for line in lines)


def test_a_sometimes_that_no_seed_reaches_fails_the_sweep(strict: Path, capsys: Captured) -> None:
    strict.write_text(STRICT.replace("limits: {suspicions: 0}", "sometimes: [NameTakenOver]"))
    assert main(["simulate", str(strict), "--seeds", "0..2"]) == 1
    assert "NEVER   no seed reached NameTakenOver" in capsys.readouterr().out


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_stops_a_sweep_at_once_and_the_printed_command_does_the_rest(
    strict: Path, capsys: Captured, jobs: int
) -> None:
    # Every seed fails and is told at once: that is how we know that some are finished.
    strict.write_text(STRICT.replace("suspicions: 0", "events: 1"))
    arguments = ["simulate", str(strict), "--seeds", "0..199", "--jobs", str(jobs), "--json"]
    sweep = subprocess.Popen(
        [sys.executable, "-m", "ringgossip", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert sweep.stderr is not None
    for _ in range(2 * 3):  # two lines for each
        assert "seed" in sweep.stderr.readline()
    os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does: the workers hear it too
    out, err = sweep.communicate(timeout=20)
    said = json.loads(out)
    assert sweep.returncode == 130
    assert 3 <= said["finished"] < 200 and len(said["hashes"]) == said["finished"]
    assert "Traceback" not in err
    assert err.splitlines()[-1].endswith(f"Go on with:  {said['resume']}")
    first, last = shlex.split(said["resume"])[4].split("..")
    assert {str(seed) for seed in range(int(first))} <= set(said["hashes"]) and last == "199"
    # The printed command goes on there; here only with the next few.
    rest = told(capsys, said["resume"].replace(f"{first}..199", f"{first}..{int(first) + 2}"), code=1)
    assert list(rest["hashes"]) == [str(int(first) + number) for number in range(3)]
