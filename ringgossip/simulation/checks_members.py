"""Are views of members what they should be? No resurrection, no step back, no stranger, no false death.

Beliefs are looked at when an event tells that one changed, and all of them once
in a while. `tests/simulation/test_checks_members.py` gives broken histories.
"""

from typing import TYPE_CHECKING, Any

from ringgossip.events import (
    ArtifactAnnounced,
    PeerJoined,
    PeerLeft,
    PeerLost,
    PeerRecovered,
    PeerRestarted,
    PeerSuspected,
    StrangerRefused,
)
from ringgossip.simulation.checks import Checks

if TYPE_CHECKING:
    from ringgossip.protocol.membership import Member
    from ringgossip.simulation.node import Node
    from ringgossip.simulation.world import World

_TOLD_A_MINUTE = 300  # words about strangers that a peer may say: `Troubles` allows 256 subjects


class MemberChecks:
    """Looks at what peers believe of each other."""

    def __init__(self, world: "World", checks: Checks, *, no_false_death: bool = False) -> None:
        self._world = world
        self._checks = checks
        self._no_false_death = no_false_death
        # (observer, its boot, member) -> the life and incarnation in which it was when it fell
        self._fallen: dict[tuple[int, int, str], tuple[int, int]] = {}
        # (observer, its boot) -> what it believes of each: a million beliefs, of a thousand members.
        self._seen: dict[tuple[int, int], dict[str, tuple[int, int]]] = {}
        self._beliefs: dict[tuple[int, int], tuple[int, int]] = {}  # each pair of numbers once
        self._looked_at: dict[int, tuple[Member, ...]] = {}
        self._complaints: dict[tuple[int, int], int] = {}  # (observer, minute) -> words about strangers
        # Suspicions that began while a wall stood between the two: what becomes of them is the wall's doing.
        self._behind_walls: dict[tuple[int, int, str], None] = {}
        self.suspicions = self.false_suspicions = self.false_deaths = self.deaths_across_walls = 0
        self.false_alarms: dict[tuple[float, int, str], None] = {}  # when, observer, member
        for kind in (PeerLost, PeerLeft):
            checks.watch_event(kind, self.fell)
        for kind_of_rise in (PeerJoined, PeerRecovered, PeerRestarted):
            checks.watch_event(kind_of_rise, self.rose)
        checks.watch_event(PeerSuspected, self.suspected)
        checks.watch_event(StrangerRefused, self.complained)
        checks.watch_event(ArtifactAnnounced, self.announced)

    def _belief(self, node: "Node", name: str) -> tuple[int, int] | None:
        core = node.core
        peer = core.membership.peer_named(name) if core is not None else None
        member = core.membership.member(peer) if core is not None and peer is not None else None
        return None if member is None else (member.boot, member.incarnation)

    def _key(self, node: "Node", name: str) -> tuple[int, int, str]:
        return (node.index, node.kernel.boot(node.index), name)

    # --- falling and rising -----------------------------------------------------------------

    def fell(self, node: "Node", event: Any) -> None:
        """Somebody is gone, in this peer's eyes."""
        belief = self._belief(node, event.name)
        if belief is not None:
            self._fallen[self._key(node, event.name)] = belief
        walled = self._behind_walls.pop(self._key(node, event.name), self) is None
        if not isinstance(event, PeerLost) or not self._runs(event.name):
            return
        if walled or not self._lives_near(node, event.name):
            self.deaths_across_walls += 1
        else:
            self.false_deaths += 1
            self.false_alarms[node.kernel.now, node.index, event.name] = None
            if self._no_false_death:
                self._checks.fail("no_false_death", node, f"declares {event.name} dead, which runs")

    def rose(self, node: "Node", event: Any) -> None:
        """Somebody is there, in this peer's eyes: in a later life than it fell, or a higher incarnation."""
        subject = self._checks.node_named(event.name)
        if subject.stranger != node.stranger:
            self._checks.fail("S7", node, f"counts the stranger {event.name} among its members")
        self._behind_walls.pop(self._key(node, event.name), None)
        fallen = self._fallen.pop(self._key(node, event.name), None)
        belief = self._belief(node, event.name)
        if fallen is not None and belief is not None and belief <= fallen:
            text = f"{event.name} fell with boot and incarnation {fallen} and is back with {belief}"
            self._checks.fail("no_resurrection", node, text)

    def suspected(self, node: "Node", event: PeerSuspected) -> None:
        """Somebody is suspected, by this peer."""
        self.suspicions += 1
        if self._lives_near(node, event.name):
            self.false_suspicions += 1
            self.false_alarms[node.kernel.now, node.index, event.name] = None
        elif self._runs(event.name):
            self._behind_walls[self._key(node, event.name)] = None

    def _runs(self, name: str) -> bool:
        other = self._checks.node_named(name)
        return other.running and not other.paused

    def _lives_near(self, node: "Node", name: str) -> bool:
        """Tell whether a question and its answer pass between the two."""
        other = self._checks.node_named(name).index
        return node.shared.network.reachable(node.index, other) and self._runs(name)

    # --- strangers ------------------------------------------------------------------------------

    def announced(self, node: "Node", event: ArtifactAnnounced) -> None:
        """S7: strangers hear no name of ours, and we hear none of theirs."""
        origin = event.artifact.split("/")[1]
        if self._checks.node_named(origin).stranger != node.stranger:
            self._checks.fail("S7", node, f"has heard of {event.artifact}")

    def complained(self, node: "Node", event: StrangerRefused) -> None:
        """S7: strangers may not make us speak without end."""
        key = (node.index, int(node.kernel.now // 60))
        self._complaints[key] = self._complaints.get(key, 0) + 1
        if self._complaints[key] > _TOLD_A_MINUTE:
            self._checks.fail("S7", node, f"told of strangers {self._complaints[key]} times in a minute")

    # --- once in a while --------------------------------------------------------------------------

    def look(self) -> None:
        """Look at every belief of everybody who runs."""
        for node in self._world.nodes:
            if node.core is None:
                continue
            boot, members = node.kernel.boot(node.index), node.core.members()
            if self._looked_at.get(node.index) is members:
                continue  # the very views of last time
            self._looked_at[node.index] = members
            for member in members:
                self.believes(node, boot, member.name, (member.boot, member.incarnation))
                if self._checks.node_named(member.name).stranger != node.stranger:
                    self._checks.fail("S7", node, f"counts the stranger {member.name} among its members")

    def believes(self, node: "Node", boot: int, name: str, belief: tuple[int, int]) -> None:
        """What is believed of a member never goes back while its observer runs."""
        seen = self._seen.setdefault((node.index, boot), {})
        before = seen.get(name)
        if before is not None and belief < before:
            text = f"believed {name} to be at boot and incarnation {before}, now at {belief}"
            self._checks.fail("monotone_incarnations", node, text)
        if before != belief:
            seen[name] = self._beliefs.setdefault(belief, belief)
