"""Where does the report of a simulation go? Into one HTML file, from the runs that were told."""

from collections.abc import Sequence
from pathlib import Path

from ringgossip.cli.output import note
from ringgossip.simulation.report import render
from ringgossip.simulation.report.timeline import RunReport
from ringgossip.simulation.running import Run
from ringgossip.simulation.scenario import Story


def write(path: Path, runs: Sequence[Run], story: Story, command: str) -> None:
    """Write the report of these runs."""
    reports = [
        RunReport(run.as_dict(), run.timeline, command, story.about)
        for run in runs
        if run.timeline is not None
    ]
    path.write_text(render(reports), encoding="utf-8")
    note(f"report: {path}")
