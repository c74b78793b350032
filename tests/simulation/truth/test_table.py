"""Is the judge just, and does a wrong number fail?"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ringgossip.errors import ConfigError, UsageError
from ringgossip.simulation.truth.running import Progress, run_truth
from ringgossip.simulation.truth.studies import Quantity, read_studies, read_study
from ringgossip.simulation.truth.table import Table, half_digit, is_within, judge, summarise

STUDY = """\
study: small
family: epidemics
source: nobody
note: What was set.
setup: {epidemic: simple, style: push-pull}
runs: 4
quick_runs: 2
batch: 3
cases:
  - {case: "n=20", setup: {n: 20}, quantities: {cycles: "5.2"}}
  - {case: "n=40", setup: {n: 40}, quick_runs: 0, quantities: {cycles: "99"}}
"""


def study_file(folder: Path, text: str = STUDY) -> Path:
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def test_half_of_the_last_printed_digit_is_allowed() -> None:
    assert half_digit("1.7") == pytest.approx(0.05)
    assert half_digit("0.20") == pytest.approx(0.005)
    assert half_digit("5.8e-4") == pytest.approx(0.5e-5)
    assert half_digit("38") == 0.5


@pytest.mark.parametrize(
    ("measured", "error", "within"),
    [
        (1.7 + 0.05 + 0.051 - 1e-9, 0.0, True),  # half a digit and 3 %
        (1.7 + 0.05 + 0.051 + 1e-9, 0.0, False),
        (1.7 - 0.101 - 0.03, 0.011, True),  # three standard errors more
        (1.7 - 0.101 - 0.03, 0.009, False),
        (0.17, 0.0, False),
    ],
)
def test_a_value_is_within_by_one_rule(measured: float, error: float, within: bool) -> None:
    assert is_within("1.7", measured, error) is within


def test_a_bound_has_no_allowance() -> None:
    assert is_within("1.10", 1.10, 0.1, "at_most")
    assert not is_within("1.10", 1.1001, 0.1, "at_most")
    assert not is_within("1", 0.999, 0.1, "at_least")


def test_residues_too_rare_to_be_seen_are_printed_and_not_judged() -> None:
    row = judge("s", "c", Quantity("residue", "4.0e-6"), [0.5, 0.5], None)
    assert row.within is None
    assert Table((row,)).passed
    assert judge("s", "c", Quantity("residue", "4.0e-4"), [0.5, 0.5], None).within is False


def test_errors_are_taken_from_run_to_run() -> None:
    assert summarise([1.0, 3.0], "mean") == (2.0, 1.0)
    # What one run yields several times is no independent evidence.
    assert summarise([[1.0] * 100, [3.0] * 100], "mean") == (2.0, 1.0)
    assert summarise([[1.0, 2.0, 9.0], [2.0]], "median")[0] == 2.0
    assert summarise([[1.0, 10.0], [3.0, 10.0]], "ratio") == (0.2, pytest.approx(2**0.5 / 20))
    assert summarise([[1.0, 5.0], [3.0]], "highest") == (5.0, 0.0)


def test_a_study_runs_the_same_on_one_worker_and_on_several(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path))
    heard: list[Progress] = []
    alone = run_truth([study], heard=heard.append)
    with ThreadPoolExecutor(3) as workers:
        assert run_truth([study], executor=workers) == alone
    assert [(row.quantity, row.within) for row in alone.rows] == [
        ("n=20: cycles", True), ("n=40: cycles", False)]  # fmt: skip
    assert not alone.passed
    assert [(each.study, each.runs_done, each.all_runs) for each in heard] == [
        ("small", 3, 8), ("small", 4, 8), ("small", 7, 8), ("small", 8, 8)]  # fmt: skip


def test_who_stops_it_gets_the_cases_that_are_finished(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.all_done >= 7:
            raise KeyboardInterrupt

    table = run_truth([read_study(study_file(tmp_path))], heard=stop)
    assert [row.quantity for row in table.rows] == ["n=20: cycles"]
    assert table.interrupted and (table.cases_done, table.cases) == (1, 2)
    assert not table.passed


def test_a_quick_table_leaves_out_what_takes_long(tmp_path: Path) -> None:
    table = run_truth([read_study(study_file(tmp_path))], quick=True)
    assert [row.quantity for row in table.rows] == ["n=20: cycles"]


def test_scripts_and_people_read_the_same_table(tmp_path: Path) -> None:
    table = run_truth([read_study(study_file(tmp_path))])
    row = table.as_json()["rows"][0]
    assert {"study", "quantity", "published", "theory", "measured", "standard_error", "within"} <= set(row)
    assert row["published"] == 5.2
    assert "NO" in table.text() and "1 of 2 judged rows are within" in table.text()
    assert "What was set." in table.text()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("runs: 4", "rums: 4", "small.yaml:6:1: rums: is no key here"),
        ("family: epidemics", "family: magic", "small.yaml:2:1: family: must be one of"),
        ('"5.2"', '"many"', "'many' is no number"),
        ("runs: 4", "runs: 0", "must be a whole number from 1 on"),
        ("cases:", "cases: []\nother:", "is no key here"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_study(study_file(tmp_path, STUDY.replace(old, new, 1)))
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_quantity_that_no_run_yields_is_refused(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path, STUDY.replace('{cycles: "5.2"}', '{colour: "4.5"}')))
    with pytest.raises(ConfigError, match="colour"):
        run_truth([study])


def test_all_studies_of_the_house_can_be_read() -> None:
    assert {"rumors", "simple-epidemics"} <= {study.name for study in read_studies()}
    assert len(read_studies(["epidemics"])) == 3
    with pytest.raises(UsageError, match="there is no study 'alchemy'; known are"):
        read_studies(["alchemy"])
    with pytest.raises(UsageError, match="there is no study 'rumours'; did you mean 'rumors'"):
        read_studies(["rumours"])
