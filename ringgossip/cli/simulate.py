"""`ringgossip simulate`: what happens to a cluster if...? One seed, many, the least plan, or two compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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


@click.command("simulate")
@click.argument("story_path", metavar="STORY.yaml", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Run this seed.")
@click.option("--seeds", callback=_seed_range, metavar="A..B", help="Run all of these seeds.")
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes for --seeds."
)
@click.option("--engine", type=click.Choice(["processes", "dask"]), default="processes", show_default=True,
              help="Who runs --seeds.")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler; else one is started here.")
@click.option("--nodes", type=click.IntRange(1, 10_000), help="So many peers instead of the story's own.")
@click.option("--shrink", is_flag=True, help="If the seed fails: find the smallest plan of faults that does.")
@click.option("--diff", nargs=2, metavar="A B", help="First event in which two seeds or traces differ.")
@click.option("--trace", type=click.Path(path_type=Path), help="Write every event of the run to this file.")
@click.option("--report", type=click.Path(path_type=Path), help="Write a report as one HTML file.")
@json_option
@unused_data_option
def command(
    story_path: Path,
    seed: int,
    seeds: range | None,
    jobs: int,
    engine: str,
    scheduler: str | None,
    nodes: int | None,
    shrink: bool,
    diff: tuple[str, str] | None,
    trace: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Tell STORY.yaml with simulated peers, and say whether every promise in it held.

    The peers are the machines that production runs; time, network and disks are
    made. The same seed gives the same run. Exit code 1 if a promise broke.
    """
    from ringgossip.cli import simulate_many, simulate_one
    from ringgossip.simulation.scenario_schema import read_story

    if seeds is not None and (shrink or diff or trace):
        raise UsageError("--seeds runs many; --shrink, --diff and --trace are about one: give --seed")
    story: Story = read_story(story_path)
    if nodes is not None:
        story = story.scaled(nodes)
    # What replays a seed, as a person would type it.
    again = f"ringgossip simulate {story_path}" + (f" --nodes {nodes}" if nodes is not None else "")
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
