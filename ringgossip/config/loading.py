"""What does this node.yaml say? Read it, check it, and remember who set each key.

All errors come at once, one line each: `file:line:column: key: what is wrong`.
Explicit YAML wins over the environment, which wins over the default. Relative
paths in the file are relative to its folder; in the environment, to where the
process runs.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringgossip.config.blocks import Keep, ShareFolder
from ringgossip.config.environment import FromEnvironment, from_environment, slips, variables_of
from ringgossip.config.settings import BLOCKS, PeerConfig, knobs
from ringgossip.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from ringgossip.config.schema import NodeFile
    from ringgossip.config.yaml_nodes import Document, KeyPath, Problem

_NOT_SAID = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list, for example [a, b]",
    "model_type": "must be a block of keys and values",
    "too_long": "has too many entries",
}


def load_config(
    path: Path | str,
    environment: Mapping[str, str] | None = None,
    *,
    node: str | None = None,
    data: Path | str | None = None,
    credentials: Path | str | None = None,
) -> PeerConfig:
    """Return the configuration in the file at `path`, completed by `environment` and defaults.

    The file is a node.yaml, or a `distributed_hosts.yaml` of which `node` is a
    host; the latter needs `data` and `credentials` beside it. What is given
    here wins over both. `environment` is the process's own if not given.
    Raises `ConfigError` with one line for every problem in the file and in the
    environment. A variable that looks misspelt is one of the notices.
    """
    from ringgossip.config.hosts_file import is_hosts_file
    from ringgossip.config.yaml_nodes import read_document

    path = Path(path)
    document = read_document(path)
    environment = os.environ if environment is None else environment
    around = from_environment(environment)
    said = {
        key: value for key, value in (("node", node), ("data", data), ("credentials", credentials)) if value
    }
    for key in said:
        around.pop(key, None)
    load = _load_hosts if is_hosts_file(document.value) else _load_node
    settings = load(path, document, said, around)
    ignored = slips(environment, (knob.key for knob in knobs()))
    return replace(settings, notices=(*settings.notices, *ignored))


def _load_node(
    path: Path, document: "Document", said: Mapping[str, Any], around: Mapping[str, FromEnvironment]
) -> PeerConfig:
    from pydantic import ValidationError

    from ringgossip.config.schema import NodeFile

    given = document.value
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise ConfigError(f"{path}:1:1: must be keys and values, for example `node: gpu-1`")
    # A key with nothing behind it says nothing, except where null itself says "none".
    silent = [key for key, value in given.items() if value is None and not _null_says_none(key)]
    merged = {key: value for key, value in given.items() if key not in silent}
    merged |= {key: _here(key, value) for key, value in said.items()}
    used = {key: found for key, found in around.items() if key not in merged}
    merged |= {key: _here(key, found.value) for key, found in used.items()}
    try:
        parsed = NodeFile.model_validate(merged, context=path.absolute().parent)
    except ValidationError as error:
        lines = _lines(path, document, used, error.errors())
        raise ConfigError("\n".join(lines)) from None
    if document.problems:
        raise ConfigError("\n".join(_sorted_lines(path, document.problems)))
    origins = _origins(path, document, used, given) | dict.fromkeys(said, "the command line")
    return _settings(path, parsed, merged, origins)


def _here(key: str, value: Any) -> Any:
    """Return a value from outside the file: its paths are relative to where the process runs."""
    return str(Path(value).absolute()) if key in ("data", "credentials") else value


def host_config(path: Path, document: "Document", node: str) -> PeerConfig:
    """Return what a cluster file that was read means for one host, wherever its data may lie."""
    said = {"node": node, "data": "/", "credentials": "/", "cluster": "cluster"}
    return _load_hosts(path, document, said, {})


def _load_hosts(
    path: Path, document: "Document", said: Mapping[str, Any], around: Mapping[str, FromEnvironment]
) -> PeerConfig:
    """Return what a cluster file means for one of its hosts."""
    from pydantic import ValidationError

    from ringgossip.config.hosts_file import read_hosts_file
    from ringgossip.config.hosts_node import rules_for
    from ringgossip.config.schema import NodeFile
    from ringgossip.config.yaml_nodes import dotted

    outside = dict(said) | {key: found.value for key, found in around.items() if key not in said}
    for key, word in (("node", "NAME"), ("data", "DIR"), ("credentials", "DIR")):
        if key not in outside:
            raise ConfigError(
                f"{path}: this file describes a cluster, so say beside it --{key} {word} "
                f"(or set {variables_of(key)[0]})"
            )
    merged: dict[str, Any] = {}
    origins = {knob.key: "default" for knob in knobs()}

    def put(key: str, value: Any, origin: str) -> None:
        top, _, inner = key.partition(".")
        if inner:
            merged.setdefault(top, {})[inner] = value
        else:
            merged[top] = value
        origins[key] = origin

    found = rules_for(read_hosts_file(path, document), str(outside["node"]))
    for setting in found.settings:
        if setting.line is None:
            put(setting.key, setting.value, setting.why)
    for key, value in around.items():
        put(key, _here(key, value.value), f"environment {value.variable}")
    for setting in found.settings:
        if setting.line is not None:
            put(setting.key, setting.value, f"{path.name}:{setting.line}")
    for key, value in said.items():
        put(key, _here(key, value), "the command line")
    if "cluster" not in merged:
        from ringgossip.identity.credentials import Credentials

        put("cluster", Credentials.load(Path(merged["credentials"])).cluster, "the certificate")
    try:
        parsed = NodeFile.model_validate(merged, context=path.absolute().parent)
    except ValidationError as error:
        texts = []
        for each in error.errors():
            where: KeyPath = tuple(each["loc"])
            origin = origins.get(str(where[0]), path.name)
            texts.append(f"{origin}: {dotted(where)}: {_sentence(each, where)}")
        raise ConfigError("\n".join(texts)) from None
    notices = tuple(f"{path.name}: {notice}" for notice in found.notices)
    settings = _settings(path, parsed, merged, origins)
    return replace(settings, notices=(*notices, *settings.notices))


def _null_says_none(key: str) -> bool:
    return any(knob.key == key and not knob.required and knob.default is None for knob in knobs())


def _settings(
    path: Path, parsed: "NodeFile", merged: Mapping[str, Any], origins: dict[str, str]
) -> PeerConfig:
    """Return the settings; a key nobody set is left to the dataclass's default."""
    values = {key: getattr(parsed, key) for key in merged if getattr(parsed, key, None) is not None}

    def said(block: Any) -> dict[str, Any]:
        return {key: value for key, value in block if value is not None}

    # An explicit null is a value where it means "none".
    values |= {key: None for key, value in merged.items() if value is None}
    for key in ("advertise", "seeds", "want", "receive"):
        if values.get(key) is not None:
            values[key] = tuple(values[key])
    if parsed.share is not None:
        values["share"] = tuple(ShareFolder(**said(entry)) for entry in parsed.share)
    if parsed.keep is not None:
        values["keep"] = tuple(Keep(**said(entry)) for entry in parsed.keep)
    for key, block in BLOCKS.items():
        if values.get(key) is not None:
            values[key] = block(**said(values[key]))
    values.setdefault("credentials", path.absolute().parent)
    return PeerConfig(**values, origins=origins)


def _origins(
    path: Path, document: "Document", used: Mapping[str, FromEnvironment], given: Mapping[str, Any]
) -> dict[str, str]:
    origins: dict[str, str] = {}
    for knob in knobs():
        top, _, inner = knob.key.partition(".")
        here: KeyPath = (top, inner) if inner else (top,)
        if top in used:
            origins[knob.key] = f"environment {used[top].variable}"
        elif here in document.keys and (given[top] is not None or _null_says_none(top)):
            origins[knob.key] = f"{path.name}:{document.keys[here].line}"
        else:
            origins[knob.key] = "default"
    return origins


def _lines(
    path: Path, document: "Document", used: Mapping[str, FromEnvironment], errors: "list[ErrorDetails]"
) -> list[str]:
    from ringgossip.config.yaml_nodes import Problem, dotted

    problems, outside = list(document.problems), []
    for error in errors:
        where: KeyPath = tuple(error["loc"])
        text = _sentence(error, where)
        if where[0] in used:
            outside.append(f"environment {used[str(where[0])].variable}: {dotted(where)}: {text}")
            continue
        unknown = error["type"] == "extra_forbidden"
        place = document.keys[where] if unknown else document.place_of(where)
        problems.append(Problem(place, dotted(where), text))
    return _sorted_lines(path, problems) + outside


def _sorted_lines(path: Path, problems: "list[Problem]") -> list[str]:
    return [problem.line(str(path)) for problem in sorted(problems, key=lambda each: each.place)]


def _sentence(error: "ErrorDetails", where: "KeyPath") -> str:
    """Return what is wrong in our own words; pydantic's speak of its types."""
    from ringgossip.config.schema import block_fields, did_you_mean

    kind = error["type"]
    if kind == "missing":
        variables = variables_of(str(where[-1])) if len(where) == 1 else ()
        return "is missing" + (f"; write it here or set {variables[0]}" if variables else "")
    if kind == "extra_forbidden":
        return f"is no key{did_you_mean(str(where[-1]), block_fields(where))}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in _NOT_SAID:
        return f"{_NOT_SAID[kind]}, not {_short(error['input'])}"
    return f"{error['msg'].replace('Input should', 'must')}, not {_short(error['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
