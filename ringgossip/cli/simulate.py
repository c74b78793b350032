"""`ringgossip simulate`: what happens to a cluster if...? And is this simulator to be believed?

A story with one seed, many, the least plan, or two compared; with `--truth`,
the experiments of the literature.
"""

import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ringgossip.cli.options import json_option, unused_data_option
from ringgossip.errors import UsageError

if TYPE_CHECKING:
    from ringgossip.simulation.scenario import Story


def _seed_range(_: click.Context, __: click.Parameter, value: str | None) -> range | None:
    if value is None:
        return None
    first, dots, last = value.partition("..")
    try:
        low = int(first)
        high = int(last) if dots else low
    except ValueError:
        raise click.BadParameter(f"{value!r} is no range of seeds: write for example 0..999") from None
    if not 0 <= low <= high < 2**63 or high - low >= 10_000_000:
        raise click.BadParameter(f"{value!r} is no range of seeds: write for example 0..999")
    return range(low, high + 1)


# What says something about a story only.
_OF_STORIES = ("story_path", "seed", "seeds", "nodes", "supposed", "shrink", "diff", "trace", "report")


# What says nothing beside an option that asks for something else.
_NOT_WITH = {
    "diff": ("seed", "seeds", "shrink", "trace", "report"),
    "seeds": ("seed", "shrink", "trace"),
    "shrink": ("trace", "report"),
}


def _refuse_together(context: click.Context) -> None:
    """Raise `UsageError` for options of which one would be overheard."""
    source = context.get_parameter_source
    given = {name for name in context.params if source(name) is not ParameterSource.DEFAULT}
    for name, others in _NOT_WITH.items():
        for other in others:
            if name in given and other in given:
                raise UsageError(f"--{name} and --{other} ask for two different things: leave out one")
    for name in ("jobs", "engine", "scheduler"):
        if name in given and "seeds" not in given:
            raise UsageError(f"--{name} is about many runs: give --seeds A..B too, or leave it out")
    _refuse_scheduler_alone(context)


def _refuse_scheduler_alone(context: click.Context) -> None:
    if context.params["scheduler"] is not None and context.params["engine"] != "dask":
        raise UsageError("--scheduler is Dask's: give --engine dask too")


def _writable(name: str, path: Path | None) -> None:
    """Raise `UsageError` if this file cannot be written: better now than after an hour of runs."""
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"--{name} {path}: is a directory; name a file")
    if not path.parent.is_dir():
        raise UsageError(f"--{name} {path}: there is no directory {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--{name} {path}: may not be written")


def _refuse_with_truth(context: click.Context) -> None:
    for name in _OF_STORIES:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            said = {"story_path": "STORY.yaml", "supposed": "--if"}.get(name, f"--{name}")
            raise UsageError(f"--truth runs the experiments of the literature, not a story: leave out {said}")


@click.command("simulate")
@click.argument("story_path", metavar="[STORY.yaml]", required=False,
                type=click.Path(path_type=Path, dir_okay=False))  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Run this seed.")
@click.option("--seeds", callback=_seed_range, metavar="A..B", help="Run all of these seeds.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True,
              help="Processes for --seeds and --truth.")  # fmt: skip
@click.option("--engine", type=click.Choice(["processes", "dask"]), default="processes", show_default=True,
              help="Who runs --seeds and --truth.")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler; else one is started here.")
@click.option("--nodes", type=click.IntRange(1, 10_000), help="So many peers instead of the story's own.")
@click.option("--if", "supposed", multiple=True, metavar="WHAT",
              help="What if? One more fault or task: 'crash: {peer: gpu-1}'; may be said again.")  # fmt: skip
@click.option("--shrink", is_flag=True, help="If the seed fails: find the smallest plan of faults that does.")
@click.option("--diff", nargs=2, metavar="A B", help="First event in which two seeds or traces differ.")
@click.option("--trace", type=click.Path(path_type=Path), help="Write every event of the run to this file.")
@click.option("--report", type=click.Path(path_type=Path), help="Write a report as one HTML file.")
@click.option("--truth", is_flag=True, help="No story: run published experiments, and compare the figures.")
@click.option("--study", "studies", multiple=True, metavar="NAME",
              help="With --truth: only this one; may be said again.")  # fmt: skip
@click.option("--quick", is_flag=True, help="With --truth: fewer runs, and nothing that takes long.")
@json_option
@unused_data_option
@click.pass_context
def command(
    context: click.Context,
    story_path: Path | None,
    seed: int,
    seeds: range | None,
    jobs: int,
    engine: str,
    scheduler: str | None,
    nodes: int | None,
    supposed: tuple[str, ...],
    shrink: bool,
    diff: tuple[str, str] | None,
    trace: Path | None,
    report: Path | None,
    truth: bool,
    studies: tuple[str, ...],
    quick: bool,
    as_json: bool,
) -> int:
    """Tell STORY.yaml with simulated peers, and say whether every promise in it held.

    STORY.yaml is a story, or your distributed_hosts.yaml: an ordinary day of its hosts.

    The peers are the machines that production runs; time, network and disks are
    made. The same seed gives the same run. Exit code 1 if a promise broke.

    With --truth there is no story: experiments of the literature are run on the
    same machines. Exit code 1 if a figure is not the published one.
    """
    if truth:
        _refuse_with_truth(context)
        _refuse_scheduler_alone(context)
        from ringgossip.cli import simulate_truth

        return simulate_truth.run(
            studies, quick=quick, jobs=jobs, engine_name=engine, scheduler=scheduler, as_json=as_json
        )
    if studies or quick:
        raise UsageError(f"{'--study' if studies else '--quick'} is about --truth: give that too")
    if story_path is None:
        raise UsageError("which story? Name a file, such as simulations/flash_crowd.yaml, or give --truth")
    from ringgossip.cli import simulate_many, simulate_one
    from ringgossip.simulation.scenario_schema import read_story, suppose

    _refuse_together(context)
    _writable("report", report)
    _writable("trace", trace)
    story: Story = read_story(story_path)
    if nodes is not None:
        story = story.scaled(nodes)
    for each in supposed:
        story = suppose(story, each)
    # What replays a seed, as a person would type it.
    again = f"ringgossip simulate {quote(str(story_path))}"
    again += f" --nodes {nodes}" if nodes is not None else ""
    again += "".join(f" --if {quote(each)}" for each in supposed)
    common: dict[str, Any] = {"story": story, "again": again, "as_json": as_json}
    if diff is not None:
        return simulate_one.diff(*diff, **common)
    if seeds is not None:
        return simulate_many.run(
            seeds, jobs=jobs, engine_name=engine, scheduler=scheduler, report=report, **common
        )
    if shrink:
        return simulate_one.shrink_seed(seed, path=story_path, **common)
    return simulate_one.run(seed, trace=trace, report=report, **common)
