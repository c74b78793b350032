"""What came of it, in names? Who is gone, what is lost, and what has fewer copies than are wanted.

For whoever asks "what happens to my cluster if ...?": promises say that it
broke, this says what. Looks at a world when its run is over.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ringgossip.content.record import Record
from ringgossip.simulation.checks_rules import refusal_of
from ringgossip.simulation.measures import copy_times
from ringgossip.simulation.recording import History

if TYPE_CHECKING:
    from ringgossip.simulation.node import Node
    from ringgossip.simulation.world import World


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is left at the end. Each of `lost` and `short` is an artifact and what about it."""

    gone: tuple[str, ...]  # members that do not run
    lost: dict[str, str]  # its newest version is nowhere among those that run
    short: dict[str, str]  # fewer copies than are wanted
    whole: int  # artifacts with all the copies that are wanted
    full: tuple[str, ...] = ()  # members that take less than they would, because their disk is too full
    slowest: str = ""  # the copy that took longest

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        said: dict[str, Any] = {"gone": list(self.gone), "lost": self.lost, "short": self.short}
        return said | {"whole": self.whole, "full": list(self.full), "slowest": self.slowest}


def outcome(world: "World", history: History) -> Outcome:
    """Look at everything that was published, newest versions only."""
    members = {node.name: node for node in world.nodes if not node.stranger}
    there = [node for node in members.values() if node.running]
    newest: dict[str, Record] = {}
    for publication in world.publications.values():
        record = publication.record
        if record is not None and record.origin in members:
            before = newest.get(record.key.text)
            if before is None or before.sequence < record.sequence:
                newest[record.key.text] = record
    lost: dict[str, str] = {}
    short: dict[str, str] = {}
    withdrawn = {
        record.key.text
        for node in there
        if node.core is not None
        for record in node.core.catalog.records()
        if record.withdrawn
    }
    for name, record in newest.items():
        if name in withdrawn:
            continue
        holders = _holders(there, record)
        if not holders:
            lost[name] = _lost(there, record)
            continue
        wanted, have = _copies(world, there, members[record.origin], record, holders)
        if have < wanted:
            names = _some([node.name for node in holders])
            short[name] = f"version {record.sequence} has {have} of {wanted} copies; it is at {names}"
    gone = tuple(node.name for node in members.values() if not node.running)
    whole = len(newest) - len(lost) - len(short) - len(withdrawn & set(newest))
    full = tuple(node.name for node in there if _is_full(node, list(newest.values())))
    return Outcome(gone, lost, short, whole, full, _slowest(world, history))


def _is_full(node: "Node", records: list[Record]) -> bool:
    core = node.core
    return core is not None and any(
        getattr(core.rules.wanting(record), "code", "") == "disk" for record in records
    )


def _slowest(world: "World", history: History) -> str:
    took = [
        (seconds, ticket, peer)
        for ticket, copies in copy_times(world, history).items()
        for peer, seconds in copies
    ]
    if not took:
        return ""
    seconds, ticket, peer = max(took)
    publication = world.publications[ticket]
    name, at = publication.key.text, publication.asked_at
    return f"{name}, published at {at:.0f} s, reached {world.nodes[peer].name} after {seconds:.1f} s"


def _holders(there: "list[Node]", record: Record) -> "list[Node]":
    return [
        node
        for node in there
        if any(key == record.key and number >= record.sequence for key, number in node.disk.holdings)
    ]


def _lost(there: "list[Node]", record: Record) -> str:
    older = [number for node in there for key, number in node.disk.holdings if key == record.key]
    text = f"version {record.sequence} of {record.origin} is gone with who had it"
    if older:
        holders = [node.name for node in there if node.disk.holds(record.key, max(older))]
        text += f"; version {max(older)} is at {_some(holders)}"
    return text


def _copies(
    world: "World", there: "list[Node]", origin: "Node", record: Record, holders: "list[Node]"
) -> tuple[int, int]:
    """Return how many copies beside the origin's can be wanted, and are there; a shared disk has one."""
    specs = world.specs

    def place(node: "Node") -> object:
        group = specs[node.index].storage_group
        return node.index if group is None else group

    here = place(origin)
    may = {place(node) for node in there if not refusal_of(specs[node.index], record.kind)} - {here}
    have = {place(node) for node in holders} - {here}
    return min(specs[origin.index].rules.copies_of(record.kind), len(may | have)), len(have)


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
