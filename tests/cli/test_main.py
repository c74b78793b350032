"""Does every command end with the right code, and every mistake with one line?"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ringgossip
from ringgossip.cli import main
from ringgossip.cli.app import COMMANDS, app
from ringgossip.errors import CredentialsError

SMALL = "cluster: ringrift\nnode: gpu-1\ndata: /d\n"

Captured = pytest.CaptureFixture[str]


def command_that(raises: Callable[[], object]) -> Callable[..., object]:
    """Return a stand-in for the whole table of commands that does just one thing."""

    def run(*_: object, **__: object) -> object:
        return raises()

    return run


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command_with_its_sentence(arguments: list[str], capsys: Captured) -> None:
    assert main(arguments) == 0
    told = capsys.readouterr().out
    for name, (_, sentence) in COMMANDS.items():
        assert f"{name} " in told
        assert sentence.split(":")[0] in " ".join(told.split())


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_of_the_table_exists_and_explains_itself(name: str, capsys: Captured) -> None:
    assert main([name, "--help"]) == 0
    told = capsys.readouterr().out
    assert f"ringgossip {name}" in told
    assert "--json" in told


def modules_after(arguments: list[str]) -> set[str]:
    """Return what a fresh interpreter has loaded after one command."""
    code = f"import sys; from ringgossip.cli import main; main({arguments}); print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines())


def test_help_loads_no_command_and_nothing_heavy() -> None:
    loaded = modules_after(["--help"])
    assert not loaded & {"rich", "trio", "cryptography", "pydantic", "yaml", "ssl", "sqlite3"}
    ours = {name for name in loaded if name.startswith("ringgossip.")}
    assert ours == {"ringgossip.cli", "ringgossip.cli.app", "ringgossip.errors"}


def test_one_command_never_loads_another() -> None:
    loaded = modules_after(["init", "--help"])
    assert "ringgossip.cli.init" in loaded
    assert not loaded & {"ringgossip.cli.enroll", "ringgossip.cli.config_command", "cryptography"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["inti"], "error: there is no command 'inti'; did you mean 'init'? (see `ringgossip --help`)"),
        (["zzz"], "error: there is no command 'zzz' (see `ringgossip --help`)"),
        (["init"], "error: Missing argument 'DIR' (see `ringgossip init --help`)"),
    ],
)
def test_wrong_usage_is_one_line_and_code_two(arguments: list[str], complaint: str, capsys: Captured) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()) == ("", [complaint])


def test_an_unknown_option_is_one_line_and_code_two(capsys: Captured) -> None:
    assert main(["init", "x", "--cluster", "c", "--colour"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "--colour" in line


def test_json_leaves_standard_output_empty_when_a_command_fails(tmp_path: Path, capsys: Captured) -> None:
    assert main(["enroll", str(tmp_path / "none"), "--node", "a", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")


def interrupt() -> object:
    raise KeyboardInterrupt


def refuse() -> object:
    raise CredentialsError("expired: enroll this node again")


def refuse_from_a_task() -> object:
    raise ExceptionGroup(
        "tasks", [ExceptionGroup("inner", [CredentialsError("expired: enroll this node again")])]
    )


def interrupt_a_task() -> object:
    raise BaseExceptionGroup("tasks", [KeyboardInterrupt()])


def open_what_is_not_there() -> object:
    return Path("/nowhere/at/all").read_bytes()


@pytest.mark.parametrize(
    ("doing", "code", "line"),
    [
        (refuse, 1, "error: expired: enroll this node again"),
        (refuse_from_a_task, 1, "error: expired: enroll this node again"),
        (interrupt, 130, "error: stopped"),
        (interrupt_a_task, 130, "error: stopped"),
        (open_what_is_not_there, 1, "error: /nowhere/at/all: No such file or directory"),
    ],
)
def test_whatever_goes_wrong_inside_a_command_is_one_line(
    doing: Callable[[], object], code: int, line: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "main", command_that(doing))
    assert main([]) == code
    assert capsys.readouterr().err.splitlines() == [line]


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug() -> object:
        raise ExceptionGroup("tasks", [ZeroDivisionError()])

    monkeypatch.setattr(app, "main", command_that(bug))
    with pytest.raises(ZeroDivisionError):
        main([])


def test_the_code_that_a_command_returns_is_the_code_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "main", command_that(lambda: 1))
    assert main([]) == 1


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m ringgossip --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""


# --- config ---------------------------------------------------------------------


@pytest.mark.parametrize("words", [["config"], ["config", "show"]])
def test_config_shows_every_value_and_who_set_it(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("RINGGOSSIP_PATIENCE", "20")
    (tmp_path / "node.yaml").write_text(SMALL)
    assert main([*words, "--origin", "--config", str(tmp_path / "node.yaml")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["node", "node.yaml:2", "gpu-1"] in rows
    assert ["patience", "environment", "RINGGOSSIP_PATIENCE", "seconds", "20"] in rows
    assert ["memory.in_flight_bytes", "default", "bytes", "67108864"] in rows


@pytest.mark.parametrize("before", [True, False])
def test_config_as_json_is_one_object(tmp_path: Path, capsys: Captured, before: bool) -> None:
    (tmp_path / "node.yaml").write_text(SMALL + "seeds: [a:1]\n")
    options = ["--config", str(tmp_path / "node.yaml"), "--origin", "--json"]
    assert main(["config", *options, "show"] if before else ["config", "show", *options]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["config"]["seeds"] == ["a:1"]
    assert shown["origins"]["seeds"] == "node.yaml:4"
    assert shown["config"]["status"] is None


def test_config_check_says_good_or_names_every_mistake(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(SMALL)
    assert main(["config", "check", "--config", str(path)]) == 0
    assert "good, for node gpu-1 of cluster ringrift" in capsys.readouterr().out
    path.write_text(SMALL + "sedes: []\nrole: boss\n")
    assert main(["config", "check", "--config", str(path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"error: {path}:4:1: sedes: is no key; did you mean 'seeds'?"
    assert second.startswith(f"error: {path}:5:7: role: 'boss' is none of")


def test_config_check_names_what_does_nothing(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "node.yaml"
    path.write_text("cluster: c\nnode: n\ndata: /d\nchunks: 0.0.0.0:8770\n", encoding="utf-8")
    assert main(["config", "check", "--config", str(path)]) == 0
    assert "notice: node.yaml:4: chunks: is not built yet" in capsys.readouterr().err


def test_config_check_looks_at_the_credentials_too(tmp_path: Path, capsys: Captured) -> None:
    path, authority = tmp_path / "node.yaml", tmp_path / "ca"
    path.write_text(f"{SMALL}credentials: {authority / 'nodes' / 'gpu-2'}\n")
    assert main(["config", "check", "--config", str(path)]) == 0
    assert "note: a peer could not start here: no credentials in" in capsys.readouterr().err
    assert main(["init", str(authority), "--cluster", "ringrift"]) == 0
    assert main(["enroll", str(authority), "--node", "gpu-2"]) == 0
    assert main(["config", "check", "--config", str(path)]) == 0
    assert "belongs to gpu-2 of ringrift, not to gpu-1 of ringrift" in capsys.readouterr().err
    path.write_text(path.read_text().replace("node: gpu-1", "node: gpu-2"))
    assert main(["config", "check", "--config", str(path)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["peer"], ["config"], ["config", "check"]])
def test_a_forgotten_config_option_is_asked_for(
    tmp_path: Path, words: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == "error: there is no file node.yaml: write it, or name the right one with --config FILE"


# --- init and enroll --------------------------------------------------------------


def test_a_cluster_is_made_and_a_node_enrolled_with_what_to_do_next(tmp_path: Path, capsys: Captured) -> None:
    authority = tmp_path / "ca"
    assert main(["init", str(authority), "--cluster", "ringrift"]) == 0
    assert f"ringgossip enroll {authority} --node NAME" in capsys.readouterr().out
    deep = tmp_path / "a" / "b" / "node-1"
    assert main(["enroll", str(authority), "--node", "node-1", "-o", str(deep)]) == 0
    told = capsys.readouterr().out
    assert f"scp -p {deep}/* node-1:/etc/ringgossip/" in told
    assert "ringgossip peer --config" in told
    assert (deep / "node.key").stat().st_mode & 0o077 == 0


def test_the_node_yaml_that_enroll_prints_is_accepted(tmp_path: Path, capsys: Captured) -> None:
    assert main(["init", str(tmp_path / "ca"), "--cluster", "ringrift"]) == 0
    assert main(["enroll", str(tmp_path / "ca"), "--node", "node-1"]) == 0
    told = capsys.readouterr().out.splitlines()
    keys = ("cluster:", "node:", "data:", "credentials:", "seeds:")
    printed = [line.strip() for line in told if line.strip().startswith(keys)]
    assert len(printed) == len(keys)
    (tmp_path / "node.yaml").write_text("\n".join(printed))
    assert main(["config", "check", "--config", str(tmp_path / "node.yaml")]) == 0


def test_scripts_get_one_object_from_init_and_enroll(tmp_path: Path, capsys: Captured) -> None:
    folder = str(tmp_path / "ca")
    assert main(["init", folder, "--cluster", "ringrift", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"cluster": "ringrift", "folder": folder}
    for generation in (1, 2):
        assert main(["enroll", folder, "--node", "gpu-1", "--json", "--data", "/unused"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "cluster": "ringrift",
            "node": "gpu-1",
            "generation": generation,
            "folder": f"{folder}/nodes/gpu-1",
        }


@pytest.mark.parametrize("name", ["../gpu", "", "a" * 65, "a\nb"])
def test_a_name_that_could_leave_a_folder_enrolls_nobody(tmp_path: Path, capsys: Captured, name: str) -> None:
    main(["init", str(tmp_path / "ca"), "--cluster", "ringrift"])
    capsys.readouterr()
    assert main(["enroll", str(tmp_path / "ca"), "--node", name]) == 2
    assert "is no node name" in capsys.readouterr().err
    assert not (tmp_path / "ca" / "nodes").exists()


def test_the_same_command_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "ringgossip", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"ringgossip, version {ringgossip.__version__}\n"


def test_a_command_whose_standard_streams_are_closed_ends_as_any_other() -> None:
    command = f"{sys.executable} -m ringgossip config explain nothing >&- 2>&- <&-; echo $?"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("2\n", "")
    command = f"{sys.executable} -m ringgossip --help >&-"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
