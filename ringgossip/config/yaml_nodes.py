"""What stands in a YAML file, and where? Plain values, each with its line and column.

PyYAML's own constructor accepts a key twice and forgets positions, so we walk
its nodes. Its YAML 1.1 guesses that surprise people are switched off: `1:30`
is text and no base-60 number, `2024-01-01` is text, `010` is text, `1e9` is a
number.

Loads pyyaml: import this module only when a file is read.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ringgossip.errors import ConfigError

# A file of a person. These limits hold before anything is built from it.
LARGEST_FILE = 1024 * 1024
MOST_VALUES = 20_000
DEEPEST = 50

# A key's way from the top: names of keys and indices in lists.
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in the file, counted from 1 as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, with the place where a person mends it."""

    place: Place
    key: str
    text: str

    def line(self, file: str) -> str:
        """Return `file:line:column: key: what is wrong`."""
        key = f"{self.key}: " if self.key else ""
        return f"{file}:{self.place.line}:{self.place.column}: {key}{self.text}"


@dataclass(slots=True)
class Document:
    """A file's values, where each key and value stands, and what was wrong with the YAML itself."""

    value: Any = None
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place_of(self, path: KeyPath) -> Place:
        """Return where the value at `path` stands, or what holds it if it is not there."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Place(1, 1))


def dotted(path: KeyPath) -> str:
    """Return `path` as people write it, `share[0].kind`, on one line whatever the keys are."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text if text.isprintable() and len(text) <= 100 else repr(text[:100])


class _Loader(yaml.SafeLoader):
    """Only for composing nodes; its table of guesses is our own."""


_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
# No leading zero: 010 is eight to some and ten to others, so it stays text.
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9_]*)(?:\.[0-9_]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_BOOL = re.compile(r"(?:yes|no|true|false|on|off)\Z", re.IGNORECASE)
_NULL = re.compile(r"(?:~|null|)\Z", re.IGNORECASE)

_Loader.yaml_implicit_resolvers = {}
for _kind, _shape, _first in (
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("bool", _BOOL, "yYnNtTfFoO"),
    ("null", _NULL, "~nN"),
):
    # The empty first character stands for an empty scalar.
    _letters = [*_first, *([""] if _kind == "null" else [])]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _shape, _letters)


def read_document(path: Path) -> Document:
    """Read the file at `path`; what is wrong inside it is in `problems`.

    Raises `ConfigError` when it cannot be read or is no YAML at all.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(raw) > LARGEST_FILE:
        raise ConfigError(f"{path}: is larger than {LARGEST_FILE} bytes; is it a configuration file?")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise ConfigError(f"{path}:{line}:{column}: is not UTF-8 text") from None
    return read_text(text, str(path))


def read_text(text: str, path: str) -> Document:
    """Read YAML that is here already; `path` is what complaints call it."""
    document = Document()
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is not None:
            document.value = _Walk(document).value(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(f"{where}: is not valid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise ConfigError(f"{path}:{line}:{column}: a control character is not allowed in YAML") from None
    except (_TooMuch, RecursionError) as error:
        much = error if isinstance(error, _TooMuch) else _TooMuch(_deep_place(text), _DEEP)
        where = f"{path}:{much.place.line}:{much.place.column}"
        raise ConfigError(f"{where}: {much}; is it a configuration file?") from None
    return document


class _TooMuch(Exception):
    """The file stands for more values than a person ever writes."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place = place


_DEEP = "is nested too deeply"


def _deep_place(text: str) -> Place:
    """Return where it gets too deep: events come without recursion, nodes do not."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        mark = event.start_mark
        if depth > DEEPEST and mark is not None:
            return Place(mark.line + 1, mark.column + 1)
    return Place(1, 1)


class _Walk:
    """Turns nodes into values, and notes where each stands."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = MOST_VALUES

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        # An alias stands for its whole subtree: without a count, a few lines unfold to billions of values.
        self._left -= 1
        place = _place(node)
        if self._left < 0:
            raise _TooMuch(place, "holds too many values")
        if len(path) >= DEEPEST:
            # Of itself, by an alias.
            raise _TooMuch(place, _DEEP)
        self._document.values[path] = place
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(entry, (*path, index)) for index, entry in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(place, path, "a key must be a word")
                continue
            key = key_node.value
            here = (*path, key)
            if key in found:
                first = self._document.keys[here].line
                self._problem(place, here, f"stands here a second time (first on line {first}); keep one")
                continue
            self._document.keys[here] = place
            found[key] = self.value(value_node, here)
        return found

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        text, kind = str(node.value), node.tag.rpartition(":")[2]
        if kind == "null":
            return None
        if kind == "str":
            return text
        if kind == "bool" and _BOOL.match(text):
            return text.lower() in ("yes", "true", "on")
        if kind == "int" and _INT.match(text) and len(text) <= 30:
            return int(text.replace("_", ""))
        if kind in ("int", "float") and _FLOAT.match(text):
            return float(text.replace("_", ""))
        self._problem(_place(node), path, f"{text!r} is no {node.tag.rpartition(':')[2]}")
        return None

    def _problem(self, place: Place, path: KeyPath, text: str) -> None:
        self._document.problems.append(Problem(place, dotted(path), text))


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
