"""Tell what is new, until it is no longer news.

A record that is published here is told to all at once where these are not many;
one that others bring is forwarded to a few partners. An interval later it is told
to a few more, drawn at random; whoever told us, or was told on a link, knows it.
Nobody answers (blind): six calls of each reach all but one in four hundred, as many
as counting four answers takes, and answers would be as many messages again. Where more
members are than hear it from its author, each makes ln N + 3 calls: in one case of twenty
somebody is left out. What no rumor brought is found by anti-entropy, a second or two later.
The published variants are settings, and `simulate --truth` runs them.

Here news is pushed; whoever is asked for it (`give`) answers, which is the paper's pull.

Source: Demers et al. 1987, "Epidemic algorithms for replicated database
maintenance", section 1.4: push or pull, feedback or blind, counter or coin.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.core import DATAGRAM, LINK, NEVER, Draw, Effect, LinkId, Notice, Send
from ringgossip.wire.messages import MAX_DATAGRAM_PLAINTEXT, Message, News, NewsKnown

Out = list[Effect | Notice]

_SURE = 3.0  # calls of each beyond ln N: e^-3 members on average do not hear of a rumor


@dataclass(frozen=True, slots=True)
class RumorSettings:
    """How news is told."""

    fanout: int = 3
    interval: float = 0.2
    lose_interest: int = 1  # useless rounds, or answers, after which a rumor is no longer told
    coin: bool = False  # lose interest with chance 1/k at each useless call, instead of after k
    feedback: bool = False  # count answers; else blind: every round after the first counts as useless
    once: bool = True  # tell nobody who is known to know it; the paper draws partners blindly
    # Count rounds in which nobody was served, in a row, instead of answers. Needs every answer
    # within the round: right for the paper's synchronous cycles, not for a network that loses some.
    by_round: bool = False
    most_rounds: int = 20  # an answer may be lost for ever, a rumor must not live that long
    hot: int = 256  # news at one time; more is left to anti-entropy
    burst: int = 64  # records forwarded at once in one interval, per peer
    # What is published here is told to so many at once, and what follows within an interval together at its
    # end: where these are all, one message to each does what rumor takes six for. 0: to `fanout`, as others.
    wide: int = 64


@dataclass(slots=True, eq=False)
class _Rumor:
    record: Record
    key: ArtifactKey
    useless: int = 0
    rounds: int = 0
    told: int = 0  # times, in this round
    known: int = 0  # answers that it was known there, in this round
    knows: dict[PeerId, None] = field(default_factory=dict)  # who told us, or was told where nothing is lost
    untold: bool = False  # it was published here, and is to be told widely


class _Words:
    """Some records in messages, put into words once for all who are told."""

    __slots__ = ("_datagrams", "_links", "_packed", "rumors")

    def __init__(self, rumors: list[_Rumor]) -> None:
        self.rumors = rumors
        self._packed = [rumor.record.packed for rumor in rumors]
        self._links: list[News] | None = None
        self._datagrams: list[News] | None = None

    def for_links(self) -> list[News]:
        if self._links is None:
            packed = self._packed
            self._links = [News(tuple(packed[at : at + 64])) for at in range(0, len(packed), 64)]
        return self._links

    def for_datagrams(self) -> list[News]:
        if self._datagrams is None:
            self._datagrams = []
            batch: list[bytes] = []
            size = 0
            for packed in self._packed:
                length = len(packed) + 8
                if batch and size + length > MAX_DATAGRAM_PLAINTEXT - 16:
                    self._datagrams.append(News(tuple(batch)))
                    batch, size = [], 0
                batch.append(packed)
                size += length
            self._datagrams.append(News(tuple(batch)))
        return self._datagrams


class Rumors:
    """The machine that tells news.

    `partners(count)` draws whom to tell; `route(peer)` is True for a link, an
    address for datagrams, None if there is no way now.
    """

    def __init__(
        self,
        settings: RumorSettings,
        rng: Draw,
        partners: Callable[[int], list[PeerId]],
        route: Callable[[PeerId], Address | bool | None],
        members: Callable[[], int] = lambda: 0,
    ) -> None:
        self._settings = settings
        self._rng = rng
        self._partners = partners
        self._route = route
        self._members = members
        self._hot: dict[bytes, _Rumor] = {}  # first 8 bytes of the record hash -> rumor
        self._next_round = NEVER
        self._forwarded = 0
        self._window_ends = -NEVER

    def tell(self, record: Record, now: float, but: PeerId | None = None) -> Out:
        """Something is new here: forward it now, and keep telling it. `but` told us."""
        key = record.key
        for old in [old for old, rumor in self._hot.items() if rumor.key == key]:
            del self._hot[old]
        if len(self._hot) >= self._settings.hot:
            return []
        rumor = _Rumor(record, key)
        self._hot[record.hash[:8]] = rumor
        if self._next_round == NEVER:
            self._next_round = now + self._settings.interval * (0.5 + 0.5 * self._rng.random())
        if now >= self._window_ends:
            self._window_ends, self._forwarded = now + self._settings.interval, 0
        if but is not None:
            rumor.knows[but] = None
        wide = self._settings.wide
        if but is None and wide:
            rumor.untold = True
            if self._forwarded:
                return []
            self._forwarded += 1
            return self._tell_widely()
        if but == record.signer and self._members() <= wide:
            return []  # its author tells all: an interval later is soon enough for those whom that missed
        if self._forwarded >= self._settings.burst:
            return []
        self._forwarded += 1
        rumor.rounds += 1
        partners = [peer for peer in self._partners(self._settings.fanout + 1) if peer != but]
        out: Out = []
        words = _Words([rumor])
        for peer in partners[: self._settings.fanout]:
            out += self._send(peer, words)
        return out

    def _tell_widely(self) -> Out:
        """Tell to many what was published here."""
        fresh = [rumor for rumor in self._hot.values() if rumor.untold]
        if not fresh:
            return []
        words = _Words(fresh)
        out: Out = []
        for peer in self._partners(self._settings.wide):
            out += self._send(peer, words)
        for rumor in fresh:
            rumor.untold = False
            rumor.rounds += 1
        return out

    def _send(self, peer: PeerId, words: "_Words") -> Out:
        route = self._route(peer)
        if route is None:
            return []
        if route is True:
            for rumor in words.rumors:
                rumor.knows[peer] = None
            return [Send(peer, news, LINK) for news in words.for_links()]
        assert isinstance(route, Address)
        return [Send(route, news, DATAGRAM) for news in words.for_datagrams()]

    def heard(self, hashes: list[bytes], sender: PeerId, source: Address | LinkId) -> Out:
        """Note news of which these (8-byte prefixes) were known here already; answer where answers count."""
        for prefix in hashes:
            rumor = self._hot.get(prefix)
            if rumor is not None:
                rumor.knows[sender] = None
        if not hashes or not self._settings.feedback:
            return []
        answer = NewsKnown(b"".join(hashes))
        if isinstance(source, Address):
            return [Send(source, answer, DATAGRAM)]
        return [Send(sender, answer, LINK)]

    def receive(self, message: Message, sender: PeerId, source: Address | LinkId, now: float) -> Out:
        """Handle feedback."""
        if isinstance(message, NewsKnown):
            for start in range(0, len(message.hashes), 8):
                prefix = message.hashes[start : start + 8]
                rumor = self._hot.get(prefix)
                if rumor is None:
                    continue
                if self._settings.by_round:
                    rumor.known += 1
                else:
                    self._useless(prefix)
        return []

    def give(self, peer: PeerId, now: float) -> Out:
        """Tell a peer that asks for it what is news here (pull)."""
        if not self._hot:
            return []
        for rumor in self._hot.values():
            rumor.told += 1
        return self._send(peer, _Words(list(self._hot.values())))

    def _judge_round(self) -> None:
        """A round in which somebody was served makes the rumor news again; one in which nobody was counts."""
        for prefix, rumor in list(self._hot.items()):
            if rumor.known < rumor.told:
                rumor.useless = 0
            elif rumor.told:
                self._useless(prefix)
            rumor.told = rumor.known = 0

    def _useless(self, prefix: bytes) -> None:
        rumor = self._hot.get(prefix)
        if rumor is None:
            return
        if self._settings.coin:
            if self._rng.random() * self._settings.lose_interest < 1.0:
                del self._hot[prefix]
            return
        rumor.useless += 1
        if rumor.useless >= self._patience():
            del self._hot[prefix]

    def _patience(self) -> int:
        """Return after how many useless rounds or answers a rumor is old."""
        settings, members = self._settings, self._members()
        if settings.feedback or members <= settings.wide:
            return settings.lose_interest
        # After c calls of each, a share of e^-c has not heard of it (Demers, section 1.4).
        return max(settings.lose_interest, math.ceil((math.log(members) + _SURE) / settings.fanout) - 1)

    def wake(self, now: float) -> Out:
        """Tell every hot rumor to a few partners."""
        if now < self._next_round:
            return []
        self._next_round = NEVER
        if self._settings.by_round and self._settings.feedback:
            self._judge_round()
        if not self._hot:
            return []
        hot = [rumor for rumor in self._hot.values() if not rumor.untold]
        out = self._tell_widely()
        words = _Words(hot)
        for peer in self._partners(self._settings.fanout) if hot else ():
            news = hot if not self._settings.once else [rumor for rumor in hot if peer not in rumor.knows]
            if not news:
                continue
            if news != words.rumors:
                words = _Words(news)
            sends = self._send(peer, words)
            out += sends
            if sends:
                for rumor in news:
                    rumor.told += 1
        for prefix, rumor in list(self._hot.items()):
            rumor.rounds += 1
            if rumor.rounds >= self._settings.most_rounds:
                del self._hot[prefix]
            elif not self._settings.feedback:
                self._useless(prefix)
        if self._hot:
            self._next_round = now + self._settings.interval * (0.9 + 0.2 * self._rng.random())
        return out

    def next_wakeup(self) -> float:
        """Return when the next round is."""
        return self._next_round

    def hot(self) -> int:
        """Return how many rumors are still told."""
        return len(self._hot)
