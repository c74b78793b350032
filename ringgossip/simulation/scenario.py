"""What is a story? Who is there, what the network is like, what happens, and what must hold.

A story is data, read from YAML by `scenario_schema`, and is run for one seed by
`running`. The same story grows and shrinks: `scaled` gives its groups other
sizes, and whoever it names keeps the name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ringgossip.content.record import Scalar
from ringgossip.errors import ConfigError
from ringgossip.simulation import scenario_words as check
from ringgossip.simulation.faults import Fault
from ringgossip.simulation.latency import Regions
from ringgossip.simulation.network import Weather
from ringgossip.simulation.plans import SOME_PEERS, PlanError, build, peer_number
from ringgossip.simulation.users import Sync, Told
from ringgossip.simulation.world import PeerSpec

# A peer, several, "all", or those that are alike: {role: training}, {accepts: false, share: 0.5}.
Who = int | str | tuple[int | str, ...] | Mapping[str, Any]


def _is_like(spec: PeerSpec, who: Mapping[str, Any]) -> bool:
    return all(getattr(spec, key) == value for key, value in who.items() if key != "share")


@dataclass(frozen=True, slots=True)
class Group:
    """So many peers that are alike; one that has a name of its own is never more than one."""

    count: int
    spec: PeerSpec
    named: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """Files are published; `every` so many seconds until `until`, else once."""

    by: Who
    kind: str = "models"
    name: str = "file"
    size: int = 1_000_000
    at: float = 5.0
    every: float | None = None
    until: float | None = None
    changed: float = 1.0  # The share of a next version's chunks that is new.
    spread: float = 0.0  # Each publisher begins up to so many seconds later, at random.
    chunk_size: int | None = None
    same_as: str | None = None  # A copy of this file, under another name.
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Train:
    """Peers train for a while, and say so."""

    peers: Who
    at: float = 5.0
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Terminate:
    """A machine goes and does not come back; with `notice` its peer says goodbye so many seconds later."""

    peers: Who
    at: float = 10.0
    notice: float | None = None  # None: the machine is dark at once.
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Peers withdraw a file that they published; who has not, or does not run, does nothing."""

    by: Who
    kind: str = "models"
    name: str = "file"
    at: float = 10.0
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Retire:
    """The authority retires peers; `by` is handed the order."""

    peers: Who
    by: Who = 0
    at: float = 10.0


@dataclass(frozen=True, slots=True)
class Fill:
    """Peers see that this share of their disk is used, and so many bytes are free."""

    peers: Who
    used: float
    free: int
    at: float = 10.0


@dataclass(frozen=True, slots=True)
class Change:
    """Peers read their configuration again, in which these keys were changed."""

    peers: Who
    at: float = 10.0
    role: str | None = None
    state: str | None = None
    ephemeral: bool | None = None
    send_limit: float | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """A new day begins for everybody."""

    at: float
    peers: Who = "all"


Task = Publish | Train | Terminate | Withdraw | Retire | Sync | Told | Fill | Change | Day


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault as the story says it, and where; peers are numbers or names still."""

    word: str
    said: Mapping[str, Any]
    where: str  # file:line:column
    place_of: Mapping[str, str] = field(default_factory=dict)

    def build(self, story: "Story") -> list[Fault]:
        """Return the fault, or one for each peer that is meant; raises `ConfigError` if nobody is."""
        names = story.names
        try:
            said, each = dict(self.said), [dict(self.said)]
            for key in (*SOME_PEERS, "peer"):
                value = said.get(key)
                # One number or name of a `peer`, and a list of others, are for `build`.
                alone = value is None or isinstance(value, int | str if key == "peer" else list)
                if alone and value != "all":
                    continue
                meant = self._meant(story, key)
                if key == "peer":
                    each = [said | {key: index} for index in meant]
                else:
                    said[key] = meant
                    each = [said]
            return [build(self.word, one, names) for one in each]
        except PlanError as error:
            where = self.place_of.get(error.key, self.where)
            key = f"{self.word}.{error.key}" if error.key else self.word
            raise ConfigError(f"{where}: {key}: {error}") from None

    def _meant(self, story: "Story", key: str) -> list[int]:
        try:
            meant = story.peers_of(check.who(self.said[key]))
        except ValueError as error:
            raise PlanError(key, str(error)) from None
        if not meant:
            raise PlanError(key, story.nobody(self.said[key]))
        return meant


@dataclass(frozen=True, slots=True)
class SwarmRange:
    """Faults drawn for each seed: which kinds exist at all, then how many, then each one."""

    kinds: tuple[str, ...]
    most: int = 10
    start: float = 2.0
    end: float = 30.0


@dataclass(frozen=True, slots=True)
class Liveness:
    """The second phase: faults stop, a random core of at least this share is healed, the others stay dark."""

    within: float = 120.0
    core: float = 1.0


@dataclass(frozen=True, slots=True)
class Promises:
    """What must hold: `always` beside what is always checked, `eventually` within so many seconds."""

    always: tuple[str, ...] = ()
    eventually: Mapping[str, float] = field(default_factory=dict)
    sometimes: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)  # measure -> the most it may be


@dataclass(frozen=True, slots=True)
class Story:
    """A whole story."""

    name: str
    about: str = ""
    file: str = ""
    groups: tuple[Group, ...] = (Group(5, PeerSpec("peer")),)
    found_at: Who = (0, 1)  # Whom newcomers can find: the seeds.
    weather: Weather = field(default_factory=Weather)
    carrier: str = "unlimited"
    wire: str = "sized"
    shuffle: bool = False
    acquainted: bool = False  # all who run at the start know each other, as after a long time together
    copies: int = 3
    starting: float = 0.0  # Peers start within so many seconds of each other.
    tasks: tuple[Task, ...] = ()
    planned: tuple[Planned, ...] = ()
    swarm: SwarmRange | None = None
    safety: float = 60.0
    liveness: Liveness = field(default_factory=Liveness)
    promises: Promises = field(default_factory=Promises)
    quick: int | None = None  # How many peers it has in the quick suite.
    said: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # the words of its file

    @property
    def specs(self) -> list[PeerSpec]:
        """Every peer, in order."""
        specs: list[PeerSpec] = []
        for group in self.groups:
            if group.named:
                specs.append(group.spec)
            else:
                base = group.spec.name
                specs += [replace(group.spec, name=f"{base}-{number}") for number in range(group.count)]
        return specs

    @property
    def names(self) -> list[str]:
        """The names of all peers, in order."""
        return [spec.name for spec in self.specs]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The numbers of the peers that newcomers can find."""
        return tuple(self.peers_of(self.found_at))

    def weather_there(self) -> Weather:
        """Return the weather of this cast: latency by regions must know where everybody stands."""
        latency = self.weather.latency
        if not isinstance(latency, Regions):
            return self.weather
        # A table of its own for each run: what was drawn for one must not be seen by another.
        places = [spec.region or spec.provider for spec in self.specs]
        return replace(self.weather, latency=replace(latency, region=places, _base={}))

    def plan(self) -> list[Fault]:
        """Return the faults that the story names itself."""
        return [fault for planned in self.planned for fault in planned.build(self)]

    def peers_of(self, who: Who) -> list[int]:
        """Return the numbers of the peers that a task means; raises `ValueError`."""
        specs = self.specs
        if isinstance(who, Mapping):
            found = [i for i, spec in enumerate(specs) if not spec.stranger and _is_like(spec, who)]
            # A share of them: not the first ones, but evenly from all of them.
            count = round(who.get("share", 1.0) * len(found))
            return [found[place * len(found) // count] for place in range(count)]
        if who == "all":
            return [i for i, spec in enumerate(specs) if not spec.stranger]
        names = [spec.name for spec in specs]
        listed = who if isinstance(who, tuple) else (who,)
        return [peer_number(each, names) for each in listed]

    def nobody(self, who: Who) -> str:
        """Say why a task or fault means nobody, and what there is instead."""
        for key, value in who.items() if isinstance(who, Mapping) else ():
            known = dict.fromkeys(str(getattr(spec, key)) for spec in self.specs) if key != "share" else {}
            if known and str(value) not in known:
                as_said = {"True": "true", "False": "false"}
                there = [as_said.get(word, word) for word in known if word not in ("", "None")]
                why = f"{key} is {' or '.join(there[:8])} here" if there else f"nobody has a {key}"
                return f"names nobody in this story: {why}"
        return "names nobody in this story"

    def scaled(self, peers: int) -> "Story":
        """Return the story with so many peers: groups keep their shares, at least one each."""
        if all(group.named for group in self.groups):
            # Hosts of a cluster file: the first of them.
            return replace(self, groups=self.groups[:peers])
        fixed = sum(group.count for group in self.groups if group.named)
        free = [group for group in self.groups if not group.named]
        total = sum(group.count for group in free)
        if not free or peers - fixed < len(free):
            least = fixed + len(free)
            raise ConfigError(f"{self.file or self.name}: needs at least {least} peers, not {peers}")
        left, counts = peers - fixed, {}
        for number, group in enumerate(free):
            rest = len(free) - number - 1
            share = left - rest if rest == 0 else max(1, round((peers - fixed) * group.count / total))
            counts[id(group)] = share = min(share, left - rest)
            left -= share
        groups = tuple(
            group if group.named else replace(group, count=counts[id(group)]) for group in self.groups
        )
        story = replace(self, groups=groups)
        story.plan()
        try:
            for task in story.tasks:
                story.peers_of(task.by if isinstance(task, Publish | Withdraw) else task.peers)
            if not story.seeds:
                raise ValueError("no peer is left that newcomers could find")
        except ValueError as error:
            raise ConfigError(f"{self.file or self.name}: with {peers} peers, {error}") from None
        return story
