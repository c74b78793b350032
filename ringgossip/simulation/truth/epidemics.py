"""How far, how dear and how fast does a rumor go? Sites in synchronous cycles, each a production `Rumors`.

In a cycle every site that has something to do calls one other, drawn uniformly.
Whether the called one knew is judged on the state at the start of the cycle, so
all who reach it first in one cycle were useful; what is learned in a cycle is
told from the next one on.

Source: Demers et al. 1987, "Epidemic algorithms for replicated database
maintenance", sections 1.3 (simple epidemics) and 1.4 (tables 1 to 3).
"""

from collections.abc import Mapping
from math import exp, log, log2
from random import Random
from typing import Any

from ringgossip.content.record import Record, make_record
from ringgossip.identity import PeerId
from ringgossip.protocol.core import LinkId, Send
from ringgossip.protocol.rumors import Rumors, RumorSettings
from ringgossip.simulation.notary import Authority
from ringgossip.wire.messages import News

Sample = float | list[float]

_FOREVER = 2**31
_LINK = LinkId(1)
_CYCLE = 1.0
_MOST_CYCLES = 2000


def _news() -> Record:
    notary = Authority("truth").enroll("origin")
    return make_record(
        kind="games", origin="origin", name="news", sequence=1, stamp=1, store=bytes(8), size=1,
        chunk_size=65536, root=bytes(32), metadata={}, signer=notary.certificate.peer_id, cluster="truth",
        sign=notary.sign,
    )  # fmt: skip


def _peers(count: int) -> list[PeerId]:
    return [PeerId(number.to_bytes(16, "big")) for number in range(count)]


class Sites:
    """One update among `count` sites, of which the first knows it."""

    def __init__(self, count: int, settings: RumorSettings, pulls: bool, rng: Random) -> None:
        self.count = count
        self.sent = 0  # copies of the update, in all
        self.cycle = 0
        self.last_arrival = 0
        self._pulls = pulls
        self._rng = rng
        self._settings = settings
        self._record = _news()
        self._hash = self._record.hash[:8]
        self._peers = _peers(count)
        self._number = {peer: number for number, peer in enumerate(self._peers)}
        self._machines: dict[int, Rumors] = {}
        self._active: dict[int, Rumors] = {}
        self._callers: list[int] = []  # the active, and some who no longer are: for `step_alone`
        self._learn(0)

    @property
    def known(self) -> int:
        """How many sites have the update."""
        return len(self._machines)

    @property
    def active(self) -> int:
        """How many sites still tell it."""
        return len(self._active)

    def _another(self, site: int) -> int:
        other = int(self._rng.random() * (self.count - 1))
        return other + (other >= site)

    def _learn(self, site: int) -> None:
        machine = Rumors(
            self._settings,
            self._rng,
            lambda count: [self._peers[self._another(site)] for _ in range(count)],
            lambda peer: True,
        )
        self._machines[site] = self._active[site] = machine
        self._callers.append(site)
        machine.tell(self._record, self.cycle * _CYCLE)

    def step(self) -> None:
        """Let one cycle pass."""
        self.cycle += 1
        now = self.cycle * _CYCLE
        calls: list[tuple[int, int]] = []  # who tells, who is told
        for site, machine in list(self._active.items()):
            for effect in machine.wake(now):
                if isinstance(effect, Send) and isinstance(effect.message, News):
                    assert isinstance(effect.to, bytes)
                    calls.append((site, self._number[PeerId(effect.to)]))
            if not machine.hot():
                del self._active[site]
        if self._pulls:
            for site in range(self.count):
                source = self._another(site)
                giver = self._active.get(source)
                if giver is not None and giver.give(self._peers[site], now):
                    calls.append((source, site))
        self.sent += len(calls)
        learned = [site for source, site in calls if not self._knew(source, site, now)]
        for site in dict.fromkeys(learned):
            self._learn(site)
        if learned:
            self.last_arrival = self.cycle

    def _knew(self, source: int, site: int, now: float) -> bool:
        """Let a site hear the update from another; tell whether it knew, which the other hears too."""
        recipient = self._machines.get(site)
        if recipient is None:
            return False
        teller = self._machines[source]
        for answer in recipient.heard([self._hash], self._peers[source], _LINK):
            assert isinstance(answer, Send)
            teller.receive(answer.message, self._peers[site], _LINK, now)
            if not teller.hot():
                self._active.pop(source, None)
        return True

    def step_alone(self) -> None:
        """Let one active site, drawn at random, call another; what it learns counts at once."""
        callers = self._callers
        while True:
            place = int(self._rng.random() * len(callers))
            site = callers[place]
            machine = self._active.get(site)
            if machine is not None:
                break
            callers[place] = callers[-1]
            callers.pop()
        self.cycle += 1
        for effect in machine.wake(self.cycle * _CYCLE):
            assert isinstance(effect, Send) and isinstance(effect.to, bytes)
            target = self._number[PeerId(effect.to)]
            self.sent += 1
            if not self._knew(site, target, self.cycle * _CYCLE):
                self._learn(target)


def _settings(setup: Mapping[str, Any]) -> RumorSettings:
    """Return the machine's settings: told once a cycle, by `wake` or when asked, and nothing on arrival."""
    simple = setup["epidemic"] == "simple"
    feedback = bool(setup.get("feedback", False))
    return RumorSettings(
        fanout=1 if "push" in setup["style"] else 0,
        interval=_CYCLE / 2,  # due in every cycle, whatever its jitter
        lose_interest=_FOREVER if simple else int(setup["k"]),
        coin=bool(setup.get("coin", False)),
        feedback=feedback,
        once=False,
        by_round=feedback and not setup.get("alone", False),
        most_rounds=_FOREVER,
        burst=0,
        wide=0,
    )


def run(setup: Mapping[str, Any], seed: str) -> dict[str, Sample]:
    """Run one epidemic to its end; return residue, traffic and t_last, or the cycles until all know."""
    style = setup["style"]
    sites = Sites(setup["n"], _settings(setup), "pull" in style, Random(seed))
    if setup["epidemic"] == "simple":
        while sites.known < sites.count and sites.cycle < _MOST_CYCLES:
            sites.step()
        return {"cycles": float(sites.cycle)}
    alone = setup.get("alone", False)
    while sites.active and sites.cycle < _MOST_CYCLES * (sites.count if alone else 1):
        if alone:
            sites.step_alone()
        else:
            sites.step()
    return {
        "residue": 1 - sites.known / sites.count,
        "traffic": sites.sent / sites.count,
        "t_last": float(sites.last_arrival),
    }


def theory(setup: Mapping[str, Any], means: Mapping[str, float]) -> dict[str, float]:
    """Return what formulas say: of the setup, or of the residue that belongs to the traffic measured."""
    if setup["epidemic"] == "simple":
        # Pittel 1987 for push; for the others only the order of magnitude is known.
        return {"cycles": log2(setup["n"]) + log(setup["n"])} if setup["style"] == "push" else {}
    if setup.get("alone"):
        share = 0.5
        for _ in range(200):
            share = exp(-(setup["k"] + 1) * (1 - share))
        return {"residue": share}
    return {"residue": exp(-means["traffic"])} if setup["style"] == "push" else {}
