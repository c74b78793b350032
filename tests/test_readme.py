"""Is the README true? Every command and snippet in it is run, on machines that are folders of this one.

Invisible comments above a block say what cannot be seen in it:

    <!-- on: gpu-1 -->                      which machine runs it
    <!-- on: gpu-1, in the background -->   a command that goes on until the end
    <!-- file: PATH -->                     the block is this file
    <!-- needs: selfplay.db -->             a file that a reader has, and we make
    <!-- output -->                         lines that the block before printed, in this order
    <!-- checked by: FILE ... -->           run elsewhere, by these files

A machine's root folder stands before its absolute paths, and free ports of
127.0.0.1 for its addresses; `ssh` and `scp` reach the folders.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from games import add_games, create_games_db

REPOSITORY = Path(__file__).parent.parent
README = REPOSITORY / "README.md"
ROOTS = ("/etc/ringgossip", "/data/ringgossip", "/srv/")
MARKS = {"on", "file", "needs", "output", "checked by"}


@dataclass
class Block:
    """One fenced block: where it stands, its language, its text, and what the comments above it say."""

    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"README.md:{self.line}"


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks; comments count for the block that follows them."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    inside: Block | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if inside is not None:
            if line.startswith("```"):
                inside = None
            else:
                inside.text += f"{line}\n"
        elif line.startswith("```"):
            inside = Block(number, line[3:], "", marks)
            found.append(inside)
            marks = {}
        elif mark := re.fullmatch(r"<!-- ([a-z ]+)(?:: (.*))? -->", line):
            marks[mark[1]] = mark[2] or ""
        elif line.strip():
            marks = {}
    return found


def problem_of(block: Block) -> str | None:
    """Return why nobody would run this block as it is marked, or None."""
    if set(block.marks) - MARKS:
        return f"unknown marks: {sorted(set(block.marks) - MARKS)}"
    if block.language == "text":
        commands = [
            line for line in block.text.splitlines() if re.match(r"\$? *(ringgossip|pip|python) ", line)
        ]
        return f"a command stands in a picture: {commands[0]}" if commands else None
    if block.language not in ("bash", "python", "yaml"):
        return f"the language {block.language!r} is none of bash, python, yaml, text"
    if "checked by" not in block.marks and "on" not in block.marks:
        return "says neither which machine runs it nor who checks it"
    if block.language == "yaml" and "file" not in block.marks:
        return "a configuration that is no file"
    return None


BLOCKS = blocks_of(README.read_text(encoding="utf-8"))


def test_every_block_is_run_or_says_who_runs_it() -> None:
    assert [f"{block.place}: {problem}" for block in BLOCKS if (problem := problem_of(block))] == []
    assert len([block for block in BLOCKS if "on" in block.marks]) > 15


@pytest.mark.parametrize(
    "text",
    [
        "```bash\nringgossip demo\n```",
        "<!-- on: gpu-1 -->\n\nProse between.\n\n```bash\nringgossip demo\n```",
        "<!-- on: gpu-1 -->\n```yaml\ncluster: x\n```",
        "```text\nringgossip demo\n```",
        "<!-- on: gpu-1 -->\n<!-- skip: never mind -->\n```bash\ntrue\n```",
        "```\ntrue\n```",
    ],
)
def test_a_block_that_nobody_runs_is_seen(text: str) -> None:
    [block] = blocks_of(text)
    assert problem_of(block) is not None


def test_what_others_check_is_really_there() -> None:
    for block in BLOCKS:
        for path in block.marks.get("checked by", "").split():
            assert (REPOSITORY / path).is_file(), f"{block.place}: {path} does not exist"
    ci = (REPOSITORY / ".ci" / "run").read_text()
    # `pip install .` is what the wheel stage proves; the rest it does word for word.
    for part in ('install "$scratch/venv" -e', "pip wheel", "-m pytest", "--quick"):
        assert part in ci


def test_every_page_that_is_named_exists() -> None:
    text = README.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:benchmarks|simulations|ringgossip|tests|\.ci)/[\w./*]*)", text)
    assert paths
    assert [path for path in paths if not list(REPOSITORY.glob(path.rstrip("/")))] == []


def test_every_command_that_is_named_exists() -> None:
    from ringgossip.cli.app import COMMANDS

    named = re.findall(
        r"\bringgossip ([a-z]+)\b", "\n".join(block.text for block in BLOCKS if block.language == "bash")
    )
    named += re.findall(r"`ringgossip ([a-z]+)", README.read_text(encoding="utf-8"))
    assert sorted(set(named) - set(COMMANDS)) == []


# --- the machines ------------------------------------------------------------------

SSH = """#!/bin/sh
shift
exec "$@"
"""
SCP = """#!/usr/bin/env python3
import shutil, sys
*sources, target = [word for word in sys.argv[1:] if not word.startswith("-")]
for source in sources:
    shutil.copy2(source, target.partition(":")[2])
"""
CURL = """#!/usr/bin/env python3
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[-1], timeout=10).read().decode(), end="")
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Machines:
    """The README's machines: a folder each, the same PATH, ports of 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        one, two, three, status = free_ports(4)
        self.addresses = {
            "10.0.0.1:7946": f"127.0.0.1:{one}",
            "10.0.0.2:7946": f"127.0.0.1:{two}",
            "0.0.0.0:7948": f"127.0.0.1:{three}",
            "127.0.0.1:8790": f"127.0.0.1:{status}",
        }
        # What a node.yaml of the README leaves to the default must stay on loopback.
        self.listen = {"gpu-1": f"127.0.0.1:{one}", "gpu-2": f"127.0.0.1:{two}"}
        self.exported: dict[str, list[str]] = {}
        self.running: list[subprocess.Popen[bytes]] = []
        tools = folder / "bin"
        tools.mkdir()
        ringgossip = f'#!/bin/sh\nexec "{sys.executable}" -m ringgossip "$@"\n'
        for name, text in (("ssh", SSH), ("scp", SCP), ("curl", CURL), ("ringgossip", ringgossip)):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)

    def here(self, machine: str) -> Path:
        """Return the folder in which this machine's commands run."""
        home = self.folder / machine / "home"
        home.mkdir(parents=True, exist_ok=True)
        return home

    def translate(self, machine: str, text: str) -> str:
        """Return `text` with this machine's folders and ports; `ssh` and `scp` name another one's."""
        for theirs, ours in self.addresses.items():
            text = text.replace(theirs, ours)
        lines = []
        for line in text.splitlines(keepends=True):
            other = re.search(r"(?<=^ssh )\S+|\S+(?=:/etc/)", line)
            root = self.folder / (other[0] if other else machine)
            for start in ROOTS:
                line = line.replace(start, f"{root}{start}")
            lines.append(line)
        return "".join(lines)

    def environment(self, machine: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RING")}
        kept |= {
            "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{kept['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "TMPDIR": str(self.folder),
        }
        if machine in self.listen:
            kept["RINGGOSSIP_LISTEN"] = self.listen[machine]
        return kept

    def write(self, machine: str, path: str, text: str) -> None:
        target = self.here(machine) / self.translate(machine, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.translate(machine, text))

    def run(self, machine: str, command: Sequence[str], place: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.here(machine),
            env=self.environment(machine),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{place}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def script(self, machine: str, text: str) -> list[str]:
        translated = self.translate(machine, text)
        before = "".join(self.exported.get(machine, []))
        exports = [f"{line}\n" for line in translated.splitlines() if line.startswith("export ")]
        self.exported.setdefault(machine, []).extend(exports)
        return ["bash", "-euo", "pipefail", "-c", before + translated]

    def begin(self, machine: str, text: str, place: str) -> None:
        """Start a command that goes on, and wait until it says that it is ready."""
        said = self.folder / f"{machine}.out"
        with said.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.translate(machine, text)}"],
                cwd=self.here(machine),
                env=self.environment(machine),
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.running.append(process)
        end = time.monotonic() + 20
        while "ready: " not in said.read_text():
            assert process.poll() is None and time.monotonic() < end, f"{place}: {said.read_text()}"
            time.sleep(0.02)

    def end(self) -> None:
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                assert process.wait(timeout=30) == 0
            finally:
                if process.poll() is None:
                    process.kill()


def make_games(path: Path) -> None:
    database = create_games_db(path)
    add_games(database, 20, random.Random(1))
    database.close()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    made = Machines(tmp_path)
    try:
        yield made
    finally:
        made.end()


def test_the_readme_can_be_followed_from_its_first_command_to_its_last(machines: Machines) -> None:
    printed = ""
    configurations = []
    for block in BLOCKS:
        if "output" in block.marks:
            assert not missing_lines(block.text, printed), f"{block.place}: not printed, but:\n{printed}"
        if "on" not in block.marks:
            continue
        machine, _, how = block.marks["on"].partition(", ")
        for name in block.marks.get("needs", "").split():
            make_games(machines.here(machine) / name)
        if "file" in block.marks:
            machines.write(machine, block.marks["file"], block.text)
            if block.text.startswith("cluster:"):
                configurations.append((machine, block.marks["file"]))
        elif how:
            assert how == "in the background", block.place
            machines.begin(machine, block.text, block.place)
        elif block.language == "python":
            code = machines.translate(machine, block.text)
            printed = machines.run(machine, [sys.executable, "-c", code], block.place)
        else:
            printed = machines.run(machine, machines.script(machine, block.text), block.place)
    assert len(configurations) == 4
    # Not only exit codes: what was published on one machine lies on the other.
    path = "data/ringgossip/replicas/models/gpu-1/model.pth"
    published = machines.here("gpu-1") / "model.pth"
    assert (machines.folder / "gpu-2" / path).read_bytes() == published.read_bytes()
    for machine, file in configurations:
        check = machines.script(machine, f"ringgossip config check --json --config {file}")
        assert json.loads(machines.run(machine, check, file))["valid"]


def missing_lines(wanted: str, printed: str) -> list[list[str]]:
    """Return the first line of `wanted` that was not `printed`, in this order, and all after it; as words."""
    left = [line.split() for line in wanted.splitlines()]
    for line in printed.splitlines():
        if left and line.split() == left[0]:
            left.pop(0)
    return left


def test_output_that_differs_in_more_than_spaces_is_seen() -> None:
    assert missing_lines("a 1 MiB\nb gpu-2", "a  1 MiB\nnoise\nb gpu-2\n") == []
    assert missing_lines("a 1 MiB\nb gpu-2", "a 1 MiB\nb gpu-9\n") == [["b", "gpu-2"]]
    assert missing_lines("a\nb", "b\na\n") == [["b"]]
