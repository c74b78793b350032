"""Is it still there? Probe one member a period: directly, then through others and by link.

The period of a member that doubts itself (`health`) is longer. Whoever is asked
to probe for another says "not yet" (nack) at 80 % of the timeout: early enough
to arrive before the asker gives up and blames itself.
Behind NAT most members are of no help: two that accept no connection are reached
only by those who accept both, and these are the ones that we have links to.
Source: SWIM (Das et al. 2002), sections 3.1, 4.3; Lifeguard (Dadgar et al. 2018), section IV-A.
"""

from dataclasses import dataclass

from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import DATAGRAM, LINK, NEVER, Draw, Effect, LinkId, NeedLink, Notice, Send
from ringgossip.protocol.evidence import Standing
from ringgossip.protocol.health import LocalHealth
from ringgossip.protocol.roster import Roster, draw_below
from ringgossip.protocol.routes import Routes
from ringgossip.protocol.timers import Deadlines
from ringgossip.protocol.voice import Voice
from ringgossip.wire.messages import Nack, PingRequest, Vouch

Out = list[Effect | Notice]

_MAX_RELAYS = 256
_MAX_URGENT = 16
_URGENT_GAP = 0.1  # seconds between a probe that is done and one that cannot wait


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Seconds and numbers; memberlist's LAN defaults."""

    interval: float = 1.0
    timeout: float = 0.5
    # Ask several at once: with one helper, one more lost packet is a false suspicion.
    indirect: int = 3
    nack_after: float = 0.8  # share of the timeout
    # Woken so much too late, we were not there: nobody is to blame for silence.
    # `NEVER`: as in SWIM, which knows no such excuse.
    stalled_after: float = 2.0
    stagger: float = 1.0  # share of an interval over which members begin; 0: all in step


class _Probe:
    """One question under way."""

    __slots__ = ("asked", "direct", "key", "nacks", "number", "timeout_at")

    def __init__(self, key: bytes, number: int, timeout_at: float) -> None:
        self.key = key
        self.number = number
        self.timeout_at = timeout_at  # when to ask others, again if only they reach it; `NEVER`: done
        self.asked = 0  # how many helpers
        self.nacks = 0
        self.direct = True  # a failure says something about us too


class Prober:
    """Asks, and asks for others."""

    __slots__ = (
        "_deadlines", "_health", "_number", "_period_ends", "_probe", "_relays", "_rng", "_roster",
        "_routes", "_settings", "_started", "_urgent", "_voice", "due",
    )  # fmt: skip

    def __init__(
        self,
        settings: ProbeSettings,
        roster: Roster,
        routes: Routes,
        voice: Voice,
        health: LocalHealth,
        deadlines: Deadlines,
        rng: Draw,
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._routes = routes
        self._voice = voice
        self._health = health
        self._deadlines = deadlines
        self._rng = rng
        self._probe: _Probe | None = None
        self._started = -NEVER
        self._period_ends = NEVER
        self._urgent: list[bytes] = []
        self._number = rng.getrandbits(31)
        self._relays: dict[int, tuple[PeerId, Address | LinkId, int, bytes]] = {}
        self.due = NEVER  # when to be woken

    def start(self, now: float) -> None:
        """Begin at a random point of the period, so that members do not probe in step."""
        settings = self._settings
        self.due = self._period_ends = now + settings.interval * settings.stagger * self._rng.random()

    def stop(self) -> None:
        """Ask nothing more."""
        self.due = NEVER
        self._probe = None

    def next_number(self) -> int:
        """Return the number of the next question."""
        self._number = (self._number + 1) & 0xFFFFFFFF
        return self._number

    # --- our own probe --------------------------------------------------------------------

    def hurry(self, key: bytes, now: float) -> None:
        """Probe this member next, and at once if no other probe is under way."""
        if key not in self._urgent and len(self._urgent) < _MAX_URGENT:
            self._urgent.append(key)
        if self._probe is None and self.due < NEVER:
            at = max(now, self._started + _URGENT_GAP)
            self.due = self._period_ends = min(self._period_ends, at)

    def silent(self, now: float) -> Standing | None:
        """At the end of a period, return the member that did not answer in all of it."""
        probe = self._probe
        if probe is None or now < self._period_ends:
            return None
        self._probe = None
        stalled_after = self._settings.stalled_after
        if now - self.due > stalled_after or (probe.timeout_at < NEVER and stalled_after < NEVER):
            self._health.note(1)  # we were not there ourselves
            return None
        return self._give_up(probe)

    def wake(self, now: float) -> Out:
        """Go on: ask others, or begin the next period."""
        if now >= self._period_ends:
            return self._begin(now)
        probe = self._probe
        if probe is not None and now >= probe.timeout_at:
            self.due = self._period_ends
            return self._ask_others(probe, now)
        return []

    def _begin(self, now: float) -> Out:
        settings, slower = self._settings, self._health.score + 1
        self._started = now
        self._period_ends = now + settings.interval * slower
        key = (self._pop_urgent() if self._urgent else None) or self._roster.next_target(self._rng)
        if key is None:
            self.due = self._period_ends
            return []
        standing = self._roster.table[key]
        number = self.next_number()
        self.due = now + settings.timeout * slower
        probe = self._probe = _Probe(key, number, self.due)
        sends: Out = [*self._routes.probe(standing, self._voice.ping(number, standing))]
        if not sends or self._routes.is_indirect(key):
            # Others at once, and once more at the timeout: half a period is still left then.
            probe.direct = False
            again, sends = probe.timeout_at, [*sends, *self._ask_others(probe, now)]
            probe.timeout_at = again
        return sends

    def _pop_urgent(self) -> bytes | None:
        while self._urgent:
            key = self._urgent.pop(0)
            if self._roster.is_target(key):
                return key
        return None

    def _ask_others(self, probe: _Probe, now: float) -> Out:
        """The direct way was silent: try the link, other addresses, and other members."""
        probe.timeout_at = NEVER
        standing = self._roster.table.get(probe.key)
        if standing is None:
            return []
        ping = self._voice.ping(probe.number, standing)
        out: Out = []
        if probe.key in self._routes.linked:
            out.append(Send(standing.card.peer, ping, LINK))
        else:
            out.append(NeedLink(standing.card.peer))
        out += [Send(address, ping, DATAGRAM) for address in self._routes.addresses(standing)[1:3]]
        request = PingRequest(probe.number, probe.key)
        for place, key in enumerate(self._helpers(probe.key)):
            # The first by its link: a member behind NAT gets a datagram only if it sent us one lately.
            sends = self._routes.ask(self._roster.table[key], request, place == 0, now)
            probe.asked += bool(sends)
            out += sends
        return out

    def _helpers(self, target: bytes) -> list[bytes]:
        """Who may reach both it and us: who vouched or told of it, those with links to us, anybody."""
        roster, routes, count = self._roster, self._routes, self._settings.indirect
        last = routes.voucher(target)
        chosen = [last] if last is not None and roster.is_target(last) else []
        near = [key for key in routes.linked if key not in (target, last) and roster.is_target(key)]
        while near and len(chosen) < count:
            chosen.append(near.pop(draw_below(self._rng, len(near))))
        if len(chosen) < count:
            drawn = roster.sample(self._rng, count, but=target)
            chosen += [key for key in drawn if key not in chosen][: count - len(chosen)]
        return chosen[:count]

    def link_opened(self, key: bytes) -> Out:
        """A link to a member opened: if it is being probed, ask there too."""
        probe = self._probe
        standing = self._roster.table.get(key)
        if probe is None or probe.key != key or probe.timeout_at < NEVER or standing is None:
            return []
        return [Send(standing.card.peer, self._voice.ping(probe.number, standing), LINK)]

    def _give_up(self, probe: _Probe) -> Standing | None:
        standing = self._roster.table.get(probe.key)
        if probe.direct:
            self._health.note(max(0, probe.asked - probe.nacks) if probe.asked else 1)
        if standing is None or not self._roster.is_target(probe.key):
            return None
        self._routes.missed(standing)
        return standing

    def acked(self, number: int, sender: PeerId) -> bool:
        """An answer came; return whether it answers the probe under way."""
        probe = self._probe
        if probe is None or probe.number != number or probe.key != sender[:8]:
            return False
        self._succeed()
        return True

    def vouched(self, number: int) -> bytes | None:
        """A helper heard from the target; return whom it vouches for, if that was asked."""
        probe = self._probe
        if probe is None or probe.number != number:
            return None
        self._succeed()
        return probe.key

    def _succeed(self) -> None:
        self._probe = None
        if self._health.score:
            self._health.note(-1)
        self.due = self._period_ends

    def hear_nack(self, number: int) -> None:
        """A helper is there, the target not yet."""
        if self._probe is not None and self._probe.number == number:
            self._probe.nacks += 1

    # --- probes for others ----------------------------------------------------------------

    def help(self, request: PingRequest, asker: PeerId, source: Address | LinkId, now: float) -> Out:
        """Probe a member for somebody else."""
        standing = self._roster.table.get(request.target)
        muted = request.target in self._roster.muted
        if standing is None or muted or len(self._relays) >= _MAX_RELAYS:
            return [_reply(asker, source, Nack(request.number))]
        number = self.next_number()
        self._relays[number] = (asker, source, request.number, request.target)
        self._deadlines.set(("nack", number), now + self._settings.timeout * self._settings.nack_after)
        ping = self._voice.ping(number, standing)
        out: Out = [*self._routes.send(standing, ping)]
        if request.target in self._routes.linked:
            out.append(Send(standing.card.peer, ping, LINK))
        return out

    def relay_ack(self, number: int, key: bytes, pulse: bytes) -> Out:
        """The target answered: tell whoever asked."""
        relay = self._relays.get(number)
        if relay is None or relay[3] != key:
            return []
        del self._relays[number]
        self._deadlines.cancel(("nack", number))
        self._deadlines.cancel(("relay", number))
        asker, source, theirs, _ = relay
        return [_reply(asker, source, Vouch(theirs, pulse))]

    def nack_due(self, number: int, now: float) -> Out:
        """Say "not yet"; the target may still answer for a while."""
        asker, source, theirs, _ = self._relays[number]
        self._deadlines.set(("relay", number), now + self._settings.interval)
        return [_reply(asker, source, Nack(theirs))]

    def relay_over(self, number: int) -> None:
        """It did not."""
        self._relays.pop(number, None)


def _reply(to: PeerId, source: Address | LinkId, message: Nack | Vouch) -> Send:
    return Send(source, message, DATAGRAM) if isinstance(source, Address) else Send(to, message, LINK)
