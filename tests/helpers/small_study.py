"""A study of the house, made small: fewer runs, another setup, and the same judge."""

from dataclasses import replace
from typing import Any

from ringgossip.simulation.truth.running import run_truth
from ringgossip.simulation.truth.studies import read_studies
from ringgossip.simulation.truth.table import Row


def verdicts(study: str, case: str, runs: int, **setup: Any) -> dict[str, Row]:
    """Run one case of a study `runs` times, some of its setup changed, and return its rows by quantity."""
    (whole,) = read_studies([study])
    (found,) = [each for each in whole.cases if each.name == case]
    small = replace(found, runs=runs, setup={**found.setup, **setup})
    table = run_truth([replace(whole, cases=(small,))])
    return {row.quantity.removeprefix(f"{case}: "): row for row in table.rows}
