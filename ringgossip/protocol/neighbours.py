"""To whom do we keep a link although nothing has to be moved right now?

News of holdings, progress and roots travels on links, so a small cluster is
fully meshed and a large one is a random graph of bounded degree, the same at
both ends: a pair keeps a link if its hash is among the smallest of either.

They are asked for one after the other, and not before a crowd that comes at once
has come. When fifty peers begin together, their twelve hundred handshakes would
otherwise keep each other from ever ending, and the fifty from seeing each other.
Whoever began long before us is of no crowd, however many of them we meet at once:
one who comes back to forty-nine opens forty-nine links, not twelve hundred.
"""

from collections.abc import Callable, Sequence
from heapq import nsmallest

from ringgossip.content.hashing import hash_bytes
from ringgossip.identity import PeerId
from ringgossip.protocol.core import NEVER, Draw, Effect, NeedLink, Notice

FULL_MESH = 64  # members; 63 idle TLS connections cost about 3 MB and 4 messages a second
AT_ONCE = 1  # links asked for and not open yet: where all begin together, a handshake ends before the next
PATIENCE = 1.0  # seconds; after that it is somebody who does not answer, and the next is asked for
PACE = 0.2  # seconds until we look whether it is open,
MANY = 16  # and more in proportion where so many links or more are missing
AGAIN = 30.0  # seconds until the same is asked for again; a need is remembered longer, and tried again
FEW = 4  # members that come together; when more do, links wait until no more come:
QUIET = 1.0  # for so many seconds,
LONGEST_HOLD = 6.0  # but not longer than that where somebody always comes, and then not for as long again
BEFORE = 30  # whose boot number is so much smaller than ours (seconds, mostly) began before us
AT_ONCE_OLD = 4  # links to such members that are asked for and not open yet
DEGREE = 12  # links each member of a larger cluster asks for; a random 12-regular graph does not fall apart


class Neighbours:
    """The machine that asks for links to keep."""

    def __init__(
        self,
        me: PeerId,
        rng: Draw,
        alive: Callable[[], Sequence[PeerId]],
        linked: Callable[[PeerId], bool],
        now: float,
        boot: int = 0,
        interval: float = 5.0,
    ) -> None:
        self._me = me
        self._rng = rng
        self._alive = alive
        self._linked = linked
        self._interval = interval
        self._boot = boot
        self._next = now + interval * rng.random()
        self._chosen: list[PeerId] = []
        self._chosen_of: Sequence[PeerId] | None = None
        self._seen: dict[PeerId, float] = {}  # since when there is no link
        self._asked: dict[PeerId, float] = {}  # when we asked for one last
        self._old: dict[PeerId, None] = {}  # members that began before us
        self._crowd: dict[PeerId, None] = {}  # others that came one soon after the other
        self._crowd_began = self._crowd_grew = -NEVER

    def chosen(self) -> list[PeerId]:
        """Return the members to which a link is kept from our side."""
        members = self._alive()
        if members is not self._chosen_of:  # the very list of last time: a thousand hashes are spared
            alive = [peer for peer in members if peer != self._me]
            few = len(alive) < FULL_MESH
            self._chosen = alive if few else nsmallest(DEGREE, alive, self._closeness)
            self._chosen_of = members
        return self._chosen

    def _closeness(self, peer: PeerId) -> bytes:
        return hash_bytes(min(self._me, peer) + max(self._me, peer))

    def member_up(self, peer: PeerId, boot: int, now: float) -> None:
        """Somebody came: link soon, but not everybody in the same instant."""
        self._asked.pop(peer, None)
        if boot < self._boot - BEFORE:
            self._old[peer] = None
            self._next = min(self._next, now + PACE * self._rng.random())
            return
        self._old.pop(peer, None)
        # Who comes again and again is no crowd, and crowds that come again and again are one.
        if now > self._crowd_grew + QUIET and now > self._crowd_began + 2 * LONGEST_HOLD:
            self._crowd, self._crowd_began = {}, now
        self._crowd[peer], self._crowd_grew = None, now
        self._next = min(self._next, now + 0.2 + 0.8 * self._rng.random())
        if len(self._crowd) > FEW:
            hold = min(now + QUIET, self._crowd_began + LONGEST_HOLD)
            self._next = max(self._next, hold + QUIET * self._rng.random())

    def wake(self, now: float) -> list[Effect | Notice]:
        """Ask for the links that are missing."""
        if now < self._next:
            return []
        missing = [peer for peer in self.chosen() if not self._linked(peer)]
        self._seen = {peer: self._seen.get(peer, now) for peer in missing}
        self._asked = {peer: at for peer, at in self._asked.items() if peer in self._seen}
        self._old = {peer: None for peer in self._old if peer in self._seen}
        # Of two that lack a link to each other the smaller dials; the other only if nothing came of it.
        due = [
            peer
            for peer in missing
            if now >= self._asked.get(peer, -NEVER) + AGAIN
            and (self._me < peer or now >= self._seen[peer] + self._interval)
        ]
        due.sort(key=lambda peer: (self._asked.get(peer, -NEVER), self._closeness(peer)))
        under_way = sum(now < at + PATIENCE for at in self._asked.values())
        old = [peer for peer in due if peer in self._old]
        due = old or due
        begun = due[: max(0, (AT_ONCE_OLD if old else AT_ONCE) - under_way)]
        self._asked.update(dict.fromkeys(begun, now))
        busy = 1.0 if old else max(1.0, len(due) / MANY)
        wait = PACE * busy if len(begun) < len(due) else self._interval
        self._next = now + wait * (0.75 + 0.5 * self._rng.random())
        return [NeedLink(peer) for peer in begun]

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        return self._next
