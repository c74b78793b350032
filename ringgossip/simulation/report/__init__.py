"""What happened in a run, for a person to look at: one HTML file that needs nothing else.

`collect` takes what is worth seeing out of a finished `World`; `render` makes a
page of one run or of many seeds of one story. Nothing here changes a run.
"""

from ringgossip.simulation.report.page import render
from ringgossip.simulation.report.timeline import RunReport, Samples, Timeline, collect

__all__ = ["RunReport", "Samples", "Timeline", "collect", "render"]
