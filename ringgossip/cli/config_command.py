"""`ringgossip config`: what does this configuration mean, and who set each value?

A `distributed_hosts.yaml` is read too, as one of its hosts understands it;
`import` prints the node.yaml that says the same.
"""

from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click

from ringgossip.cli.options import beside_options, config_option, existing_config, json_option
from ringgossip.cli.output import emit, note, table
from ringgossip.config import Knob, PeerConfig, knobs, load_config
from ringgossip.errors import CredentialsError
from ringgossip.identity.names import Address

_origin_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--origin", is_flag=True, help="Also say who set each value: the file, the environment, or nobody."
)


@click.group("config", invoke_without_command=True)
@config_option
@_origin_option
@json_option
@beside_options
@click.pass_context
def command(
    context: click.Context, /, config_path: Path, origin: bool, as_json: bool, **beside: str | None
) -> None:
    """Show the effective configuration: the file, completed by environment and defaults."""
    if context.invoked_subcommand is None:
        _show(config_path, origin, as_json, beside)
    else:
        # What stands before `show`, `check` or `import` holds there too, unless it is said again.
        said = {"config_path": config_path, "origin": origin, "as_json": as_json, **beside}
        context.default_map = {"show": said, "check": said, "import": said}


@command.command("show")
@config_option
@_origin_option
@json_option
@beside_options
def show(config_path: Path, origin: bool, as_json: bool, **beside: str | None) -> None:
    """Show the effective values, as `ringgossip config` does."""
    _show(config_path, origin, as_json, beside)


@command.command("check", short_help="Say whether this file is right; every mistake is one line.")
@config_option
@json_option
@beside_options
def check(config_path: Path, as_json: bool, **beside: str | None) -> None:
    """Say whether this file is right; every mistake is one line.

    The credentials that it names are looked at too. They may lie on another
    machine: what is wrong with them is a note, and the file is still right.
    """
    config = _load(config_path, beside)
    problem = _credentials_problem(config)
    for notice in () if as_json else config.notices:
        note(f"notice: {notice}")
    if problem is not None and not as_json:
        note(f"note: a peer could not start here: {problem}")
    emit(
        {
            "valid": True,
            "file": str(config_path),
            "node": config.node,
            "notices": list(config.notices),
            "credentials": problem or "good",
        },
        as_json,
        lambda: f"{config_path}: good, for node {config.node} of cluster {config.cluster}",
    )


@command.command("import", short_help="Print the node.yaml that a distributed_hosts.yaml means.")
@click.argument("hosts_file", metavar="DISTRIBUTED_HOSTS.YAML", type=click.Path(path_type=Path))
@beside_options
@click.option("--cluster", metavar="NAME", help="The cluster's name; else that of the credentials.")
@json_option
def import_hosts(
    hosts_file: Path,
    node: str | None,
    data: str | None,
    credentials: str | None,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Print the node.yaml that a distributed_hosts.yaml means for one node.

    A key that means nothing here is named in a notice, at the end of the text
    and in `notices`. What the file cannot say (cluster, data, credentials) is
    taken from the options, else it is an example to be changed.
    """
    from ringgossip.config.hosts_file import read_hosts_file
    from ringgossip.config.hosts_node import node_yaml, rules_for

    if node is None:
        raise click.UsageError("say which host you mean: --node NAME")
    found = rules_for(read_hosts_file(hosts_file), node)
    examples = [key for key, value in (("data", data), ("credentials", credentials)) if value is None]
    if cluster is None and credentials is not None:
        from ringgossip.identity.credentials import Credentials

        cluster = Credentials.load(Path(credentials)).cluster
    elif cluster is None:
        examples.insert(0, "cluster")
    text = node_yaml(
        found, cluster or "ringrift", data or "/data/ringgossip", credentials or "/etc/ringgossip"
    )
    notices = [f"{found.file}: {notice}" for notice in found.notices]
    shown = {
        "file": str(hosts_file),
        "node": node,
        "node_yaml": text,
        "notices": notices,
        "examples": examples,
    }
    emit(shown, as_json, lambda: text.rstrip("\n"))
    if not as_json:
        if notices:
            note(f"notices at the end: {len(notices)}, about keys that mean nothing here")
        if examples:
            note(f"{', '.join(examples)}: not in {found.file}; what is printed is an example, change it")


def _credentials_problem(config: PeerConfig) -> str | None:
    from ringgossip.identity.credentials import Credentials

    try:
        credentials = Credentials.load(config.credentials)
    except CredentialsError as error:
        return str(error)
    theirs, ours = (credentials.cluster, credentials.certificate.name), (config.cluster, config.node)
    if theirs != ours:
        return f"{config.credentials} belongs to {theirs[1]} of {theirs[0]}, not to {ours[1]} of {ours[0]}"
    return None


def _load(path: Path, beside: dict[str, str | None]) -> PeerConfig:
    node, data, credentials = (beside[key] for key in ("node", "data", "credentials"))
    return load_config(existing_config(path), node=node, data=data, credentials=credentials)


def _show(path: Path, with_origin: bool, as_json: bool, beside: dict[str, str | None]) -> None:
    config = _load(path, beside)
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
