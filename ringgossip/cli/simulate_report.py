"""Where does the report of a simulation go? Into one HTML file, from the runs that were told."""

from collections.abc import Sequence
from pathlib import Path

from ringgossip.cli.output import note
from ringgossip.simulation.report import render
from ringgossip.simulation.report.timeline import RunReport
from ringgossip.simulation.running import Run
from ringgossip.simulation.scenario import Story


def write(path: Path, runs: Sequence[Run], story: Story, command: str, again: str = "") -> None:
    """Write the report of these runs of a command; with `--seed` behind it, `again` runs one of several."""
    reports = [
        RunReport(
            run.as_dict(), run.timeline, command, story.about, run.history.flows,
            f"{again} --seed {run.seed}" if again else "",
        )
        for run in runs
        if run.timeline is not None
    ]  # fmt: skip
    path.write_text(render(reports), encoding="utf-8")
    note(f"report: {path}")
