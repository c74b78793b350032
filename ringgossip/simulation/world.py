"""A whole cluster in one process: nodes, a network between them, and verbs to do things to them.

    world = World(5, seed=7)
    world.start()
    world.run(5)
    world.publish(0, "models", "best.pth", size=4_000_000)
    world.crash(3)
    ...
    assert world.settle(within=60) is not None

What a step touched is checked after it; a broken promise raises `PromiseBroken`.
The same arguments and verbs give the same `run_hash`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from ringgossip.config.words import KINDS
from ringgossip.content.manifest import Manifest
from ringgossip.content.record import ArtifactKey, Record, Scalar
from ringgossip.identity import Address
from ringgossip.protocol.cards import MemberFacts
from ringgossip.protocol.core import Draft, Published, PublishRefused
from ringgossip.protocol.peer_core import CoreSettings, PeerCore
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.bandwidth import Pieces
from ringgossip.simulation.checks import Checks
from ringgossip.simulation.clock import EPOCH, follow_calendar
from ringgossip.simulation.content import CHUNK_SIZES, changed_content, new_content
from ringgossip.simulation.convergence import problems
from ringgossip.simulation.dialects import DIALECTS
from ringgossip.simulation.disk import Disk, DiskTimes
from ringgossip.simulation.faults import Fault, Layers
from ringgossip.simulation.fluid import carrier_of
from ringgossip.simulation.kernel import FAULT, NOBODY, VERB, Kernel, TraceLine, garbage_seldom_collected
from ringgossip.simulation.links import Links, Presence
from ringgossip.simulation.network import Network, Weather
from ringgossip.simulation.node import Node
from ringgossip.simulation.notary import Authority, FakeNotary
from ringgossip.simulation.ruling import settings_of
from ringgossip.simulation.shared import Shared
from ringgossip.simulation.users import Asked
from ringgossip.simulation.wire import Wire
from ringgossip.strategy.candidates import DiskUse

_LAST_WORDS = 0.3  # seconds a leaving peer gets to be heard


@dataclass(slots=True)
class Publication:
    """One call of `publish` and what came of it."""

    peer: int
    key: ArtifactKey
    manifest: Manifest
    asked_at: float
    boot: int
    record: Record | None = None
    answered_at: float | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class PeerSpec:
    """What one peer of the world is like."""

    name: str
    role: str = "selfplay"
    ephemeral: bool = False
    provider: str = ""
    storage_group: str | None = None
    accepts: bool = True
    udp_blocked: bool = False
    up: float | None = None  # bytes a second
    down: float | None = None
    disk: DiskTimes = field(default_factory=DiskTimes)
    rules: RuleSettings = field(default_factory=RuleSettings)
    max_concurrent: int | None = None  # artifacts pulled at a time
    version: str = "current"  # of the software: current, older or newer
    stranger: bool = False  # Has a certificate of another authority, and another gossip key.
    certificate_life: float | None = None  # Seconds after which its certificate has expired.
    certified: bool = False  # A stranger whose certificate is good: only its gossip key is another.
    region: str = ""  # Where it stands, if latency goes by regions; empty: where its provider is.


@dataclass(slots=True)
class FaultSpan:
    """A fault of the plan and when it was; `end` is None while it lasts."""

    fault: Fault
    begin: float
    end: float | None


class World:
    """Many nodes and everything between them."""

    def __init__(
        self,
        peers: int | Sequence[PeerSpec] = 5,
        *,
        seed: int = 0,
        weather: Weather | None = None,
        settings: CoreSettings | None = None,
        carrier: str | None = None,  # unlimited, pieces or fluid; else pieces where a line has a limit
        wire: str = "sized",  # sized or real
        seeds: Iterable[int] = (0, 1),
        shuffle: bool = False,
        trace: list[TraceLine] | None = None,
        check: bool = True,
        cluster: str = "simulated",
    ) -> None:
        # Peers by number are alike and take everything; who writes specs says what each takes.
        alike = RuleSettings(want=KINDS)
        if isinstance(peers, int):
            peers = [PeerSpec(f"peer-{i}", rules=alike) for i in range(peers)]
        self.kernel = Kernel(seed, shuffle=shuffle, trace=trace)
        self.fair_weather = weather if weather is not None else Weather()
        limited = any(spec.up or spec.down for spec in peers)
        self.carrier = carrier_of(carrier, self.kernel, limited=limited)
        self.network = Network(self.kernel, self.fair_weather, self.carrier)
        self.links = Links(self.kernel, self.network, self.carrier)
        self.settings = settings if settings is not None else CoreSettings()
        self.authority = Authority(cluster, seed)
        self.nodes: list[Node] = []
        self.specs = list(peers)
        self.publications: dict[int, Publication] = {}
        self.checks = Checks(self.nodes)
        checks = self.checks if check else None
        self._shared = Shared(self.kernel, self.network, self.links, Wire(wire == "real"), cluster, checks)
        self._shared.published = self._published
        self._shared.look = self._look
        self._contents: dict[tuple[int, str, str], tuple[int, Manifest]] = {}
        self._names = 0
        self._ending: dict[int, tuple[Callable[[], None], FaultSpan]] = {}
        self._last_boot: list[int] = []
        self.gone: dict[int, None] = {}  # Machines that no fault brings back.
        self.layers: Layers = {}  # what faults under way say of one thing
        self.fault_log: list[FaultSpan] = []
        self.asked = Asked()
        self.asked.watch(self)
        self.day = 0
        self.disk_uses: dict[int, DiskUse] = {}  # how full a peer's disk looks to it, if it can tell
        for spec in self.specs:
            self._add(spec)
        self._something_expires = any(spec.certificate_life is not None for spec in self.specs)
        self._seeds = tuple(self.nodes[i].home for i in seeds if i < len(self.nodes))

    def _add(self, spec: PeerSpec) -> None:
        index = len(self.nodes)
        address = Address(f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}", 7946)
        assert self.kernel.add_owner() == index
        self.network.add(address, accepts=spec.accepts, udp_blocked=spec.udp_blocked)
        self.carrier.add(spec.up, spec.down)
        node = Node(index, address, self._notary(spec), Disk(spec.disk), self._shared)
        node.dialect = DIALECTS[spec.version]
        if spec.stranger:
            node.stranger = True
            node.keys = [f"{self.authority.cluster} of others"]
        self.links.add(node)
        self.nodes.append(node)
        self._last_boot.append(0)

    def _notary(self, spec: PeerSpec) -> FakeNotary:
        if spec.stranger and not spec.certified:
            return Authority(self.authority.cluster, self.kernel.seed + 1).enroll(spec.name)
        life = spec.certificate_life
        return self.authority.enroll(spec.name, not_after=None if life is None else EPOCH + int(life))

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self.kernel.now

    @property
    def run_hash(self) -> str:
        """A hash over everything that has happened."""
        return self.kernel.run_hash

    # --- life ---------------------------------------------------------------------------------

    def start(self, *peers: int) -> None:
        """Start these peers, or all of them."""
        for index in peers or range(len(self.nodes)):
            self._verb(index, "start")
            self._boot(index)

    def _boot(self, index: int) -> None:
        node = self.nodes[index]
        boot = self._last_boot[index] = max(self._last_boot[index] + 1, node.clock.wall())
        generator = self.kernel.generator("peer", index, boot)
        node.boot(lambda now: self._core(node, self.specs[index], boot, generator, now))
        # Worlds in which nothing expires need no calendar.
        if self._something_expires:
            follow_calendar(node)
        self.links.wake_stalled()

    def _core(self, node: Node, spec: PeerSpec, boot: int, generator: Random, now: float) -> PeerCore:
        return PeerCore(
            cluster=self.authority.cluster,
            notary=node.notary,
            facts=self.facts_of(node.index),
            seeds=self._seeds,
            settings=settings_of(self.settings, spec),
            boot=boot,
            nonce=generator.getrandbits(64).to_bytes(8, "big"),
            restored=replace(node.disk.open(generator), disk=self.disk_uses.get(node.index)),
            rng=generator,
            now=now,
        )

    def facts_of(self, index: int) -> MemberFacts:
        """Return what a peer's configuration says that it tells about itself."""
        spec = self.specs[index]
        return MemberFacts(
            addresses=(self.network.addresses[index],),
            role=spec.role,
            ephemeral=spec.ephemeral,
            provider=spec.provider,
            storage_group=spec.storage_group,
        )

    def crash(self, index: int, *, machine: bool = False) -> None:
        """Kill a process, or the whole machine: then nobody is told, and what was not synced may be lost."""
        self._verb(index, "crash")
        node = self.nodes[index]
        node.halt(Presence.SILENT if machine else Presence.REFUSING)
        # A killed process loses nothing that the kernel has: only a dead machine does.
        node.disk.crash(self.kernel.generator("crash", index, self.now), lose_unsynced=machine)

    def wipe(self, index: int) -> None:
        """Empty a store. If nobody else runs who knows its history, numbers may be given out twice."""
        self._verb(index, "wipe")
        self.nodes[index].disk.wipe()
        self.checks.forgetful[self.nodes[index].name] = None

    def restart(self, index: int) -> None:
        """Start a peer again, if it does not run."""
        if not self.nodes[index].running and index not in self.gone:
            self._verb(index, "restart")
            self._boot(index)

    def leave(self, index: int) -> None:
        """Let a peer say goodbye; a moment later it stops."""
        self._verb(index, "leave")
        node = self.nodes[index]
        if node.core is None:
            return
        node.give(VERB, 0, node.core.leave)

        def stop() -> None:
            node.disk.sync()
            node.halt(Presence.REFUSING)

        boot = self.kernel.boot(index)
        self.kernel.at(self.now + _LAST_WORDS, index, boot, stop)

    def train(self, index: int, training: bool) -> None:
        """Let a peer say that its node trains, or no longer does."""
        self._verb(index, "train")
        node = self.nodes[index]
        if node.core is not None:
            facts = replace(self.facts_of(index), training=training)
            node.give(VERB, 0, node.core.change_facts, facts)

    def move(self, index: int, *, restart: bool = True) -> None:
        """Give a peer's machine a new address; its process is started again there, or goes on."""
        if index in self.gone:
            return
        self._verb(index, "move")
        if restart and self.nodes[index].running:
            self.crash(index)
        self._names += 1
        self.network.move(index, Address(f"10.250.{index & 255}.{self._names & 255}", 7946))
        if restart:
            self._boot(index)

    def _verb(self, index: int, name: str) -> None:
        self.kernel.note(index, VERB, 0, name)

    def limit(self, index: int, up: float | None, down: float | None) -> None:
        """Set a peer's rates in bytes a second; needs the carrier `pieces`."""
        assert isinstance(self.carrier, Pieces), "only the carrier `pieces` changes rates"
        self.carrier.set_rates(index, up, down)

    def counter(self, name: str) -> int:
        """Return the sum of a counter over the peers that run."""
        return sum(node.core.counters.get(name, 0) for node in self.nodes if node.core is not None)

    # --- faults ----------------------------------------------------------------------------------

    def plan(self, faults: Iterable[Fault]) -> None:
        """Let these faults happen, each at its time of the run."""
        for number, fault in enumerate(faults):
            self.kernel.at(fault.at, NOBODY, -1, self._begin, number, fault)

    def _begin(self, number: int, fault: Fault) -> None:
        self.kernel.note(NOBODY, FAULT, number, repr(fault))
        span = FaultSpan(fault, self.now, self.now)
        self.fault_log.append(span)
        end = fault.begin(self)
        if end is not None:
            key = self._new_number()
            span.end = None
            self._ending[key] = (end, span)
            if fault.duration is not None:
                self.kernel.after(fault.duration, self._end, key)

    def _end(self, key: int) -> None:
        ending = self._ending.pop(key, None)
        if ending is not None:
            self.kernel.note(NOBODY, FAULT, -1)
            end, span = ending
            span.end = self.now
            end()

    def stop_faults(self) -> None:
        """End every fault under way."""
        for key in list(self._ending):
            self._end(key)
        self.network.weather = self.fair_weather
        self.network.drop_all_walls()

    def _new_number(self) -> int:
        self._names += 1
        return self._names

    def new_name(self, what: str) -> str:
        """Return a name nobody has in this world."""
        return f"{what}-{self._new_number()}"

    # --- workload ----------------------------------------------------------------------------------

    def publish(
        self,
        index: int,
        kind: str,
        name: str,
        *,
        size: int = 1_000_000,
        chunk_size: int | None = None,
        changed: float = 1.0,
        metadata: Mapping[str, Scalar] | None = None,
        same_as: str | None = None,
    ) -> int:
        """Publish the next version of a file; returns the ticket of its `Publication`.

        Of a file that was published before, a share of `changed` of its chunks is new.
        `same_as`: it is a copy of that file of its own, or else of anybody's, if there is one.
        """
        self._verb(index, "publish")
        node = self.nodes[index]
        assert node.core is not None, f"{node.name} does not run"
        version, before = self._contents.get((index, kind, name), (0, None))
        label = f"{self.kernel.seed}/{kind}/{node.name}/{name}/{version + 1}"
        owners = (index, *range(len(self.nodes)))
        owners = tuple(owner for owner in owners if (owner, kind, same_as) in self._contents)
        if same_as is not None and owners:
            manifest = self._contents[owners[0], kind, same_as][1]
        elif before is None or changed >= 1.0:
            manifest = new_content(label, size, chunk_size or CHUNK_SIZES[kind])
        else:
            manifest = changed_content(before, label, size, changed, self.kernel.generator("changed", label))
        self._contents[index, kind, name] = (version + 1, manifest)
        ticket = self._new_number()
        key = ArtifactKey(kind, node.name, name)
        self.publications[ticket] = Publication(index, key, manifest, self.now, self.kernel.boot(index))
        # Games are snapshots in our own store; models and arrays are used where their author put them.
        of_user = kind != "games"
        path = f"/user/{name}" if of_user else f"replicas/{kind}/{node.name}/{name}"
        node.disk.stage(manifest, path, of_user)
        if of_user:
            self.checks.user_wrote(node, path, manifest.root)
        draft = Draft(
            ticket, kind, name, manifest.size, manifest.chunk_size, manifest.root, dict(metadata or {})
        )
        node.give(VERB, ticket, node.core.publish, draft)
        return ticket

    def withdraw(self, index: int, kind: str, name: str) -> int:
        """Let a peer withdraw a file of its own; returns the ticket."""
        self._verb(index, "withdraw")
        node = self.nodes[index]
        assert node.core is not None, f"{node.name} does not run"
        ticket = self._new_number()
        node.give(VERB, ticket, node.core.withdraw, ticket, ArtifactKey(kind, node.name, name))
        return ticket

    def retire(self, name: str, by: int) -> None:
        """Let the authority retire a name, and hand the order to the peer `by`."""
        self._verb(by, "retire")
        node, order = self.nodes[by], self.authority.retire(name)
        if node.core is not None:
            core = node.core
            node.give(VERB, 0, lambda now: core.order(order.der, now)[1])

    def _look(self, node: Node, record: Record, place: str) -> str:
        """Look at a file on the disk that a node shares with others."""
        name, _, path = place.partition("/")
        group = self.specs[node.index].storage_group
        for other in self.nodes:
            held = other.disk.holdings.get((record.key, record.sequence))
            if other.name == name and held is not None and held.path == path and held.record == record:
                if group is None or self.specs[other.index].storage_group != group:
                    return "it lies on another disk"
                damaged = any(root == record.root for root, _ in other.disk.damaged)
                return "it is damaged" if damaged else ""
        return "nothing is there"

    def _published(self, node: Node, answer: Published | PublishRefused) -> None:
        publication = self.publications.get(answer.ticket)
        if publication is None:
            return
        publication.answered_at = self.now
        if isinstance(answer, Published):
            publication.record = answer.record
        else:
            publication.refused = answer.reason

    # --- time --------------------------------------------------------------------------------------------

    @garbage_seldom_collected()
    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.kernel.run(self.now + seconds)

    def run_until(self, condition: Callable[[], bool], within: float, step: float = 0.1) -> float | None:
        """Let time pass until `condition` holds; return how long it took, None if it did not come true."""
        started = self.now
        while not condition():
            if self.now - started >= within:
                return None
            self.run(step)
        return self.now - started

    def problems(self) -> list[str]:
        """Return what keeps the running peers from having converged (promises L1 and L2)."""
        return problems(self)

    def settle(self, within: float, step: float = 0.25) -> float | None:
        """Stop all faults, wait for convergence; return how long it took, None if it did not come."""
        self.stop_faults()
        took = self.run_until(lambda: not self.problems(), within, step)
        self.checks.user_files_untouched()
        return took
