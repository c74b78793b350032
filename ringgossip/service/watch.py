"""Who keeps an eye on a peer? Listens to its events, counts them, and knows at any moment how it is.

Everything is answered from memory: a monitor that asks a peer under full load
waits for no disk, and no answer walks a catalog of 200,000 records.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping

import trio

from ringgossip.protocol.membership import Member
from ringgossip.runtime.peer import Peer
from ringgossip.runtime.shapes import Health
from ringgossip.service.health import Facts, judge
from ringgossip.service.tally import Tally

_A_MOMENT = 10.0
_LATELY = 900.0  # A seed that refuses is dialled again within this time, whatever its breaker says.
_STATES = ("alive", "suspect", "dead", "left")


class Watch:
    """One peer's watch; `run` it for as long as the peer runs."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.tally = Tally(trio.current_time)
        self._received = 0
        self._moved_at = trio.current_time()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Count events until the peer ends."""
        async with self._peer.listen(opening=True) as events:
            task_status.started()
            async for event in events:
                self.tally.hear(event)

    def health(self) -> Health:
        """Return how this peer is; the message says what to do about it."""
        peer, tally = self._peer, self.tally
        members = peer.members()
        tally.flows(peer.flowing())
        stalled = next(iter(tally.stalled.items()), None)
        listed, here = peer.listed_here
        facts = Facts(
            node=peer.name,
            now=trio.current_time(),
            started=tally.started,
            interval=peer.config.interval_seconds,
            members_alive=sum(member.state == "alive" for member in members),
            members_lost=tuple(member.name for member in members if member.state == "dead"),
            seeds=len(peer.config.seeds),
            artifacts=listed,
            here=here,
            missing=peer.missing,
            moving=self._moving(),
            last_completed=tally.last_completed,
            succeeded=sum(tally.outcomes.values()),
            failed=len(tally.outcomes) - sum(tally.outcomes.values()),
            proven=sum(tally.proofs),
            disproven=len(tally.proofs) - sum(tally.proofs),
            worst_server=max(tally.bad_chunks, key=tally.bad_chunks.__getitem__, default=""),
            stalled=None if stalled is None else (stalled[0], stalled[1].text),
            refused=self._refused(members),
            certificate=self._certificate(),
            keys_refused="" if tally.keys is None else tally.keys.text,
            seed_refused=self._seed_refused(),
            budget=peer.budget_spent(),
            deferred=tally.deferral(),
            held_back=peer.held_back(),
            storage=None if tally.storage is None else (tally.storage.text, tally.storage.at),
            stopped="it was closed" if peer.closed else "",
        )
        judgement = judge(facts)
        details = {
            "members_alive": facts.members_alive,
            "members_lost": list(facts.members_lost),
            "artifacts": facts.artifacts,
            "missing": facts.missing,
            "recent_successes": facts.succeeded,
            "recent_failures": facts.failed,
            "recent_bad": facts.disproven,
            "disk": None if facts.storage is None else facts.storage[0],
        }
        return Health(judgement.healthy, judgement.status, judgement.message, time.time(), details)

    def _certificate(self) -> tuple[str, bool] | None:
        told = self.tally.certificate
        return None if told is None else (told[0], told[1] <= time.time())

    def _seed_refused(self) -> tuple[str, str] | None:
        """Return a seed where a stranger answered, and why he is one: the latest, while it may still hold."""
        now, strangers = trio.current_time(), self.tally.strangers
        found = [
            (told.at, seed, told.text)
            for seed in map(str, self._peer.config.seeds)
            if (told := strangers.get(seed)) is not None and now - told.at < _LATELY
        ]
        return max(found)[1:] if found else None

    def _refused(self, members: Iterable[Member]) -> tuple[str, ...]:
        """Return the kinds that our own card refuses because of the disk."""
        own = next((member.facts for member in members if member.name == self._peer.name), None)
        return () if own is None else tuple(kind for kind, code in own.refuses if code == "disk")

    def _moving(self) -> bool:
        """Tell whether chunks came since somebody last asked, or a moment ago."""
        now, received = trio.current_time(), self._peer.counters.get("chunk_bytes_received", 0)
        if received != self._received:
            self._received, self._moved_at = received, now
        return now - self._moved_at < _A_MOMENT

    # --- for metrics ---------------------------------------------------------------------------

    def gauges(self) -> Mapping[str, tuple[str, float]]:
        """Return name -> (meaning, value) of what goes up and down."""
        peer = self._peer
        states = Counter(member.state for member in peer.members())
        healthy = self.health()
        below, oldest = peer.below_copies()
        breakers = Counter(breaker.state for breaker in peer.breakers())
        return {
            "artifacts_below_copies": ("Artifacts with fewer copies elsewhere than wanted", float(below)),
            "oldest_below_copies_seconds": ("For how long the oldest of them has too few", oldest),
            **{f"members_{state}": (f"Members that are {state}", float(states[state])) for state in _STATES},
            "breakers_open": ("Routes to peers that are not tried for now", float(breakers["open"])),
            "breakers_half_open": ("Routes that may be tried once", float(breakers["half_open"])),
            "healthy": ("1 unless this peer cannot do its work", float(healthy.healthy)),
            "degraded": ("1 if somebody should look at it", float(healthy.status != "healthy")),
            "artifacts": ("Artifacts that are listed", float(healthy.details["artifacts"])),
            "artifacts_missing": ("Artifacts wanted here and not complete", float(peer.missing)),
            "transfer_bytes_per_second": (
                "Rate of all transfers under way",
                sum(transfer.bytes_per_second for transfer in peer.transfers()),
            ),
        }

    def queue(self) -> Mapping[str, int]:
        """Return how many transfers are under way, by kind."""
        return Counter(transfer.artifact.partition("/")[0] for transfer in self._peer.transfers())
