"""Does the house still stand as the design draws it? Walks the syntax of every module.

An import points down, rooms on one floor do not import each other, and the
pure floors know no clock, socket, disk, task, thread or global randomness.
Imports under `TYPE_CHECKING` are no imports. Source: design sections 1 and 11.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import ringgossip

PACKAGE = Path(ringgossip.__file__).parent

# From the ground up. Within the words, errors speak of nothing, and config of identities.
FLOORS = (
    ("errors", "frozen"),
    ("events",),
    ("identity",),
    ("config",),
    ("content",),
    ("wire", "strategy"),
    ("protocol",),
    ("runtime", "simulation"),
    ("client", "facade", "service"),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

IMPURE = frozenset({"trio", "socket", "time", "os", "pathlib", "threading", "random"})
PURE_ROOMS = ("protocol", "strategy", "wire", "content")
# The checks of kinds read the user's files.
ALLOWED = {"ringgossip.content.kinds": frozenset({"os", "pathlib"})}

MOST_LINES = 450  # 400 is the aim.


@dataclass(frozen=True)
class Module:
    """One file of the package: its dotted name, whether it is a folder's `__init__`, and its text."""

    name: str
    is_package: bool
    text: str

    @property
    def room(self) -> str:
        """The first step below the package; the package itself is the door above all floors."""
        return [*self.name.split("."), ""][1]

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


def read_package(folder: Path) -> list[Module]:
    modules = []
    for path in sorted(folder.rglob("*.py")):
        steps = ["ringgossip", *path.relative_to(folder).with_suffix("").parts]
        is_package = steps[-1] == "__init__"
        name = ".".join(steps[:-1] if is_package else steps)
        modules.append(Module(name, is_package, path.read_text(encoding="utf-8")))
    return modules


MODULES = read_package(PACKAGE)


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node that is there when the program runs: all but `if TYPE_CHECKING` bodies."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield from running(other)
        else:
            yield from running(child)


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything `module` imports, in functions too."""
    for node in running(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                steps = module.name.split(".")
                steps = steps[: len(steps) - node.level + module.is_package]
                base = ".".join([*steps, *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def floor_violations(module: Module) -> list[str]:
    found = []
    for line, target in imports(module):
        steps = target.split(".")
        # From the package itself come only its version and submodules; a submodule is judged as such.
        if steps[0] != "ringgossip" or len(steps) < 2 or steps[1] not in FLOOR_OF:
            continue
        if module.room and module.room not in FLOOR_OF:
            return [f"{module.name}: room {module.room!r} stands on no floor; add it to FLOORS"]
        ours = FLOOR_OF.get(module.room, len(FLOORS))
        theirs = FLOOR_OF[steps[1]]
        if steps[1] != module.room and theirs >= ours:
            way = "sideways" if theirs == ours else "up"
            found.append(f"{module.name}:{line}: imports {way}: {target}")
    return found


def impure_imports(module: Module) -> list[str]:
    if module.room not in PURE_ROOMS:
        return []
    allowed = next(
        (names for prefix, names in ALLOWED.items() if module.name.startswith(prefix)), frozenset()
    )
    refused = IMPURE - allowed
    return [
        f"{module.name}:{line}: {target.split('.')[0]} is refused in {module.room}"
        for line, target in imports(module)
        if target.split(".")[0] in refused
    ]


def style_violations(module: Module) -> list[str]:
    found = []
    if not (ast.get_docstring(module.tree) or "").strip():
        found.append(f"{module.name}: has no docstring: say its question and its answer")
    lines = module.text.count("\n") + 1
    if lines > MOST_LINES:
        found.append(f"{module.name}: {lines} lines are perhaps two subjects")
    if module.room != "cli":
        found += [
            f"{module.name}:{node.lineno}: prints; only cli speaks to the terminal"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        ]
    return found


def cycles(modules: list[Module]) -> list[str]:
    """Return each way that leads from a module back to itself, as `a -> b -> a`."""
    names = {module.name for module in modules}
    graph: dict[str, list[str]] = {}
    for module in modules:
        targets = []
        for _, target in imports(module):
            while target and target not in names:
                target = target.rpartition(".")[0]
            # Nothing is taken from the door but its version.
            if target and target not in (module.name, "ringgossip"):
                targets.append(target)
        graph[module.name] = targets
    found: list[str] = []
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> None:
        if name in way:
            found.append(" -> ".join([*way[way.index(name) :], name]))
        elif name not in done:
            for target in graph[name]:
                walk(target, [*way, name])
            done.add(name)

    for name in graph:
        walk(name, [])
    return found


# --- the house as it is ----------------------------------------------------------


def test_the_package_was_found() -> None:
    assert {"ringgossip", "ringgossip.errors", "ringgossip.cli.app"} <= {module.name for module in MODULES}


def test_every_room_stands_on_a_floor() -> None:
    assert {module.room for module in MODULES} - {""} <= set(FLOOR_OF)


def test_imports_point_down_and_never_sideways() -> None:
    assert [line for module in MODULES for line in floor_violations(module)] == []


def test_pure_rooms_know_no_clock_socket_disk_task_thread_or_global_randomness() -> None:
    assert [line for module in MODULES for line in impure_imports(module)] == []


def test_every_module_has_its_question_a_bearable_length_and_no_print() -> None:
    assert [line for module in MODULES for line in style_violations(module)] == []


def test_no_module_imports_itself_by_a_detour() -> None:
    assert cycles(MODULES) == []


# --- the checks, on houses that are broken ------------------------------------------


def module(name: str, text: str, is_package: bool = False) -> Module:
    return Module(name, is_package, text)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("ringgossip.wire.codec", "from ringgossip.protocol.core import Send", "imports up"),
        ("ringgossip.wire.codec", "def f():\n    import ringgossip.runtime.peer", "imports up"),
        ("ringgossip.wire.codec", "from ..strategy import weights", "imports sideways"),
        ("ringgossip.wire.codec", "from ringgossip import protocol", "imports up"),
        ("ringgossip.client", "import ringgossip.facade", "imports sideways"),
        ("ringgossip.attic.box", "import ringgossip.errors", "stands on no floor"),
        ("ringgossip.errors", "if x:\n    pass\nelse:\n    import ringgossip.cli", "imports up"),
    ],
)
def test_a_wrong_way_is_seen(name: str, text: str, complaint: str) -> None:
    [line] = floor_violations(module(name, text))
    assert complaint in line


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ringgossip.wire.codec", "if TYPE_CHECKING:\n    from ringgossip.protocol.core import Send"),
        ("ringgossip.wire.codec", "from ringgossip import __version__\nfrom .frames import Frame"),
        (
            "ringgossip.protocol.core",
            "from ringgossip.wire import messages\nimport ringgossip.content.record",
        ),
        ("ringgossip.config.schema", "from ringgossip.identity.names import Address"),
    ],
)
def test_a_right_way_is_let_through(name: str, text: str) -> None:
    assert floor_violations(module(name, text)) == []


def test_relative_imports_are_judged_from_where_they_stand() -> None:
    inside = module("ringgossip.wire", "from . import codec", is_package=True)
    assert list(imports(inside)) == [(1, "ringgossip.wire.codec")]
    beside = module("ringgossip.wire.frames", "from .codec import pack")
    assert list(imports(beside)) == [(1, "ringgossip.wire.codec.pack")]


@pytest.mark.parametrize("name", sorted(IMPURE))
@pytest.mark.parametrize("way", ["import {}", "def f():\n    from {} import x", "import {}.path as p"])
def test_the_world_is_seen_in_a_pure_room(name: str, way: str) -> None:
    assert impure_imports(module("ringgossip.protocol.pacing", way.format(name)))
    assert not impure_imports(module("ringgossip.runtime.peer", way.format(name)))


def test_kinds_may_open_files_and_nothing_more() -> None:
    assert not impure_imports(module("ringgossip.content.kinds.npz", "import os, pathlib"))
    assert impure_imports(module("ringgossip.content.kinds.npz", "import random"))
    assert impure_imports(module("ringgossip.content.record", "import os"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1", "no docstring"),
        ('"""Why?"""\nprint(1)', "prints"),
        ('"""Why?"""\n' + "x = 1\n" * MOST_LINES, "two subjects"),
    ],
)
def test_a_lapse_of_style_is_seen(text: str, complaint: str) -> None:
    [line] = style_violations(module("ringgossip.wire.codec", text))
    assert complaint in line


def test_a_cycle_is_seen() -> None:
    a = module("ringgossip.wire.a", "from ringgossip.wire.b import x")
    b = module("ringgossip.wire.b", "def f():\n    from .c import y")
    c = module("ringgossip.wire.c", "from ringgossip.wire import a")
    assert cycles([a, b, c]) == [
        "ringgossip.wire.a -> ringgossip.wire.b -> ringgossip.wire.c -> ringgossip.wire.a"
    ]
    assert cycles([a, b]) == []
