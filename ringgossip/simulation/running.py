"""How is a story run for one seed? Safety phase, liveness phase, verdict: one `Run`.

    run = run_story(read_story(path), seed=7)
    run.passed, run.hash, run.promises, run.measures, run.history

First everything that the story and the seed's swarm bring happens, and the
promises that always hold are checked after every step. Then faults stop, a
random core is healed, and what must come true eventually has so many seconds.
Source of the two phases: TigerBeetle's simulator (VOPR).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

from ringgossip.simulation.acquaint import acquaint
from ringgossip.simulation.checks import PromiseBroken
from ringgossip.simulation.checks_bounds import BoundChecks
from ringgossip.simulation.checks_members import MemberChecks
from ringgossip.simulation.checks_rules import RuleChecks, target_problems
from ringgossip.simulation.convergence import (
    Quiet,
    copy_problems,
    data_problems,
    place_problems,
    view_problems,
)
from ringgossip.simulation.faults import Fault
from ringgossip.simulation.kernel import TraceLine, garbage_seldom_collected
from ringgossip.simulation.measures import measure
from ringgossip.simulation.outcome import Outcome, outcome
from ringgossip.simulation.plans import as_data
from ringgossip.simulation.promises import ALWAYS, EVENTUALLY, OPTIONAL
from ringgossip.simulation.recording import History, Recorder
from ringgossip.simulation.scenario import Story
from ringgossip.simulation.swarm import draw_plan
from ringgossip.simulation.tasks import schedule
from ringgossip.simulation.world import World

if TYPE_CHECKING:
    from ringgossip.simulation.report.timeline import Timeline

_PACKAGE = Path(__file__).parents[1]
_LEAST_QUIET = 3.0  # seconds over which quiet is measured
_SAMPLED = 0.5  # virtual seconds between two samples of what left the uplinks, for a report
_SHOWN = 0.1  # virtual seconds between two words of progress: a thousand busy peers take long for them


@dataclass(frozen=True, slots=True)
class Promise:
    """What became of one promise. `seconds` until it held; `detail` says what broke it, or what was seen."""

    name: str
    kind: str  # always, eventually, sometimes, limit
    sentence: str
    passed: bool
    seconds: float | None = None
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        said: dict[str, Any] = {"name": self.name, "kind": self.kind, "passed": self.passed}
        said |= {"sentence": self.sentence, "detail": self.detail}
        return said if self.seconds is None else said | {"seconds": round(self.seconds, 3)}


@dataclass(slots=True)
class Run:
    """A story told once."""

    story: str
    seed: int
    peers: int
    hash: str
    promises: list[Promise]
    measures: dict[str, float]
    plan: list[Fault]
    history: History
    crash: str | None = None  # an exception of a machine, or a broken limit: our bug
    crash_at: str = ""  # its kind, and the line that raised it
    timeline: "Timeline | None" = None  # what a report draws, if it was asked for
    outcome: Outcome | None = None  # what is left, in names

    @property
    def passed(self) -> bool:
        """Whether every promise held. A "sometimes" is judged over a batch of seeds, not here."""
        return self.crash is None and all(each.passed for each in self.promises if each.kind != "sometimes")

    @property
    def failure(self) -> str:
        """The name of the first promise that does not hold; empty if all do."""
        if self.crash is not None:
            return "crash"
        broken = [each.name for each in self.promises if not each.passed and each.kind != "sometimes"]
        return broken[0] if broken else ""

    def as_dict(self) -> dict[str, Any]:
        """Return what `ringgossip simulate --json` prints; the rest is for reports."""
        said: dict[str, Any] = {"story": self.story, "seed": self.seed, "hash": self.hash}
        said |= {"passed": self.passed, "promises": [each.as_dict() for each in self.promises]}
        said |= {"measures": self.measures, "peers": self.peers}
        said["faults"] = [as_data(fault) for fault in self.plan]
        said["seen"] = dict(sorted(self.history.seen.items()))
        if self.outcome is not None:
            said["outcome"] = self.outcome.as_dict()
        return said if self.crash is None else said | {"crash": self.crash}


def plan_of(story: Story, seed: int) -> list[Fault]:
    """Return what goes wrong for a seed: the story's own faults, and those the swarm draws."""
    plan = story.plan()
    swarm = story.swarm
    if swarm is not None:
        generator = World(1, seed=seed).kernel.generator("swarm", story.name)
        peers = sum(not spec.stranger for spec in story.specs)
        plan += draw_plan(generator, peers, swarm.start, swarm.end, swarm.kinds, swarm.most)
    return sorted(plan, key=lambda fault: fault.at)


def run_story(
    story: Story,
    seed: int = 0,
    *,
    plan: Sequence[Fault] | None = None,
    trace: list[TraceLine] | None = None,
    progress: "Progress | None" = None,
    timeline: bool = False,
) -> Run:
    """Tell a story once. `plan` replaces the faults, as shrinking needs it; reports need a `timeline`."""
    faults = plan_of(story, seed) if plan is None else list(plan)
    with garbage_seldom_collected():
        return _Telling(story, seed, faults, trace, progress, timeline).tell()


class Progress:
    """Hears how far a run is; the CLI shows it."""

    def __call__(self, phase: str, now: float, end: float) -> None:
        """Say that `now` of `end` virtual seconds of a phase are over."""


class _Telling:
    """One run."""

    def __init__(
        self,
        story: Story,
        seed: int,
        plan: list[Fault],
        trace: list[TraceLine] | None,
        progress: Progress | None,
        timeline: bool,
    ) -> None:
        self._story = story
        self._seed = seed
        self._plan = plan
        self._progress = progress
        self.world = World(
            story.specs,
            seed=seed,
            weather=story.weather_there(),
            carrier=story.carrier,
            wire=story.wire,
            seeds=() if story.acquainted else story.seeds,
            shuffle=story.shuffle,
            trace=trace,
        )
        checks = self.world.checks
        self._recorder = Recorder(self.world)
        self._samples = None
        if timeline:
            from ringgossip.simulation.report.timeline import Samples

            self._samples = Samples()
        self._faults_stop_at = story.safety
        strict = "no_false_death" in story.promises.always
        self.members = MemberChecks(self.world, checks, no_false_death=strict)
        self._bounds = BoundChecks(self.world, checks)
        self._rules = RuleChecks(self.world, checks)
        # A look at a thousand views takes longer than a second of their lives.
        self._look_every = 0.5 if len(story.specs) <= 64 else len(story.specs) / 128
        self._took: dict[str, float] = {}
        self._left: dict[str, list[str]] = {}

    def tell(self) -> Run:
        broken: PromiseBroken | None = None
        crash: str | None = None
        crash_at = ""
        try:
            self._safety()
            self._liveness()
            self._bounds.look_at_everything()
            self.world.checks.user_files_untouched()
        except PromiseBroken as error:
            broken = error
        except Exception as error:
            # Out of a machine it is our bug; a sweep must say for which seed, and go on.
            name, place, said = type(error).__name__, _raised_at(error), " ".join(str(error).split())
            crash, crash_at = f"{name}: {said} (in {place})", f"{name} in {place}"
        history = self._recorder.finish()
        measures = measure(self.world, history, self.members, self._took)
        promises = self._verdict(broken, measures)
        story, world = self._story, self.world
        return Run(
            story.name, self._seed, len(world.nodes), world.run_hash, promises, measures, self._plan,
            history, crash, crash_at, self._timeline(), outcome(world, history),
        )  # fmt: skip

    def _timeline(self) -> "Timeline | None":
        if self._samples is None:
            return None
        from ringgossip.simulation.report.timeline import collect

        return collect(self.world, self._samples, self._faults_stop_at, self.members.false_alarms)

    # --- first ------------------------------------------------------------------------------

    def _safety(self) -> None:
        story, world = self._story, self.world
        world.plan(self._plan)
        generator = world.kernel.generator("starting")
        for index in range(len(world.nodes)):
            delay = story.starting * generator.random() if story.starting else 0.0
            if delay:
                world.kernel.after(delay, self._start, index)
            else:
                self._start(index)
        if story.acquainted:
            acquaint(world.nodes)
        schedule(story, world)
        self._pass(story.safety, "safety")

    def _start(self, index: int) -> None:
        if not self.world.nodes[index].running and index not in self.world.gone:
            self.world.start(index)

    def _pass(self, until: float, phase: str) -> None:
        world, look_at, sample_at = self.world, self.world.now + self._look_every, self.world.now
        while world.now < until:
            stop = min(look_at, until)
            if self._progress is not None or self._samples is not None:
                stop = min(stop, world.now + _SHOWN)
            world.kernel.run(stop)
            if self._samples is not None and world.now >= sample_at:
                self._samples.take(world)
                sample_at = world.now + _SAMPLED
            if world.now >= min(look_at, until):
                self._look()
                look_at = world.now + self._look_every
            if self._progress is not None:
                self._progress(phase, world.now, until)

    def _look(self) -> None:
        self.members.look()
        self._bounds.look()
        self._rules.look()
        self.world.checks.user_files_untouched()

    # --- then ---------------------------------------------------------------------------------

    def _liveness(self) -> None:
        story, world = self._story, self.world
        self._faults_stop_at = began = world.now
        self._heal(world.kernel.generator("core"))
        asked = dict(story.promises.eventually)
        quiet, quiet_since = Quiet(world), world.now
        while asked:
            for name in list(asked):
                if name == "quiet":
                    if world.now - quiet_since < _LEAST_QUIET:
                        continue
                    found, quiet_since = quiet.problems(), world.now
                else:
                    found = _PROBLEMS[name](world)
                if not found:
                    self._took[name] = world.now - began
                    del asked[name]
                elif world.now - began >= asked[name]:
                    self._left[name] = found
                    del asked[name]
            if asked:
                # To see that nothing has changed yet costs more than the waiting itself.
                waited = world.now - began
                world.run(max(self._look_every / 2, 0.0 if waited < 10 else 1.0 if waited < 40 else 4.0))
                self._look()
                if self._samples is not None:
                    self._samples.take(world)
                if self._progress is not None:
                    self._progress("liveness", world.now - began, max(asked.values()))

    def _heal(self, generator: Random) -> None:
        """Stop all faults; of everybody but a random core, the machines stay dark."""
        story, world = self._story, self.world
        world.stop_faults()
        there = [node.index for node in world.nodes if not node.stranger and node.index not in world.gone]
        share = story.liveness.core + (1.0 - story.liveness.core) * generator.random()
        wanted = max(1, round(share * len(there)))
        # Somebody whom newcomers can find is always in the core.
        order = sorted(there, key=lambda index: (index not in story.seeds, 0))
        first = order[:1]
        rest = order[1:]
        while len(first) < wanted:
            first.append(rest.pop(int(generator.random() * len(rest))))
        for index in sorted(first):
            world.restart(index)
        for index in sorted(rest):
            if world.nodes[index].running:
                world.crash(index, machine=True)
            world.gone[index] = None

    # --- at last --------------------------------------------------------------------------------

    def _verdict(self, broken: PromiseBroken | None, measures: dict[str, float]) -> list[Promise]:
        asked = self._story.promises
        found = []
        named = dict.fromkeys([*ALWAYS, *(name for name in asked.always if name in OPTIONAL)])
        for name in named:
            is_broken = broken is not None and broken.promise == name
            detail = str(broken) if is_broken else ""
            found.append(Promise(name, "always", (ALWAYS | OPTIONAL)[name], not is_broken, detail=detail))
        if broken is not None and broken.promise not in named:
            found.append(Promise(broken.promise, "always", "", False, detail=str(broken)))
        for name, within in asked.eventually.items():
            left = self._left.get(name, [] if name in self._took else ["the run ended before it was asked"])
            sentence = f"{EVENTUALLY[name]}, within {within:g} s"
            passed = not left
            if broken is not None and name not in self._left:
                passed = True  # nobody knows: the broken promise ended the run
            detail = "" if passed else f"{len(left)} left, for example: {left[0]}"
            found.append(Promise(name, "eventually", sentence, passed, self._took.get(name), detail))
        for name in asked.sometimes:
            times = self._recorder.history.seen.get(name, 0)
            found.append(Promise(name, "sometimes", "", times > 0, detail=f"{times} times"))
        for name, most in asked.limits.items():
            value = measures.get(name)
            passed = value is None or value <= most
            detail = "not measured" if value is None else f"{value:g}"
            found.append(Promise(name, "limit", f"at most {most:g}", passed, detail=detail))
        return found


def _raised_at(error: BaseException) -> str:
    """Return the line of this package that raised an error, as `protocol/rules.py:12`."""
    frames = [frame for frame in extract_tb(error.__traceback__) if _PACKAGE in Path(frame.filename).parents]
    if not frames:
        return "the interpreter"
    return f"{Path(frames[-1].filename).relative_to(_PACKAGE).as_posix()}:{frames[-1].lineno}"


_PROBLEMS = {
    "L1": data_problems,
    "L2": view_problems,
    "L3": copy_problems,
    "placed": place_problems,
    "target": target_problems,
}
