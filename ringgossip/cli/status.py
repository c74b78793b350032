"""`ringgossip status`: is this peer well, and if not, what should be done?

The first line is the verdict. Exit code 0 for a healthy or degraded peer, a
lone one included; 1 for one that cannot do its work, or that is not there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option, json_option
from ringgossip.cli.output import bytes_text, emit, seconds_text, table


@click.command("status")
@data_option
@json_option
def command(data: Path | None, as_json: bool) -> int:
    """Say in one line how the local peer is and what to do about it; then its numbers."""
    with local_client(data) as client:
        status = client.status()
    emit(status, as_json, lambda: _text(status))
    return 0 if status["healthy"] else 1


def _text(status: Mapping[str, Any]) -> str:
    rows = [(name.replace("_", " "), _number(name, value)) for name, value in _flat(status)]
    return f"{status['verdict']}\n\n{table(('what', 'value'), rows, right=('value',))}"


def _flat(status: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the plain numbers and words of every block, the blocks in their order."""
    found = []
    for name, value in status.items():
        if name in ("verdict", "healthy"):
            continue
        if isinstance(value, Mapping):
            plans = value.get("plans", {})
            found += [(f"plan for {kind}", _plan(plan)) for kind, plan in plans.items()]
            found += [(f"{name} {inner}", entry) for inner, entry in value.items() if _is_plain(entry)]
        elif _is_plain(value):
            found.append((name, value))
    return found


def _plan(plan: Mapping[str, Any]) -> str:
    if "interval_seconds" not in plan:
        return str(plan["plan"])
    urgent = f", {plan['copies_at_once']} copies at once" if plan["copies_at_once"] else ""
    return f"{plan['plan']}: {plan['told_at_once']} told at once{urgent}, each {plan['interval_seconds']:g} s"


def _is_plain(value: Any) -> bool:
    return not isinstance(value, Mapping | list | tuple)


def _number(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, str):
        return value or "-"
    if "bytes" in name:
        return bytes_text(value)
    if name.endswith("seconds"):
        return seconds_text(value)
    return f"{value:.1f}" if isinstance(value, float) else str(value)
