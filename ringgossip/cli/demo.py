"""`ringgossip demo`: does it all work, here, now? Five real peers, a live writer, a SIGKILL and a verdict."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringgossip.cli.options import json_option, unused_data_option
from ringgossip.cli.output import emit
from ringgossip.errors import UsageError

if TYPE_CHECKING:
    from ringgossip.cli.demo_checks import Check
    from ringgossip.cli.demo_story import Story


@click.command("demo")
@click.option(
    "--peers", type=click.IntRange(3, 20), default=5, show_default=True, help="How many peers to run."
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    default=15.0,
    show_default=True,
    help="Publish the live database at least for so long.",
)
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Work in this new folder, and keep it: logs, configurations, replicas.",
)
@json_option
@unused_data_option
def command(peers: int, seconds: float, keep: Path | None, as_json: bool) -> int:
    """Run five peers and a live writer on this machine, and judge what they did.

    Starts real processes on 127.0.0.1, kills one of them in the middle of a
    transfer, and checks every replica. Exit code 0 only if all checks are true.
    """
    from ringgossip.cli.demo_cluster import Cluster
    from ringgossip.cli.demo_screen import Screen
    from ringgossip.cli.demo_story import Story

    began = time.monotonic()

    with (
        _stoppable(),
        _folder(keep) as folder,
        Cluster(folder, peers) as cluster,
        Screen(shown=sys.stderr.isatty()) as screen,
    ):
        screen.watch(cluster.nodes)
        story = Story(cluster, seconds, screen.say)
        checks = story.tell()
    result = _result(story, checks, time.monotonic() - began)
    emit(result, as_json, lambda: _verdict(result, keep))
    return 0 if result["passed"] else 1


def _result(story: "Story", checks: "list[Check]", seconds: float) -> dict[str, Any]:
    from ringgossip.cli.demo_story import CHECKPOINT_BYTES

    measures = story.measures
    rate = (len(story.nodes) - 1) * CHECKPOINT_BYTES / measures.checkpoint_seconds / 1e6
    return {
        "passed": bool(checks) and all(check.passed for check in checks),
        "peers": len(story.nodes),
        "artifacts": 3,
        "bytes_moved": story.moved,
        "seconds": round(seconds, 2),
        "checks": [{"name": check.name, "passed": check.passed, "detail": check.detail} for check in checks],
        "publications": measures.publications,
        "checkpoint_seconds": round(measures.checkpoint_seconds, 3),
        "checkpoint_megabytes_per_second": round(rate, 1),
        "restart_seconds": round(measures.restart_seconds, 3),
        "publish_to_last_copy_seconds": {
            kind: [round(seconds, 3) for _, seconds in times] for kind, times in measures.copied.items()
        },
    }


def _verdict(result: dict[str, Any], keep: Path | None) -> str:
    lines = [""]
    for check in result["checks"]:
        lines.append(f"  {'good' if check['passed'] else 'FALSE':5}  {check['name']}: {check['detail']}")
    lines += [
        "",
        f"  {result['bytes_moved'] / 1e6:.0f} MB of chunks moved; a 40 MB checkpoint was on "
        f"{result['peers'] - 1} other peers {result['checkpoint_seconds']:.2f} s after publish "
        f"({result['checkpoint_megabytes_per_second']:.0f} MB/s).",
        f"  {result['seconds']:.0f} s in all." + (f" Everything lies in {keep}." if keep else ""),
        "",
        "All of this was checked and is true."
        if result["passed"]
        else "This failed: see what is FALSE above.",
    ]
    return "\n".join(lines)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give a new folder: the user's, which stays, or a temporary one, which does not."""
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise UsageError(f"{keep} is there already: give --keep a new folder")
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="ringgossip-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that nothing stays behind."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
