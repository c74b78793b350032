"""One link per peer: when to dial, which address first, which of two links survives.

Machines say `NeedLink(peer)` and forget about it. Addresses are tried in the
order membership ranks them; when none answers, the peer is asked by datagram to
dial us (it may sit behind NAT), and the next round waits longer each time, or
until its breaker lets one through. When two peers dial each other at once, the
link dialled by the smaller peer id survives; a link that arrives later than
that replaces the old one, because a peer that dials has lost its side of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import (
    DATAGRAM,
    NEVER,
    CloseLink,
    Dial,
    Draw,
    Effect,
    LinkId,
    Notice,
    RouteFailed,
    Send,
)
from ringgossip.protocol.notices import BY_DIALLING
from ringgossip.wire.messages import DialMe

Out = list[Effect | Notice]


@dataclass(frozen=True, slots=True)
class DialingSettings:
    """Seconds and numbers."""

    most_links: int = 512
    first_retry: float = 1.0
    longest_retry: float = 60.0
    simultaneous: float = 3.0  # two links opened within so long were dialled at once
    wanted: float = 60.0  # how long a need that could not be met is remembered


@dataclass(slots=True)
class _Line:
    link: LinkId | None = None
    dialled: bool = False
    opened_at: float = -NEVER
    trying: list[Address] | None = None  # addresses left in this round; None: no round under way
    failures: int = 0
    greeted: bool = False  # the other said its hello on this link
    hung_up: int = 0  # so often in a row a link ended without a hello
    retry_at: float = -NEVER
    needed_until: float = -NEVER


_MOST_HUNG_UP = 6  # times that double the pause before we dial again: to some 13 seconds


class Dialing:
    """The machine that keeps links."""

    __slots__ = (
        "_addresses", "_held_until", "_lines", "_links", "_me", "_next", "_rng", "_settings", "_tried",
    )  # fmt: skip

    def __init__(
        self,
        settings: DialingSettings,
        me: PeerId,
        rng: Draw,
        addresses: Callable[[PeerId], Sequence[Address]],
        held_until: Callable[[PeerId, float], float] = lambda peer, now: -NEVER,
        tried: Callable[[PeerId, float], None] = lambda peer, now: None,
    ) -> None:
        self._settings = settings
        self._me = me
        self._rng = rng
        self._addresses = addresses
        self._held_until = held_until  # its breaker; a time that is over: dial
        self._tried = tried
        self._lines: dict[PeerId, _Line] = {}
        self._links: dict[LinkId, PeerId] = {}
        self._next: float | None = NEVER  # the nearest deadline; None: look for it again

    # --- questions ----------------------------------------------------------------------

    def linked(self, peer: PeerId) -> bool:
        """Tell whether a link to this peer is open."""
        line = self._lines.get(peer)
        return line is not None and line.link is not None

    def peers(self) -> list[PeerId]:
        """Return the peers with an open link."""
        return list(self._links.values())

    def peer_of(self, link: LinkId) -> PeerId | None:
        """Return whose link this is, or None if it is none of those in use."""
        return self._links.get(link)

    # --- dialling -----------------------------------------------------------------------

    def need(self, peer: PeerId, now: float) -> Out:
        """Some machine wants to talk on a link."""
        if peer == self._me:
            return []
        line = self._lines.setdefault(peer, _Line())
        if line.link is not None:
            return []
        line.needed_until = now + self._settings.wanted
        self._next = None
        if line.trying is not None or now < line.retry_at:
            return []
        return self._begin(peer, line, now)

    def _begin(self, peer: PeerId, line: _Line, now: float) -> Out:
        until = self._held_until(peer, now)
        if now < until:
            line.retry_at = until
            return []
        self._tried(peer, now)
        line.trying = list(self._addresses(peer))
        return self._try_next(peer, line, "", now)

    def _try_next(self, peer: PeerId, line: _Line, reason: str, now: float) -> Out:
        """Dial the next address of this round; `reason` is why the one before it failed."""
        if line.trying:
            return [Dial(line.trying.pop(0), peer)]
        self._next = None
        line.trying = None
        delay = min(self._settings.longest_retry, self._settings.first_retry * 2**line.failures)
        line.failures = min(line.failures + 1, 16)
        line.retry_at = now + delay * (0.75 + 0.5 * self._rng.random())
        out: Out = [Send(address, DialMe(), DATAGRAM) for address in self._addresses(peer)[:2]]
        return [*out, RouteFailed(peer, BY_DIALLING, reason)] if reason else out

    def dial_failed(self, address: Address, peer: PeerId | None, reason: str, now: float) -> Out:
        """Nobody (or somebody else) answered there."""
        line = self._lines.get(peer) if peer is not None else None
        if peer is None or line is None or line.trying is None or line.link is not None:
            return []
        return self._try_next(peer, line, reason or "failed", now)

    # --- links -----------------------------------------------------------------------------

    def link_opened(self, link: LinkId, peer: PeerId, dialled: bool, now: float) -> tuple[Out, bool]:
        """A verified link; return effects and whether it is now the one in use.

        If it replaced another, the machines must forget what was said on that
        one: the caller tells them that it broke first.
        """
        if peer == self._me:
            return [CloseLink(link, "this is ourselves")], False
        self._next = None
        line = self._lines.setdefault(peer, _Line())
        out: Out = []
        if line.link is not None:
            at_once = now - line.opened_at < self._settings.simultaneous
            ours_wins = self._me < peer
            if at_once and line.dialled == ours_wins and dialled != ours_wins:
                return [CloseLink(link, "another link was dialled at the same time")], False
            out.append(CloseLink(line.link, "replaced by a newer link"))
            del self._links[line.link]
        elif len(self._links) >= self._settings.most_links:
            line.trying, line.retry_at = None, now + self._settings.longest_retry
            return [CloseLink(link, "too many links")], False
        line.link, line.dialled, line.opened_at = link, dialled, now
        line.trying, line.failures, line.retry_at, line.greeted = None, 0, -NEVER, False
        self._links[link] = peer
        return out, True

    def greeted(self, peer: PeerId) -> None:
        """It said its hello: it has room for our link."""
        line = self._lines.get(peer)
        if line is not None:
            line.greeted = True

    def link_broken(self, link: LinkId, now: float) -> PeerId | None:
        """Return the peer whose link in use this was, or None."""
        peer = self._links.pop(link, None)
        if peer is None:
            return None
        self._next = None
        line = self._lines[peer]
        line.link = None
        # Do not dial a peer that has just hung up in a tight loop: without a hello, it has no room for us.
        line.hung_up = 0 if line.greeted else min(line.hung_up + 1, _MOST_HUNG_UP)
        line.retry_at = now + (0.1 + 0.2 * self._rng.random()) * 2**line.hung_up
        return peer

    def forget(self, peer: PeerId) -> None:
        """A member is gone: nobody needs a link to it any more."""
        line = self._lines.get(peer)
        if line is not None and line.link is None and line.trying is None:
            del self._lines[peer]
            self._next = None

    def member_up(self, peer: PeerId, now: float) -> None:
        """It is back, perhaps elsewhere: earlier failures say nothing."""
        line = self._lines.get(peer)
        if line is not None and line.link is None:
            line.failures, line.hung_up, line.retry_at = 0, 0, now
            self._next = None

    def wake(self, now: float) -> Out:
        """Dial again whom somebody still needs."""
        out: Out = []
        self._next = None
        for peer, line in list(self._lines.items()):
            if self._due(line) <= now:
                if now < line.needed_until:
                    out += self._begin(peer, line, now)
                else:
                    line.retry_at = -NEVER
                    line.needed_until = -NEVER
        return out

    def _due(self, line: _Line) -> float:
        waits = line.link is None and line.trying is None and line.needed_until > -NEVER
        return line.retry_at if waits else NEVER

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        if self._next is None:
            self._next = min((self._due(line) for line in self._lines.values()), default=NEVER)
        return self._next
