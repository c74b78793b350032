"""Do the public names resolve, at first use and not before?"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ringgossip

SOURCE = Path(ringgossip.__file__).read_text(encoding="utf-8")


def modules_after(code: str) -> set[str]:
    """Return what a fresh interpreter has loaded after `code`."""
    code += "\nimport sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("name", ringgossip.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(ringgossip, name) is not None
    assert name in dir(ringgossip)


def test_the_table_the_type_checkers_list_and_all_say_the_same() -> None:
    typed = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert typed == set(ringgossip._HOMES) == set(ringgossip.__all__)
    assert sorted(ringgossip.__all__) == sorted(set(ringgossip.__all__))


def test_import_ringgossip_loads_nothing_but_itself() -> None:
    before = modules_after("")
    loaded = modules_after("import ringgossip") - before
    assert {name for name in loaded if name.startswith("ringgossip")} == {"ringgossip"}
    assert not loaded & {"trio", "cryptography", "yaml", "pydantic", "ssl", "asyncio", "click", "socket"}


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'open_pear'"):
        ringgossip.open_pear  # noqa: B018


def test_star_import_brings_exactly_the_public_names() -> None:
    space: dict[str, object] = {}
    exec("from ringgossip import *", space)
    assert set(space) - {"__builtins__"} == set(ringgossip.__all__)
