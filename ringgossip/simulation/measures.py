"""What is a run worth in numbers? Times to copy, traffic, false alarms, and the bound no system can beat."""

from collections.abc import Sequence
from math import fsum
from typing import TYPE_CHECKING

from ringgossip.simulation.recording import History
from ringgossip.simulation.users import measured

if TYPE_CHECKING:
    from ringgossip.simulation.checks_members import MemberChecks
    from ringgossip.simulation.world import Publication, World


def fluid_bound(
    size: float, source: float | None, ups: Sequence[float | None], downs: Sequence[float | None]
) -> float:
    """Return the least time in which `size` bytes can reach all of some peers; infinite rates are None.

    `ups` are the uplinks of the receivers, `source` the uplink of who has the file.
    Source: Kumar and Ross 2006, "Peer-assisted file distribution: the minimum distribution time".
    """
    if not downs:
        return 0.0
    least = 0.0 if source is None else size / source
    slowest = [down for down in downs if down is not None]
    if slowest:
        least = max(least, size / min(slowest))
    if source is not None and all(up is not None for up in ups):
        together = source + fsum(up for up in ups if up is not None)
        least = max(least, len(downs) * size / together)
    return least


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of sorted `values` lies."""
    return values[min(len(values) - 1, int(share * len(values)))]


def copy_times(world: "World", history: History) -> dict[int, list[tuple[int, float]]]:
    """Return for each publication (its ticket) who had a copy of it or a later one after how many seconds."""
    found: dict[int, list[tuple[int, float]]] = {}
    by_artifact: dict[str, list[tuple[float, int, int]]] = {}
    for copy in history.copies:
        by_artifact.setdefault(copy.artifact, []).append((copy.at, copy.peer, copy.sequence))
    for ticket, publication in world.publications.items():
        if publication.record is None:
            continue
        first: dict[int, float] = {}
        for at, peer, sequence in by_artifact.get(publication.key.text, ()):
            if sequence >= publication.record.sequence and peer != publication.peer:
                first.setdefault(peer, at - publication.asked_at)
        found[ticket] = list(first.items())
    return found


def measure(
    world: "World", history: History, members: "MemberChecks", took: dict[str, float]
) -> dict[str, float]:
    """Return everything `promises.MEASURES` names that this run has."""
    times = copy_times(world, history)
    asked = measured(world, times)
    seconds = sorted(taken for copies in times.values() for _, taken in copies)
    chunk_bytes = sum(history.flows.values())
    origins = {(publication.peer, publication.key.text) for publication in world.publications.values()}
    useful = sum(copy.size for copy in history.copies if (copy.peer, copy.artifact) not in origins)
    packets, virtual = sum(world.network.packets_sent), max(world.now, 1e-9)
    found: dict[str, float] = {
        "events": world.kernel.events,
        "virtual_seconds": world.now,
        "chunk_bytes": chunk_bytes,
        "useful_bytes": useful,
        "datagram_bytes": sum(world.network.bytes_sent),
        "datagrams_per_peer_second": packets / virtual / len(world.nodes),
        "suspicions": members.suspicions,
        "false_suspicions": members.false_suspicions,
        "false_deaths": members.false_deaths,
        "deaths_across_walls": members.deaths_across_walls,
        "copies": len(seconds),
        "copies_lost_with_machines": _lost(world),
        **asked,
    }
    if "L1" in took and "L2" in took:
        found["settle_seconds"] = max(took["L1"], took["L2"])
    if useful:
        found["overhead"] = max(0.0, chunk_bytes / useful - 1.0)
    if seconds:
        found["copy_seconds_median"] = percentile(seconds, 0.5)
        found["copy_seconds_90"] = percentile(seconds, 0.9)
        found["copy_seconds_last"] = seconds[-1]
    ratios = [
        ratio
        for ticket, copies in times.items()
        if (ratio := _ratio(world, world.publications[ticket], copies)) is not None
    ]
    if ratios:
        found["bound_ratio"] = max(ratios)
    return {name: round(value, 6) for name, value in found.items()}


def _ratio(world: "World", publication: "Publication", copies: list[tuple[int, float]]) -> float | None:
    if not copies:
        return None
    specs = world.specs
    bound = fluid_bound(
        publication.manifest.size,
        specs[publication.peer].up,
        [specs[peer].up for peer, _ in copies],
        [specs[peer].down for peer, _ in copies],
    )
    return max(taken for _, taken in copies) / bound if bound > 0.01 else None


def _lost(world: "World") -> int:
    """Return how many publications are gone with the machines that held them: newest versions only."""
    newest: dict[str, int] = {}
    for publication in world.publications.values():
        if publication.record is not None:
            text = publication.key.text
            newest[text] = max(newest.get(text, 0), publication.record.sequence)
    there = [node for node in world.nodes if node.index not in world.gone]
    return sum(
        not any(node.disk.holds(publication.key, newest[publication.key.text]) for node in there)
        for publication in world.publications.values()
        if publication.record is not None and publication.record.sequence == newest[publication.key.text]
    )
