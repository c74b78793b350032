"""What may a story say? Reads `simulations/*.yaml`; every problem is one line with file, line and column.

A users' own `distributed_hosts.yaml` is a story too: an ordinary day of its
hosts. `suppose` adds to a story what somebody asks about: "what if ...?"

Each block is a table of keys, the value behind a key its check. What fits
together (a plan that names a missing peer, a promise that cannot be kept) is
looked at last.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ringgossip.config.hosts_file import is_hosts_file, read_hosts_file
from ringgossip.config.words import ROLES, STATES
from ringgossip.config.yaml_nodes import Document, KeyPath, Place, Problem, dotted, read_document, read_text
from ringgossip.errors import ConfigError
from ringgossip.simulation import scenario_words as check
from ringgossip.simulation.network import Weather
from ringgossip.simulation.plans import FAULTS, close_to
from ringgossip.simulation.promises import ALWAYS, EVENTUALLY, MEASURES, OPTIONAL, SOMETIMES
from ringgossip.simulation.scenario import (
    Change,
    Day,
    Fill,
    Group,
    Liveness,
    Planned,
    Promises,
    Publish,
    Retire,
    Story,
    SwarmRange,
    Task,
    Terminate,
    Train,
    Withdraw,
)
from ringgossip.simulation.scenario_peers import PEER, cluster_groups, excluding, group_of, ordinary_day
from ringgossip.simulation.swarm import MAKERS
from ringgossip.simulation.users import ASKED, named_by

_Table = Mapping[str, check.Check]

_anything: check.Check = lambda value: value  # noqa: E731  read further below

TOP: _Table = {
    "story": check.text, "about": check.text, "peers": _anything, "seeds": _anything,
    "network": _anything, "copies": check.whole(0, 100), "shuffle": check.truth, "acquainted": check.truth,
    "starting": check.number(0, 3600), "workload": _anything, "faults": _anything, "swarm": _anything,
    "safety": check.number(0.1, 86400), "liveness": _anything, "promises": _anything,
    "quick": check.whole(1, 200), "exclude": check.exclusions,
}  # fmt: skip
_SHARE = check.number(0, 1)
NETWORK: _Table = {
    "latency": check.latency, "loss": _SHARE, "burst": check.burst, "duplication": _SHARE,
    "reordering": _SHARE, "reorder_delay": check.number(0, 60), "corruption": _SHARE,
    "mtu": check.whole(576, 65535), "mapping_seconds": check.number(1, 3600),
    "carrier": check.one_of(("unlimited", "pieces", "fluid")), "wire": check.one_of(("sized", "real")),
}  # fmt: skip
_TIME = check.number(0, 86400)
TASKS: dict[str, tuple[type, _Table]] = {
    "publish": (Publish, {
        "by": check.who, "kind": check.kind, "name": check.artifact_name, "size": check.size, "at": _TIME,
        "every": check.number(0.1, 86400), "until": _TIME, "changed": _SHARE, "spread": _TIME,
        "chunk_size": check.size, "same_as": check.artifact_name, "metadata": dict,
    }),
    "train": (Train, {"peers": check.who, "at": _TIME, "seconds": _TIME}),
    "terminate": (Terminate, {
        "peers": check.who, "at": _TIME, "notice": check.number(0, 3600, or_none=True), "spread": _TIME,
    }),
    "withdraw": (Withdraw, {
        "by": check.who, "kind": check.kind, "name": check.artifact_name, "at": _TIME, "spread": _TIME,
    }),
    "retire": (Retire, {"peers": check.who, "by": check.who, "at": _TIME}),
    "fill": (Fill, {"peers": check.who, "used": check.number(0, 0.999), "free": check.size, "at": _TIME}),
    "change": (Change, {
        "peers": check.who, "at": _TIME, "role": check.one_of(ROLES), "state": check.one_of(STATES),
        "ephemeral": check.truth, "send_limit": check.rate,
    }),
    "day": (Day, {"at": _TIME}),
    **ASKED,
}  # fmt: skip
_NEEDS = {
    "publish": ("by",), "train": ("peers",), "terminate": ("peers",), "withdraw": ("by",),
    "retire": ("peers",), "fill": ("peers", "used", "free"), "change": ("peers",), "day": ("at",),
    **dict.fromkeys(ASKED, ("peers",)),
}  # fmt: skip
SWARM: _Table = {
    "kinds": check.several_of(MAKERS), "most": check.whole(1, 1000), "start": _TIME, "end": _TIME,
}  # fmt: skip
LIVENESS: _Table = {"within": check.number(0.5, 86400), "core": check.number(0.01, 1)}
PROMISES: _Table = {
    "always": check.several_of((*ALWAYS, *OPTIONAL)), "eventually": _anything,
    "sometimes": check.several_of(SOMETIMES), "limits": _anything,
}  # fmt: skip
_SECONDS = check.number(0.25, 86400)
SUPPOSED = "--if"  # where `suppose` says that something is wrong


def read_story(path: Path) -> Story:
    """Read a story, or a cluster file; raises `ConfigError` with one line for each thing that is wrong."""
    document = read_document(path)
    if is_hosts_file(document.value):
        rules = read_hosts_file(path, document)
        ready = [host for host in rules.hosts.values() if host.state == "ready"]
        if not any(host.reachable for host in ready):
            why = "that is ready can be dialled" if ready else "is ready"
            place = document.place_of(("hosts",))
            where = f"{path}:{place.line}:{place.column}"
            raise ConfigError(f"{where}: hosts: none {why}: there is no day to tell")
        document = read_text(ordinary_day(path, rules), str(path))
    return _Reader(path, document).story()


def suppose(story: Story, text: str) -> Story:
    """Return the story with one more task or fault, said as `crash: {peer: 3}`; raises `ConfigError`."""
    given = read_text(text, SUPPOSED)
    block = "workload"
    if isinstance(given.value, dict) and len(given.value) == 1:
        [(word, inner)] = given.value.items()
        if word not in TASKS and word not in FAULTS:
            close = close_to(word, (*FAULTS, *TASKS))
            raise ConfigError(f"{SUPPOSED}:1:1: {word}: is no fault or task{close}")
        block = "faults" if word in FAULTS else "workload"
        if isinstance(inner, dict) and "at" in (*_fields(word), *TASKS.get(word, ("", {}))[1]):
            # When all is well, and some time is left.
            inner.setdefault("at", round(story.safety / 3))
    moved = Document(
        {block: [given.value]},
        {(block, 0, *path): place for path, place in given.keys.items()},
        {(block, 0, *path): place for path, place in given.values.items()},
        given.problems,
    )
    asked = _Reader(Path(SUPPOSED), moved).more(story)
    return replace(asked, about=f"{story.about} What if {text.strip()}?".strip())


def _fields(word: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(FAULTS[word])) if word in FAULTS else ()


class _Reader:
    """Goes through one document and collects what is wrong."""

    def __init__(self, path: Path, document: Document) -> None:
        self._path = path
        self._document = document
        self._problems = list(document.problems)

    def story(self) -> Story:
        top = self._document.value
        if not isinstance(top, dict):
            raise ConfigError(f"{self._path}:1:1: must be keys and values, for example `story: my_story`")
        said = self._block((), TOP, top)
        network = self._block(("network",), NETWORK)
        wire = {key: network.pop(key) for key in ("carrier", "wire") if key in network}
        swarm = self._block(("swarm",), SWARM) if "swarm" in said else None
        simple = ("about", "copies", "shuffle", "acquainted", "starting", "safety", "quick")
        plain = {key: said[key] for key in simple if said.get(key) is not None}
        wire.setdefault("carrier", None)
        groups = excluding(self._groups(said.get("peers", 5), said.get("copies", 3)), said.get("exclude"))
        liveness = Liveness(**self._block(("liveness",), LIVENESS))
        promises = self._promises(liveness)
        tasks, planned = self._tasks(), self._faults()
        self._raise()
        if wire["carrier"] is None:
            # Lines that have a limit are queues, unless the story wants something cheaper.
            limited = any(group.spec.up or group.spec.down for group in groups)
            thin = any(each.word == "thin_line" for each in planned)
            wire["carrier"] = "pieces" if limited or thin else "unlimited"
        story = Story(
            name=said.get("story") or self._path.stem,
            file=str(self._path),
            groups=groups,
            weather=Weather(**network),
            tasks=tuple(task for _, task in tasks),
            planned=planned,
            swarm=SwarmRange(**({"kinds": tuple(MAKERS)} | swarm)) if swarm is not None else None,
            liveness=liveness,
            promises=promises,
            said=top,
            **plain,
            **wire,
        )
        story = self._seeds(story, said.get("seeds"))
        self._fits(story, tasks)
        self._possible(story)
        self._raise()
        return story

    def more(self, story: Story) -> Story:
        """Return the story with the tasks and faults of this document besides its own."""
        tasks, planned = self._tasks(), self._faults()
        self._raise()
        if story.carrier == "unlimited" and any(each.word == "thin_line" for each in planned):
            story = replace(story, carrier="pieces")
        self._fits(replace(story, planned=planned), tasks)
        self._raise()
        said = dict(story.said)
        for block, entries in self._document.value.items():
            said[block] = [*(said.get(block) or ()), *entries]
        more = tuple(task for _, task in tasks)
        return replace(story, tasks=story.tasks + more, planned=story.planned + planned, said=said)

    # --- blocks -----------------------------------------------------------------------------

    def _block(self, path: KeyPath, table: _Table, given: Any = None) -> dict[str, Any]:
        value = self._at(path) if given is None else given
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._problem(path, "must be a block of keys and values")
            return {}
        found = {}
        for key, entry in value.items():
            if key not in table:
                self._problem((*path, key), f"is no key{close_to(key, table)}", at_key=True)
                continue
            try:
                found[key] = table[key](entry)
            except (ValueError, TypeError) as error:
                self._problem((*path, key), str(error))
        return found

    def _at(self, path: KeyPath) -> Any:
        value: Any = self._document.value
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def _entries(self, key: str) -> list[tuple[KeyPath, str, Any]]:
        """Return the entries of a list of `{word: {...}}`."""
        value = self._at((key,))
        if value is None:
            return []
        if not isinstance(value, list):
            self._problem((key,), "must be a list of entries like `- {pause: {at: 5, peer: 1}}`")
            return []
        found = []
        known, what = (FAULTS, "fault") if key == "faults" else (TASKS, "task")
        for number, entry in enumerate(value):
            path: KeyPath = (key, number)
            if not isinstance(entry, dict) or len(entry) != 1:
                self._problem(path, "must be one word and its keys, for example `{pause: {at: 5, peer: 1}}`")
                continue
            [(word, inner)] = entry.items()
            if word not in known:
                self._problem((*path, word), f"is no {what}{close_to(word, known)}", at_key=True)
            elif not isinstance(inner, dict):
                self._problem((*path, word), "must be a block of keys and values")
            else:
                found.append(((*path, word), word, inner))
        return found

    # --- sections -----------------------------------------------------------------------------

    def _groups(self, value: Any, copies: int) -> tuple[Group, ...]:
        path: KeyPath = ("peers",)
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= 10_000:
                self._problem(path, f"must be from 1 to 10000, not {value}")
                return ()
            return (group_of({"count": value}, copies),)
        if isinstance(value, dict) and "cluster_file" in value:
            self._block(path, {"cluster_file": check.text, "alive": check.whole(1, 10_000)})
            try:
                return cluster_groups(self._path.parent / str(value["cluster_file"]), value.get("alive"))
            except ConfigError as error:
                self._problem((*path, "cluster_file"), str(error))
                return ()
        if not isinstance(value, list) or not value:
            self._problem(path, "must be a number, a list of groups, or {cluster_file: ...}")
            return ()
        groups = []
        for number, entry in enumerate(value):
            inner: KeyPath = (*path, number)
            if isinstance(entry, dict):
                groups.append(group_of(self._block(inner, PEER, entry), copies))
            else:
                self._problem(inner, "must be a group, for example `{count: 3, role: training}`")
        names = [group.spec.name for group in groups]
        for number, name in enumerate(names):
            if name in names[:number]:
                self._problem((*path, number), f"another one is called {name!r} too: give it a name")
        return tuple(groups)

    def _tasks(self) -> list[tuple[KeyPath, Task]]:
        found = []
        for path, word, inner in self._entries("workload"):
            made, table = TASKS[word]
            said = self._block(path, table, inner)
            missing = [key for key in _NEEDS[word] if key not in inner]
            if missing:
                self._problem(path, f"needs {missing[0]!r}")
            elif len(said) == len(inner):
                found.append((path, made(**said)))
        return found

    def _faults(self) -> tuple[Planned, ...]:
        found = []
        for path, word, inner in self._entries("faults"):
            places = {key: self._where(self._document.keys.get((*path, key))) for key in inner}
            found.append(Planned(word, inner, self._where(self._document.keys.get(path)), places))
        return tuple(found)

    def _promises(self, liveness: Liveness) -> Promises:
        said = self._block(("promises",), PROMISES)
        eventually = self._block(("promises", "eventually"), dict.fromkeys(EVENTUALLY, _SECONDS))
        limits = self._block(("promises", "limits"), dict.fromkeys(MEASURES, check.number(0, 1e15)))
        usual = dict.fromkeys(("L1", "L2"), min(120.0, liveness.within))
        said |= {"eventually": eventually or usual, "limits": limits}
        return Promises(**said)

    def _seeds(self, story: Story, value: Any) -> Story:
        if value is None:
            return story if len(story.names) > 1 else replace(story, found_at=(0,))
        story = replace(story, found_at=check.who(value))
        try:
            if not story.seeds:
                raise ValueError("names nobody: without a seed no peer finds another")
        except ValueError as error:
            self._problem(("seeds",), str(error))
        return story

    # --- what fits together ---------------------------------------------------------------------

    def _fits(self, story: Story, tasks: list[tuple[KeyPath, Task]]) -> None:
        late = f"after the safety phase of {story.safety:g} s"
        for path, task in tasks:
            for key in ("by" if isinstance(task, Publish | Withdraw) else "peers", *named_by(task)):
                try:
                    who = getattr(task, key)
                    if who is not None and not story.peers_of(who):
                        self._problem((*path, key), story.nobody(who))
                except ValueError as error:
                    self._problem((*path, key), str(error))
            if task.at >= story.safety:
                self._problem((*path, "at"), f"{task.at:g} s is {late}")
        for number, planned in enumerate(story.planned):
            path = ("faults", number, planned.word)
            try:
                fault, *_ = planned.build(story)
            except ConfigError as error:
                self._problems.append(_ready(str(error), self._path))
                continue
            if fault.at >= story.safety:
                self._problem((*path, "at"), f"{fault.at:g} s is {late}")
            if planned.word == "thin_line" and story.carrier != "pieces":
                self._problem(path, "needs `network: {carrier: pieces}`", at_key=True)
        if story.swarm is not None and not story.swarm.start < story.swarm.end <= story.safety:
            self._problem(("swarm",), "start, end and safety must follow each other")

    def _possible(self, story: Story) -> None:
        """Look for promises that cannot be kept."""
        promises = story.promises
        for word, seconds in promises.eventually.items():
            if seconds > story.liveness.within:
                self._problem(
                    ("promises", "eventually", word),
                    f"cannot be seen: the liveness phase ends after {story.liveness.within:g} s",
                )
        peers = sum(not spec.stranger for spec in story.specs)
        if peers == 1 and promises.sometimes:
            self._problem(("promises", "sometimes"), "cannot come true: there is one peer")
        if not any(isinstance(task, Publish) for task in story.tasks):
            about_data = ("chunk_refused", "resumed_transfer", "copied_from_third", "ArtifactCompleted")
            for word in promises.sometimes:
                if word in about_data:
                    self._problem(("promises", "sometimes"), f"{word} cannot come true: nothing is published")
        if "L3" in promises.eventually and story.copies > peers - 1:
            self._problem(
                ("promises", "eventually", "L3"),
                f"cannot be kept: {story.copies} copies beside the origin's are wanted of {peers} peers",
            )
        rates = any(spec.up or spec.down for spec in story.specs)
        if "bound_ratio" in promises.limits and not rates:
            self._problem(("promises", "limits", "bound_ratio"), "cannot be measured: no line has a limit")
        if rates and story.carrier == "unlimited":
            self._problem(("peers",), "have limits: say `network: {carrier: pieces}`, or fluid")

    # --- telling ------------------------------------------------------------------------------------

    def _problem(self, path: KeyPath, text: str, *, at_key: bool = False) -> None:
        place = self._document.keys.get(path) if at_key else None
        self._problems.append(Problem(place or self._document.place_of(path), dotted(path), text))

    def _where(self, place: Place | None) -> str:
        place = place or Place(1, 1)
        return f"{self._path}:{place.line}:{place.column}"

    def _raise(self) -> None:
        if self._problems:
            ordered = sorted(self._problems, key=lambda problem: problem.place)
            raise ConfigError("\n".join(problem.line(str(self._path)) for problem in ordered))


def _ready(line: str, path: Path) -> Problem:
    """Take a finished line apart again, so that all lines come in the order of the file."""
    row, column, rest = line.removeprefix(f"{path}:").split(":", 2)
    key, _, text = rest.strip().partition(": ")
    return Problem(Place(int(row), int(column)), key, text)
