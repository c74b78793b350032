"""Is this peer well, and if not, what should be done at three in the morning? A pure function of a few facts.

`healthy` means: leave it running. A degraded peer is healthy; only one that
cannot do its work at all is not. The message names the worst thing first, and
what to do about it. Source: field notes, section 1, health.
"""

from dataclasses import dataclass

from ringgossip.strategy.bandwidth import SPENT

HEALTHY = "healthy"
DEGRADED = "degraded"
UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a peer, all of it in memory; times in seconds."""

    node: str
    now: float
    started: float
    interval: float
    members_alive: int  # ourselves included
    members_lost: tuple[str, ...]
    seeds: int
    artifacts: int  # that are listed
    here: int  # of these, readable here in their newest version
    missing: int  # wanted, and not complete here
    moving: bool  # chunks are coming in
    last_completed: float | None
    succeeded: int  # of the artifacts pulled last
    failed: int
    proven: int
    disproven: int
    worst_server: str  # who served most bad chunks; empty: nobody
    stalled: tuple[str, str] | None  # an artifact, and why
    held_back: tuple[str, str] | None  # an artifact that nobody may be asked for, and why and what to do
    storage: tuple[str, float] | None  # what the disk did, and when
    refused: tuple[str, ...]  # kinds that the disk's rules keep out
    certificate: tuple[str, bool] | None  # what is wrong with ours and what to do, and whether it has ended
    keys_refused: str  # a member that accepts none of our gossip keys; empty: nobody said so
    seed_refused: tuple[str, str] | None  # a seed where no member of our cluster answered lately, and why not
    budget: str  # until when our byte budget lets nothing leave; empty: it does
    deferred: tuple[str, float] | None  # a snapshot that is put off, why, and since when
    stopped: str  # why the peer ended; empty: it runs


@dataclass(frozen=True, slots=True)
class Judgement:
    """`status` is healthy, degraded or unhealthy; `message` is one line."""

    status: str
    message: str

    @property
    def healthy(self) -> bool:
        return self.status != UNHEALTHY


def judge(facts: Facts) -> Judgement:
    """Return what the worst of these facts means."""
    # A full disk is told once at each attempt; silence for three intervals means that it took what came.
    patience = 3 * facts.interval
    if facts.stopped:
        return Judgement(UNHEALTHY, f"stopped: {facts.stopped}")
    if facts.certificate is not None and facts.certificate[1]:
        return Judgement(UNHEALTHY, facts.certificate[0])
    if facts.keys_refused and facts.members_alive <= 1:
        return Judgement(
            UNHEALTHY,
            f"no member accepts our gossip key ({facts.keys_refused} said so): copy gossip.keys from the "
            "credentials of a node that is well to ours, and restart this peer",
        )
    if facts.storage is not None and facts.now - facts.storage[1] <= patience:
        state = UNHEALTHY if facts.missing and not facts.moving else DEGRADED
        return Judgement(state, f"the disk: {facts.storage[0]}")
    if facts.disproven > 0.1 * (facts.proven + facts.disproven):
        served = f", most of them from {facts.worst_server}: check its disk" if facts.worst_server else ""
        return Judgement(
            DEGRADED,
            f"{facts.disproven} of the last {facts.proven + facts.disproven} verifications failed{served}",
        )
    if facts.held_back:
        artifact, why = facts.held_back
        return Judgement(DEGRADED, f"{artifact} does not come: {why}")
    quiet = facts.now - (facts.started if facts.last_completed is None else facts.last_completed)
    if facts.missing and not facts.moving and quiet > patience:
        why = f"{facts.stalled[0]}: {facts.stalled[1]}" if facts.stalled else "nobody reachable serves them"
        remedy = "bring a holder back: `ringgossip artifacts` names them"
        if facts.stalled and SPENT in facts.stalled[1]:
            remedy = "wait, or raise `budget:` there and send SIGHUP"
        return Judgement(
            DEGRADED,
            f"nothing arrived for {quiet:.0f} s while {_things(facts.missing)} missing ({why}); {remedy}",
        )
    if facts.failed > facts.succeeded / 2 and facts.missing:
        why = f"; {facts.stalled[0]}: {facts.stalled[1]}" if facts.stalled else ""
        return Judgement(
            DEGRADED, f"{facts.failed} of the last {facts.succeeded + facts.failed} transfers failed{why}"
        )
    return _alone(facts, patience) or _unhurried(facts, patience) or Judgement(HEALTHY, _good(facts))


def _alone(facts: Facts, patience: float) -> Judgement | None:
    if facts.members_alive > 1 or facts.now - facts.started <= min(patience, 30.0):
        return None
    if facts.seed_refused is not None:
        seed, why = facts.seed_refused
        return Judgement(
            DEGRADED,
            f"alone: the seed {seed} and this peer refuse each other: {why}; check our credentials, `seeds:` "
            "and this machine's clock",
        )
    if facts.seeds == 1:
        who = "the seed does not answer; check that it runs, and that its"
    elif facts.seeds:
        who = f"none of {facts.seeds} seeds answers; check that they run, and that their"
    elif facts.members_lost:
        who = f"none of {len(facts.members_lost)} members answers; check that they run, and that their"
    else:
        return None
    return Judgement(DEGRADED, f"alone: {who} port is open for TCP and UDP")


def _unhurried(facts: Facts, patience: float) -> Judgement | None:
    """Return what somebody should see to in the next days: everything works until then."""
    if facts.refused:
        kinds = " and ".join(facts.refused)
        return Judgement(
            DEGRADED, f"the disk is too full to receive {kinds}; free space, or change `disk:` in node.yaml"
        )
    if facts.budget:
        return Judgement(DEGRADED, f"{facts.budget}: others get only what is critical from us, see `budget:`")
    if facts.deferred is not None and facts.now - facts.deferred[1] > patience:
        waited = facts.now - facts.deferred[1]
        return Judgement(DEGRADED, f"no snapshot for {waited:.0f} s: {facts.deferred[0]}")
    if facts.certificate is not None:
        return Judgement(DEGRADED, facts.certificate[0])
    return None


def _good(facts: Facts) -> str:
    parts = [
        f"{facts.members_alive} members alive" if facts.members_alive != 1 else "alone, with no seeds to ask"
    ]
    if facts.members_alive == 1 and facts.seeds:
        parts = ["nobody else is here now"]
    if facts.members_lost:
        names = ", ".join(facts.members_lost[:3]) + (", ..." if len(facts.members_lost) > 3 else "")
        parts.append(f"{len(facts.members_lost)} lost ({names})")
    parts.append(_coming(facts) if facts.missing else _held(facts.artifacts, facts.here))
    return f"{facts.node} is well: " + ", ".join(parts)


def _coming(facts: Facts) -> str:
    why = f" ({facts.stalled[0]} stands: {facts.stalled[1]})" if facts.stalled else ""
    return f"{_things(facts.missing)} on the way{why}"


def _held(count: int, here: int) -> str:
    if count == 0:
        return "no artifacts yet"
    if here < count:
        return f"{here} of {count} artifacts here, no other is wanted"
    return "the only artifact here" if count == 1 else f"all {count} artifacts here"


def _things(count: int) -> str:
    return "1 artifact is" if count == 1 else f"{count} artifacts are"
