"""Which experiments are there? Read from `simulations/truth/*.yaml`: what is run, and what was published.

A file holds one study: its family (which module runs it), its source, what
holds for all its cases (`setup`), and the cases, each with the quantities that
it yields and their published values, as printed.
"""

import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import ringgossip
from ringgossip.config.yaml_nodes import Document, KeyPath, Problem, dotted, read_document
from ringgossip.errors import ConfigError, UsageError

# Who runs a study: a module of this folder with `run(setup, seed)`, which yields what one run
# measured by name, and `theory(setup, means)`. To add a study, write its YAML file in
# `simulations/truth/`; if it needs a module of its own, that module's line goes here.
FAMILIES = (
    "epidemics",
    "swim",
    "lifeguard",
    "broadcast",
)  # fmt: skip
STATISTICS = ("mean", "median", "ratio", "highest", "lowest")
JUDGEMENTS = ("equal", "at_most", "at_least")

_STUDY = ("study", "family", "source", "note", "setup", "runs", "quick_runs", "batch", "cases")
_CASE = ("case", "setup", "runs", "quick_runs", "note", "quantities")
_QUANTITY = ("published", "statistic", "judge", "bound", "note")


@dataclass(frozen=True, slots=True)
class Quantity:
    """One row to be: a name, the published value as printed, and how ours is found and judged."""

    name: str
    published: str
    statistic: str = "mean"
    judge: str = "equal"
    bound: str = ""  # what `at_most` and `at_least` compare with, if that is not the published value
    note: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One setup, run so many times."""

    name: str
    setup: Mapping[str, Any]
    runs: int
    quick_runs: int  # 0: left out of a quick table
    quantities: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """One file."""

    name: str
    family: str
    source: str
    note: str
    batch: int  # runs that one worker does in one go
    cases: tuple[Case, ...]


class _Reader:
    """Checks one file; every complaint is one line with its place."""

    def __init__(self, path: Path, document: Document) -> None:
        self._path = path
        self._document = document

    def refuse(self, at: KeyPath, text: str) -> ConfigError:
        place = self._document.keys.get(at, self._document.place_of(at))
        problem = Problem(place, dotted(at), text)
        return ConfigError(problem.line(str(self._path)))

    def table(self, value: Any, at: KeyPath, keys: Sequence[str] | None = None) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.refuse(at, "must hold keys and values")
        for key in value:
            if keys is not None and key not in keys:
                raise self.refuse((*at, key), f"is no key here; known are {', '.join(keys)}")
        return value

    def text(self, table: Mapping[str, Any], key: str, at: KeyPath, default: str | None = None) -> str:
        value = table.get(key, default)
        if not isinstance(value, str):
            raise self.refuse((*at, key), "must be text")
        return " ".join(value.split())

    def number(self, table: Mapping[str, Any], key: str, at: KeyPath, default: int, least: int) -> int:
        value = table.get(key, default)
        if type(value) is not int or value < least:
            raise self.refuse((*at, key), f"must be a whole number from {least} on")
        return value

    def word(
        self, table: Mapping[str, Any], key: str, at: KeyPath, known: Sequence[str], default: str = ""
    ) -> str:
        value = self.text(table, key, at, default)
        if value not in known:
            raise self.refuse((*at, key), f"must be one of {', '.join(known)}")
        return value

    def study(self) -> Study:
        whole = self.table(self._document.value, (), _STUDY)
        common = self.table(whole.get("setup", {}), ("setup",))
        runs = self.number(whole, "runs", (), 1, 1)
        quick = self.number(whole, "quick_runs", (), 1, 0)
        cases = whole.get("cases")
        if not isinstance(cases, list) or not cases:
            raise self.refuse(("cases",), "must be a list of cases")
        return Study(
            self.text(whole, "study", ()),
            self.word(whole, "family", (), FAMILIES),
            self.text(whole, "source", ()),
            self.text(whole, "note", (), ""),
            self.number(whole, "batch", (), 1, 1),
            tuple(self.case(case, ("cases", at), common, runs, quick) for at, case in enumerate(cases)),
        )

    def case(self, value: Any, at: KeyPath, common: Mapping[str, Any], runs: int, quick: int) -> Case:
        table = self.table(value, at, _CASE)
        setup = {**common, **self.table(table.get("setup", {}), (*at, "setup"))}
        quantities = self.table(table.get("quantities"), (*at, "quantities"))
        note = self.text(table, "note", at, "")
        return Case(
            self.text(table, "case", at, ""),
            setup,
            self.number(table, "runs", at, runs, 1),
            self.number(table, "quick_runs", at, quick, 0),
            tuple(
                self.quantity(name, said, (*at, "quantities", name), note)
                for name, said in quantities.items()
            ),
        )

    def quantity(self, name: str, said: Any, at: KeyPath, note: str) -> Quantity:
        if isinstance(said, str):
            said = {"published": said}
        table = self.table(said, at, _QUANTITY)
        published = self.text(table, "published", at)
        bound = self.text(table, "bound", at, "")
        for printed in (published, bound or published):
            try:
                float(printed)
            except ValueError:
                raise self.refuse(at, f"{printed!r} is no number") from None
        return Quantity(
            name,
            published,
            self.word(table, "statistic", at, STATISTICS, "mean"),
            self.word(table, "judge", at, JUDGEMENTS, "equal"),
            bound,
            self.text(table, "note", at, note),
        )


def read_study(path: Path) -> Study:
    """Read one file; raises `ConfigError` with one line for whatever is wrong in it."""
    document = read_document(path)
    if document.problems:
        raise ConfigError(sorted(document.problems, key=lambda problem: problem.place)[0].line(str(path)))
    return _Reader(path, document).study()


def folder_of_studies() -> Path:
    """Return where the studies lie: in the checkout, else where `pip install` put them."""
    here = Path(ringgossip.__file__).parent.parent / "simulations" / "truth"
    return here if here.is_dir() else Path(sysconfig.get_path("data")) / "share" / "ringgossip" / "truth"


def read_studies(names: Iterable[str] = (), folder: Path | None = None) -> list[Study]:
    """Read all studies, or those named (also by their family). Raises `UsageError` for an unknown name."""
    folder = folder if folder is not None else folder_of_studies()
    if not folder.is_dir():
        raise UsageError(f"there are no studies in {folder}: run from a checkout of ringgossip")
    studies = [read_study(path) for path in sorted(folder.glob("*.yaml"))]
    wanted = list(names)
    known = list(dict.fromkeys(name for study in studies for name in (study.name, study.family)))
    for name in wanted:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise UsageError(f"there is no study {name!r}; {hint}")
    return [study for study in studies if not wanted or study.name in wanted or study.family in wanted]
