"""`ringgossip config`: what does this node.yaml mean, and who set each value?"""

from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click

from ringgossip.cli.options import config_option, json_option, unused_data_option
from ringgossip.cli.output import emit, table
from ringgossip.config import Knob, PeerConfig, knobs, load_config
from ringgossip.identity.names import Address

_origin_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--origin", is_flag=True, help="Also say who set each value: the file, the environment, or nobody."
)


@click.group("config", invoke_without_command=True)
@config_option
@_origin_option
@json_option
@unused_data_option
@click.pass_context
def command(context: click.Context, config_path: Path, origin: bool, as_json: bool) -> None:
    """Show the effective configuration: the file, completed by environment and defaults."""
    if context.invoked_subcommand is None:
        _show(config_path, origin, as_json)
    else:
        # What stands before `show` or `check` holds there too, unless it is said again.
        said = {"config_path": config_path, "origin": origin, "as_json": as_json}
        context.default_map = {"show": said, "check": said}


@command.command("show")
@config_option
@_origin_option
@json_option
@unused_data_option
def show(config_path: Path, origin: bool, as_json: bool) -> None:
    """Show the effective values, as `ringgossip config` does."""
    _show(config_path, origin, as_json)


@command.command("check")
@config_option
@json_option
@unused_data_option
def check(config_path: Path, as_json: bool) -> None:
    """Say whether a peer could start with this file; every mistake is one line."""
    config = load_config(config_path)
    emit(
        {"valid": True, "file": str(config_path), "node": config.node},
        as_json,
        lambda: f"{config_path}: good, for node {config.node} of cluster {config.cluster}",
    )


def _show(path: Path, with_origin: bool, as_json: bool) -> None:
    config = load_config(path)
    entries = [(knob, _value(config, knob.key)) for knob in knobs()]
    shown: dict[str, Any] = {"file": str(path), "config": {knob.key: plain(value) for knob, value in entries}}
    if with_origin:
        shown["origins"] = {knob.key: config.origin(knob.key) for knob, _ in entries}
    emit(shown, as_json, lambda: _as_table(config, entries, with_origin))


def _as_table(config: PeerConfig, entries: list[tuple[Knob, Any]], with_origin: bool) -> str:
    # The value comes last: it alone can be long.
    rows = [
        (knob.key, *([config.origin(knob.key)] if with_origin else []), knob.unit or " ", _text(value))
        for knob, value in entries
    ]
    return table(("key", *(["origin"] if with_origin else []), "unit", "value"), rows)


def _value(config: PeerConfig, dotted_key: str) -> Any:
    value: Any = config
    for step in dotted_key.split("."):
        value = getattr(value, step)
    return value


def plain(value: Any) -> Any:
    """Return a setting as JSON holds it: addresses and paths as text, blocks as objects."""
    if isinstance(value, Path | Address):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(entry) for key, entry in asdict(value).items()}
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    return value


def _text(value: Any) -> str:
    """Return a setting on one line, as it could stand in the file."""
    value = plain(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_text(entry) for entry in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(entry)}' for key, entry in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) else str(value)
