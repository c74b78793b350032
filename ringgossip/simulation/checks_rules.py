"""Do the rules of who gets what hold? Promises S4 and S5, as somebody who knows only the story would judge.

The rules are written down here a second time, from the reference and the field
notes, without a line of `strategy`: a peer that sets space aside for what a
rule refuses it is caught, and one that sends or receives more than its
configuration allows.
"""

from collections import deque
from typing import TYPE_CHECKING, Any

from ringgossip.protocol.core import AcceptBody, Reserve, SendChunk
from ringgossip.simulation.checks import Checks

if TYPE_CHECKING:
    from ringgossip.simulation.node import Node
    from ringgossip.simulation.world import PeerSpec, World

WINDOW = 10.0  # seconds over which a rate is looked at
_LEEWAY = 1.05
# A debt is allowed: what was granted at once before the bucket was empty.
_BURST = 3 * 2**20
# A peer may be busy when its user changes something.
_NOTICED = 2.0


def refusal_of(spec: "PeerSpec", kind: str) -> str:
    """Return which rule, the disk aside, forbids a peer to receive this kind; empty: none does."""
    rules = spec.rules
    if spec.role == "coordinator" and kind not in (rules.receive or rules.want or ()):
        return "it is a coordinator"
    if rules.receive is not None and kind not in rules.receive:
        return "its `receive:` does not name them"
    if any(node == spec.name and kind in kinds for node, kinds in rules.exclude):
        return "it is excluded from them"
    return "" if rules.state == "ready" else f"it is {rules.state}"


def target_problems(world: "World") -> list[str]:
    """Everything has its copies, at so many places as may hold one at all. Full disks count as roomy."""
    specs, found = world.specs, []

    def place(index: int) -> object:
        group = specs[index].storage_group
        return index if group is None else group

    there = [node for node in world.nodes if node.core is not None and not node.stranger]
    for node in there:
        core = node.core
        assert core is not None
        for record in core.catalog.listed():
            if record.origin != node.name or not node.disk.holds(record.key, record.sequence):
                continue
            elsewhere = [other for other in there if place(other.index) != place(node.index)]
            may = {place(one.index) for one in elsewhere if not refusal_of(specs[one.index], record.kind)}
            have = {place(one.index) for one in elsewhere if one.disk.holds(record.key, record.sequence)}
            wanted = min(specs[node.index].rules.copies_of(record.kind), len(may))
            if len(have) < wanted:
                found.append(f"target: {record.key.text} is at {len(have)} other places, not at {wanted}")
    return found


class RuleChecks:
    """Looks at what a peer is about to receive, and at how much it sends and receives."""

    def __init__(self, world: "World", checks: Checks) -> None:
        self._world = world
        self._checks = checks
        self._stopped: dict[int, bool] = {}  # peers that take no games and npz; a restart changes nothing
        self._seen: dict[int, tuple[Any, float]] = {}  # what was last seen of a peer's rules, and since when
        self._moved: dict[tuple[int, str], deque[tuple[float, int]]] = {}
        self._sent: dict[tuple[int, int], int] = {}  # peer and day -> bytes
        checks.watch(Reserve, self._reserves)
        checks.watch(SendChunk, self._sends)
        checks.watch(AcceptBody, self._accepts)

    def refusal(self, index: int, kind: str) -> str:
        """Return which rule forbids a peer to receive this kind; empty: none does."""
        return refusal_of(self._world.specs[index], kind) or self._disk_refusal(index, kind)

    def _disk_refusal(self, index: int, kind: str) -> str:
        use, rules = self._world.disk_uses.get(index), self._world.specs[index].rules.disk
        if use is None:
            return ""
        used = use.used / (use.used + use.free)
        if used > rules.stop_percent / 100 and use.free < rules.min_free_bytes:
            self._stopped[index] = True
        elif used <= rules.resume_percent / 100 or use.free >= 2 * rules.min_free_bytes:
            self._stopped[index] = False
        if use.free < rules.floor_bytes or (kind != "models" and self._stopped.get(index)):
            return "its disk is too full"
        return ""

    def look(self) -> None:
        """Note which rules hold for everybody, and since when."""
        for index, spec in enumerate(self._world.specs):
            said = (spec.role, spec.rules, self._world.disk_uses.get(index))
            if index not in self._seen or self._seen[index][0] != said:
                self._seen[index] = (said, self._world.now)
                for what in ("sends", "receives"):
                    self._moved.pop((index, what), None)
                self._disk_refusal(index, "games")

    def _is_settled(self, node: "Node") -> bool:
        self.look()
        return self._world.now >= self._seen[node.index][1] + _NOTICED or not self._seen[node.index][1]

    def _reserves(self, node: "Node", effect: Reserve) -> None:
        why = self.refusal(node.index, effect.record.kind)
        # A paused process cannot know better; what it decided before still comes out of it.
        if why and self._is_settled(node) and not node.service:
            self._checks.fail("S4", node, f"is about to receive {effect.record.key.text}, though {why}")

    def _sends(self, node: "Node", effect: SendChunk) -> None:
        rules = self._world.specs[node.index].rules
        self._count(node, "sends", rules.bandwidth.send_bytes_per_second, effect.length)
        most = rules.budget.send_bytes_per_day
        if most is not None:
            day = (node.index, self._world.day)
            spent = self._sent[day] = self._sent.get(day, 0) + effect.length
            if spent > most + _BURST:
                self._checks.fail("S5", node, f"sends {spent} bytes in a day, {most} are its budget")

    def _accepts(self, node: "Node", effect: AcceptBody) -> None:
        rules = self._world.specs[node.index].rules
        self._count(node, "receives", rules.bandwidth.receive_bytes_per_second, effect.length)

    def _count(self, node: "Node", what: str, limit: float | None, length: int) -> None:
        if limit is None:
            return
        now, moved = self._world.now, self._moved.setdefault((node.index, what), deque())
        moved.append((now, length))
        while moved[0][0] < now - WINDOW:
            moved.popleft()
        total = sum(amount for _, amount in moved)
        if total > limit * WINDOW * _LEEWAY + _BURST and self._is_settled(node):
            rate = total / WINDOW
            self._checks.fail("S5", node, f"{what} {rate:.0f} bytes a second, {limit:.0f} is its limit")
