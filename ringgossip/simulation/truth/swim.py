"""How soon does SWIM find out, what does it cost, how fast does news go round? By our own `Membership`.

Detection and load are measured in a made world of members; a crash takes the
whole machine, so that no broken link tells of it. The curve of infection is
derived for members that meet whom they want at any moment; therefore those
meet as contacts do in `contacts`.

Source: Das, Gupta, Motivala 2002, "SWIM: scalable weakly-consistent
infection-style process group membership protocol", sections 3.1, 4.1, 4.3, 5.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil, e, exp, inf
from random import Random
from typing import Any

from ringgossip.events import PeerSuspected
from ringgossip.protocol.core import NEVER
from ringgossip.protocol.peer_core import CoreSettings
from ringgossip.protocol.probing import ProbeSettings
from ringgossip.protocol.settings import GossipSettings, MembershipSettings
from ringgossip.simulation.kernel import derive
from ringgossip.simulation.latency import Constant
from ringgossip.simulation.members import MembersWorld
from ringgossip.simulation.network import Weather
from ringgossip.simulation.truth.contacts import Contacts
from ringgossip.simulation.truth.table import Sample

_PERIOD = 1.0  # seconds
_WARM = 3  # periods before anything is done
_LONGEST = 60.0  # periods to wait for a first detection
_JUST_BEFORE = 0.01

# Pings and acks carry all news; there is no gossip beside them. (What is never due is never told.)
PIGGYBACK = GossipSettings(interval=1e9, fanout=0, forward=False)


def world_of(members: int, seed: str, settings: MembershipSettings) -> MembersWorld:
    """Return members that know each other and have no links, on a network that loses nothing."""
    world = MembersWorld(
        members,
        seed=derive(0, seed),
        settings=CoreSettings(membership=settings),
        weather=Weather(latency=Constant(0.001)),
        seeds=(),
    )
    world.start()
    world.acquaint()
    return world


def _detection(setup: Mapping[str, Any], seed: str) -> dict[str, Sample]:
    """Crash one, and wait for the first who finds it silent: that one asked a period earlier."""
    in_step = bool(setup["in_step"])
    interval = setup.get("interval", _PERIOD)
    probe = ProbeSettings(interval=interval, stagger=0.0 if in_step else 1.0)
    settings = MembershipSettings(probe=probe, gossip=PIGGYBACK, worst_health=0)
    world = world_of(setup["n"], seed, settings)
    world.run(_WARM * interval - _JUST_BEFORE if in_step else _WARM * interval)
    crashed_at = world.now
    world.crash(0, machine=True)
    name = world.nodes[0].name

    def found() -> float:
        return min((when for node in world.nodes for when, event in node.told
                    if isinstance(event, PeerSuspected) and event.name == name), default=inf)  # fmt: skip

    world.run_until(lambda: found() < inf, _LONGEST * interval, 0.5)
    periods = (found() - crashed_at) / _PERIOD - 1
    if in_step:
        return {"periods": float(ceil(periods))}
    return {"periods": periods, "share later than 1 period": float(periods > 1)}


def _load(setup: Mapping[str, Any], seed: str) -> dict[str, Sample]:
    """Count what members say and hear while nothing happens."""
    probe = ProbeSettings(interval=setup.get("interval", _PERIOD))
    world = world_of(setup["n"], seed, MembershipSettings(probe=probe))
    world.run(_WARM * _PERIOD)
    network = world.network

    def counted() -> tuple[int, int]:
        sent = sum(network.packets_sent)
        return sent, sent - sum(network.fate.values())

    before = counted()
    world.run(setup["periods"] * _PERIOD)
    sent, heard = (now - then for now, then in zip(counted(), before))
    whole = setup["n"] * setup["periods"]
    return {"sent": sent / whole, "received": heard / whole}


def _round(setup: Mapping[str, Any], seed: str) -> dict[str, Sample]:
    """Return the longest that one member waited before it asked the same one again."""
    contacts = Contacts(setup["n"], MembershipSettings(), Random(seed))
    last: dict[tuple[int, int], int] = {}
    longest = 0
    for period in range(setup["periods"]):
        for member in range(setup["n"]):
            for target in contacts.probe(member, float(period)):
                longest = max(longest, period - last.get((member, target), period))
                last[member, target] = period
    return {"longest wait": float(longest)}


def _infection(setup: Mapping[str, Any], seed: str) -> dict[str, Sample]:
    """Tell one member, or let it go until so many know; count who knows at some moments after that."""
    rng = Random(seed)
    count = setup["n"]
    settings = MembershipSettings(gossip=replace(PIGGYBACK, retransmit=setup["told"]), worst_health=0)
    contacts = Contacts(count, settings, rng)
    contacts.infect(0)
    moments = list(setup["moments"])
    began = 0.0 if setup["first"] == 1 else NEVER
    now = 0.0
    found: dict[str, Sample] = {}
    while moments:
        # All members together ask `count` times in a period, each at any moment as likely.
        now += contacts.wait() / count
        while moments and now >= began + moments[0]:
            found[_moment(moments.pop(0))] = float(contacts.infected)
        contacts.probe(int(rng.random() * count), now)
        if began == NEVER and contacts.infected >= setup["first"]:
            began = now
    return found


def _moment(periods: float) -> str:
    return f"know after {periods:g}"


_MEASURES: dict[str, Callable[[Mapping[str, Any], str], dict[str, Sample]]] = {
    "detection": _detection,
    "load": _load,
    "round": _round,
    "infection": _infection,
}


def run(setup: Mapping[str, Any], seed: str) -> dict[str, Sample]:
    """Run one experiment once."""
    return _MEASURES[setup["measure"]](setup, seed)


def theory(setup: Mapping[str, Any], means: Mapping[str, float]) -> dict[str, float]:
    """Return what the paper's formulas say."""
    count = setup["n"]
    if setup["measure"] == "detection":
        if setup["in_step"]:
            return {"periods": 1 / (1 - (1 - 1 / (count - 1)) ** (count - 1))}
        return {"periods": 1.0, "share later than 1 period": 1 / e}
    if setup["measure"] == "infection":
        scale = count / setup["first"] - 1
        return {
            _moment(moment): count / (1 + scale * exp(-(2 - 1 / count) * moment))
            for moment in setup["moments"]
        }
    return {"longest wait": 2.0 * (count - 1) - 1} if setup["measure"] == "round" else {}
